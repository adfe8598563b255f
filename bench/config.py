"""From Hydra's configuration to frozen values; the only place that knows OmegaConf and instantiate."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from bench import mismatch
from bench.condition import Condition
from bench.keep import Keep
from bench.keep import check as checked_keep
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
    tracker: NoTracker | Wandb = NoTracker()


def job_of(config: DictConfig, here: bool = True) -> Job:
    """Build and check everything a job needs, without loading a model; the device only if it is to run `here`.

    Raises ValueError or FileNotFoundError saying what came, what was expected and what to do.
    """
    check_mismatch(config)
    condition = condition_of(config)
    condition.check(here)
    condition = condition.canonical()
    named(config.metrics.names)
    tracker: NoTracker | Wandb = instantiate(config.tracking)
    tracker.check()
    prompts = prompts_of(config).load()
    for prompt in prompts:
        condition.video.spec(prompt.text, prompt.seed)  # checks itself
    return Job(
        condition,
        tuple(prompts),
        tuple(config.metrics.names),
        Path(config.root) / config.study,
        checked_keep(config.keep),
        timing_of(config),
        tracker,
    )


def timing_of(config: DictConfig) -> Timing:
    """How samples are timed. Raises ValueError for a setting that there is not."""
    try:
        return Timing(**config.timing)
    except TypeError as error:
        raise ValueError(f"timing: {error}; see conf/timing for the settings there are") from None


def check_mismatch(config: DictConfig) -> None:
    """Raise ValueError where prompts or metrics do not belong to the model's world, unless that is asked for."""
    allowed = config.allow_mismatch
    if not isinstance(allowed, bool):
        raise ValueError(f"allow_mismatch must be true or false, got {allowed!r}")
    if not allowed:
        world = OmegaConf.select(config, "model.world") or OPEN  # a model file need not say it
        mismatch.check(config.model.name, world, prompts_of(config), config.metrics.names)


def prompts_of(config: DictConfig) -> Prompts | VBenchPrompts:
    """Which prompts to run, not loaded yet."""
    return instantiate(config.prompts, _convert_="all")


def condition_of(config: DictConfig) -> Condition:
    """The condition, not yet checked against its model. Raises ValueError for settings that are wrong by themselves."""
    return Condition(
        model_name=config.model.name,
        model=instantiate(config.model.backbone, _convert_="all"),
        video=instantiate(config.model.video, _convert_="all"),
        method=_with_tuples(instantiate(config.method, _convert_="all", _partial_=True)),
    )


def _with_tuples(partial: Any) -> Any:
    """Frozen values hold tuples where YAML has lists."""
    try:
        return partial.func(**{k: tuple(v) if isinstance(v, list) else v for k, v in partial.keywords.items()})
    except TypeError as error:
        raise ValueError(f"method: {error}; see conf/method for the settings there are") from error
