"""The project's commands as processes of their own, without the seconds that each would take to import torch.

They are forked from a server that has imported it (multiprocessing's forkserver), with their own environment, output
and signals, and run the module as `python -m` does. What they start themselves is started as always.
"""

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

# root may write everywhere; without these two capabilities (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH) it may not
AS_ANY_USER = """
import ctypes, os
if os.geteuid() == 0:
    libc, head, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, sets) == 0
    sets[0] &= ~0b110
    assert libc.capset(head, sets) == 0
"""


@dataclass(frozen=True)
class Finished:
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Running:
    """A command that was started; its output lies in `folder`."""

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
        """Until it has printed `text`, or ended."""
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
    context.set_forkserver_preload(["bench.run", "bench.plan", "bench.prefetch", "bench.upkeep"])
    return context


def start_server() -> None:
    """Starts the server now. A process has one, and other code of ours may start one that has imported less."""
    _server()
    forkserver.ensure_running()


def start(module: str, *arguments: str, before: str = "", **environment: str) -> Running:
    """Starts `python -m module arguments`, or `python -c code arguments` for a module that is called -c.

    `environment` is added to this process's own. `before` is code that runs first.
    """
    parent = Path(os.environ["VGDFR_CACHE"]) / "commands"  # which is the test run's own
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
    for part in environment.get("PYTHONPATH", "").split(os.pathsep):  # as Python does it when it starts
        customize = os.path.join(part, "sitecustomize.py")
        if part and os.path.isfile(customize):
            exec(compile(Path(customize).read_text(), customize, "exec"), {"__name__": "sitecustomize"})
    exec(before, {})
    warnings.filterwarnings("ignore", f"'{module}' found in sys.modules", RuntimeWarning)  # imported by the server
    if module == "-c":
        code, *rest = arguments
        sys.argv = [module, *rest]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        return
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
