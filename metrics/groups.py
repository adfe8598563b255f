"""Groups of metrics, as the files of conf/metrics have them; read without Hydra, whose sweeps read the same files."""

from pathlib import Path

import yaml

from metrics import is_known, known, named

FOLDER = Path(__file__).parent.parent / "conf" / "metrics"


def groups() -> list[str]:
    """The names there are."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def names_of(text: str) -> list[str]:
    """The metrics of `text`, names or groups, comma between; each once.

    Raises ValueError for an unknown one, or where one cannot be made.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError(f"no metric is named; there are the groups {', '.join(groups())}, and names")
    names = list(dict.fromkeys(name for part in parts for name in (_of(part) if part in groups() else [part])))
    if unknown := [name for name in names if not is_known(name)]:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are the groups {', '.join(groups())}; {known()}")
    named(names)
    return names


def _of(group: str) -> list[str]:
    return yaml.safe_load((FOLDER / f"{group}.yaml").read_text(encoding="utf-8"))["names"]
