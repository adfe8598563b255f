"""Checks of a command's environment: Python's version, missing packages, and files that hide our packages.

Python 3.8 can read this module. It is imported before any package outside Python's own library.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

OLDEST = (3, 11)
SCRIPTS = {
    "vgdfr": "vgdfr",
    "vgdfr.conform": "vgdfr-conform",
    "metrics": "vgdfr-metrics",
    "bench.sweep": "vgdfr-sweep",
    "bench.launch": "vgdfr-launch",
    "bench.prefetch": "vgdfr-prefetch",
    "bench.calibrate": "vgdfr-calibrate",
    "bench.score": "vgdfr-score",
    "bench.store": "vgdfr-store",
    "bench.export": "vgdfr-export",
    "bench.import_scores": "vgdfr-import-scores",
    "analysis.table1": "vgdfr-table1",
    "analysis.statistics": "vgdfr-statistics",
    "analysis.figures": "vgdfr-figures",
    "analysis.cost": "vgdfr-cost",
    "analysis.gallery": "vgdfr-gallery",
    "analysis.rivals": "vgdfr-rivals",
    "analysis.twins": "vgdfr-twins",
    "analysis.gate": "vgdfr-gate",
    "analysis.paper": "vgdfr-paper",
    "analysis.rope_sensitivity": "vgdfr-rope-sensitivity",
    "analysis.publish.track": "vgdfr-track",
    "analysis.publish.dashboard": "vgdfr-dashboard",
}


class Surroundings(ImportError):
    """A package of this project cannot be used here. The message gives the reason and the remedy."""


def check(package: str, needs: tuple[str, ...], ours: tuple[str, ...] = ()) -> None:
    """Checks the environment of `package`, a package of this project. Its `__init__` calls this first.

    `ours` are the other packages of this project that it imports. `needs` are packages of other projects. None of their
    code is run. Raises Surroundings if a file hides one of `ours`. While `python -m` looks for a command, a problem
    ends the program with one line instead. An old Python and missing `needs` are problems only then. Without a problem
    the command's output is made steady (see `vgdfr_commands.display`).
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(str(sys.modules[package].__file__))))
    command = _command() if getattr(sys, "argv", [""])[:1] == ["-m"] else None
    problem = _hidden(home, ours, command)
    if command is None:
        if problem:
            raise Surroundings(problem)
        return
    problem = _too_old(home) or problem or _lacking(home, needs)
    if problem:
        sys.exit("error: " + problem)
    from vgdfr_commands.display import steady  # an old Python cannot read this module

    steady()


def _command() -> str:
    """Returns the module that follows -m in Python's command line, or "" if it is not known."""
    words = list(getattr(sys, "orig_argv", ()))  # since Python 3.10
    for i, word in enumerate(words[:-1]):
        if word.startswith("-") and not word.startswith("--") and word.endswith("m"):
            return words[i + 1]
    return ""


def _too_old(home: str) -> str | None:
    if sys.version_info >= OLDEST:
        return None
    oldest, version = (".".join(str(number) for number in numbers) for numbers in (OLDEST, sys.version_info[:3]))
    return f"Python {oldest} or newer is needed, got {version} ({sys.executable}); {_how_to_enter(home)}"


def _lacking(home: str, needs: tuple[str, ...]) -> str | None:
    lacking = [name for name in needs if find_spec(name) is None]
    if not lacking:
        return None
    problem = "{} does not have the packages that this needs ({})".format(sys.executable, ", ".join(lacking))
    return f"{problem}; {_how_to_enter(home)}"


def _how_to_enter(home: str) -> str:
    """Returns the advice for a checkout, or for an environment that the package was copied or installed into."""
    if not os.path.isfile(os.path.join(home, "pyproject.toml")):
        return "install them into it with pip, or take the Python that vgdfr was installed for"
    venv = os.path.join(home, ".venv")
    here = os.path.realpath(os.getcwd()) == os.path.realpath(home)
    enter = ". " + (".venv/bin/activate" if here else os.path.join(venv, "bin", "activate"))
    inside = os.path.realpath(sys.prefix) == os.path.realpath(venv)
    if os.path.isfile(os.path.join(venv, "bin", "activate")) and not inside:
        return f"enter the environment first: {enter}"
    return f"make the environment first, in {home}: make setup; then enter it: {enter}"


def _hidden(home: str, ours: tuple[str, ...], command: str | None) -> str | None:
    """Returns the problem with the first of `ours` that Python would import from outside `home`, or None."""
    for name in ours:
        spec = find_spec(name)
        if spec is None:
            continue  # the import itself will report a missing package
        place = spec.origin or next(iter(spec.submodule_search_locations or ()), "")  # a folder without __init__.py
        folder = os.path.dirname(place) if spec.origin else place
        expected = os.path.join(home, name)
        if folder == expected or os.path.realpath(folder) == os.path.realpath(expected):
            continue
        script = SCRIPTS.get(command or "", "a console script such as vgdfr-sweep or vgdfr-table1")
        return (
            f"{place} hides this project's own package '{name}' (in {home}): Python looks into the current folder and "
            f"PYTHONPATH first. Run {script}, which does not look into the current folder, or work in another folder"
        )
    return None
