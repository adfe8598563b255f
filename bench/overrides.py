"""The command line's overrides: prepares values that Hydra would misread, and explains mistakes in one line."""

import difflib
import os
import re
from collections.abc import Iterable, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig

ONE = ("root", "study")  # a sweep has one of each
# These settings take a path or a folder's name.
PATHS = ("root", "study", "sensitivity_study", "prompts.source", "prompts.path", "model.backbone.path")

_NO_KEY = re.compile(r"Could not (?:override|delete from config\.) '([^']+)'")
_NO_CHOICE = re.compile(r"Could not find '(?:(.+)/)?([^/']+)'")
_THERE = re.compile(r"An item is already at '([^']+)'|^(\S+) appears more than once")


def quoted(arguments: Iterable[str]) -> list[str]:
    """Returns the arguments as Hydra must get them: lists of metrics as metrics.names=[...], and paths in quotes.

    The values of PATHS get quotes where Hydra would read something else or nothing.

    Hydra's grammar takes neither letters outside ASCII nor `#` in an unquoted value, reads 2026_11_25 and 1.10 as
    numbers, brackets as a list, and a comma as a sweep. `~` at the beginning is the user's home folder, which shells
    leave alone after an equals sign.
    """
    return [_quoted(argument) for argument in arguments]


def _quoted(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if key == "metrics" and value.startswith("["):  # Hydra would take it for a list of files in conf/metrics
        return f"metrics.names={value}"
    if not equals or key.lstrip("+") not in PATHS:
        return argument
    if value.startswith("~"):
        argument = f"{key}={(value := os.path.expanduser(value))}"
    try:
        override = OverridesParser.create().parse_override(argument)
        is_sweep = override.is_sweep_override()
        if is_sweep and not (override.is_choice_sweep() and key in ONE and not value.startswith("choice(")):
            return argument
        if not is_sweep and (isinstance(override.value(), str | bool) or override.value() is None):
            return argument
    except HydraException:
        pass
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return f"{key}='{escaped}'"


def load(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """Composes the configuration of a whole sweep; raises ValueError that explains a mistake in `overrides`."""
    try:
        config = loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
    except HydraException as error:
        raise ValueError(explained(error, loader, overrides)) from error
    for key in (each.lstrip("+").partition("=")[0] for each in overrides if each.startswith("+")):
        if re.fullmatch(r"\w+", key) and key not in loader.list_groups(""):  # Hydra would take any new name
            rest = [each for each in overrides if each.lstrip("+").partition("=")[0] != key]
            if key not in loader.load_configuration("config", rest, RunMode.MULTIRUN):
                raise ValueError(_unknown(key, loader, overrides))
    return config


def explained(error: HydraException, loader: ConfigLoader, overrides: Sequence[str]) -> str:
    """Says in one line what is wrong with an override, what there is, and which name is close to the one given."""
    text = str(error).strip()
    if isinstance(error, OverrideParseException):
        argument = getattr(error, "override", None) or ""
        return (
            f"the argument {argument!r} cannot be read: expected KEY=VALUE, and quotes around a value with special "
            f"characters, such as 'prompts.source=\"my file (1).txt\"'"
        )
    if isinstance(error, MissingConfigException) and (match := _NO_CHOICE.search(text)):
        group, name = match[1] or "", match[2]
        options = loader.get_group_options(group) if group else []
        more = f"; a list names any metrics: metrics=[{name}]" if group == "metrics" else ""
        return f"there is no {group}={name}{_instead(name, options, f'{group}=')}{more}"
    if isinstance(error, ConfigCompositionException):
        if "No match in the defaults list" in text and (match := _NO_KEY.search(text)):
            return f"{match[1]} has no choice yet, so it takes a plus: +{_given(match[1], overrides)}"
        if match := _NO_KEY.search(text):
            return _unknown(match[1], loader, overrides)
        if match := _THERE.search(text):
            key = match[1] or match[2]
            return f"{key} has a value already, so it takes no plus: {_given(key, overrides)}"
    return " ".join(text.split())


def unknown_setting(where: str, name: str, there: Iterable[str]) -> str:
    """Says in one line that `where` has no setting `name`, which ones it has, and which is close to that name."""
    prefix = f"{where}." if where else ""
    return f"there is no setting {prefix}{name}{_instead(name, there, prefix)}"


def _unknown(key: str, loader: ConfigLoader, overrides: Sequence[str]) -> str:
    """The line for an override of a key that the rest of the configuration does not have."""
    rest = [each for each in overrides if each.lstrip("+~").partition("=")[0] != key]
    try:
        node: object = loader.load_configuration("config", rest, RunMode.MULTIRUN)
    except HydraException:  # the rest has a mistake, too
        node = loader.load_configuration("config", [], RunMode.MULTIRUN)
    parts = key.split(".")
    for i, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return f"there is no setting {key}: {'.'.join(parts[:i])} is a value and holds no settings"
        if part not in node:
            there = [str(name) for name in node] + (loader.list_groups("") if i == 0 else [])
            return unknown_setting(".".join(parts[:i]), part, there)
        node = node._get_node(part)
    return f"the setting {key} cannot be overridden here; it is there only together with another choice"


def _given(key: str, overrides: Sequence[str]) -> str:
    """The override of `key` without its plus."""
    given = (each.lstrip("+") for each in overrides)
    return next((each for each in given if each.partition("=")[0] == key), f"{key}=...")


def _instead(name: str, there: Iterable[str], prefix: str) -> str:
    options = sorted({name for name in there if not name.startswith("_")})
    close = difflib.get_close_matches(name, options, 1)
    return f"{f'; did you mean {prefix}{close[0]}?' if close else '.'} There are {', '.join(options)}"
