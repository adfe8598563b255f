"""Seconds per stage. The work of a GPU counts in the stage that started it."""

import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

K = TypeVar("K", bound=Hashable)


class Stopwatch:
    """Adds a block's wall time to `seconds["denoise"]`: `with watch.stage("denoise", seconds): ...`.

    The time of an inner stage is subtracted from the outer stage, so that every second counts once. On a GPU the device
    is synchronised at both ends, and `peak_bytes` is its peak memory since the watch was made. On a CPU it is None.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._inner_s: list[float] = []  # the time of the inner stages of each open stage
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def stage(self, name: K, seconds: dict[K, float]) -> Iterator[None]:
        self._synchronise()
        self._inner_s.append(0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._synchronise()
            elapsed_s = time.perf_counter() - start
            seconds[name] = seconds.get(name, 0.0) + elapsed_s - self._inner_s.pop()
            if self._inner_s:
                self._inner_s[-1] += elapsed_s

    @property
    def peak_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
