"""Reads facts about installed packages from their files, because importing the packages takes seconds."""

import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def folder_of(package: str) -> Path | None:
    """Returns the folder of an installed package, or None if the package is not installed. Does not import it."""
    spec = find_spec(package)
    places = spec and spec.submodule_search_locations
    return Path(places[0]) if places else None


def constants_of(package: str, file: str) -> dict[str, Any] | None:
    """Returns the global names of the Python file `file` in a package's folder. Runs that file alone.

    Returns None if the package is not installed. Raises FileNotFoundError if the package has no such file.
    """
    folder = folder_of(package)
    return None if folder is None else runpy.run_path(str(folder / file))
