"""Projects the FLOPs of a study's samples and of the paper's Table 1, and bounds their speed-ups."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from analysis import paper
from analysis.conditions import Line
from analysis.load import Row, StudyError
from bench.condition import Condition
from bench.config import CONF, condition_of
from bench.facts import facts_of
from vgdfr import HunyuanVideo, Model
from vgdfr.backbones import base
from vgdfr.backbones.hunyuan_vae import Tiling
from vgdfr.flops import TEXT_TOKENS, Flops


def model_of(name: str, overrides: Sequence[str] = ()) -> Condition:
    """Returns a condition with model `name` of conf and its video settings, or raises StudyError."""
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            settings = ["method.k=5", "method.theta=0.5"]
            return condition_of(compose("config", [f"model={name}", "metrics=pixel", *settings, *overrides]))
    except (HydraException, ValueError) as error:
        raise StudyError(f"model {name} cannot be composed from conf: {' '.join(str(error).split())}") from None


def flops_of(
    name: str,
    tiling: Tiling | None,
    spec: dict[str, Any],
    overrides: Sequence[str] = (),
    text_tokens: int = TEXT_TOKENS,
    checkpoint: str | None = None,
) -> Flops:
    """Returns the FLOPs of a model of conf for videos of `spec`. `checkpoint` may give another configuration."""
    model = model_of(name, overrides).model
    changed = {"path": checkpoint, "tiling": tiling}
    there = {f.name for f in fields(model)}
    model = replace(model, **{n: v for n, v in changed.items() if n in there and v is not None})
    return _known(model, spec, text_tokens)


def _known(model: Model, spec: dict[str, Any], text_tokens: int) -> Flops:
    try:
        flops: Flops | None = model.flops(spec["height"], spec["width"], spec["num_frames"], text_tokens)
    except FileNotFoundError as error:
        raise StudyError(f"{error}; or say where it lies: --set model.backbone.path=FOLDER") from None
    if flops is None:
        raise StudyError(
            f"the FLOPs of {type(model).__name__} are not known: its class does not give them (Model.flops)"
        )
    return flops


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's Table 1."""

    k: int
    theta: float
    latency_s: float
    speedup: float


def paper_table() -> tuple[float, list[PaperRow]]:
    """Returns the baseline's latency in seconds, and VGDFR's rows."""
    original_s, rows = 0.0, []
    for setting, numbers in paper.rows().items():
        if setting is None:
            original_s = numbers["latency_s"]
        else:
            rows.append(PaperRow(*setting, numbers["latency_s"], numbers["speedup"]))
    return original_s, rows


def implied_cost(row: PaperRow, baseline_s: float, steps: int) -> float:
    """Returns the cost ratio of a compressed to a full step, under the assumption that only steps take time."""
    full_step_s = baseline_s / steps
    return (row.latency_s - row.k * full_step_s) / ((steps - row.k) * full_step_s)


def bound(steps: int, full_steps: float, cost_ratio: float) -> float:
    """Returns the speed-up if only the DiT's passes took time."""
    return steps / (full_steps + (steps - full_steps) * cost_ratio)


@dataclass(frozen=True)
class Savings:
    """DiT FLOPs of a sweep, in full passes (`paper_savings`) or in baselines (`study_savings`).

    alone: each sample is computed alone.
    prefix_shared: samples share the first steps of their baseline.
    equal_shared: samples with equal schedules also share the other steps. None if the schedules are unknown.
    """

    alone: float
    prefix_shared: float
    equal_shared: float | None = None


def paper_savings(baseline_s: float, rows: Sequence[PaperRow], steps: int) -> Savings:
    """Returns the savings for one prompt of Table 1, at the costs that the paper's latencies imply."""
    rests = sum((steps - row.k) * implied_cost(row, baseline_s, steps) for row in rows)
    return Savings(steps + sum(row.k for row in rows) + rests, steps + rests)


@dataclass(frozen=True)
class Projection:
    """The projected costs of one finished sample, in FLOPs, and those of its baseline.

    dit_flops: the passes that the record counts (`dit_passes`), or for an older record those that its settings imply.
    module_flops: the decoder and the encoder of the compression module.
    cost_ratio: the cost of a pass on the shortened latent over that of a full pass, by the FLOP model.
    measured_cost_ratio: the same, from the seconds of the sample's compressed steps and of its baseline's steps. Both
        ratios are None if nothing was merged. This one is also None without a speed-up, or without such stages.
    speedup: None if either latency is not of the kind that counts (`analysis.conditions.kind_of_timing`).
    """

    row: Row
    compressed_steps: int
    kept_latents: int
    num_latents: int
    dit_flops: float
    module_flops: float
    baseline_flops: float
    cost_ratio: float | None
    measured_cost_ratio: float | None
    speedup: float | None

    @property
    def dit_work(self) -> float:
        """The DiT's FLOPs over the baseline's DiT FLOPs."""
        return self.dit_flops / self.baseline_flops

    @property
    def bound(self) -> float:
        return self.baseline_flops / self.dit_flops

    @property
    def projected(self) -> float:
        return self.baseline_flops / (self.dit_flops + self.module_flops)


# if a record has all these settings, they and the schedule imply the passes and the compression module's work
SETTINGS_OF_COMPRESSION = frozenset({"k", "preview_steps", "spatial_levels", "merge_space"})
# these settings and the schedule's segments decide the steps on a shortened latent
DECIDES_REST = (
    "name", "k", "merge_space", "denoise_renoise", "spatial_levels", "global_layers", "preview_steps", "preview_latent",
)  # fmt: skip


class FlopsOfStudy:
    """Counts the FLOPs of each model and video size of a study once.

    A model class from outside this project is made from the record. Any other model is counted by conf, with the
    configuration in the folder that made the samples if the folder still exists and no override sets the path.
    """

    def __init__(self, overrides: Sequence[str] = (), text_tokens: int = TEXT_TOKENS) -> None:
        self._overrides, self._text_tokens = overrides, text_tokens
        self._made: dict[tuple[Any, ...], Flops] = {}

    def of(self, record: dict[str, Any]) -> Flops:
        """Returns the FLOPs for the model and video size. Raises StudyError if the number of layers differs."""
        spec, identity, checkpoint = (
            record["identity"]["spec"],
            record["identity"]["model"],
            record.get("checkpoint", {}),
        )
        sized = (spec["height"], spec["width"], spec["num_frames"])
        key = (record["model_name"], json.dumps([checkpoint, identity.get("tiling")], sort_keys=True), *sized)
        if key not in self._made:
            self._made[key] = self._of_model(record["model_name"], checkpoint, identity, spec)
        flops, layers, path = self._made[key], record.get("layers"), checkpoint.get("path")
        counted = _layers_of(flops)
        if layers and counted and counted != (layers["dual"], layers["single"]):
            raise StudyError(
                f"the samples are of a model with {layers['dual']} dual and {layers['single']} single layers, made "
                f"from {path}; the configuration at hand has {counted[0]} and {counted[1]}. Say where the model lies: "
                "--set model.backbone.path=FOLDER"
            )
        return flops

    def _of_model(self, name: str, checkpoint: dict[str, Any], identity: dict[str, Any], spec: dict[str, Any]) -> Flops:
        if "class" in checkpoint:  # a class from outside this project, which conf lacks
            try:
                model = base.model_of(checkpoint, identity, otherwise=HunyuanVideo)
            except (ValueError, TypeError) as error:
                raise StudyError(f"the model of the samples is not to be had: {error}") from None
            return _known(model, spec, self._text_tokens)
        path, told = checkpoint.get("path"), any("backbone.path" in override for override in self._overrides)
        folder = path if path and not told and Path(path).is_dir() else None
        return flops_of(name, Tiling(**identity["tiling"]), spec, self._overrides, self._text_tokens, folder)


def _layers_of(flops: Flops) -> tuple[int, int] | None:
    """Returns the numbers of dual and single layers that are counted, or None if an outside model does not say."""
    configuration = getattr(flops, "configuration", None)
    transformer = configuration.get("transformer") if isinstance(configuration, Mapping) else None
    if not isinstance(transformer, Mapping) or not transformer.keys() >= {"num_layers", "num_single_layers"}:
        return None
    return transformer["num_layers"], transformer["num_single_layers"]


def projections(table: Sequence[Line], counts: FlopsOfStudy) -> list[tuple[Line, list[Projection]]]:
    """Returns all lines but baselines with the samples that have a baseline and known passes (`is_counted`)."""
    originals = {line.video: line for line in table if line.is_reference}
    out = []
    for line in table:
        if line.is_reference or (original := originals.get(line.video)) is None:
            continue
        baselines = {row.sample_id: row for row in original.rows}
        own_s, baseline_s = line.values["latency_s"], original.values["latency_s"]
        made = []
        for row in line.rows:
            key = row.sample_id
            if key in baselines and is_counted(row.record):
                speedup = baseline_s[key] / own_s[key] if key in own_s and key in baseline_s else None
                made.append(project(row, baselines[key], counts.of(row.record), speedup))
        out.append((line, made))
    return out


def is_counted(record: dict[str, Any]) -> bool:
    """Whether the DiT's passes are known, from the record or, for an older record, from the method's settings."""
    method = record["method"]
    compresses = bool(record["schedule"]) and method.keys() >= SETTINGS_OF_COMPRESSION
    older = record.get("title") is None
    plain = facts_of(record).role in ("reference", "diagnostic") or (older and "steps" in method)
    return bool(record.get("dit_passes")) or compresses or (plain and not record["schedule"])


def project(row: Row, baseline: Row, flops: Flops, speedup: float | None) -> Projection:
    """Returns the sample's projected costs. `speedup` is the measured one, None if the latencies do not compare."""
    record, method = row.record, row.record["method"]
    steps = record["identity"]["spec"]["num_inference_steps"]
    n, full_pass = flops.num_latents, flops.dit(flops.num_latents)
    kept = round(record["token_ratio"] * n)
    # only built-in methods of older records have the setting `steps` and no `dit_passes`
    own_steps = record.get("title") is None and not record.get("dit_passes") and method.get("steps")
    full_steps, compressed, module = float(own_steps or steps), 0, 0.0
    if record["schedule"] and method.keys() >= SETTINGS_OF_COMPRESSION:
        full_steps, levels = method["k"] + method["preview_steps"] - 1.0, method["spatial_levels"]
        compressed = steps - method["k"]
        in_pixels = method["merge_space"] == "pixel"
        module = float(in_pixels and flops.decode(levels=levels))
        if kept < n and in_pixels:
            module += flops.encode(kept, levels)
    dit, full = full_steps * full_pass + compressed * flops.dit(kept), steps * full_pass
    if passes := record.get("dit_passes"):
        dit = flops.of_passes(passes)
        if full_passes := baseline.record.get("dit_passes"):
            full = flops.of_passes(full_passes)
    ratio = flops.cost_ratio(kept) if kept < n else None
    measured = _measured_cost_ratio(row, baseline, compressed) if kept < n and speedup is not None else None
    return Projection(row, compressed, kept, n, dit, module, full, ratio, measured, speedup)


def _measured_cost_ratio(row: Row, baseline: Row, compressed_steps: int) -> float | None:
    """Returns the measured cost of a compressed step over a full step, or None if a record lacks these stages."""
    own_s, full_s = row.record["seconds"].get("denoise_compressed"), baseline.record["seconds"].get("denoise_full")
    if not compressed_steps or own_s is None or full_s is None:
        return None
    return own_s / compressed_steps / (full_s / row.record["identity"]["spec"]["num_inference_steps"])


def study_savings(projected: Sequence[Projection], num_baselines: int) -> Savings:
    """Returns the sweep's DiT FLOPs over all of its samples, in baselines.

    Sharing the prefix means that samples reuse the baseline's steps up to their compression, and compute the other
    steps alone. Raises StudyError for no sample.
    """
    if not projected:
        raise StudyError(
            "no finished sample has both a finished baseline to compare with and a record of what the DiT did; run the "
            "sweep again"
        )
    alone, rests = float(num_baselines), 0.0
    equal: dict[str, float] = {}
    for p in projected:
        own = p.dit_work
        alone += own
        record = p.row.record
        # only a compression after k steps branches off the baseline; an accelerated sample shares no steps
        branches = p.compressed_steps > 0 and not record.get("accelerated")
        if branches and p.kept_latents == p.num_latents:
            continue  # nothing merged, so the sample is its baseline
        first_steps = record["method"]["k"] / record["identity"]["spec"]["num_inference_steps"] if branches else 0.0
        rests += own - first_steps
        same = {name: record["method"].get(name) for name in DECIDES_REST}
        segments = record["schedule"]["segments"] if branches else str(p.row.folder)
        equal[repr((sorted(record["identity"]["spec"].items()), same, segments))] = own - first_steps
    return Savings(alone, num_baselines + rests, num_baselines + sum(equal.values()))
