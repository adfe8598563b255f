"""Groups of metrics. Sweeps use the same files of conf/metrics, which are read without Hydra here."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from metrics import is_known, known, named
from metrics.outside import EXAMPLE

OWN = f"the dotted path of a metric of your own, such as {EXAMPLE} (docs/extending.md)"  # for the help of commands
FOLDER = Path(__file__).parent.parent / "conf" / "metrics"


def groups() -> list[str]:
    """Returns the names of all groups."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def names_of(text: str) -> list[str]:
    """Returns the names of the metrics that `text` lists: names or groups, separated by commas. Each name comes once.

    Raises ValueError for an unknown name, and for a metric that cannot be made or imported.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError(f"no metric is named; there are the groups {', '.join(groups())}, and names")
    names = expanded(parts)
    if unknown := [name for name in names if not is_known(name)]:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are the groups {', '.join(groups())}; {known()}")
    named(names)
    return names


def expanded(parts: Sequence[str]) -> list[str]:
    """Returns `parts` with the metrics of each group in its place. Each name comes once."""
    return list(dict.fromkeys(name for part in parts for name in (_names(part) if part in groups() else [part])))


def _names(group: str) -> list[str]:
    return yaml.safe_load((FOLDER / f"{group}.yaml").read_text(encoding="utf-8"))["names"]
