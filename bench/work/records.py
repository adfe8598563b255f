"""Builds a record from a sample and its generated video, and reads method and schedule back from a record."""

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8

from bench.plan.condition import Sample
from bench.store.record import Record
from vgdfr import FrameSchedule, GeneratedVideo, Method, Model, Segment, VideoSpec
from vgdfr.method import facts_of
from vgdfr.methods import method_of
from vgdfr.passes import Passes, to_rows

_NO_COSTS: dict[str, Any] = dict.fromkeys(
    ("latency_s", "token_ratio", "passes", "dit_passes", "dit_flops", "peak_bytes")
)
_NO_COSTS |= {"timed": {}, "unpooled": {}}
_FRAMES_PER_LATENT = 4  # of all models with records that do not tell


def sha256_of_frames(frames: UInt8[np.ndarray, "t h w 3"]) -> str:
    """Returns the sha256 of the frames' bytes, frame after frame."""
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()


def identify(sample: Sample, reference_key: str | None, environment: dict[str, Any], created: str) -> dict[str, Any]:
    """Returns the fields that every record has, of a finished or of a failed sample."""
    method = sample.condition.method
    return {
        "key": sample.key,
        "slug": sample.condition.slug,
        "model_name": sample.condition.model_name,
        "method": method.settings(),
        **facts_of(method),
        "layers": method.layers(sample.condition.model.architecture()),
        **method.asked(),
        "prompt_id": sample.prompt.id,
        "seed_index": sample.prompt.seed_index,
        "prompt_dimensions": list(sample.prompt.dimensions),
        "identity": sample.identity,
        "checkpoint": sample.condition.model.loaded_from(),
        "reference_key": reference_key,
        "environment": environment,
        "created": created,
    }


def results(video: GeneratedVideo, sample: Sample) -> dict[str, Any]:
    """Returns the fields that only the record of a finished sample has. A method without a cost has no costs."""
    schedule, similarity = video.schedule, video.similarity
    made = {
        "schedule": schedule and _schedule(schedule, sample.condition.method.interpolates),
        "similarity": similarity
        and {lag: [round(float(v), 6) for v in getattr(similarity, lag)] for lag in ("lag1", "lag2", "lag3")},
        "token_ratio": schedule.token_ratio if schedule else mean_share_of_tokens(video),
        "frame_ratio": schedule.frame_ratio if schedule else 1.0,
        "seconds": video.seconds,
        "latency_s": video.latency_s if video.made is not None else None,
        "peak_bytes": video.peak_bytes,
        "notes": list(video.notes),
        "shared_stages": list(video.shared_stages),
        "passes": video.passes,
        "passes_done": video.passes_done,
        "noise_sha256": video.noise_sha256,
        "frames_sha256": None if video.made is None else sha256_of_frames(video.made),
        "dit_passes": to_rows(video.dit_passes),
        "outside_latency": sorted(video.outside_latency),
        "timed": {kind: [count, *took] for kind, (count, took) in sorted(video.timed.items())},
        "unpooled": {stage: [*took] for stage, took in sorted(video.unpooled.items())},
        "dit_flops": _dit_flops(sample.condition.model, sample.spec, video.dit_passes),
        "accelerated": video.accelerated,
        "data": video.data,
    }
    return made if sample.condition.method.has_cost else made | _NO_COSTS


def method_of_record(record: Record) -> Method:
    """Returns the method with its recorded settings, or raises ValueError if its class cannot be imported."""
    return method_of(record.method)


def schedule_of_record(record: Record) -> FrameSchedule | None:
    """Returns the recorded schedule, or None for a sample without a schedule."""
    if record.schedule is None:
        return None
    segments = tuple(Segment(*segment) for segment in record.schedule["segments"])
    return FrameSchedule(segments, record.schedule.get("frames_per_latent", _FRAMES_PER_LATENT))


def mean_share_of_tokens(video: GeneratedVideo) -> float:
    """Returns the share of a full latent's tokens that the DiT saw, over all forwards; 1.0 for a video without any."""
    forwards = sum(p.forwards * count for p, count in video.dit_passes.items())
    return video.passes / forwards if forwards else 1.0


def _dit_flops(model: Model, spec: VideoSpec, passes: Passes) -> float | None:
    """Returns the FLOPs of the DiT's passes, or None if the model's class or its checkpoint do not give them."""
    flops = _flops_of(model, spec.height, spec.width, spec.num_frames)
    return None if flops is None else float(flops.of_passes(to_rows(passes)))


@lru_cache(maxsize=8)
def _flops_of(model: Model, height: int, width: int, num_frames: int) -> Any:
    try:
        return model.flops(height, width, num_frames)
    except FileNotFoundError:
        return None


def _schedule(schedule: FrameSchedule, interpolates: bool) -> dict[str, Any]:
    return {
        "segments": [[s.start, s.length, s.factor] for s in schedule.segments],
        "kept_frames": list(schedule.kept_frames if interpolates else range(schedule.num_frames)),
        "kept_latents": list(schedule.kept_latents),
        "frames_per_latent": schedule.frames_per_latent,
    }
