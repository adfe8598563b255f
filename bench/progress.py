"""How far a sweep is: a bar on a terminal, a plain line per sample elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

console = Console()


def say(line: str) -> None:
    """Print a line as it is: no markup, no wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class Sweep:
    """Counts samples of a sweep: `made`, `found` (stored before), `failed`; shows the current one and what remains."""

    def __init__(self, total: int, to_make: int) -> None:
        self.total = total
        self.to_make = to_make
        self.made = self.found = 0
        self.passes = self.passes_done = 0.0
        self.failed: list[str] = []
        self.stopped = ""  # why, if it could not go on
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

    def begin(self, name: str) -> None:
        self._bar.update(self._task, description=name)

    def end(self, name: str, outcome: str) -> None:
        """Count a sample as "made", "found" (also "timed") or "failed: why", and say so; of found ones nothing."""
        if outcome.startswith(("found", "timed")):
            self.found += 1
        elif outcome.startswith("failed"):
            self.failed.append(name)
        else:
            self.made += 1
        self._bar.update(self._task, completed=self.seen, remaining=self._remaining())
        if outcome.startswith("failed") or (outcome != "found" and not console.is_terminal):
            say(f"[{self.seen}/{self.total}] {', '.join(filter(None, (f'{name} {outcome}', self._remaining())))}")

    def count(self, passes: float, passes_done: float) -> None:
        """DiT passes of a sample made alone, and those made for it beside what others had left."""
        self.passes += passes
        self.passes_done += passes_done

    def close(self) -> str:
        """Stop the display; the sweep in one line."""
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
