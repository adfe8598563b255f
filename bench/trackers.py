"""Trackers: where a study is shown beside its folder. W&B, or none.

A tracker is a sink. It is fed from records on disk, by a process of its own (`bench.track`), which a sweep starts now
and then and at its end: a slow network, a wrong key or a crash there never costs or delays a sample.
"""

import importlib.util
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.claims import claimed
from vgdfr_commands.start import called

EVERY_S = 300.0  # between two looks at a study whose sweep is running
WAIT_S = 60.0  # how long a sweep that is done waits for its tracker
PROBE_S, ANSWER_S = 20, 5  # for all that the probe asks the server, and for one answer
START_S = 180.0  # for the probe's process to start, which takes long where cores are busy
CLAIM = "tracking"  # of the process that tracks a study
FOLDER, LOG = "wandb", "track.log"  # in the study's folder
_beside: list[subprocess.Popen[bytes]] = []  # may outlive the sweep; Python warns of one that nothing refers to


@dataclass(frozen=True)
class NoTracker:
    """Records and scores on disk are all there is."""

    def check(self) -> None:
        pass


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases. `entity` None: the account's own. previews: "path" names preview.mp4, "upload" sends it."""

    project: str
    entity: str | None = None
    previews: str = "path"

    def check(self) -> None:
        """Raise ValueError for what would fail later."""
        if self.previews not in ("path", "upload"):
            raise ValueError(f"tracking.previews must be path or upload, got {self.previews!r}")
        if not self.project or "/" in self.project:
            raise ValueError(f"tracking.project must be a project's name, without its entity, got {self.project!r}")
        require("wandb")

    def arguments(self, study: Path) -> list[str]:
        """The command that shows `study`, without the Python that runs it."""
        entity = ["--entity", self.entity] if self.entity else []
        return ["-m", "bench.track", str(study), "--project", self.project, *entity, "--previews", self.previews]


def require(package: str) -> None:
    """Raise ValueError where the optional `package` is not installed. Does not import it."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"the package {package.replace('_', '-')} is missing; install it: pip install 'vgdfr[wandb]'")


@contextmanager
def tracked(
    study: Path, tracker: NoTracker | Wandb, every_s: float = EVERY_S, wait_s: float = WAIT_S
) -> Iterator[None]:
    """Within the block the study is shown every `every_s` seconds, and once more at its end, waiting `wait_s` at most.

    When the block raises, only the command that shows the study is said.
    """
    from bench.progress import say  # a process that only tracks has no display

    if isinstance(tracker, NoTracker):
        yield
        return
    command, log = tracker.arguments(study), study / FOLDER / LOG
    by_hand = " ".join([*called("bench.track"), *command[2:]])
    started: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    def start() -> None:
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as out:  # detached: Ctrl-C ends the sweep, not what is being written
                started.append(
                    subprocess.Popen(
                        [sys.executable, *command, "--background"],
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        except OSError as error:
            say(f"tracking did not start ({error}); by hand: {by_hand}")

    def now_and_then() -> None:
        while not over.wait(every_s):
            with claimed(study, CLAIM) as free:
                pass
            if free and all(process.poll() is not None for process in started):
                start()

    thread = threading.Thread(target=now_and_then, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        over.set()
        say(f"not shown by the tracker yet: what was finished last; by hand: {by_hand}")
        raise
    over.set()
    thread.join()
    before = len(started)
    start()
    if len(started) == before:
        return
    try:
        status = started[-1].wait(wait_s)
    except subprocess.TimeoutExpired:
        _beside.append(started[-1])
        say(f"tracking goes on beside this; its log: {log}")
        return
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = next((line for line in reversed(lines) if not _OF_WANDB.match(line)), "nothing")
    say(f"tracking: {said}" if status == 0 else f"tracking failed: {said}; log: {log}; by hand: {by_hand}")


_OF_WANDB = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")  # how lines of its own log begin

_PROBE = """
import signal, wandb
signal.alarm({})
viewer = wandb.Api(timeout={}).viewer
print(viewer.entity)
"""


def unreachable() -> str | None:
    """Why W&B's server cannot be used: no key, no network, no answer; None where it can.

    Asks in a process of its own, which ends when the server does not answer in time.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _PROBE.format(PROBE_S, ANSWER_S)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=START_S + PROBE_S,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {START_S + PROBE_S:.0f} s"
    if asked.returncode == -signal.SIGALRM:
        return f"no answer within {PROBE_S} s"
    if asked.returncode == 0:
        return None
    last = (asked.stderr.strip().splitlines() or [f"exit status {asked.returncode}"])[-1]
    return (last.partition("Error: ")[2] or last).rstrip(".")
