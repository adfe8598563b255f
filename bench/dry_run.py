"""What a sweep would do, without doing it: `python -m bench.sweep +exp=table1 model=hunyuan_video --dry-run`.

Prints the plan, the files that are missing, the peak memory of each stage and the DiT work in FLOPs and hours. Needs no
GPU, no Slurm and no weights. `bench.launch --dry-run` prints the same.
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bench.condition import Condition, VideoSettings
from bench.config import check_mismatch, condition_of, prompts_of
from bench.plan import missing_assets
from bench.prefetch import configs_of
from bench.prompts import VBENCH_COUNT, Prompts, VBenchPrompts
from bench.timing import Timing
from metrics import named
from vgdfr import Baseline, BaselineRerun, FewerSteps, HunyuanVideo, RopeProxy, Vgdfr
from vgdfr.assets import describe
from vgdfr.flops import Flops
from vgdfr.memory import Memory
from vgdfr.schedule import uniform

# What the paper's 714.9 s for the baseline's 130.6 PFLOP come to (its Table 1); the paper does not name the GPU.
ASSUMED_TFLOPS = 183.0
FLAG = "--dry-run"
CUDA_GIB = 0.5  # what CUDA itself takes


@dataclass(frozen=True)
class Bounds:
    """A number that depends on how much merges: `low` where everything does, `high` where nothing does."""

    low: float
    high: float

    def __add__(self, other: "Bounds") -> "Bounds":
        return Bounds(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> "Bounds":
        return Bounds(self.low * factor, self.high * factor)

    def text(self, unit: str) -> str:
        """For people, with a word about what decides it."""
        low, high = (f"{n:,.0f}" if n >= 100 else f"{n:.3g}" for n in (self.low, self.high))
        if low == high:
            return f"{low} {unit}"
        return f"{low} (everything merges) to {high} (nothing does) {unit}"


def describe_sweep(arguments: Sequence[str], assumed_tflops: float = ASSUMED_TFLOPS) -> str:
    """What `bench.sweep` with these `arguments` would do, for people. Raises ValueError for what it would refuse."""
    configs = configs_of([argument for argument in arguments if argument not in ("--multirun", "-m")])
    conditions = {config_key(config): condition_of(config) for config in configs}
    for config, condition in zip(configs, conditions.values(), strict=True):
        check_mismatch(config)
        named(config.metrics.names)
        try:
            condition.check_settings()
        except FileNotFoundError:
            pass  # weights of the interpolator, which are among the missing files
    lines = [_plan(configs, list(conditions.values()))]
    missing = missing_assets(configs)
    lines.append(f"to be downloaded first (python -m bench.prefetch with the same arguments):\n{describe(missing)}"
                 if missing else "nothing to download")  # fmt: skip
    prompts, timing = _num_prompts(configs), Timing(**configs[0].timing)
    for (model, video), group in _groups(conditions.values()).items():
        lines += [_memory(model, video, group), _work(model, video, group, prompts, timing, assumed_tflops)]
    return "\n".join(lines)


def config_key(config: DictConfig) -> str:
    """What tells one condition of a sweep from another."""
    return " ".join(config.hydra.overrides.task)


def _plan(configs: Sequence[DictConfig], conditions: Sequence[Condition]) -> str:
    study, prompts, rows = Path(configs[0].root) / configs[0].study, _num_prompts(configs), _rows(conditions)
    videos = len({video for video, _ in rows})
    recorded = sum(len(list(study.glob(f"{slug}/*/record.json"))) for slug in {slug for _, slug in rows})
    count = "?" if prompts is None else f"{len(rows) * prompts:,}"
    number = f"{len(rows)} condition{'s' * (len(rows) != 1)}"
    head = f"study {study}: {number}, {prompts or '?'} prompts and seeds, {count} samples"
    return "\n".join(
        [
            f"{head}; {recorded} samples of these conditions are recorded there",
            *(
                f"  {slug}" + f", {video.height}x{video.width}x{video.num_frames}" * (videos > 1)
                for video, slug in rows
            ),
        ]
    )


def _rows(conditions: Iterable[Condition]) -> list[tuple[VideoSettings, str]]:
    """Setting of the video and name of each row, with the baseline that it is measured against, each once."""
    rows = [row for c in conditions for row in ((c,) if isinstance(c.method, RopeProxy) else (c.baseline, c))]
    return list(dict.fromkeys((row.video, row.slug) for row in rows))


def _num_prompts(configs: Sequence[DictConfig]) -> int | None:
    """How many prompts, times seeds; None where that is not known before VBench's list is there."""
    prompts = prompts_of(configs[0])
    try:
        return len(prompts.load())
    except FileNotFoundError:
        if isinstance(prompts, Prompts) or prompts.path is not None:
            raise
        return _expected(prompts)


def _expected(prompts: VBenchPrompts) -> int | None:
    if prompts.dimensions is not None and prompts.subset is None:
        return None
    count = min(n for n in (prompts.subset, prompts.limit, VBENCH_COUNT) if n is not None)
    return count * len(prompts.seeds)


def _groups(conditions: Iterable[Condition]) -> dict[tuple[HunyuanVideo, VideoSettings], list[Condition]]:
    """Conditions by what they share: one model at one setting of the video."""
    groups: dict[tuple[HunyuanVideo, VideoSettings], list[Condition]] = {}
    for condition in conditions:
        groups.setdefault((condition.model, condition.video), []).append(condition)
    return groups


def _memory(model: HunyuanVideo, video: VideoSettings, group: Sequence[Condition]) -> str:
    methods = [c.method for c in group if isinstance(c.method, Vgdfr)]
    levels = min((m.spatial_levels for m in methods), default=1)  # the fewer, the larger the preview
    rife = any(m.interpolator == "rife" for m in methods)
    stages = Memory(model, video.height, video.width, video.num_frames, levels).stages(rife)
    largest = max(stages.values()) / 2**30
    room = ""
    if model.min_gpu_gib:
        fits = "fits" if largest + CUDA_GIB < model.min_gpu_gib else "does NOT fit"
        room = f", which {fits} the hw profile's GPU of {model.min_gpu_gib:g} GiB"
    each = ", ".join(f"{stage} {peak / 2**30:.1f}" for stage, peak in stages.items())
    dtypes = f"{model.dtype}; VAE {model.vae_dtype or model.dtype}, text {model.text_dtype or model.dtype}"
    return (
        f"{model.path} ({dtypes}) on {model.device}, {video.height}x{video.width}, {video.num_frames} frames, "
        f"{video.num_inference_steps} steps\n"
        f"  peak memory in GiB: {each}; largest {largest:.1f}{room}"
    )


def _work(
    model: HunyuanVideo,
    video: VideoSettings,
    group: Sequence[Condition],
    prompts: int | None,
    timing: Timing,
    assumed_tflops: float,
) -> str:
    flops = Flops(model.architecture(), model.tiling, video.height, video.width, video.num_frames)
    methods = list(dict.fromkeys(condition.method for condition in group))
    shared = _dit(flops, video, methods, model.num_layers())
    work = shared + _vae(flops, methods)
    if timing.mode == "isolated":
        for method in [Baseline(), *methods]:
            alone = _dit(flops, video, [method], model.num_layers(), alone=True) + _vae(flops, [method], alone=True)
            work += alone * (timing.warmups + timing.repeats)
    passes = shared * (1 / flops.dit(flops.num_latents))
    line = (
        f"  DiT work of a prompt: {passes.text('full passes')}\n"
        f"  with the VAE, and {timing.mode} timing: {(work * 1e-12).text('TFLOP a prompt')}"
    )
    if prompts is None:
        return f"{line}; how many prompts is known once VBench's list is there"
    if model.device_type == "cpu" and model.device != "auto":
        return line  # no figure for a CPU would hold
    hours = work * (prompts / assumed_tflops / 1e12 / 3600)
    return (
        f"{line}\n  all {prompts} prompts and seeds: {hours.text('GPU-hours')}, at {assumed_tflops:g} TFLOP/s "
        "(--assumed-tflops=N), without interpolation and metrics"
    )


def _dit(flops: Flops, video: VideoSettings, methods: Sequence[object], layers: int, alone: bool = False) -> Bounds:
    """FLOPs of the DiT for all `methods` of one prompt; unless `alone` they share the baseline's first steps."""
    steps, full = video.num_inference_steps, flops.dit(flops.num_latents)
    total, previews = Bounds(0, 0), set()
    if _holds_baseline(methods, alone):
        total += Bounds(full, full) * steps
    for m in methods:
        if isinstance(m, BaselineRerun):
            total += Bounds(full, full) * steps
        elif isinstance(m, FewerSteps):
            total += Bounds(full, full) * m.steps
        elif isinstance(m, RopeProxy):
            total += Bounds(full, full) * (m.k + 1) + _pass(flops, m.vgdfr) * (2 * layers + 2)
        elif isinstance(m, Vgdfr):
            total += _pass(flops, m) * (steps - m.k) + Bounds(full, full) * (m.k if alone else 0)
            previews.add((m.k, m.preview_steps, m.preview_latent))
    return total + Bounds(full, full) * sum(preview_steps - 1 for _, preview_steps, _ in previews)


def _pass(flops: Flops, method: Vgdfr) -> Bounds:
    """FLOPs of a DiT pass on the shortened latent."""
    low, high = _kept(flops, method)
    return Bounds(flops.dit(low), flops.dit(high))


def _kept(flops: Flops, method: Vgdfr) -> tuple[int, int]:
    """The fewest and the most latent frames that the method's schedule can keep."""
    fewest, most = len(uniform(flops.num_frames, method.max_merge).kept_latents), flops.num_latents
    if method.schedule == "uniform":
        return fewest, fewest
    if method.token_ratio is not None and method.search == "exact":
        kept = max(fewest, math.ceil(method.token_ratio * most - 1e-9))
        return kept, kept
    return fewest, most


def _holds_baseline(methods: Sequence[object], alone: bool) -> bool:
    """Whether the baseline is among what is made: always beside other videos, otherwise where it is asked for."""
    return any(isinstance(m, Baseline) if alone else not isinstance(m, RopeProxy) for m in methods)


def _vae(flops: Flops, methods: Sequence[object], alone: bool = False) -> Bounds:
    """FLOPs of previews, encodings and decodes of one prompt."""
    full = float(flops.decode())
    total, previews = Bounds(full, full) * _holds_baseline(methods, alone), set()
    for m in methods:
        if isinstance(m, FewerSteps | BaselineRerun):
            total += Bounds(full, full)
        elif isinstance(m, Vgdfr):
            low, high = _kept(flops, m)
            total += Bounds(flops.decode(low), flops.decode(high))
            total += Bounds(flops.encode(low, m.spatial_levels), flops.encode(high, m.spatial_levels))
            previews.add((m.k, m.preview_steps, m.preview_latent, m.spatial_levels))
    preview = sum(flops.decode(levels=levels) for *_, levels in previews)
    return total + Bounds(preview, preview)


def asked_for(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for a dry run."""
    return FLAG in arguments


def main(arguments: Sequence[str]) -> None:
    """Print what a sweep with `arguments` would do; ends the program with a message for what it would refuse."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(FLAG, action="store_true")
    parser.add_argument("--assumed-tflops", type=float, default=ASSUMED_TFLOPS)
    known, rest = parser.parse_known_args(list(arguments))
    try:
        if not known.assumed_tflops > 0:
            raise ValueError(f"--assumed-tflops must be positive, got {known.assumed_tflops}")
        print(describe_sweep(rest, known.assumed_tflops))
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {error}") from None
