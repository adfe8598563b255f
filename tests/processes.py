"""Runs the project's commands as processes of their own, without the seconds that each would take to import torch.

The processes are forked from a server that has imported torch and diffusers (multiprocessing's forkserver). They have
their own environment, output and signals, and run the module as `python -m` does. Processes that they start are started
as usual.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from tempfile import mkdtemp

# Root may write everywhere. This drops the two capabilities that allow it (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH).
AS_ANY_USER = """
import ctypes, os
if os.geteuid() == 0:
    libc, head, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, sets) == 0
    sets[0] &= ~0b110
    assert libc.capset(head, sets) == 0
"""


# The modules of sweeps and reports. A sweep imports diffusers' models when it loads a model, which takes half of a
# small sweep's CPU seconds.
PRELOADED = [
    "bench.work.worker", "bench.work.sweep", "bench.plan.compose", "bench.plan.jobs", "bench.prefetch",
    "bench.store.upkeep", "vgdfr.backbones.hunyuan_backbone", "vgdfr.backbones.text", "vgdfr.conform.report",
    "analysis.paper",
]  # fmt: skip


@dataclass(frozen=True)
class Finished:
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Running:
    """A started command. Its output is in `folder`."""

    process: ForkServerProcess
    folder: Path

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait_for(self, text: str, timeout_s: float = 1800) -> None:
        """Waits until the command has printed `text` or has ended."""
        until = time.monotonic() + timeout_s
        while text not in self.stdout and self.poll() is None:
            assert time.monotonic() < until, self.stdout
            time.sleep(0.05)

    def wait(self, timeout_s: float = 1800) -> Finished:
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.process.kill()
        assert self.process.exitcode is not None, f"still running: {self.stdout}"
        return Finished(self.process.exitcode, self.stdout, (self.folder / "stderr").read_text())


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def start_server() -> None:
    """Starts the server now. A process has one server, and other code of ours may start one that has imported less."""
    _server()
    forkserver.ensure_running()


def start(module: str, *arguments: str, before: str = "", **environment: str) -> Running:
    """Starts `python -m module arguments`, or `python -c code arguments` for a module named -c.

    `environment` is added to this process's own environment. `before` is code that runs first.
    """
    parent = Path(os.environ["VGDFR_CACHE"]) / "commands"  # this cache belongs to the test run
    parent.mkdir(exist_ok=True)
    folder = Path(mkdtemp(dir=parent))
    for name in ("stdout", "stderr"):
        (folder / name).touch()
    values = (module, arguments, before, os.environ | environment, str(folder))
    process = _server().Process(target=_be, args=values)
    process.start()
    return Running(process, folder)


def run(module: str, *arguments: str, before: str = "", **environment: str) -> Finished:
    return start(module, *arguments, before=before, **environment).wait()


def _be(module: str, arguments: tuple[str, ...], before: str, environment: dict[str, str], folder: str) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout = open(1, "w", buffering=1, closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for part in environment.get("PYTHONPATH", "").split(os.pathsep):  # as Python does at its start
        if part and part not in sys.path:
            sys.path.insert(1, part)
        customize = os.path.join(part, "sitecustomize.py")
        if part and os.path.isfile(customize):
            exec(compile(Path(customize).read_text(), customize, "exec"), {"__name__": "sitecustomize"})
    gc.freeze()  # a collection passes over the objects of the imported modules
    exec(before, {})
    # the server has imported the module
    warnings.filterwarnings("ignore", rf"'{module}(\.__main__)?' found in sys.modules", RuntimeWarning)
    if module == "-c":
        code, *rest = arguments
        sys.argv = [module, *rest]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        return
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
