"""Matplotlib with this project's settings: figures do not depend on the user's matplotlibrc, MPLBACKEND or display.

Modules that draw import matplotlib's names from here (import-linter checks it), because the import itself reads the
user's files and fails on some of them. Figures are made without pyplot, so they never touch a backend, and within
`settings`, so the user's own rcParams stay as they are.
"""

import importlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides matplotlib's warnings about the user's settings, which no figure uses, and about its own cache folder."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _users_settings_aside() -> Iterator[None]:
    """Hides MPLBACKEND, and makes matplotlib's import read its packaged matplotlibrc.

    Matplotlib looks for a matplotlibrc in the current folder first, and no variable changes that. So the block runs in
    the folder of the packaged file.
    """
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    backend, before = os.environ.pop("MPLBACKEND", None), os.open(".", os.O_RDONLY)
    try:
        os.chdir(Path(spec.origin).parent / "mpl-data")
        yield
    finally:
        os.fchdir(before)
        os.close(before)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def _import_matplotlib() -> Any:
    """Imports matplotlib as the user has set it up, or without the user's settings if it fails on them.

    It fails on an MPLBACKEND that is not installed here, such as Jupyter's in a process that a notebook starts, and on
    a matplotlibrc that cannot be read or is not UTF-8.
    """
    with _quiet():
        try:
            return importlib.import_module("matplotlib")
        except (ValueError, OSError):
            for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
                del sys.modules[name]  # the import would take these half-imported modules for complete ones
            with _users_settings_aside():
                return importlib.import_module("matplotlib")


matplotlib = _import_matplotlib()
with _quiet():  # this import makes the cache of fonts
    from matplotlib.axes import Axes  # noqa: E402
    from matplotlib.figure import Figure  # noqa: E402
    from matplotlib.lines import Line2D  # noqa: E402
    from matplotlib.patches import Patch, Rectangle  # noqa: E402
    from matplotlib.ticker import MaxNLocator  # noqa: E402

__all__ = ["Axes", "Figure", "Line2D", "MaxNLocator", "Patch", "Rectangle", "settings"]

# Matplotlib's own defaults without the backend, because figures use none.
_DEFAULTS = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}


@contextmanager
def settings(own: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Makes matplotlib draw with its defaults and `own` on top in the block. The caller's settings return after it."""
    with matplotlib.rc_context(_DEFAULTS | dict(own or {})):
        yield
