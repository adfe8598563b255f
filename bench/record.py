"""What a sample's record holds; written as record.json beside its video."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from bench.condition import Sample, describe
from vgdfr import Baseline, BaselineRerun, FewerSteps, GeneratedVideo, LayerErrors, Method, RopeProxy, Vgdfr
from vgdfr.backbones.base import Backbone
from vgdfr.dyrope import global_layers_of, paper_global_layers
from vgdfr.schedule import FrameSchedule, Segment

SCHEMA = 1
METHODS = {method.__name__.lower(): method for method in (Baseline, BaselineRerun, FewerSteps, Vgdfr)}


@dataclass(frozen=True)
class Record:
    """Version 1. Times in seconds, `peak_bytes` in bytes (None where the device does not tell), hashes sha256.

    status: "done"; "failed"; "nan" or "constant", failed too, by a video of no finite values or one colour. A failed
        sample has its traceback in `error` and no files, and is tried again.
    schedule: segments as [start, length, factor], kept frames and kept latents; None for a baseline.
    similarity: the preview's SSIM at lags 1-3; None for a baseline.
    environment: command, commit, versions and machine, see `bench.provenance`. `commit` is None in an installed wheel;
        `code_sha256` tells builds and modified checkouts apart (older records lack it).
    prompt_dimensions: those of VBench that the prompt is for.
    shared_stages: those whose seconds were measured, in part at least, while another sample of the same prompt and seed
        was made; empty where all were measured on this one.
    passes, passes_done: DiT passes of the sample made alone, and those made for it; one on a shortened latent counts as
        its share of the tokens.
    checkpoint: where the model was loaded from (path, revision, device); what it is stands in `identity`.
    frames_sha256: of the frames' bytes, from which the master can be told however it came about.
    restored_difference: on a device that is not bit-stable, the largest difference in levels of 255 that was found
        between the frames that were scored when the sample was made and those that its latents give: over all pixels
        before the master went, over every 16th of each row and column afterwards. None where they are equal.
    files, dropped: sha256 of each file beside the record, and of those that were written and not kept.
    timing: "shared" where `seconds` hold what was measured while samples of one prompt shared work; "isolated" where
        they are of the run of median latency among `repeats`, complete runs of this sample alone, after `warmups`.
        Each run says its seconds, latency and what the machine did beside (`bench.machine`).
    timed_on: the environment of those runs; None where `seconds` are of `environment`, in which the sample was made.
    layers: how many "dual" and "single" layers the DiT has, those with Global-RoPE ("global") and those that the
        paper's list names on this model ("paper"); None where no layer has it.
    layer_errors: what +exp=rope_proxy measured; such a sample has no video.
    token_ratio_asked, frame_ratio_asked: None for schedules that do not ask; the released search asks for frames.
    """

    status: Literal["done", "failed", "nan", "constant"]
    key: str
    slug: str
    model_name: str
    method: dict[str, Any]
    prompt_id: str
    seed_index: int
    identity: dict[str, Any]
    reference_key: str | None
    environment: dict[str, Any]
    created: str
    prompt_dimensions: list[str] = field(default_factory=list)
    schedule: dict[str, Any] | None = None
    similarity: dict[str, list[float]] | None = None
    token_ratio_asked: float | None = None
    frame_ratio_asked: float | None = None
    token_ratio: float | None = None
    frame_ratio: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    latency_s: float | None = None
    peak_bytes: int | None = None
    notes: list[str] = field(default_factory=list)
    shared_stages: list[str] = field(default_factory=list)
    passes: float | None = None
    passes_done: float | None = None
    noise_sha256: str | None = None
    layers: dict[str, Any] | None = None
    layer_errors: dict[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    frames_sha256: str | None = None
    restored_difference: int | None = None
    checkpoint: dict[str, Any] = field(default_factory=dict)
    timing: Literal["shared", "isolated"] = "shared"
    warmups: list[dict[str, Any]] = field(default_factory=list)
    repeats: list[dict[str, Any]] = field(default_factory=list)
    timed_on: dict[str, Any] | None = None
    error: str | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Raises ValueError for a record of another schema version."""
        values = json.loads(text)
        if values.get("schema") != SCHEMA:
            raise ValueError(
                f"expected a record of schema {SCHEMA}, got {values.get('schema')}; use the code it is from"
            )
        return cls(**values)

    def sha256_of(self, name: str) -> str | None:
        """Of a file that is or was beside the record; None if there never was one."""
        return self.files.get(name) or self.dropped.get(name)

    def method_used(self) -> Method:
        """The method, from its recorded settings."""
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.method.items()}
        settings.pop("name")
        return METHODS[self.method["name"]](**settings)

    def schedule_used(self) -> FrameSchedule | None:
        """The schedule; None for a baseline."""
        if self.schedule is None:
            return None
        return FrameSchedule(tuple(Segment(*segment) for segment in self.schedule["segments"]))


def sha256_of_frames(frames: UInt8[np.ndarray, "t h w 3"]) -> str:
    """Of the frames' bytes, one frame after another."""
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()


def identify(sample: Sample, reference_key: str | None, environment: dict[str, Any], created: str) -> dict[str, Any]:
    """The fields a record has whatever came of the sample."""
    method = sample.condition.method
    asked, of_frames = getattr(method, "token_ratio", None), getattr(method, "search", None) == "released"
    return {
        "key": sample.key,
        "slug": sample.condition.slug,
        "model_name": sample.condition.model_name,
        "method": describe(method),
        "token_ratio_asked": None if of_frames else asked,
        "frame_ratio_asked": asked if of_frames else None,
        "prompt_id": sample.prompt.id,
        "seed_index": sample.prompt.seed_index,
        "prompt_dimensions": list(sample.prompt.dimensions),
        "identity": sample.identity,
        "checkpoint": {name: getattr(sample.condition.model, name) for name in ("path", "revision", "device")},
        "reference_key": reference_key,
        "environment": environment,
        "created": created,
    }


def results(video: GeneratedVideo) -> dict[str, Any]:
    """The fields that a finished video adds."""
    schedule, similarity = video.schedule, video.similarity
    return {
        "schedule": schedule and _schedule(schedule),
        "similarity": similarity
        and {lag: [round(float(v), 6) for v in getattr(similarity, lag)] for lag in ("lag1", "lag2", "lag3")},
        "token_ratio": schedule.token_ratio if schedule else 1.0,
        "frame_ratio": schedule.frame_ratio if schedule else 1.0,
        "seconds": video.seconds,
        "latency_s": video.latency_s,
        "peak_bytes": video.peak_bytes,
        "notes": list(video.notes),
        "shared_stages": list(video.shared_stages),
        "passes": video.passes,
        "passes_done": video.passes_done,
        "noise_sha256": video.noise_sha256,
        "frames_sha256": sha256_of_frames(video.frames),
    }


def results_of_probe(errors: LayerErrors) -> dict[str, Any]:
    """The fields that layer errors add; there is no video and no latency."""
    return {
        "layer_errors": {
            "none": errors.none, "all": errors.all, "only": list(errors.only), "all_but": list(errors.all_but)
        },
        "schedule": _schedule(errors.schedule),
        "token_ratio": errors.schedule.token_ratio,
        "frame_ratio": errors.schedule.frame_ratio,
        "seconds": errors.seconds,
        "peak_bytes": errors.peak_bytes,
        "notes": list(errors.notes),
        "passes": errors.passes,
        "passes_done": errors.passes,
    }  # fmt: skip


def layers_of(backbone: Backbone, method: object) -> dict[str, Any] | None:
    """The field `layers`."""
    if not isinstance(method, Vgdfr | RopeProxy):
        return None
    dual, count = backbone.num_dual_layers, backbone.num_layers
    chosen = list(global_layers_of(method.global_layers, count)) if isinstance(method, Vgdfr) else None
    return {
        "dual": dual, "single": count - dual, "global": chosen, "paper": list(paper_global_layers(count))
    }  # fmt: skip


def _schedule(schedule: FrameSchedule) -> dict[str, Any]:
    return {
        "segments": [[s.start, s.length, s.factor] for s in schedule.segments],
        "kept_frames": list(schedule.kept_frames),
        "kept_latents": list(schedule.kept_latents),
    }
