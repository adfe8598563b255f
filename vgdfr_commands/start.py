"""How a command starts and ends, as `python -m bench.sweep` or as the console script `vgdfr-sweep`."""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from vgdfr_commands.display import steady
from vgdfr_commands.surroundings import SCRIPTS, Surroundings

INTERRUPTED = 130  # the exit status after Ctrl-C, as shells have it

_script: str | None = None  # the console script's module, in a process that is one


def run(command: Callable[[], int | str | None]) -> NoReturn:
    """End the program with what `command` returns: an exit status, or a message as sys.exit takes it.

    Printing cannot fail in it, see `steady`. ValueError and OSError become one line, "error: ...", and exit status 1.
    """
    steady()
    if sys.flags.safe_path:  # python -P; processes that this one starts shall not look in the current folder either
        os.environ["PYTHONSAFEPATH"] = "1"
    try:
        status = command()
    except (ValueError, OSError) as error:
        status = f"error: {error}"
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def run_script(module: str) -> NoReturn:
    """Run the function `command` of a module of this project, as its console script."""
    global _script
    _script = module
    steady()
    os.environ["PYTHONSAFEPATH"] = "1"  # Python's; workers, trackers and a cluster's tasks start with python -m
    try:
        command = import_module(module).command
    except Surroundings as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run(command)


def called(module: str) -> list[str]:
    """The words that run a module: those of its console script in a process that is one, else of `python -m`."""
    module = module.removesuffix(".__main__")
    if _script is not None and module in SCRIPTS:
        return [SCRIPTS[module]]
    return ["python", "-m", module]


def running() -> str | None:
    """The module that this process runs as a command; None in a process that was started otherwise."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return _script or (spec.name if spec else None)


def outlive_terminal() -> None:
    """Go on when the terminal is closed or its connection breaks, which would end the program otherwise."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
