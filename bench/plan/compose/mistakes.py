"""Explains a mistake in an override in one line, which names the choices and the closest name."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from bench.plan.command_line import groups

_NO_KEY = re.compile(r"Could not (?:override|delete from config\.) '([^']+)'")
_NO_CHOICE = re.compile(r"Could not find '(?:(.+)/)?([^/']+)'")
_THERE = re.compile(r"An item is already at '([^']+)'|^(\S+) appears more than once")


@contextmanager
def explained(overrides: Sequence[str], folder: Path | None, of_several: bool = False) -> Iterator[None]:
    """Raises ValueError with an explanation if Hydra raises in the block. Hydra must be initialized.

    `overrides` are the overrides that the block composes, and `folder` is the folder of --config-dir. If the overrides
    are those of one condition `of_several`, the message names them.
    """
    at = f" (in the condition {' '.join(overrides)})" if of_several else ""
    try:
        yield
    except HydraException as error:
        raise ValueError(_explanation(error, overrides, folder) + at) from error
    except YAMLError as error:  # Hydra's loader names the file and the line in the error's marks
        mark = getattr(error, "problem_mark", None)
        where = f"{mark.name}, line {mark.line + 1}" if mark else "a file of the configuration"
        raise ValueError(f"{where}: this is not YAML ({getattr(error, 'problem', None) or error})") from error
    except OmegaConfBaseException as error:  # an interpolation, such as an experiment's own choice of conditions
        why = error.__cause__ if isinstance(error.__cause__, ValueError) else error.msg or error
        raise ValueError(" ".join(str(why).split()) + at) from error


def unknown_plus(config: DictConfig, overrides: Sequence[str], folder: Path | None) -> None:
    """Raises ValueError for a new name at the top of `config`, such as +thread=2. Hydra accepts the name, but nothing
    reads it.
    """
    for key in (each.lstrip("+").partition("=")[0] for each in overrides if each.startswith("+")):
        if re.fullmatch(r"\w+", key) and key in config and key not in groups(folder):
            rest = [each for each in overrides if each.lstrip("+").partition("=")[0] != key]
            if key not in _composed(rest):
                raise ValueError(_unknown(key, overrides, folder))


def check_experiment(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raises ValueError for an experiment's file whose settings would not be read.

    Its names at the top may be new, since its own interpolations may refer to them. A name that is close to a setting's
    is taken for a mistake.
    """
    base = [str(name) for name in _composed([])]
    if "exp" in config:
        raise ValueError("the experiment's file must begin with the line: # @package _global_")
    plus = {each.lstrip("+").partition("=")[0] for each in overrides}
    for name in map(str, config):
        if name not in base and name not in plus and (close := difflib.get_close_matches(name, base, 1, 0.75)):
            raise ValueError(
                f"the experiment's file has a setting {name}, which nothing reads; did you mean {close[0]}?"
            )


def _composed(overrides: Sequence[str], hydra: bool = False) -> DictConfig:
    """Composes without values that are swept: Hydra's `compose` takes none. With `hydra` includes Hydra's settings."""
    return compose("config", [each for each in overrides if not _is_swept(each)], return_hydra_config=hydra)


def _is_swept(override: str) -> bool:
    value = override.partition("=")[2]
    return "," in value and not value.startswith(("[", "'", '"', "{"))


def _explanation(error: HydraException, overrides: Sequence[str], folder: Path | None) -> str:
    text = str(error).strip()
    if isinstance(error, OverrideParseException):
        argument = getattr(error, "override", None) or ""
        return (
            f"the argument {argument!r} cannot be read: expected KEY=VALUE, and quotes around a value with special "
            f"characters, such as 'prompts.source=\"my file (1).txt\"'"
        )
    if isinstance(error, MissingConfigException) and (match := _NO_CHOICE.search(text)):
        group, name = match[1] or "", match[2]
        options = groups(folder).get(group, [])
        more = f"; a list names any metrics: metrics=[{name}]" if group == "metrics" else ""
        return f"there is no {group}={name}{_instead(name, options, f'{group}=')}{more}"
    if isinstance(error, ConfigCompositionException):
        if "No match in the defaults list" in text and (match := _NO_KEY.search(text)):
            return f"{match[1]} has no choice yet, so it takes a plus: +{_given(match[1], overrides)}"
        if match := _NO_KEY.search(text):
            return _unknown(match[1], overrides, folder)
        if match := _THERE.search(text):
            key = match[1] or match[2]
            return f"{key} has a value already, so it takes no plus: {_given(key, overrides)}"
    return " ".join(text.split())


def unknown_setting(where: str, name: str, there: Iterable[str]) -> str:
    """Returns a line that says that `where` has no setting `name`, lists its settings and names the closest one."""
    prefix = f"{where}." if where else ""
    return f"there is no setting {prefix}{name}{_instead(name, there, prefix)}"


def _unknown(key: str, overrides: Sequence[str], folder: Path | None) -> str:
    """Returns the line for an override of a key that the rest of the configuration does not have."""
    rest = [each for each in overrides if each.lstrip("+~").partition("=")[0] != key]
    hydra = key.startswith("hydra.")
    try:
        node: object = _composed(rest, hydra)
    except HydraException:  # the rest has a mistake, too
        node = _composed([], hydra)
    parts = key.split(".")
    for i, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return f"there is no setting {key}: {'.'.join(parts[:i])} is a value and holds no settings"
        if part not in node:
            if parts[:2] == ["hydra", "launcher"] and i == 2 and "name" not in node:
                return f"{key} is a setting of a queue: add hydra/launcher=slurm or hydra/launcher=slurm_local"
            tops = [group for group in groups(folder) if "/" not in group] if i == 0 else []
            return unknown_setting(".".join(parts[:i]), part, [*map(str, node), *tops])
        node = node._get_node(part)
    return f"the setting {key} cannot be overridden here; it is there only together with another choice"


def _given(key: str, overrides: Sequence[str]) -> str:
    """Returns the override of `key` without its plus."""
    given = (each.lstrip("+") for each in overrides)
    return next((each for each in given if each.partition("=")[0] == key), f"{key}=...")


def _instead(name: str, there: Iterable[str], prefix: str) -> str:
    options = sorted({name for name in there if not name.startswith("_")})
    if not options:
        return f"; {prefix.rstrip('.=') or 'the configuration'} has none"
    close = difflib.get_close_matches(name, options, 1)
    return f"{f'; did you mean {prefix}{close[0]}?' if close else '.'} There are {', '.join(options)}"
