"""From Hydra's configuration to frozen values; the only place that knows OmegaConf and instantiate."""

import csv
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from bench import mismatch
from bench.condition import Condition
from bench.keep import Keep
from bench.keep import check as checked_keep
from bench.overrides import unknown_setting
from bench.prompts import OPEN, Prompt, Prompts, VBenchPrompts
from bench.timing import Timing
from bench.trackers import NoTracker, Wandb
from metrics import named
from vgdfr.embedded import CHECKPOINT

CONF = str(Path(__file__).parent.parent / "conf")

OmegaConf.register_new_resolver("embedded_checkpoint", lambda: str(CHECKPOINT), replace=True)

RECOMMENDATION = "report/rope_sensitivity.csv"  # what analysis.rope_sensitivity writes into its study


def _each_layer(_root_: DictConfig) -> str:
    """${each_layer:}: every layer of the model global alone and local alone, as a sweep takes them."""
    try:
        count = instantiate(_root_.model.backbone, _convert_="all").num_layers()
    except FileNotFoundError:  # not downloaded yet, which the check of any condition says
        return "all"
    return ",".join(f"{kind}_{n}" for n in range(count) for kind in ("only", "all_but"))


def _and_recommended(study: str, _root_: DictConfig) -> str:
    """${and_recommended:STUDY}: a comma and the layers recommended there; nothing where there is no report of it."""
    file = Path(study) / RECOMMENDATION
    if not file.is_file():
        return ""
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    try:
        count = instantiate(_root_.model.backbone, _convert_="all").num_layers()
    except FileNotFoundError:  # as above
        return ""
    chosen = [row["layer"] for row in rows if row.get("recommended") == "1"]
    if not chosen:
        raise ValueError(f"{file} recommends no layer; write it anew: python -m analysis.rope_sensitivity {study}")
    if [row["layer"] for row in rows] != [str(n) for n in range(count)]:
        raise ValueError(
            f"{file} is of a model of {len(rows)} layers, this one has {count}; make its own by "
            "+exp=rope_sensitivity, or name another study (sensitivity_study=DIR)"
        )
    return f",[{','.join(chosen)}]"


OmegaConf.register_new_resolver("each_layer", _each_layer, replace=True)
OmegaConf.register_new_resolver("and_recommended", _and_recommended, replace=True)


@dataclass(frozen=True)
class Job:
    """What one Hydra job does: a condition, its baseline, over prompts, into a study's folder."""

    condition: Condition
    prompts: tuple[Prompt, ...]
    metrics: tuple[str, ...]
    study: Path
    keep: Keep = "all"
    timing: Timing = Timing()
    threads: int | None = 1
    tracker: NoTracker | Wandb = NoTracker()


def job_of(config: DictConfig, here: bool = True) -> Job:
    """Build and check everything a job needs, without loading a model; the device only if it is to run `here`.

    Raises ValueError or FileNotFoundError saying what came, what was expected and what to do.
    """
    check_mismatch(config)
    condition = condition_of(config)
    condition.check(here)
    condition = condition.canonical()
    named(metrics_of(config))
    tracker: NoTracker | Wandb = instantiate(config.tracking)
    tracker.check()
    prompts = prompts_of(config).load()
    for prompt in prompts:
        condition.video.spec(prompt.text, prompt.seed)  # checks itself
    return Job(
        condition,
        tuple(prompts),
        metrics_of(config),
        study_of(config),
        checked_keep(config.keep),
        timing_of(config),
        threads_of(config),
        tracker,
    )


def study_of(config: DictConfig) -> Path:
    """Returns the study's folder, `<root>/<study>`. Raises ValueError where one of the two is no name."""
    for setting, expected in (("root", "a folder, such as root=runs"), ("study", "a name, such as study=mine")):
        value = config[setting]
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
            raise ValueError(f"{setting} must be {expected}, got {'null' if value is None else repr(value)}")
    if Path(str(config.study)).is_absolute() or ".." in Path(str(config.study)).parts or str(config.study) == ".":
        raise ValueError(f"study must be a name within root, got {config.study}; give the folder by root=DIR")
    return Path(str(config.root)) / str(config.study)


def metrics_of(config: DictConfig) -> tuple[str, ...]:
    """Returns the names of the metrics. Raises ValueError for what is no list of names."""
    names = OmegaConf.to_container(config.metrics).get("names")  # type: ignore[union-attr]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"metrics.names must be a list such as [psnr,ssim], got {names!r}")
    return tuple(names)


def threads_of(config: DictConfig) -> int | None:
    """Returns the threads of a model on the CPU; None for PyTorch's own choice. Raises ValueError for another value."""
    threads = config.threads
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise ValueError(f"threads must be a whole number from 1, or null for PyTorch's own choice, got {threads!r}")
    return threads


def timing_of(config: DictConfig) -> Timing:
    """How samples are timed. Raises ValueError for a setting that there is not."""
    return _made("timing", Timing, dict(config.timing))


def check_mismatch(config: DictConfig) -> None:
    """Raise ValueError where prompts or metrics do not belong to the model's world, unless that is asked for."""
    allowed = config.allow_mismatch
    if not isinstance(allowed, bool):
        raise ValueError(f"allow_mismatch must be true or false, got {allowed!r}")
    if not allowed:
        world = OmegaConf.select(config, "model.world") or OPEN  # a model file need not say it
        mismatch.check(config.model.name, world, prompts_of(config), metrics_of(config))


def prompts_of(config: DictConfig) -> Prompts | VBenchPrompts:
    """Which prompts to run, not loaded yet. Raises ValueError for a file that is no text, or an unknown setting."""
    for name in (name for name in ("source", "path") if name in config.prompts):
        value = config.prompts[name]
        downloaded = name == "path" and value is None  # VBench's list, by bench.prefetch
        if not downloaded and not (isinstance(value, str) and value):
            got = "null" if value is None else repr(value)
            raise ValueError(f"prompts.{name} must be a file, such as prompts.{name}=my_prompts.txt, got {got}")
    return _instance("prompts", config.prompts)


def condition_of(config: DictConfig) -> Condition:
    """The condition, not yet checked against its model. Raises ValueError for settings that are wrong by themselves."""
    return Condition(
        model_name=config.model.name,
        model=_instance("model.backbone", config.model.backbone),
        video=_instance("model.video", config.model.video),
        method=_instance("method", config.method, tuple),
    )


def _instance(where: str, config: DictConfig, sequence: type[list] | type[tuple] = list) -> Any:
    """Makes what `config` describes; with `sequence` tuple, as in frozen values, of tuples where YAML has lists."""
    for name in config:
        _ = config[name]  # raises for a value that is yet to be given
    partial = instantiate(config, _convert_="all", _partial_=True)
    settings = {name: sequence(value) if isinstance(value, list) else value for name, value in partial.keywords.items()}
    return _made(where, partial.func, settings)


def _made(where: str, kind: type[Any], settings: dict[str, Any]) -> Any:
    """Makes a frozen value of its settings. Raises ValueError for a setting that its class does not have."""
    there = {f.name for f in fields(kind)} if is_dataclass(kind) else set(settings)
    for name in settings:
        if name not in there:
            raise ValueError(unknown_setting(where, name, there))
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(f"{where}: {error}; see conf/ for the settings there are") from error
