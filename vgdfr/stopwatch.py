"""Seconds and peak memory of blocks of work. The work of a GPU counts in the block that started it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch


class Took(NamedTuple):
    """The seconds of a block: on the wall's clock, and of all CPU cores together. The latter is None on a GPU."""

    wall_s: float
    cpu_s: float | None

    def plus(self, other: "Took") -> "Took":
        """Returns the sum of both."""
        known = self.cpu_s is not None and other.cpu_s is not None
        return Took(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s if known else None)  # type: ignore[operator]

    def minus(self, other: "Took") -> "Took":
        """Returns this time without `other`."""
        known = self.cpu_s is not None and other.cpu_s is not None
        return Took(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s if known else None)  # type: ignore[operator]


Done = Callable[[Took], None]


class Stopwatch:
    """Times nested blocks. The time of inner blocks is subtracted from the outer block, so that it counts once.

    On a GPU `block` synchronises the device at both ends. `brief` does not: CUDA events measure the block, and its
    time is known at the end of the enclosing block. A CPU's cores are timed by the seconds of this process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._on_gpu = device.type == "cuda"
        self._inner: list[Took] = []  # the time of the inner blocks of each open block
        self._pending: list[tuple[torch.cuda.Event, torch.cuda.Event, Done]] = []
        self._peaks: list[int] = []  # the peak so far of each open block of `memory`

    @contextmanager
    def block(self, done: Done) -> Iterator[None]:
        """Calls `done` with the block's time when the block ends, also after an exception."""
        self._settle()
        self._inner.append(self._none())
        start = self._now()
        try:
            yield
        finally:
            self._settle()
            elapsed = self._now().minus(start)
            inner = self._inner.pop()
            if self._inner:
                self._inner[-1] = self._inner[-1].plus(elapsed)
            done(elapsed.minus(inner))

    @contextmanager
    def brief(self, done: Done) -> Iterator[None]:
        """Times a short block within an open `block`, without making the host wait for a GPU.

        Calls `done` at the end of the enclosing block, and not at all after an exception.
        """
        if self._on_gpu:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._pending.append((start, end, done))
            return
        began = self._now()
        yield
        took = self._now().minus(began)
        self._inner[-1] = self._inner[-1].plus(took)
        done(took)

    @contextmanager
    def memory(self, done: Callable[[int], None]) -> Iterator[None]:
        """Calls `done` with the bytes by which the block raised a GPU's memory at most. Does not call it on a CPU."""
        if not self._on_gpu:
            yield
            return
        self._keep_peak()
        before = torch.cuda.memory_allocated(self.device)
        self._peaks.append(before)
        try:
            yield
        finally:
            self._keep_peak()
            peak = self._peaks.pop()
            if self._peaks:
                self._peaks[-1] = max(self._peaks[-1], peak)
            done(peak - before)

    def _keep_peak(self) -> None:
        """Adds the peak since the last call to the innermost open block."""
        if self._peaks:
            self._peaks[-1] = max(self._peaks[-1], torch.cuda.max_memory_allocated(self.device))
        torch.cuda.reset_peak_memory_stats(self.device)

    def _settle(self) -> None:
        """Waits for the GPU, and tells the times of the brief blocks that have ended."""
        if not self._on_gpu:
            return
        torch.cuda.synchronize(self.device)
        pending, self._pending = self._pending, []
        for start, end, done in pending:
            took = Took(start.elapsed_time(end) / 1000, None)
            self._inner[-1] = self._inner[-1].plus(took)
            done(took)

    def _now(self) -> Took:
        return Took(time.perf_counter(), None if self._on_gpu else time.process_time())

    def _none(self) -> Took:
        return Took(0.0, None if self._on_gpu else 0.0)
