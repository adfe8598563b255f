"""What schedules cost in FLOPs, of a study's samples and of the paper's Table 1, and what they can gain at most."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from analysis import paper
from analysis.conditions import Line
from analysis.load import Row, StudyError
from bench.condition import Condition
from bench.config import CONF, condition_of
from vgdfr.backbones.hunyuan_vae import Tiling
from vgdfr.flops import TEXT_TOKENS, Flops


def model_of(name: str, overrides: Sequence[str] = ()) -> Condition:
    """A model of conf with its video settings. Raises StudyError for one that is not there."""
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            settings = ["method.k=5", "method.theta=0.5"]
            return condition_of(compose("config", [f"model={name}", "metrics=pixel", *settings, *overrides]))
    except (HydraException, ValueError) as error:
        raise StudyError(f"model {name} cannot be composed from conf: {' '.join(str(error).split())}") from None


def flops_of(
    name: str,
    tiling: Tiling,
    spec: dict[str, Any],
    overrides: Sequence[str] = (),
    text_tokens: int = TEXT_TOKENS,
    checkpoint: str | None = None,
) -> Flops:
    """The FLOPs of a model of conf for videos of `spec`, its configuration that of the folder `checkpoint` if given."""
    model = model_of(name, overrides).model
    if checkpoint is not None:
        model = replace(model, path=checkpoint)
    try:
        architecture = model.architecture()
    except FileNotFoundError as error:
        raise StudyError(f"{error}; or say where it lies: --set model.backbone.path=FOLDER") from None
    return Flops(architecture, tiling, spec["height"], spec["width"], spec["num_frames"], text_tokens)


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's Table 1, as printed."""

    k: int
    theta: float
    latency_s: float
    speedup: float


def paper_table() -> tuple[float, list[PaperRow]]:
    """The original's latency in seconds, and VGDFR's rows."""
    original_s, rows = 0.0, []
    for setting, numbers in paper.rows().items():
        if setting is None:
            original_s = numbers["latency_s"]
        else:
            rows.append(PaperRow(*setting, numbers["latency_s"], numbers["speedup"]))
    return original_s, rows


def implied_cost(row: PaperRow, baseline_s: float, steps: int) -> float:
    """What a compressed step costs, as a share of a full one, if the latency holds nothing else."""
    full_step_s = baseline_s / steps
    return (row.latency_s - row.k * full_step_s) / ((steps - row.k) * full_step_s)


def bound(steps: int, full_steps: float, cost_ratio: float) -> float:
    """The speed-up if the DiT's passes were all that takes time."""
    return steps / (full_steps + (steps - full_steps) * cost_ratio)


@dataclass(frozen=True)
class Savings:
    """DiT FLOPs of a sweep in units of a full pass: each sample alone; first steps shared; equal schedules, too.

    `equal_shared` is None where the schedules are not known.
    """

    alone: float
    prefix_shared: float
    equal_shared: float | None = None


def paper_savings(baseline_s: float, rows: Sequence[PaperRow], steps: int) -> Savings:
    """One prompt of Table 1 at the paper's costs."""
    rests = sum((steps - row.k) * implied_cost(row, baseline_s, steps) for row in rows)
    return Savings(steps + sum(row.k for row in rows) + rests, steps + rests)


@dataclass(frozen=True)
class Projection:
    """One finished sample: FLOPs of its DiT passes and of its compression module, beside its baseline's.

    `cost_ratio` of a pass on its shortened latent by the FLOP model, and `measured_cost_ratio` by the clock, from its
    own steps and the baseline's; None where nothing was compressed. `speedup` is None, and the measured cost, where
    either latency is not of the kind that counts (`analysis.conditions.kind_of_timing`).
    """

    row: Row
    full_steps: float
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
    def bound(self) -> float:
        return self.baseline_flops / self.dit_flops

    @property
    def projected(self) -> float:
        return self.baseline_flops / (self.dit_flops + self.module_flops)


# the settings, beside the schedule's segments, that decide the steps on a shortened latent
DECIDES_REST = (
    "k", "merge_space", "denoise_renoise", "spatial_levels", "global_layers", "preview_steps", "preview_latent",
)  # fmt: skip


class FlopsOfStudy:
    """Counts for each model and size of video that a study has, each once.

    A model is counted by the configuration in the folder that its samples were made from, where that is still there,
    and else by conf's.
    """

    def __init__(self, overrides: Sequence[str] = (), text_tokens: int = TEXT_TOKENS) -> None:
        self._overrides, self._text_tokens = overrides, text_tokens
        self._made: dict[tuple[Any, ...], Flops] = {}

    def of(self, record: dict[str, Any]) -> Flops:
        """Raises StudyError where the configuration has other layers than the model that made the sample."""
        spec, tiling = record["identity"]["spec"], record["identity"]["model"]["tiling"]
        path = record.get("checkpoint", {}).get("path")
        key = (record["model_name"], path, *tiling.values(), spec["height"], spec["width"], spec["num_frames"])
        if key not in self._made:
            told = any("backbone.path" in override for override in self._overrides)
            folder = path if path and not told and Path(path).is_dir() else None
            settings = (Tiling(**tiling), spec, self._overrides, self._text_tokens)
            self._made[key] = flops_of(record["model_name"], *settings, checkpoint=folder)
        flops, layers = self._made[key], record.get("layers")
        transformer = flops.architecture["transformer"]
        counted = transformer["num_layers"], transformer["num_single_layers"]
        if layers and counted != (layers["dual"], layers["single"]):
            raise StudyError(
                f"the samples are of a model with {layers['dual']} dual and {layers['single']} single layers, made "
                f"from {path}; the configuration at hand has {counted[0]} and {counted[1]}. Say where the model lies: "
                "--set model.backbone.path=FOLDER"
            )
        return flops


def projections(table: Sequence[Line], counts: FlopsOfStudy) -> list[tuple[Line, list[Projection]]]:
    """Every line with its samples that have a finished baseline; baselines themselves left out."""
    originals = {line.video: line for line in table if line.method == "baseline"}
    out = []
    for line in table:
        if line.method == "baseline" or (original := originals.get(line.video)) is None:
            continue
        baselines = {row.sample_id: row for row in original.rows}
        own_s, baseline_s = line.values["latency_s"], original.values["latency_s"]
        made = []
        for row in line.rows:
            key = row.sample_id
            if key in baselines:
                speedup = baseline_s[key] / own_s[key] if key in own_s and key in baseline_s else None
                made.append(project(row, baselines[key], counts.of(row.record), speedup))
        out.append((line, made))
    return out


def project(row: Row, baseline: Row, flops: Flops, speedup: float | None) -> Projection:
    """What the sample's schedule costs; `speedup` is the measured one, None where the two were not timed alike."""
    record, method = row.record, row.record["method"]
    steps = record["identity"]["spec"]["num_inference_steps"]
    n, full_pass = flops.num_latents, flops.dit(flops.num_latents)
    schedule = record["schedule"]
    kept = round(record["token_ratio"] * n)
    full_steps, compressed, module = float(method.get("steps") or steps), 0, 0.0
    if schedule:
        full_steps, levels = method["k"] + method["preview_steps"] - 1.0, method["spatial_levels"]
        compressed = steps - method["k"]
        in_pixels = method["merge_space"] == "pixel"
        module = float(in_pixels and flops.decode(levels=levels))
        if kept < n and in_pixels:
            module += flops.encode(kept, levels)
    measured, seconds = None, record["seconds"]
    if kept < n and speedup is not None:
        full_step_s = baseline.record["seconds"]["denoise_full"] / steps
        measured = seconds["denoise_compressed"] / compressed / full_step_s
    dit = full_steps * full_pass + compressed * flops.dit(kept)
    ratio = flops.cost_ratio(kept) if kept < n else None
    return Projection(row, full_steps, compressed, kept, n, dit, module, steps * full_pass, ratio, measured, speedup)


def study_savings(projected: Sequence[Projection], num_baselines: int) -> Savings:
    """What the study's sweep spares, in full baselines, over all its samples.

    Shared prefix: a baseline's steps serve the samples that compress after them; what follows is each sample's own.
    """
    if not projected:
        raise StudyError("no finished sample has a finished baseline to compare with; run the sweep again")
    alone, rests = float(num_baselines), 0.0
    equal: dict[str, float] = {}
    for p in projected:
        own = p.dit_flops / p.baseline_flops
        alone += own
        record = p.row.record
        if p.compressed_steps and p.kept_latents == p.num_latents:
            continue  # nothing merged: the baseline's own trajectory goes on
        shares = record["method"].get("k", 0) / record["identity"]["spec"]["num_inference_steps"]
        rests += own - shares
        same = {name: record["method"].get(name) for name in DECIDES_REST}
        segments = record["schedule"]["segments"] if record["schedule"] else str(p.row.folder)
        equal[repr((sorted(record["identity"]["spec"].items()), same, segments))] = own - shares
    return Savings(alone, num_baselines + rests, num_baselines + sum(equal.values()))
