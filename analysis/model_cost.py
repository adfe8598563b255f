"""The FLOPs of a model's stages, and the costs that the latencies of the paper's Table 1 imply."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from analysis import paper_table
from analysis.bound import ABOVE
from analysis.output import Report
from analysis.render import Sheet, plain
from analysis.study import StudyError
from bench.plan.compose import configs_of
from bench.plan.condition import Condition
from bench.plan.settings import condition_of
from vgdfr import HunyuanVideo, Model
from vgdfr.backbones import base
from vgdfr.backbones.tiling import Tiling
from vgdfr.flops import TEXT_TOKENS, Flops
from vgdfr.schedule import uniform

PAPER = ("hunyuan_video", 544, 960, 97, 50)  # the model, height, width, frames and steps of the paper's Table 1


def condition_with(name: str, overrides: Sequence[str] = ()) -> Condition:
    """Returns a condition with the model `name` of conf and its video settings, or raises StudyError."""
    try:
        settings = ["metrics=pixel", "method.k=5", "method.theta=0.5"]
        return condition_of(configs_of([f"model={name}", *settings, *overrides])[0])
    except ValueError as error:
        raise StudyError(f"model {name} cannot be composed from conf: {' '.join(str(error).split())}") from None


def flops_of(model: Model, spec: dict[str, Any], text_tokens: int = TEXT_TOKENS) -> Flops:
    """Returns the FLOPs for videos of `spec`. Raises StudyError if the class or the checkpoint does not give them."""
    try:
        flops: Flops | None = model.flops(spec["height"], spec["width"], spec["num_frames"], text_tokens)
    except FileNotFoundError as error:
        raise StudyError(f"{error}; or name its folder: --set model.backbone.path=FOLDER") from None
    if flops is None:
        raise StudyError(
            f"the FLOPs of {type(model).__name__} are not known: its class does not give them (Model.flops)"
        )
    return flops


@cache
def paper_flops() -> Flops:
    """Returns the FLOPs of the paper's model at the size of the paper's videos."""
    name, height, width, num_frames, _ = PAPER
    return flops_of(condition_with(name).model, {"height": height, "width": width, "num_frames": num_frames})


def flops_of_record(record: dict[str, Any], overrides: Sequence[str] = (), text_tokens: int = TEXT_TOKENS) -> Flops:
    """Returns the FLOPs for a record's model and size of video, or raises StudyError.

    A model class from outside this project is made from the record. Any other model is made from conf, with the
    configuration in the folder that made the sample if the folder still exists and no override sets the path.
    """
    checkpoint, identity = record.get("checkpoint", {}), record["identity"]["model"]
    if "class" in checkpoint:
        try:
            model = base.model_of(checkpoint, identity, otherwise=HunyuanVideo)
        except (ValueError, TypeError) as error:
            raise StudyError(f"the model of the samples cannot be made: {error}") from None
    else:
        model, path = condition_with(record["model_name"], overrides).model, checkpoint.get("path")
        changed: dict[str, Any] = {"tiling": Tiling(**identity["tiling"])}
        if path and Path(path).is_dir() and not any("backbone.path" in override for override in overrides):
            changed["path"] = path
        there = {f.name for f in fields(model)}
        model = replace(model, **{name: value for name, value in changed.items() if name in there})
    flops, layers = flops_of(model, record["identity"]["spec"], text_tokens), record.get("layers")
    if layers and "class" not in checkpoint:
        transformer, made = flops.configuration["transformer"], (layers["dual"], layers["single"])
        if (counted := (transformer.get("num_layers"), transformer.get("num_single_layers"))) != made:
            raise StudyError(
                f"the samples are of a model with {made[0]} dual and {made[1]} single layers, made from "
                f"{checkpoint.get('path')}; the configuration at hand has {counted[0]} and {counted[1]}. Name the "
                "model's folder: --set model.backbone.path=FOLDER"
            )
    return flops


def bound(steps: int, full_steps: float, cost_ratio: float) -> float:
    """Returns the speed-up if only the DiT's passes took time."""
    return steps / (full_steps + (steps - full_steps) * cost_ratio)


def implied_costs(steps: int) -> dict[tuple[int, float], float]:
    """Returns the cost of a compressed step over a full step for each (k, theta) of Table 1.

    The costs follow from the printed latencies under the assumption that only steps take time.
    """
    rows = paper_table.rows()
    step_s = rows[None]["latency_s"] / steps
    return {
        setting: (row["latency_s"] - setting[0] * step_s) / ((steps - setting[0]) * step_s)
        for setting, row in rows.items()
        if setting is not None
    }


def paper_savings(steps: int) -> tuple[float, float]:
    """Returns the full passes for one prompt of Table 1 with each sample made alone, and with first steps shared."""
    costs = implied_costs(steps)
    shared = steps + sum((steps - k) * cost for (k, _), cost in costs.items())
    return shared + sum(k for k, _ in costs), shared


def _merged(flops: Flops, factor: int) -> int:
    """Returns how many latent frames are left if every `factor` latent frames are merged into one."""
    return len(uniform(flops.num_frames, factor, frames_per_latent=flops.frames_per_latent).kept_latents)


def paper_sheet(flops: Flops, steps: int) -> Sheet:
    """Returns the cost per compressed step that Table 1's latencies imply, its tokens, and the bounds."""
    rows, n = paper_table.rows(), flops.num_latents
    fewest = {factor: _merged(flops, factor) for factor in (2, 4)}
    body = []
    for (k, theta), cost in implied_costs(steps).items():
        row, kept = rows[k, theta], flops.latents_of_cost(cost)
        bounds = [bound(steps, k, flops.cost_ratio(latents)) for latents in fewest.values()]
        body.append(plain(
            str(k), f"{theta:g}", f"{row['latency_s']:.2f}", f"{row['speedup']:.2f}", f"{cost:.3f}", f"{kept:.1f}",
            f"{kept / n:.2f}", *(f"{b:.2f}{' ' + ABOVE if row['speedup'] > round(b, 2) else ''}" for b in bounds),
        ))  # fmt: skip
    (alone, shared), baseline_s = paper_savings(steps), rows[None]["latency_s"]
    header = ("k", "θ", "Latency (s)", "Speedup", "cost per compressed step", "latent frames", "tokens")
    return Sheet(
        title="The paper's Table 1",
        header=(*header, *(f"bound, factor {factor} ({kept} of {n})" for factor, kept in fewest.items())),
        rows=tuple(body),
        notes=(
            f"Cost per compressed step: (latency - k t) / (({steps} - k) t), t = {baseline_s:.2f} s / {steps}. This is "
            "an upper limit, because it counts all time outside the full steps. Latent frames and tokens: a pass on "
            "so many has this cost in the FLOP model. Bound: the speed-up if every block is merged, by at most 2 or 4 "
            f"frames into one, and only the DiT takes time. {ABOVE}: the printed speed-up is above that bound, so more "
            "was merged.",
            f"A sweep of Table 1 at these costs makes {alone:.1f} DiT passes for one prompt if each sample is made "
            f"alone, and {shared:.1f} if the first steps are shared: {alone / shared:.2f} times fewer FLOPs. Mean "
            "latencies do not tell what equal schedules save beyond that; a study's records do.",
        ),
    )


def stages_sheet(name: str, flops: Flops, steps: int, k: int, levels: int, kept: Sequence[int]) -> Sheet:
    """Returns the FLOPs of each stage at the `kept` lengths of the shortened latent, and the speed-ups they allow."""
    body, n = [], flops.num_latents
    full = flops.count_dit(n)
    for latents in kept:
        rest = (steps - k) * flops.count_dit(latents)
        module = () if latents == n else (flops.decode(levels=levels), flops.encode(latents, levels))
        ratio = flops.cost_ratio(latents)
        body.append(plain(
            f"{latents} of {n}", _tera(flops.count_dit(latents)), _tera(k * full), _tera(rest),
            *(map(_tera, module) if module else "––"), _tera(flops.decode(latents)), f"{ratio:.3f}",
            f"{bound(steps, k, ratio):.2f}", f"{steps * full / (k * full + rest + sum(module)):.2f}",
        ))  # fmt: skip
    c0, c1, c2 = (_tera(float(c)) for c in flops.dit_coefficients)
    return Sheet(
        title=f"{name}: {flops.num_frames} frames of {flops.width}x{flops.height}, {steps} steps, k = {k}",
        header=(
            "latent frames", "DiT pass", f"{k} full steps", f"{steps - k} steps on them", "compression decoder",
            "compression encoder", "VAE decode", "cost of a pass", "bound", "projected",
        ),
        rows=tuple(body),
        notes=(
            "All stages are in TFLOP; a multiplication with its addition counts as two. A DiT pass on n latent frames "
            f"costs {c0} + {c1} n + {c2} n² ({flops.text_tokens} text tokens); the text encoders cost "
            f"{_tera(flops.text())} per prompt. Bound: the speed-up of the denoising loop if only the DiT took time. "
            "Projected: the speed-up with the compression module, at equal FLOP/s.",
        ),
    )  # fmt: skip


def _tera(flops: float) -> str:
    value = flops / 1e12
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def model_report(
    name: str, overrides: Sequence[str] = (), kept: Sequence[int] = (), text_tokens: int = TEXT_TOKENS
) -> Report:
    """Returns the model's stages, and for the paper's model and setting also the costs that Table 1 implies.

    `kept` are numbers of latent frames after compression. Raises StudyError for a number that the video cannot have.
    """
    condition = condition_with(name, overrides)
    video, method = condition.video, condition.method
    size = {"height": video.height, "width": video.width, "num_frames": video.num_frames}
    flops, steps = flops_of(condition.model, size, text_tokens), video.num_inference_steps
    n = flops.num_latents
    if wrong := [latents for latents in kept if not 1 <= latents <= n]:
        raise StudyError(f"--kept must be 1 to {n} latent frames for {video.num_frames} frames, got {wrong}")
    kept = kept or sorted({_merged(flops, 4), _merged(flops, 2), -(-3 * n // 4), n})
    stages = stages_sheet(name, flops, steps, getattr(method, "k", 5), getattr(method, "spatial_levels", 1), kept)
    return Report(f"cost_{name}", (stages, *[paper_sheet(flops, steps)] * ((name, *size.values(), steps) == PAPER)))
