"""Finds metrics from outside this package. Each is a `Metric` in a user's module, and its dotted path is its name."""

from dataclasses import replace
from pathlib import Path

from metrics.base import Metric
from vgdfr_commands.dotted_path import imported

EXAMPLE = "my_pkg.sharpness"
# Columns of a study begin with these words, so a metric of such a module would have the name of another column.
TAKEN = ("accelerated", "checkpoint", "layers", "method", "record", "seconds", "video")


def is_dotted_path(name: str) -> bool:
    """Returns whether `name` has the form of a dotted path. No metric of this package has a name of that form."""
    return "." in name and all(part.isidentifier() for part in name.split("."))


def third_party_metric(path: str) -> Metric:
    """Returns the Metric at a dotted path. The path becomes its name, the beginning of its id and its default title.

    Runs the code of the module. Raises ValueError if the module cannot be imported, if the object is no Metric, or if
    a file of weights is missing.
    """
    if (module := path.partition(".")[0]) in TAKEN:
        raise ValueError(
            f"{path} cannot be a metric's name, because columns of a study begin with {module}; rename its module"
        )
    found = imported(path, "metric", EXAMPLE, lambda value: isinstance(value, Metric))
    if not isinstance(found, Metric):
        got = f"the class {found.__qualname__}" if isinstance(found, type) else f"a {type(found).__name__}"
        raise ValueError(
            f"{path} must be an instance of metrics.Metric, got {got}; write NAME = Metric(...) in its module and give "
            "the path of NAME (docs/extending.md shows how)"
        )
    if isinstance(found.weights, Path) and not found.weights.exists():
        raise ValueError(f"{path} needs its weights, and there is nothing at {found.weights}")
    return replace(found, name=path, title=path if found.title == found.name else found.title)
