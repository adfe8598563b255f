"""Describes a planned sweep: `python -m bench.sweep +exp=table1 model=hunyuan_video --dry-run`.

Prints the plan, the files that are missing, the peak memory of each stage and the DiT work in FLOPs and hours. Needs no
GPU, no Slurm and no weights. `bench.launch --dry-run` prints the same.
"""

from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from bench.plan import mismatch
from bench.plan.command_line import CommandLine
from bench.plan.compose import composed
from bench.plan.condition import Condition, VideoSettings
from bench.plan.job import Timing, checked_keep
from bench.plan.jobs import in_condition, missing_assets, wanted_by
from bench.plan.prompts import VBENCH_COUNT, Prompts, VBenchPrompts, check_skip
from bench.plan.settings import Wanted, prompts_of, study_of, threads_of, timing_of
from bench.store.study import RECORD, Store
from metrics import named
from metrics.weights import OwnFile
from vgdfr import Method, Model
from vgdfr.assets import describe
from vgdfr.flops import Flops
from vgdfr.forecast import Work
from vgdfr.memory import memory_of
from vgdfr.naming import is_built_in

# The paper's baseline takes 714.9 s (its Table 1) for 130.6 PFLOP. The paper does not name the GPU.
ASSUMED_TFLOPS = 183.0
# The paper's 15 speed-ups imply shares between 0.45 and 0.84 on HunyuanVideo 13B. This is their mean.
ASSUMED_TOKENS = 0.6
CUDA_GIB = 0.5  # CUDA's own memory


@dataclass(frozen=True)
class Range:
    """FLOPs where the schedules keep the assumed share of tokens (`about`), and the upper bound (`most`).

    There is no lower bound: samples with equal schedules share their last steps, and a sample in which nothing merges
    is the baseline.
    """

    about: float
    most: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.about + other.about, self.most + other.most)

    def __mul__(self, factor: float) -> "Range":
        return Range(self.about * factor, self.most * factor)

    def text(self, unit: str) -> str:
        """Returns both numbers for people, or one number where they are printed alike."""
        about, most = (f"{n:,.0f}" if n >= 100 else f"{n:.3g}" for n in (self.about, self.most))
        return f"{most} {unit}" if about == most else f"about {about} and at most {most} {unit}"


@dataclass(frozen=True)
class Assumed:
    """Numbers that a plan cannot know: the device's TFLOP/s and the share of tokens that schedules keep."""

    tflops: float = ASSUMED_TFLOPS
    tokens: float = ASSUMED_TOKENS

    def __post_init__(self) -> None:
        if not self.tflops > 0:
            raise ValueError(f"--assumed-tflops must be positive, got {self.tflops}")
        if not 0 < self.tokens <= 1:
            raise ValueError(f"--assumed-tokens must be in (0, 1], got {self.tokens}")

    @classmethod
    def of(cls, flags: Namespace) -> "Assumed":
        """Returns the numbers that the flags of `command_line.add_dry_run` give."""
        given = {"tflops": flags.assumed_tflops, "tokens": flags.assumed_tokens}
        return cls(**{name: value for name, value in given.items() if value is not None})


def describe_sweep(line: CommandLine, assumed: Assumed = Assumed()) -> str:
    """Returns a description of the planned sweep. Raises ValueError for a command line that a sweep would refuse."""
    plan = composed(line)
    configs, wanted = plan.configs, wanted_by(plan)
    for config, given, one in zip(configs, plan.conditions, wanted, strict=True):
        with in_condition(given, len(configs)):
            _check(config, one)
    conditions = [one.condition for one in wanted]
    lines = [_plan(configs, conditions)]
    missing = missing_assets(wanted)
    lines.append(f"to be downloaded first (python -m bench.prefetch with the same arguments):\n{describe(missing)}"
                 if missing else "nothing to download")  # fmt: skip
    lines += _own_files(wanted) + mismatch.remarks(wanted[0].condition.model, wanted[0].prompts)
    prompts, timing = _num_prompts(configs), timing_of(configs[0])
    for (model, video), group in _groups(conditions).items():
        lines += [_memory(model, video, group), _work(model, video, group, prompts, timing, assumed)]
    return "\n".join(lines)


def _check(config: DictConfig, wanted: Wanted) -> None:
    """Raises ValueError for a mistake that can be seen without the model's files."""
    named(wanted.metrics)
    checked_keep(config.keep)
    threads_of(config)
    with suppress(FileNotFoundError):  # the list of missing files names the file
        wanted.condition.check_settings()


def _own_files(wanted: Sequence[Wanted]) -> list[str]:
    """Returns a line for each metric that lacks a file which users make themselves."""
    metrics = {metric.name: metric for one in wanted for metric in named(one.metrics)}
    files = {name: m.missing for name, m in metrics.items() if isinstance(m.missing, OwnFile)}
    return [f"{name} will be a dash without {file.name}: {file.how}" for name, file in files.items()]


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
    """Returns how many finished samples of these conditions the study has, whatever their prompts."""
    wanted = {(row.model_name, row.slug, row.video) for row in rows}
    store, found = Store(study), 0
    for file in (file for slug in {row.slug for row in rows} for file in study.glob(f"{slug}/*/{RECORD}")):
        record = store.recorded(store.at(str(file.parent.relative_to(study))))
        if record is not None and record.status == "done":
            settings = {f.name: record.identity["spec"][f.name] for f in fields(VideoSettings)}
            found += (record.model_name, record.slug, VideoSettings(**settings)) in wanted
    return found


def _rows(conditions: Iterable[Condition]) -> list[Condition]:
    """Returns the conditions without repetitions, and before each condition its baseline."""
    return list(dict.fromkeys(row for c in conditions for row in (c.baseline, c) if row is not None))


def _num_prompts(configs: Sequence[DictConfig]) -> int | None:
    """Returns the number of prompts times seeds, or None if it depends on VBench's list and that is not downloaded."""
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
    there = VBENCH_COUNT if prompts.subset is None else prompts.subset
    check_skip(prompts.skip, there, "VBench's list")
    count = there - prompts.skip if prompts.limit is None else min(prompts.limit, there - prompts.skip)
    return count * len(prompts.seeds)


def _groups(conditions: Iterable[Condition]) -> dict[tuple[Model, VideoSettings], list[Condition]]:
    """Returns the conditions grouped by model and video settings."""
    groups: dict[tuple[Model, VideoSettings], list[Condition]] = {}
    for condition in conditions:
        groups.setdefault((condition.model, condition.video), []).append(condition)
    return groups


def _memory(model: Model, video: VideoSettings, group: Sequence[Condition]) -> str:
    size = f"{video.height}x{video.width}, {video.num_frames} frames, {video.num_inference_steps} steps"
    head = f"{model.summary}, {size}"
    works = [work for condition in group for work in _works(condition, Assumed())]
    # a preview is largest where it leaves out the fewest levels
    levels = min((work.levels for work in works if work.levels), default=1)
    memory = memory_of(model, video.height, video.width, video.num_frames, levels)
    if memory is None:
        return f"{head}\n  peak memory: not known for this model"
    rife = any(getattr(c.method, "interpolator", None) == "rife" for c in group)
    stages = memory.stages(rife, lengthens=any(work.kind == "encode" and not work.levels for work in works))
    largest = max(stages.values()) / 2**30
    room = ""
    if model.gpu_gib:
        fits = "fits" if largest + CUDA_GIB < model.gpu_gib else "does NOT fit"
        room = f", which {fits} the hw profile's GPU of {model.gpu_gib:g} GiB"
    each = ", ".join(f"{stage} {peak / 2**30:.1f}" for stage, peak in stages.items())
    return f"{head}\n  peak memory in GiB: {each}; largest {largest:.1f}{room}"


def _works(condition: Condition, assumed: Assumed) -> list[Work]:
    """Returns the work of one sample, as far as the condition's settings tell."""
    architecture = condition.model.architecture()
    works = condition.method.work(condition.video.spec("a prompt", 0), architecture, assumed.tokens)
    if condition.method.accelerators:  # its trajectory is its own
        works = [work._replace(shared=None) for work in works]
    return [w._replace(times=w.times * architecture.forwards_per_step) if w.kind == "dit" else w for w in works]


def _work(
    model: Model,
    video: VideoSettings,
    group: Sequence[Condition],
    prompts: int | None,
    timing: Timing,
    assumed: Assumed,
) -> str:
    flops: Flops | None = model.flops(video.height, video.width, video.num_frames)
    if flops is None:
        return "  DiT work: not known for this model"
    rows = _rows(group)
    works = {row: _works(row, assumed) for row in rows}
    once = list({work.shared or (row, i): work for row in rows for i, work in enumerate(works[row])}.values())
    shared, total = _cost(flops, [w for w in once if w.kind == "dit"]), _cost(flops, once)
    if timing.mode == "isolated":
        checked = 1 if prompts is None or timing.prompts is None else min(1, timing.prompts / prompts)
        for row in (row for row in rows if row.method.makes_video):
            total += _cost(flops, works[row]) * (checked * (timing.warmups + timing.repeats))
    passes = shared * (1 / flops.dit(flops.num_latents))
    # the schedules count if another assumption changes a method's work
    depends = any(_works(row, Assumed(tokens=share)) != works[row] for row in rows for share in (0.01, 1.0))
    where = f", where schedules keep {assumed.tokens:g} of the tokens" if depends else ""
    line = (
        f"  DiT work of a prompt: {passes.text('full passes')}{where}\n"
        f"  with the VAE, and {timing.mode} timing: {(total * 1e-12).text('TFLOP a prompt')}"
    )
    if taken_as_baselines := [row.slug for row in rows if _is_unknown(row.method)]:
        line += f"\n  not known before it runs, so taken to be the baseline's: {', '.join(taken_as_baselines)}"
    if prompts is None:
        return f"{line}; how many prompts is known once VBench's list is there"
    if model.runs_on_cpu:
        return line  # there is no good estimate of a CPU's FLOP/s
    hours = total * (prompts / assumed.tflops / 1e12 / 3600)
    return (
        f"{line}\n  all {prompts} prompts and seeds: {hours.text('GPU-hours')}, at {assumed.tflops:g} TFLOP/s "
        "(--assumed-tflops=N, --assumed-tokens=S), without interpolation and metrics"
    )


def _is_unknown(method: Method) -> bool:
    """Returns whether the DiT work is unknown: an accelerator changes it, or a user's method lacks `work`."""
    return bool(method.accelerators) or (type(method).work is Method.work and not is_built_in(type(method)))


def _cost(flops: Flops, works: Sequence[Work]) -> Range:
    """Returns the FLOPs of all `works`."""
    total = Range(0, 0)
    for work in works:
        count = {
            "dit": flops.dit,
            "decode": partial(flops.decode, levels=work.levels),
            "encode": partial(flops.encode, levels=work.levels),
        }[work.kind]
        total += Range(float(count(work.about)), float(count(work.most))) * work.times
    return total
