"""Reads a composed configuration: the frozen values that it describes, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from bench.plan import mismatch
from bench.plan.compose.instances import instance, made
from bench.plan.condition import Condition, VideoSettings
from bench.plan.job import Job, NoTracker, Timing, Wandb, checked_keep
from bench.plan.prompts import OPEN, Prompt, Prompts, VBenchPrompts
from metrics import named
from metrics.groups import expanded
from vgdfr import Accelerator, Method, Model


@dataclass(frozen=True)
class Wanted:
    """A condition, its prompts, which are not loaded yet, and the names of its metrics."""

    condition: Condition
    prompts: Prompts | VBenchPrompts
    metrics: tuple[str, ...]


def wanted_of(config: DictConfig) -> Wanted:
    """Returns the condition, prompts and metrics of a configuration, not checked against model and machine.

    Raises ValueError for a setting that is wrong alone, and for prompts or metrics outside the model's world.
    """
    prompts, metrics = prompts_of(config), metrics_of(config)
    allowed = config.allow_mismatch
    if not isinstance(allowed, bool):
        raise ValueError(f"allow_mismatch must be true or false, got {allowed!r}")
    if not allowed:
        world = OmegaConf.select(config, "model.world") or OPEN  # a model file may omit its world
        mismatch.check(config.model.name, world, prompts, metrics)
    return Wanted(condition_of(config), prompts, metrics)


def job_of(config: DictConfig, here: bool = True) -> Job:
    """Returns the job of a configuration, after checking everything that the job needs. See `checked_job`."""
    wanted = wanted_of(config)
    return checked_job(config, wanted, wanted.prompts.load(), here)


def checked_job(config: DictConfig, wanted: Wanted, prompts: Sequence[Prompt], here: bool) -> Job:
    """Returns the job, after checking everything that the job needs. Loads no model.

    `wanted` is `wanted_of(config)`, and `prompts` are its loaded prompts. With `here` False the job runs on another
    machine, and the device of this machine is not checked. Raises ValueError or FileNotFoundError. The message says
    what came, what was expected and what to do.
    """
    wanted.condition.check(here)
    named(wanted.metrics)
    tracker: NoTracker | Wandb = instance("tracking", config.tracking)
    tracker.check()
    return Job(
        wanted.condition.canonical(),
        tuple(prompts),
        wanted.metrics,
        study_of(config),
        checked_keep(config.keep),
        timing_of(config),
        threads_of(config),
        tracker,
    )


def study_of(config: DictConfig) -> Path:
    """Returns the study's folder, `<root>/<study>`. Raises ValueError where either setting is not usable."""
    for setting, expected in (("root", "a folder, such as root=runs"), ("study", "a name, such as study=mine")):
        value = config[setting]
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
            raise ValueError(f"{setting} must be {expected}, got {'null' if value is None else repr(value)}")
    if Path(str(config.study)).is_absolute() or ".." in Path(str(config.study)).parts or str(config.study) == ".":
        raise ValueError(f"study must be a name within root, got {config.study}; give the folder by root=DIR")
    return Path(str(config.root)) / str(config.study)


def metrics_of(config: DictConfig) -> tuple[str, ...]:
    """Returns the names of the metrics. The setting's list may also name groups, such as pixel.

    Raises ValueError unless the setting is a list of names.
    """
    names = OmegaConf.to_container(config.metrics).get("names")  # type: ignore[union-attr]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"metrics.names must be a list such as [psnr,ssim], got {names!r}")
    return tuple(expanded(names))


def threads_of(config: DictConfig) -> int | None:
    """Returns a model's threads on the CPU, or None for PyTorch's own choice. Raises ValueError for any other value."""
    threads = config.threads
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise ValueError(f"threads must be a whole number from 1, or null for PyTorch's own choice, got {threads!r}")
    return threads


def timing_of(config: DictConfig) -> Timing:
    """Returns how samples are timed. Raises ValueError for an unknown setting or a wrong value."""
    return made("timing", Timing, dict(config.timing))


def prompts_of(config: DictConfig) -> Prompts | VBenchPrompts:
    """Returns the prompts to run, not loaded yet. Raises ValueError for a wrong path or an unknown setting."""
    for name in (name for name in ("source", "path") if name in config.prompts):
        value = config.prompts[name]
        downloaded = name == "path" and value is None  # bench.prefetch downloads VBench's list
        if not downloaded and not (isinstance(value, str) and value):
            got = "null" if value is None else repr(value)
            raise ValueError(f"prompts.{name} must be a file, such as prompts.{name}=my_prompts.txt, got {got}")
    return instance("prompts", config.prompts)


def condition_of(config: DictConfig) -> Condition:
    """Returns the condition, not yet checked against its model. Raises ValueError for a setting that is wrong alone."""
    return Condition(
        model_name=config.model.name,
        model=instance("model.backbone", config.model.backbone, tuple, Model),
        video=_video(config),
        method=_method(config),
    )


def _method(config: DictConfig) -> Method:
    """Returns the method, with the accelerator if one is chosen."""
    method = instance("method", config.method, tuple, Method)
    if "_target_" in config.accelerator and config.accelerator._target_ is None:
        return method
    return replace(method, accelerators=(instance("accelerator", config.accelerator, tuple, Accelerator),))


def _video(config: DictConfig) -> VideoSettings:
    """Returns the video settings of the model. Older model files name the class, which is always the same."""
    settings = {str(name): config.model.video[name] for name in config.model.video if name != "_target_"}
    return made("model.video", VideoSettings, settings)
