"""Lets a process start Python programs as forks of itself, without the seconds in which each would import torch.

A launcher starts its workers with `subprocess.Popen`. In a process that has run `HERE`, such a program is forked
instead of started: it has its own process id, environment, output and signals, and runs the module as `python -m` does.
It also keeps what the process has imported, and what its sitecustomize did.
"""

import gc
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

# Code for `before` of `processes.start`: it holds for the started process and for all that it forks.
HERE = "import subprocess, forking; subprocess.Popen = forking.Forking"
_PROGRAM = re.compile(
    rf"(?:taskset\0-c\0([\d,]+)\0)?{re.escape(sys.executable)}\0(?:-u\0)?-m\0([\w.]+)(?:\0(.*))?", re.S
)


class Forking(subprocess.Popen):
    """Forks this process for `[taskset -c CORES] PYTHON [-u] -m MODULE ...`. Starts other commands as usual."""

    def __init__(self, args: str | Sequence[str], **options: Any) -> None:
        found = None if isinstance(args, str) else _PROGRAM.fullmatch("\0".join(args))
        if found:
            cores, module, words = found.groups()
            arguments = words.split("\0") if words is not None else []
            environment = dict(os.environ if options.get("env") is None else options["env"])
            options["preexec_fn"] = partial(_run, cores, module, arguments, environment)
        super().__init__(args, **options)


def _run(cores: str | None, module: str, arguments: list[str], environment: dict[str, str]) -> None:
    """Runs `module` in the forked process and ends the process. Popen's own steps come before: pipes, session, folder.

    The open files of the process that forked are closed here: a pipe ends when its last writer has gone. Their numbers
    stay taken, because objects of that process still hold them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor != nothing:
            try:
                os.dup2(nothing, descriptor)
            except OSError:  # the descriptor of the listing itself
                pass
    status = 1
    try:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if cores is not None:
            os.sched_setaffinity(0, map(int, cores.split(",")))
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin = open(0, closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        sys.argv = [module, *arguments]
        gc.freeze()
        gc.enable()  # subprocess turns it off before a fork
        warnings.filterwarnings("ignore", rf"'{module}(\.__main__)?' found in sys.modules", RuntimeWarning)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python does at its end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
