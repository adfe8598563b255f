"""The start and the end of a command, run as `python -m bench.sweep` or as the console script `vgdfr-sweep`."""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from vgdfr_commands.display import steady
from vgdfr_commands.surroundings import SCRIPTS, Surroundings

INTERRUPTED = 130  # the exit status after Ctrl-C, as shells have it

_script: str | None = None  # the module of the console script that this process runs


def run(command: Callable[[], int | str | None]) -> NoReturn:
    """Runs `command` and ends the program with its result: an exit status, or a message as `sys.exit` takes it.

    `steady` makes printing safe. ValueError and OSError become one line, "error: ...", and exit status 1.
    """
    steady()
    if sys.flags.safe_path:  # python -P: child processes must not look into the current folder either
        os.environ["PYTHONSAFEPATH"] = "1"
    try:
        status = command()
    except (ValueError, OSError) as error:
        status = f"error: {error}"
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def run_script(module: str) -> NoReturn:
    """Runs the function `command` of a module of this project as its console script, and ends the program."""
    global _script
    _script = module
    steady()
    os.environ["PYTHONSAFEPATH"] = "1"  # for workers, trackers and a cluster's tasks, which start with python -m
    try:
        command = import_module(module).command
    except Surroundings as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run(command)


def called(module: str) -> list[str]:
    """Returns the command that runs a module: its console script if this process runs one, or else `python -m`."""
    module = module.removesuffix(".__main__")
    if _script is not None and module in SCRIPTS:
        return [SCRIPTS[module]]
    return ["python", "-m", module]


def running() -> str | None:
    """Returns the module that this process runs as a command, or None if the process was started in another way."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return _script or (spec.name if spec else None)


def outlive_terminal() -> None:
    """Lets the program continue when the terminal is closed or its connection breaks, which would otherwise end it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
