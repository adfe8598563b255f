"""Composes the configuration of each condition of a sweep. No module outside this package knows Hydra.

Hydra's public API composes; Hydra starts nothing. A sweep's conditions are the product of all swept values, as with
Hydra's own sweeper: the experiment's `hydra.sweeper.params` first, then the command line's overrides. An experiment
file may hold several such sweeps: `sweeps`, a list of override sets, each of which is swept in turn. `comparisons` are
further sets, of conditions to compare with. A command line that sets the method or its accelerators leaves them out.
"""

import copy
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.plan import command_line
from bench.plan.command_line import CONF, CommandLine, groups
from bench.plan.compose import resolvers
from bench.plan.compose.mistakes import check_experiment, explained, unknown_plus
from bench.plan.compose.quoting import quoted
from bench.plan.job import Launcher

resolvers.register()
# the parts of Hydra's own configuration that a sweep follows; all others must keep Hydra's defaults
_FOLLOWED = ("hydra.mode", "hydra.sweeper.params", "hydra.launcher", "hydra/launcher", "hydra.searchpath")
_LOGS = "a run's log and configuration lie in STUDY/logs/TIME"


@dataclass(frozen=True)
class Composed:
    """The composed configuration of a sweep.

    overrides: the overrides of the command line, as Hydra reads them.
    configs: the configuration of each condition.
    conditions: the overrides of each condition.
    launcher: the queue to which tasks are submitted, or None for a sweep in this process.
    hydra: Hydra's own configuration of the whole sweep.
    """

    overrides: tuple[str, ...]
    configs: tuple[DictConfig, ...]
    conditions: tuple[tuple[str, ...], ...]
    launcher: Launcher | None
    hydra: DictConfig

    def text(self, what: str = "job", resolve: bool = False) -> str:
        """Returns a part of the configuration as YAML: "job", "hydra" or "all". Each condition is a YAML document."""
        jobs = [
            f"# {' '.join(given) or 'no overrides'}\n{OmegaConf.to_yaml(config, resolve=resolve)}"
            for given, config in zip(self.conditions, self.configs, strict=True)
        ]
        own = OmegaConf.to_yaml(OmegaConf.create({"hydra": self.hydra}))
        return "---\n".join({"job": jobs, "hydra": [own], "all": [own, *jobs]}[what])


def composed(line: CommandLine) -> Composed:
    """Composes every condition of a sweep. Raises ValueError that explains a mistake in one line."""
    overrides = _searching(quoted(line.overrides), line.config_dir)
    with _initialized(), explained(overrides, line.config_dir):
        parsed = _parsed(overrides)
        _require_followed(parsed)
        whole = compose("config", _firsts(parsed), return_hydra_config=True)
        unknown_plus(whole, overrides, line.config_dir)
        if "exp" in whole.hydra.runtime.choices:
            check_experiment(whole, overrides)
        _require_hydras_own(whole.hydra)
        conditions = tuple(_conditions(whole, parsed, line.multirun))
        configs = tuple(_configs(conditions, line.config_dir))
        return Composed(overrides, configs, conditions, _launcher(whole.hydra), whole.hydra)


def configs_of(arguments: Sequence[str]) -> tuple[DictConfig, ...]:
    """Returns the configuration of each condition of a command line, with or without --multirun."""
    line, _ = command_line.parsed(command_line.parser([], None), arguments)
    return composed(replace(line, multirun=True)).configs


@contextmanager
def _initialized() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def _searching(overrides: Sequence[str], folder: Path | None) -> tuple[str, ...]:
    """Adds the user's own folder to the places where Hydra looks for files."""
    if folder is None:
        return tuple(overrides)
    mine = str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    given = [each for each in overrides if each.partition("=")[0] == "hydra.searchpath"]
    if given:
        raise ValueError("--config-dir and hydra.searchpath both name folders; give one of them")
    return (*overrides, f"hydra.searchpath=['file://{mine}']")


def _parsed(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(overrides))


def _firsts(parsed: Sequence[Override]) -> list[str]:
    """Returns the overrides for the configuration of the whole sweep, which has the first of all swept values."""
    return [next(iter(_values(override)), override.input_line or "") for override in parsed]


def _values(override: Override) -> list[str]:
    """Returns an override for each value that `override` names; Hydra's sweeper writes them in the same way."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [override.input_line or f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise ValueError(f"{override.input_line}: expected values, a choice or a range to sweep over")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _conditions(whole: DictConfig, parsed: Sequence[Override], multirun: bool) -> Iterator[tuple[str, ...]]:
    """Yields the overrides of each condition."""
    sets, further = _sets(whole, "sweeps"), _comparisons(whole, parsed)
    if not (multirun or sets or further or str(whole.hydra.mode).endswith("MULTIRUN")):
        if swept := [override.input_line for override in parsed if override.is_sweep_override()]:
            hint = "; a decimal point is a full stop" * bool(re.search(r"=-?0,\d+$", str(swept[0])))
            raise ValueError(
                f"{swept[0]} names several values: add --multirun to sweep over them, or put the value in quotes{hint}"
            )
        yield tuple(override.input_line or "" for override in parsed)
        return
    if any(each.key_or_group == "exp" and each.is_sweep_override() for each in parsed):
        raise ValueError("a sweep has one experiment, as each experiment has a sweep of its own; run a sweep for each")
    # as Hydra's sweeper writes them: a list is one value there
    common = quoted(f"{key}={value}" for key, value in (whole.hydra.sweeper.params or {}).items())
    for one in [*([*common, *each] for each in sets or [[]]), *further]:
        values = {each.get_key_element(): _values(each) for each in [*_parsed(one), *parsed]}
        yield from itertools.product(*values.values())


def _configs(conditions: Sequence[Sequence[str]], folder: Path | None) -> Iterator[DictConfig]:
    """Yields the configuration of each condition.

    Hydra takes 0.1 s to compose one. Conditions that differ in values alone, such as method.k, are composed once, and
    the values are set in copies, as Hydra does it after it has composed the files.
    """
    composed: dict[tuple[str, ...], DictConfig] = {}
    choices = groups(folder)
    for given in conditions:
        values = _values_apart(_parsed(given), choices)
        lines = {each.input_line for each in values}
        files = tuple(each for each in given if each not in lines)
        with explained(given, folder, len(conditions) > 1):
            if files not in composed:
                composed[files] = compose("config", list(files))
            config = copy.deepcopy(composed[files])
            yield config if _set(config, values) else compose("config", list(given))


def _values_apart(parsed: Sequence[Override], choices: Collection[str]) -> list[Override]:
    """Returns the overrides that set values and may be applied after all others.

    Returns none of them if another override adds or removes a part of the same setting, because the order counts then.
    """
    values = [each for each in parsed if _is_value(each, choices)]
    others = [each.key_or_group for each in parsed if _changes_keys(each)]
    if any(_overlap(each.key_or_group, other) for each in values for other in others):
        return []
    return values


def _set(config: DictConfig, values: Sequence[Override]) -> bool:
    """Sets the values in `config`, as Hydra does. Returns False where Hydra might do something else.

    Hydra raises an error that names the override if the setting is unknown. It reads a file if the name of the
    settings is a group in a folder of `hydra.searchpath`.
    """
    try:
        for each in values:
            key, value = each.key_or_group, each.value()
            there = OmegaConf.select(config, key, throw_on_resolution_failure=False)
            if OmegaConf.is_dict(there) and not isinstance(value, dict):
                return False
            OmegaConf.update(config, key, value, merge=True)
    except OmegaConfBaseException:
        return False
    return True


def _is_value(override: Override, choices: Collection[str]) -> bool:
    """Returns whether the override sets a value, and neither chooses a file nor adds or removes a setting."""
    key = override.key_or_group
    is_plain = override.package is None and not _changes_keys(override)
    return is_plain and "/" not in key and not key.startswith("hydra.") and key not in choices


def _changes_keys(override: Override) -> bool:
    """Returns whether the override adds or removes settings."""
    return override.is_add() or override.is_force_add() or override.is_delete()


def _overlap(a: str, b: str) -> bool:
    """Returns whether one of two settings is the other or a part of the other."""
    return f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")


def _sets(whole: DictConfig, name: str) -> list[list[str]]:
    """Returns the override sets that the experiment's `name` lists. A set in which a list is empty has no conditions.

    Raises ValueError unless they are a list of mappings.
    """
    sets = whole[name]
    if sets is None:
        return []
    if not OmegaConf.is_list(sets) or not len(sets) or not all(OmegaConf.is_dict(each) for each in sets):
        raise ValueError(
            f"{name} must be a list of override sets, such as [{{method: vgdfr, method.k: '5,10'}}], got {sets}"
        )
    filled = [each for each in sets if [] not in each.values()]  # a resolver's list is a plain list
    return [quoted(f"{key}={_string(value)}" for key, value in each.items()) for each in filled]


def _comparisons(whole: DictConfig, parsed: Sequence[Override]) -> list[list[str]]:
    """Returns the sets of the experiment's `comparisons`, none if an override sets the method or its accelerators."""
    sets = _sets(whole, "comparisons")
    is_set = any(each.key_or_group.partition(".")[0] in ("method", "accelerator") for each in parsed)
    return [] if is_set else sets


def _string(value: Any) -> str:
    """Returns a value of an override set. A list is swept, as commas sweep. A list within a list is one value."""
    if OmegaConf.is_list(value):
        return ",".join(f"[{_string(each)}]" if OmegaConf.is_list(each) else _string(each) for each in value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _require_followed(parsed: Sequence[Override]) -> None:
    """Raises ValueError for an override of Hydra's own settings that a sweep would not follow."""
    for override in parsed:
        key = override.key_or_group
        if key == "hydra/sweeper" and override.value() != "basic":
            raise ValueError(f"hydra/sweeper={override.value()} is not taken here: a sweep makes all its conditions")
        if key.startswith(("hydra.", "hydra/")) and not any(f"{key}.".startswith(f"{each}.") for each in _FOLLOWED):
            if key != "hydra/sweeper":
                raise ValueError(
                    f"{key} is not followed here, as {_LOGS}; of Hydra's own settings there are {', '.join(_FOLLOWED)}"
                )


def _require_hydras_own(hydra: DictConfig) -> None:
    """Raises ValueError where a file changes a part of Hydra's own configuration that a sweep would not follow."""
    for name in ("run", "sweep"):
        folder: Any = OmegaConf.to_container(hydra[name])
        if not folder["dir"].startswith(("outputs/", "multirun/")):
            raise ValueError(f"hydra.{name}.dir is not followed here, as {_LOGS}; remove it from the experiment's file")
    if hydra.callbacks:
        raise ValueError("hydra.callbacks are not called here; remove them from the experiment's file")
    if not str(hydra.sweeper.get("_target_")).endswith(".BasicSweeper") or hydra.sweeper.get("max_batch_size"):
        raise ValueError("another hydra/sweeper is not taken here: a sweep makes all its conditions")


def _launcher(hydra: DictConfig) -> Launcher | None:
    """Returns the chosen queue. Raises ValueError for a launcher that this project does not have."""
    name = hydra.runtime.choices["hydra/launcher"]
    if name == "basic":
        return None
    if not (CONF / "hydra" / "launcher" / f"{name}.yaml").is_file():
        raise ValueError(f"hydra/launcher={name} is not taken here; there are slurm and slurm_local")
    try:
        settings: Any = OmegaConf.to_container(hydra.launcher, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"hydra.launcher: {error}") from error
    return Launcher(name, settings)
