"""Trackers show a study outside its folder: Weights & Biases, or none.

A tracker reads finished records from disk, in a process of its own (`analysis.publish.track`). A sweep starts this
process now and then, and at its end. A slow network, a wrong key or a crash there never costs or delays a sample.
"""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.plan.job import NoTracker, Wandb
from bench.store.claims import claimed
from vgdfr_commands.start import called

EVERY_S = 300.0  # the time between two publications while a sweep is running
WAIT_S = 60.0  # a finished sweep waits so long for the last publication
CLAIM = "tracking"  # the claim of the process that publishes a study
FOLDER, LOG = "wandb", "track.log"  # in the study's folder
PUBLISHER = "analysis.publish.track"  # started by its name, because this package must not import `analysis`
_WANDB_LOG_LINE = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
# Publishers that may outlive the sweep. Python warns of a running process to which nothing refers.
_left_running: list[subprocess.Popen[bytes]] = []


@contextmanager
def publishing(
    study: Path, tracker: NoTracker | Wandb, every_s: float = EVERY_S, wait_s: float = WAIT_S
) -> Iterator[None]:
    """Publishes the study every `every_s` seconds within the block, and once more at its end.

    Waits for the last publication for `wait_s` at most. If the block raises, this only prints the command that
    publishes the study.
    """
    from bench.work.progress import say  # a process that only publishes has no display

    if isinstance(tracker, NoTracker):
        yield
        return
    publications = _Publications(study, tracker, say)
    over = threading.Event()

    def now_and_then() -> None:
        while not over.wait(every_s):
            publications.start_unless_one_runs()

    thread = threading.Thread(target=now_and_then, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        over.set()
        say(f"the tracker does not show the last samples yet; by hand: {publications.by_hand}")
        raise
    over.set()
    thread.join()
    if publications.start():
        say(publications.outcome_of_last(wait_s))


class _Publications:
    """The processes that publish a study, one after the other. `by_hand` is the command that does it, too."""

    def __init__(self, study: Path, tracker: Wandb, say: Callable[[str], None]) -> None:
        self.study, self.tracker, self.say = study, tracker, say
        self.by_hand = " ".join([*called(PUBLISHER), *tracker.arguments(study)])
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self) -> bool:
        """Starts a process. Returns whether it started, and prints the reason if it did not."""
        try:
            self._started.append(_publisher(self.study, self.tracker))
            return True
        except OSError as error:
            self.say(f"tracking did not start ({error}); by hand: {self.by_hand}")
            return False

    def start_unless_one_runs(self) -> None:
        """Starts a process, unless another process publishes the study now, here or on another machine."""
        with claimed(self.study, CLAIM) as free:
            pass
        if free and all(process.poll() is not None for process in self._started):
            self.start()

    def outcome_of_last(self, wait_s: float) -> str:
        """Waits for the last process, and returns a line with its last message, or one that it is still running."""
        publisher, log = self._started[-1], self.study / FOLDER / LOG
        try:
            status = publisher.wait(wait_s)
        except subprocess.TimeoutExpired:
            _left_running.append(publisher)
            return f"tracking goes on in the background; its log: {log}"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = next((line for line in reversed(lines) if not _WANDB_LOG_LINE.match(line)), "no message")
        return f"tracking: {last}" if status == 0 else f"tracking failed: {last}; log: {log}; by hand: {self.by_hand}"


def _publisher(study: Path, tracker: Wandb) -> subprocess.Popen[bytes]:
    """Returns a process that publishes the study. It is detached: Ctrl-C ends the sweep and not the publication."""
    log = study / FOLDER / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", PUBLISHER, *tracker.arguments(study), "--background"]
    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
