"""Makes frozen values from Hydra's configuration. No other module calls `instantiate`."""

import csv
from dataclasses import dataclass, fields, is_dataclass, replace
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
from bench.tracking import NoTracker, Wandb
from metrics import named
from metrics.groups import expanded
from vgdfr import Accelerator, Method, Model
from vgdfr.embedded import CHECKPOINT
from vgdfr.naming import check_class, class_at

CONF = str(Path(__file__).parent.parent / "conf")

OmegaConf.register_new_resolver("embedded_checkpoint", lambda: str(CHECKPOINT), replace=True)

RECOMMENDATION = "report/rope_sensitivity.csv"  # what analysis.rope_sensitivity writes into its study


def _each_layer(_root_: DictConfig) -> str:
    """Resolves ${each_layer:} to a sweep's list that makes each layer the only global one, then the only local one.

    Resolves to "all" where the model is not downloaded yet.
    """
    try:
        count = instantiate(_root_.model.backbone, _convert_="all").architecture().num_layers
    except FileNotFoundError:  # the check of the condition reports the missing download
        return "all"
    return ",".join(f"{kind}_{n}" for n in range(count) for kind in ("only", "all_but"))


def _and_recommended(study: str, _root_: DictConfig) -> str:
    """Resolves ${and_recommended:STUDY} to a comma and the layers that the study's report recommends.

    Resolves to an empty string where there is no such report, or the model is not downloaded yet. Raises ValueError for
    a report without a recommended layer, or of a model with another number of layers.
    """
    file = Path(study) / RECOMMENDATION
    if not file.is_file():
        return ""
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    try:
        count = instantiate(_root_.model.backbone, _convert_="all").architecture().num_layers
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
    """One Hydra job: a condition and its baseline, made for `prompts` and stored in the folder `study`."""

    condition: Condition
    prompts: tuple[Prompt, ...]
    metrics: tuple[str, ...]
    study: Path
    keep: Keep = "all"
    timing: Timing = Timing()
    threads: int | None = 1
    tracker: NoTracker | Wandb = NoTracker()


def job_of(config: DictConfig, here: bool = True) -> Job:
    """Returns the job, with everything that it needs checked. Loads no model.

    With `here` False the job runs on another machine, and the device of this machine is not checked. Raises ValueError
    or FileNotFoundError; the message says what came, what was expected and what to do.
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
        condition.video.spec(prompt.text, prompt.seed)  # checks prompt and seed
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
    return _made("timing", Timing, dict(config.timing))


def check_mismatch(config: DictConfig) -> None:
    """Raises ValueError where prompts or metrics do not belong to the model's world, unless `allow_mismatch` is set."""
    allowed = config.allow_mismatch
    if not isinstance(allowed, bool):
        raise ValueError(f"allow_mismatch must be true or false, got {allowed!r}")
    if not allowed:
        world = OmegaConf.select(config, "model.world") or OPEN  # a model file may omit its world
        mismatch.check(config.model.name, world, prompts_of(config), metrics_of(config))


def prompts_of(config: DictConfig) -> Prompts | VBenchPrompts:
    """Returns the prompts to run, not loaded yet. Raises ValueError for a wrong path or an unknown setting."""
    for name in (name for name in ("source", "path") if name in config.prompts):
        value = config.prompts[name]
        downloaded = name == "path" and value is None  # bench.prefetch downloads VBench's list
        if not downloaded and not (isinstance(value, str) and value):
            got = "null" if value is None else repr(value)
            raise ValueError(f"prompts.{name} must be a file, such as prompts.{name}=my_prompts.txt, got {got}")
    return _instance("prompts", config.prompts)


def condition_of(config: DictConfig) -> Condition:
    """Returns the condition, not yet checked against its model. Raises ValueError for a setting that is wrong alone."""
    return Condition(
        model_name=config.model.name,
        model=_instance("model.backbone", config.model.backbone, tuple, Model),
        video=_instance("model.video", config.model.video),
        method=_method(config),
    )


def _method(config: DictConfig) -> Method:
    """Returns the method, with the accelerator if one is chosen."""
    method = _instance("method", config.method, tuple, Method)
    if "_target_" in config.accelerator and config.accelerator._target_ is None:
        return method
    return replace(method, accelerators=(_instance("accelerator", config.accelerator, tuple, Accelerator),))


def _instance(
    where: str, config: DictConfig, sequence: type[list] | type[tuple] = list, base: type | None = None
) -> Any:
    """Returns the value that `config` describes. Lists of the YAML become a `sequence`: frozen values take tuples.

    Raises ValueError for a class that cannot be imported or does not derive from `base`. By then only the module of the
    class has run.
    """
    for name in config:
        _ = config[name]  # raises for a value that the user has yet to give
    if base is not None:
        if not config.get("_target_"):
            raise ValueError(f"{where} has no _target_; name a class that derives from vgdfr.{base.__name__}")
        check_class(f"{where}._target_", class_at(str(config._target_)), base)
    partial = instantiate(config, _convert_="all", _partial_=True)
    settings = {name: sequence(value) if isinstance(value, list) else value for name, value in partial.keywords.items()}
    return _made(where, partial.func, settings)


def _made(where: str, kind: type[Any], settings: dict[str, Any]) -> Any:
    """Returns `kind(**settings)`. Raises ValueError for a setting that `kind` does not have, or lacks."""
    there = {f.name for f in fields(kind)} if is_dataclass(kind) else set(settings)
    for name in settings:
        if name not in there:
            raise ValueError(unknown_setting(where, name, there))
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(f"{where}: {error}; see conf/ for the settings there are") from error
