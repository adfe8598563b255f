"""Trackers show a study outside its folder: Weights & Biases, or none.

A tracker reads finished records from disk, in a process of its own (`analysis.publish.track`). A sweep starts this
process now and then, and at its end. A slow network, a wrong key or a crash there never costs or delays a sample.
"""

import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.claims import claimed
from vgdfr_commands.start import called

EVERY_S = 300.0  # the time between two publications while a sweep is running
WAIT_S = 60.0  # a finished sweep waits so long for the last publication
CLAIM = "tracking"  # the claim of the process that publishes a study
FOLDER, LOG = "wandb", "track.log"  # in the study's folder
PUBLISHER = "analysis.publish.track"  # started by its name, because this package must not import `analysis`
_WANDB_LOG_LINE = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
# Publishers that may outlive the sweep. Python warns of a running process to which nothing refers.
_left_running: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class NoTracker:
    """Records and scores on disk are the only result."""

    def check(self) -> None:
        pass


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases.

    entity: the owner of the project; None for the account's own.
    previews: "path" names each sample's preview.mp4, "upload" sends it.
    """

    project: str
    entity: str | None = None
    previews: str = "path"

    def check(self) -> None:
        """Raises ValueError for settings that would fail later, and if wandb is not installed."""
        if self.previews not in ("path", "upload"):
            raise ValueError(f"tracking.previews must be path or upload, got {self.previews!r}")
        if not self.project or "/" in self.project:
            raise ValueError(f"tracking.project must be a project's name, without its entity, got {self.project!r}")
        require("wandb")

    def arguments(self, study: Path) -> list[str]:
        """Returns the arguments of the command that publishes `study`."""
        entity = ["--entity", self.entity] if self.entity else []
        return [str(study), "--project", self.project, *entity, "--previews", self.previews]


def require(package: str) -> None:
    """Raises ValueError if the optional `package` is not installed. Does not import it."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"the package {package.replace('_', '-')} is missing; install it: pip install 'vgdfr[wandb]'")


@contextmanager
def publishing(
    study: Path, tracker: NoTracker | Wandb, every_s: float = EVERY_S, wait_s: float = WAIT_S
) -> Iterator[None]:
    """Publishes the study every `every_s` seconds within the block, and once more at its end.

    Waits for the last publication for `wait_s` at most. If the block raises, this only prints the command that
    publishes the study.
    """
    from bench.progress import say  # a process that only publishes has no display

    if isinstance(tracker, NoTracker):
        yield
        return
    by_hand = " ".join([*called(PUBLISHER), *tracker.arguments(study)])
    started: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    def start() -> bool:
        try:
            started.append(_publisher(study, tracker))
            return True
        except OSError as error:
            say(f"tracking did not start ({error}); by hand: {by_hand}")
            return False

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
        say(f"the tracker does not show the last samples yet; by hand: {by_hand}")
        raise
    over.set()
    thread.join()
    if start():
        say(_outcome(started[-1], study / FOLDER / LOG, wait_s, by_hand))


def _publisher(study: Path, tracker: Wandb) -> subprocess.Popen[bytes]:
    """Returns a process that publishes the study. It is detached: Ctrl-C ends the sweep and not the publication."""
    log = study / FOLDER / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", PUBLISHER, *tracker.arguments(study), "--background"]
    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def _outcome(publisher: subprocess.Popen[bytes], log: Path, wait_s: float, by_hand: str) -> str:
    """Waits for `publisher`, and returns a line with its last message, or one that it is still running."""
    try:
        status = publisher.wait(wait_s)
    except subprocess.TimeoutExpired:
        _left_running.append(publisher)
        return f"tracking goes on in the background; its log: {log}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = next((line for line in reversed(lines) if not _WANDB_LOG_LINE.match(line)), "no message")
    return f"tracking: {last}" if status == 0 else f"tracking failed: {last}; log: {log}; by hand: {by_hand}"
