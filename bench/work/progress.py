"""Shows how far a sweep is: a bar on a terminal, a plain line per sample elsewhere."""

import time
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.work.outcome import Outcome

console = Console()
_FAILED = {"make": "failed", "score": "failed to be scored", "time": "failed to be timed alone"}


_logs: list[TextIO] = []


def say(line: str) -> None:
    """Prints a line as it is, without markup and wrapping, and writes it into the log of the run."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    for log in _logs:
        with suppress(OSError):  # a full disk ends a sweep where a sample is stored
            print(f"{datetime.now().isoformat(timespec='seconds')} {line}", file=log, flush=True)


@contextmanager
def logged(file: Path) -> Iterator[None]:
    """Also writes into `file` what is said in the block, each line with its time."""
    with file.open("a", encoding="utf-8", errors="backslashreplace") as log:
        _logs.append(log)
        try:
            yield
        finally:
            _logs.remove(log)


def text_of(outcome: Outcome, same_as: str | None = None) -> str:
    """Returns an outcome as text for people; this is the only place that does.

    `same_as` names an earlier sample of the unit with the same frames, out of the same computation, or with the same
    failure. The text then refers to that sample.
    """
    if outcome.kind == "passed over":
        why = f"as {same_as}" if same_as else "a worker of this launch died at its unit"
        return f"failed: passed over, {why}"
    if outcome.kind == "failed":
        why = f"as {same_as}" if same_as else outcome.reason
        unrecorded = f"; the failure cannot be recorded: {outcome.unrecorded}" if outcome.unrecorded else ""
        return f"{_FAILED[outcome.step]}: {why}{unrecorded}"
    text: str = outcome.kind
    if outcome.kind == "made":
        ratio = "" if outcome.token_ratio is None else f", token ratio {outcome.token_ratio:.2f}"
        result = f"{outcome.seconds:.1f} s{ratio}"
        text += f": same video as {same_as}" if same_as else f": {result}"
        text += f"; {outcome.note}" if outcome.note else ""
    return text if outcome.alone_s is None else f"{text}; alone {outcome.alone_s:.2f} s"


def _fact(outcome: Outcome) -> Hashable:
    """Returns what one computation has decided for all samples that share it, or None for a sample's own outcome."""
    if outcome.has_failed:
        return outcome.kind, outcome.step, outcome.reason
    return outcome.frames_sha256 if outcome.kind == "made" else None


class Sweep:
    """Counts a sweep's samples, and shows the current sample and the remaining time.

    made, found: the number of samples by outcome. A sample that was stored before and is timed now counts as found.
    failed: the names of failed samples.
    stopped: why the sweep could not go on; empty if it could.
    unscored: the number of samples without a score, by metric and reason.
    """

    def __init__(self, total: int, to_make: int) -> None:
        self.total = total
        self.to_make = to_make
        self.made = self.found = 0
        self.passes = self.passes_done = 0.0
        self.failed: list[str] = []
        self.stopped = ""
        self.unscored: Counter[tuple[str, str]] = Counter()
        self._told: dict[Hashable, str] = {}  # facts of this unit, each with the condition whose line has told it
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[remaining]}"), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=total, remaining="")
        self._bar.start()

    @property
    def seen(self) -> int:
        return self.made + self.found + len(self.failed)

    def begin_unit(self) -> None:
        """Starts a unit. Samples of one unit share computations, and a line tells each of them once."""
        self._told.clear()

    def begin(self, condition: str, prompt: str, doing: str = "") -> None:
        """Shows the sample that is being made, or the other thing that the worker is `doing` with it."""
        self._bar.update(self._task, description=f"{condition} {prompt} {doing}".strip())

    def end(self, condition: str, prompt: str, outcome: Outcome) -> None:
        """Counts a sample and prints its outcome. Of a found sample it prints nothing."""
        self.unscored.update(outcome.unscored)
        if outcome.has_failed:
            self.failed.append(f"{condition} {prompt}")
        elif outcome.kind == "made":
            self.made += 1
            self.passes += outcome.passes
            self.passes_done += outcome.passes_done
        else:
            self.found += 1
        self._bar.update(self._task, completed=self.seen, remaining=self._remaining())
        text = text_of(outcome, self._same_as(condition, outcome))
        if outcome.has_failed or outcome.note or (outcome.kind != "found" and not console.is_terminal):
            line = f"[{self.seen}/{self.total}] {condition} {prompt} {text}"
            say(", ".join(filter(None, (line, self._remaining()))))

    def _same_as(self, condition: str, outcome: Outcome) -> str | None:
        """Returns the condition whose line told of the same computation, or notes that this line tells of it."""
        fact = _fact(outcome)
        if fact is None:
            return None
        if fact in self._told and not outcome.passes_done:
            return self._told[fact]
        self._told.setdefault(fact, condition)
        return None

    def close(self) -> str:
        """Stops the display. Returns the sweep's counts in one line."""
        self._bar.stop()
        seconds = time.monotonic() - self._began
        counts = f"{self.made} made, {self.found} found, {len(self.failed)} failed"
        line = f"{counts} of {self.total} samples in {seconds:.0f} s"
        if self.passes_done and self.passes > self.passes_done:
            times = self.passes / self.passes_done
            line += f"; {self.passes_done:.0f} DiT passes instead of {self.passes:.0f}, {times:.2f} times fewer"
        return line

    def _remaining(self) -> str:
        tried = self.made + len(self.failed)
        if not tried or tried >= self.to_make:
            return ""
        seconds = (time.monotonic() - self._began) / tried * (self.to_make - tried)
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
