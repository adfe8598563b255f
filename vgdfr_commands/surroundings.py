"""What is wrong around a command before it begins: another Python, missing packages, files that hide ours.

Written so that Python 3.8 reads it, and imported before anything that is not in Python's own library.
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
    "bench.score": "vgdfr-score",
    "bench.store": "vgdfr-store",
    "analysis.table1": "vgdfr-table1",
    "analysis.statistics": "vgdfr-statistics",
    "analysis.figures": "vgdfr-figures",
    "analysis.cost": "vgdfr-cost",
    "analysis.gallery": "vgdfr-gallery",
    "analysis.paper": "vgdfr-paper",
    "analysis.rope_sensitivity": "vgdfr-rope-sensitivity",
    "analysis.publish.track": "vgdfr-track",
    "analysis.publish.dashboard": "vgdfr-dashboard",
}


class Surroundings(ImportError):
    """A package of ours cannot be used here; the message says why and what to do."""


def check(package: str, needs: tuple[str, ...], ours: tuple[str, ...] = ()) -> None:
    """Check what `package` needs, a package of ours that is being imported. It calls this first.

    `ours` are other packages of ours that it imports, `needs` some of the packages of others. Runs none of their code.
    Raises Surroundings where a file hides one of `ours`. While `python -m` is looking for a command, this ends the
    program with one line instead, and also for a Python that is too old or lacks `needs`. Then output is made steady.
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
    from vgdfr_commands.display import steady  # which an old Python cannot read

    steady()


def _command() -> str:
    """The module that follows -m in Python's command line; "" where it cannot be told."""
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
    what = "{} does not have the packages that this needs ({})".format(sys.executable, ", ".join(lacking))
    return f"{what}; {_how_to_enter(home)}"


def _how_to_enter(home: str) -> str:
    """What to do in a checkout, or else in an environment that the package was copied or installed into."""
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
    """Of `ours` the first that Python would import from elsewhere than `home`."""
    for name in ours:
        spec = find_spec(name)
        if spec is None:
            continue  # the import says so
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
