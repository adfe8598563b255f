"""What samples of one prompt and seed have in common, computed once: noise, first steps, preview, equal schedules."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from vgdfr.stopwatch import Stopwatch
from vgdfr.video import VideoSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Something computed: its value, the seconds it took, its DiT passes (those on a shorter latent count for less)."""

    value: Any
    seconds: float
    passes: float


@dataclass
class Shared:
    """Parts of the samples of `spec` on one backbone, by what they depend on; each is computed by the first that asks.

    `stops` are the steps after which the baseline's trajectory is kept: the k of every sample to come, so that none has
    to go back. What is shared changes no pixel: a sample made of shared parts is the one made alone, bit for bit.
    """

    spec: VideoSpec
    stops: set[int] = field(default_factory=set)
    parts: dict[tuple[Hashable, ...], Part] = field(default_factory=dict)


class Account:
    """What one sample needs of the shared parts: their seconds, by stage, and DiT passes, whoever made them.

    `found` are the stages of which a part, at least, was made for another sample. `passes` are those the sample needs
    when made alone, `passes_done` those it had to make.
    """

    def __init__(self, shared: Shared, device: torch.device) -> None:
        self.watch = Stopwatch(device)
        self.found: set[str] = set()
        self.passes = self.passes_done = 0.0
        self._parts = shared.parts
        self._counted: set[Hashable] = set()

    def part(
        self, stage: str, key: tuple[Hashable, ...], compute: Callable[[], T], passes: float = 0.0, latest: bool = False
    ) -> T:
        """The part of this `key`, which must name all that decides it; its time counts in `stage`, once a sample.

        Of large ones only the `latest` of a kind (the key's first word) is kept.
        """
        if key not in self._parts:
            before = self.watch.seconds.get(stage, 0.0)
            with self.watch.stage(stage):
                value = compute()
            if latest:
                for other in [k for k in self._parts if k[0] == key[0]]:
                    del self._parts[other]
            self._parts[key] = Part(value, self.watch.seconds[stage] - before, passes)
            self.passes_done += passes
        elif key not in self._counted:
            self.watch.seconds[stage] = self.watch.seconds.get(stage, 0.0) + self._parts[key].seconds
            self.found.add(stage)
        if key not in self._counted:
            self.passes += self._parts[key].passes
            self._counted.add(key)
        return self._parts[key].value
