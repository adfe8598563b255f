"""Quotes values on the command line that Hydra's grammar would misread, such as paths."""

import os
import re
from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

ONE = ("root", "study")  # a sweep has one value for each of these settings
# These settings take a path or a folder's name.
PATHS = (
    "root", "study", "sensitivity_study", "prompts.source", "prompts.path", "model.backbone.path",
    "accelerator.calibration",
)  # fmt: skip


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
    if not key.strip("+~"):
        raise ValueError(f"the argument {argument!r} cannot be read: expected KEY=VALUE")
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
