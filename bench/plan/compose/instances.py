"""Makes frozen values from parts of a composed configuration. This is the one place that calls `instantiate`."""

from dataclasses import fields, is_dataclass
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from bench.plan.compose.mistakes import unknown_setting
from vgdfr.naming import check_class, class_at

# classes that files of a user's own may name, and where they lie now
_MOVED = {
    "bench.prompts.Prompts": "bench.plan.prompts.Prompts",
    "bench.prompts.VBenchPrompts": "bench.plan.prompts.VBenchPrompts",
    "bench.tracking.Wandb": "bench.plan.job.Wandb",
    "bench.tracking.NoTracker": "bench.plan.job.NoTracker",
}


def instance(
    where: str, config: DictConfig, sequence: type[list] | type[tuple] = list, base: type | None = None
) -> Any:
    """Returns the value that `config` describes. Lists of the YAML become a `sequence`: frozen values take tuples.

    Raises ValueError for a class that cannot be imported or does not derive from `base`. Before this check, only the
    module of the class has been run.
    """
    for name in config:
        _ = config[name]  # raises for a value that the user must give and has not given
    if new := _MOVED.get(str(config.get("_target_"))):
        raise ValueError(f"{where}._target_={config._target_} has moved: write {new}")
    if base is not None:
        if not config.get("_target_"):
            raise ValueError(f"{where} has no _target_; name a class that derives from vgdfr.{base.__name__}")
        check_class(f"{where}._target_", class_at(str(config._target_)), base)
    partial = instantiate(config, _convert_="all", _partial_=True)
    settings = {name: sequence(value) if isinstance(value, list) else value for name, value in partial.keywords.items()}
    return made(where, partial.func, settings)


def made(where: str, kind: type[Any], settings: dict[str, Any]) -> Any:
    """Returns `kind(**settings)`. Raises ValueError for an unknown setting and for a missing one."""
    there = {f.name for f in fields(kind)} if is_dataclass(kind) else set(settings)
    for name in settings:
        if name not in there:
            raise ValueError(unknown_setting(where, name, there))
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(f"{where}: {error}; see conf/ for the settings there are") from error
