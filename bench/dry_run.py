"""What a sweep would do, without doing it: `python -m bench.sweep +exp=table1 model=hunyuan_video --dry-run`.

Prints the plan, the files that are missing, the peak memory of each stage and the DiT work in FLOPs and hours. Needs no
GPU, no Slurm and no weights. `bench.launch --dry-run` prints the same.
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig, MissingMandatoryValue
from omegaconf.errors import OmegaConfBaseException

from bench import mismatch
from bench.condition import Condition, VideoSettings
from bench.config import check_mismatch, condition_of, metrics_of, prompts_of, study_of, threads_of, timing_of
from bench.keep import check as checked_keep
from bench.plan import missing_assets
from bench.prefetch import configs_of
from bench.prompts import VBENCH_COUNT, Prompts, VBenchPrompts
from bench.store import RECORD, Store
from bench.timing import Timing
from metrics import named
from metrics.weights import OwnFile
from vgdfr import Baseline, BaselineRerun, FewerSteps, HunyuanVideo, RopeProxy, Vgdfr
from vgdfr.assets import describe
from vgdfr.flops import Flops
from vgdfr.memory import Memory
from vgdfr.schedule import uniform
from vgdfr_commands.start import called

# What the paper's 714.9 s for the baseline's 130.6 PFLOP come to (its Table 1); the paper does not name the GPU.
ASSUMED_TFLOPS = 183.0
# The mean of the shares that the paper's 15 speed-ups imply on this model, which lie between 0.45 and 0.84.
ASSUMED_TOKENS = 0.6
FLAG = "--dry-run"
CUDA_GIB = 0.5  # what CUDA itself takes


@dataclass(frozen=True)
class Work:
    """FLOPs that depend on how much merges: `about` where schedules keep the assumed share of tokens, and `most`.

    Equal schedules share a tail, and a sample of which nothing merges is the baseline, so less is possible.
    """

    about: float
    most: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.about + other.about, self.most + other.most)

    def __mul__(self, factor: float) -> "Work":
        return Work(self.about * factor, self.most * factor)

    def text(self, unit: str) -> str:
        """The numbers for people; one where they are the same."""
        about, most = (f"{n:,.0f}" if n >= 100 else f"{n:.3g}" for n in (self.about, self.most))
        return f"{most} {unit}" if about == most else f"about {about} and at most {most} {unit}"


@dataclass(frozen=True)
class Assumed:
    """What a plan cannot know: a device's TFLOP/s, and the share of tokens that schedules keep."""

    tflops: float = ASSUMED_TFLOPS
    tokens: float = ASSUMED_TOKENS

    def __post_init__(self) -> None:
        if not self.tflops > 0:
            raise ValueError(f"--assumed-tflops must be positive, got {self.tflops}")
        if not 0 < self.tokens <= 1:
            raise ValueError(f"--assumed-tokens must be in (0, 1], got {self.tokens}")


def describe_sweep(arguments: Sequence[str], assumed: Assumed = Assumed()) -> str:
    """What `bench.sweep` with these `arguments` would do, for people. Raises ValueError for what it would refuse."""
    configs = configs_of([argument for argument in arguments if argument not in ("--multirun", "-m")])
    conditions = [condition_of(config) for config in configs]
    for config, condition in zip(configs, conditions, strict=True):
        check_mismatch(config)
        named(metrics_of(config))
        checked_keep(config.keep)
        threads_of(config)
        try:
            condition.check_settings()
        except FileNotFoundError:
            pass  # weights of the interpolator, which are among the missing files
    lines = [_plan(configs, conditions)]
    missing = missing_assets(configs)
    lines.append(f"to be downloaded first (python -m bench.prefetch with the same arguments):\n{describe(missing)}"
                 if missing else "nothing to download")  # fmt: skip
    lines += _own_files(configs) + mismatch.remarks(condition_of(configs[0]).model, prompts_of(configs[0]))
    prompts, timing = _num_prompts(configs), timing_of(configs[0])
    for (model, video), group in _groups(conditions).items():
        lines += [_memory(model, video, group), _work(model, video, group, prompts, timing, assumed)]
    return "\n".join(lines)


def _own_files(configs: Sequence[DictConfig]) -> list[str]:
    """A line for each metric that wants a file which users make themselves; without it the metric is a dash."""
    metrics = {metric.name: metric for config in configs for metric in named(metrics_of(config))}
    wanted = {name: m.missing for name, m in metrics.items() if isinstance(m.missing, OwnFile)}
    return [f"{name} will be a dash without {file.name}: {file.how}" for name, file in wanted.items()]


def _plan(configs: Sequence[DictConfig], conditions: Sequence[Condition]) -> str:
    study, prompts, rows = study_of(configs[0]), _num_prompts(configs), _rows(conditions)
    videos = len({row.video for row in rows})
    count = "?" if prompts is None else f"{len(rows) * prompts:,}"
    number = f"{len(rows)} condition{'s' * (len(rows) != 1)}"
    head = f"study {study}: {number}, {'?' if prompts is None else prompts} prompts and seeds, {count} samples"
    return "\n".join(
        [
            f"{head}; {_recorded(study, rows)} finished samples of these conditions are stored there",
            *(f"  {row.slug}{_size(row.video) if videos > 1 else ''}" for row in rows),
        ]
    )


def _size(video: VideoSettings) -> str:
    return f", {video.height}x{video.width}x{video.num_frames}"


def _recorded(study: Path, rows: Sequence[Condition]) -> int:
    """How many finished samples the study has of these models, methods and settings, with whatever prompts."""
    wanted = {(row.model_name, row.slug, row.video) for row in rows}
    store, found = Store(study), 0
    for file in (file for slug in {row.slug for row in rows} for file in study.glob(f"{slug}/*/{RECORD}")):
        record = store.recorded(str(file.parent.relative_to(study)))
        if record is not None and record.status == "done":
            settings = {f.name: record.identity["spec"][f.name] for f in fields(VideoSettings)}
            found += (record.model_name, record.slug, VideoSettings(**settings)) in wanted
    return found


def _rows(conditions: Iterable[Condition]) -> list[Condition]:
    """The conditions, each with the baseline that it is measured against, and each once."""
    return list(dict.fromkeys(row for c in conditions for row in _with_baseline(c)))


def _with_baseline(condition: Condition) -> tuple[Condition, ...]:
    return (condition,) if isinstance(condition.method, RopeProxy) else (condition.baseline, condition)


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
    if prompts.subset is not None and not 1 <= prompts.subset <= VBENCH_COUNT:
        raise ValueError(f"prompts.subset must be between 1 and {VBENCH_COUNT}, got {prompts.subset}")
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
    assumed: Assumed,
) -> str:
    flops = Flops(model.architecture(), model.tiling, video.height, video.width, video.num_frames)
    methods = list(dict.fromkeys(row.method for condition in group for row in _with_baseline(condition)))
    shared = _dit(flops, video, methods, model.num_layers(), assumed)
    work = shared + _vae(flops, methods, assumed)
    if timing.mode == "isolated":
        for method in (m for m in methods if not isinstance(m, RopeProxy)):
            alone = _dit(flops, video, [method], model.num_layers(), assumed, alone=True)
            work += (alone + _vae(flops, [method], assumed)) * (timing.warmups + timing.repeats)
    passes = shared * (1 / flops.dit(flops.num_latents))
    line = (
        f"  DiT work of a prompt: {passes.text('full passes')}, where schedules keep {assumed.tokens:g} of the tokens\n"
        f"  with the VAE, and {timing.mode} timing: {(work * 1e-12).text('TFLOP a prompt')}"
    )
    if prompts is None:
        return f"{line}; how many prompts is known once VBench's list is there"
    if model.device_type == "cpu" and model.device != "auto":
        return line  # no figure for a CPU would hold
    hours = work * (prompts / assumed.tflops / 1e12 / 3600)
    return (
        f"{line}\n  all {prompts} prompts and seeds: {hours.text('GPU-hours')}, at {assumed.tflops:g} TFLOP/s "
        "(--assumed-tflops=N, --assumed-tokens=S), without interpolation and metrics"
    )


def _dit(
    flops: Flops,
    video: VideoSettings,
    methods: Sequence[object],
    layers: int,
    assumed: Assumed,
    alone: bool = False,
) -> Work:
    """FLOPs of the DiT for all `methods` of one prompt; unless `alone` they share the baseline's first steps."""
    steps, full = video.num_inference_steps, Work(*[flops.dit(flops.num_latents)] * 2)
    total, previews = Work(0, 0), set()
    for m in methods:
        if isinstance(m, Baseline | BaselineRerun):
            total += full * steps
        elif isinstance(m, FewerSteps):
            total += full * m.steps
        elif isinstance(m, RopeProxy):
            total += full * (m.k + 1) + _pass(flops, m.vgdfr, assumed) * (2 * layers + 2)
        elif isinstance(m, Vgdfr):
            total += _pass(flops, m, assumed) * (steps - m.k) + full * (m.k * alone)
            previews.add((m.k, m.preview_steps, m.preview_latent))
    return total + full * sum(preview_steps - 1 for _, preview_steps, _ in previews)


def _pass(flops: Flops, method: Vgdfr, assumed: Assumed) -> Work:
    """FLOPs of a DiT pass on the shortened latent."""
    about, most = _kept(flops, method, assumed)
    return Work(flops.dit(about), flops.dit(most))


def _kept(flops: Flops, method: Vgdfr, assumed: Assumed) -> tuple[int, int]:
    """How many latent frames the method's schedule keeps about, and at most."""
    fewest, most = len(uniform(flops.num_frames, method.max_merge).kept_latents), flops.num_latents
    if method.schedule == "uniform":
        return fewest, fewest
    if method.token_ratio is not None and method.search == "exact":
        kept = max(fewest, math.ceil(method.token_ratio * most - 1e-9))
        return kept, kept
    return max(fewest, round(assumed.tokens * most)), most


def _vae(flops: Flops, methods: Sequence[object], assumed: Assumed) -> Work:
    """FLOPs of previews, encodings and decodes of one prompt."""
    full = Work(*[float(flops.decode())] * 2)
    total, previews = Work(0, 0), set()
    for m in methods:
        if isinstance(m, Vgdfr):
            about, most = _kept(flops, m, assumed)
            total += Work(flops.decode(about), flops.decode(most))
            total += Work(flops.encode(about, m.spatial_levels), flops.encode(most, m.spatial_levels))
            previews.add((m.k, m.preview_steps, m.preview_latent, m.spatial_levels))
        elif not isinstance(m, RopeProxy):
            total += full
    preview = float(sum(flops.decode(levels=levels) for *_, levels in previews))
    return total + Work(preview, preview)


def asked_for(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for a dry run."""
    return FLAG in arguments


def main(arguments: Sequence[str]) -> None:
    """Print what a sweep with `arguments` would do; ends the program with a message for what it would refuse."""
    prog = " ".join([*called("bench.sweep"), FLAG])
    parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument(FLAG, action="store_true")
    parser.add_argument("--assumed-tflops", type=float, default=ASSUMED_TFLOPS)
    parser.add_argument("--assumed-tokens", type=float, default=ASSUMED_TOKENS)
    known, rest = parser.parse_known_args(list(arguments))
    try:
        if flags := [each for each in rest if each.startswith("-") and each not in ("--multirun", "-m")]:
            raise ValueError(f"{FLAG} goes with none of Hydra's flags, got {' '.join(flags)}; leave one of them out")
        print(describe_sweep(rest, Assumed(known.assumed_tflops, known.assumed_tokens)))
    except MissingMandatoryValue as error:
        raise SystemExit(f"error: {error.full_key} has no value; give it, as {error.full_key}=...") from None
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {error}") from None
