"""The parts that samples of one prompt and seed share, and the cost of each sample: seconds and DiT passes."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch

from vgdfr.passes import Passes
from vgdfr.stopwatch import Stopwatch
from vgdfr.video import VideoSpec

T = TypeVar("T")
Key = tuple[Hashable, ...]
AROUND_THE_LOOP = frozenset({"encode_prompt", "decode", "interpolate"})
# The paper's latency leaves these stages out. Every other stage counts, also one that only a method knows.
NEVER_LATENCY = AROUND_THE_LOOP | {"borrow_schedule"}
# a part's seconds outside the stages within it, which count in the stage of the sample that asks for the part
_OUTSIDE_STAGES = ("", True)


@dataclass
class Cost:
    """The cost of one piece of work: seconds and DiT passes.

    seconds: by stage, and by whether the stage was opened as latency.
    needs: the parts that the work used, each with the stage that its seconds count in.
    """

    seconds: dict[tuple[str, bool], float] = field(default_factory=dict)
    passes: Passes = field(default_factory=Counter)
    needs: list[tuple[Key, str]] = field(default_factory=list)


@dataclass
class Shared:
    """Parts of the samples of `spec` on one backbone, by key. The first sample that asks for a part computes it.

    `stops` are the steps after which the baseline's trajectory is kept. Later samples branch off at these steps, and
    no sample has to repeat earlier steps. Sharing changes no pixel: a sample made from shared parts equals the sample
    made alone, bit for bit.
    """

    spec: VideoSpec
    stops: set[int] = field(default_factory=set)
    values: dict[Key, Any] = field(default_factory=dict)
    costs: dict[Key, Cost] = field(default_factory=dict)

    def clear(self) -> None:
        """Drops all parts and frees their memory. A sample that still needs a part computes it again."""
        self.values.clear()
        self.costs.clear()


class Account:
    """Accounts for one sample: seconds per stage and DiT passes, whether computed now or reused."""

    def __init__(self, shared: Shared, device: torch.device) -> None:
        self.shared = shared
        self.watch = Stopwatch(device)
        self._open = [Cost()]  # the sample's own work, then the nested parts that are being computed
        self._made: dict[Key, None] = {}
        self._done: Passes = Counter()

    def switch_to(self, shared: Shared, *keys: Key) -> None:
        """Switches the sample to the parts of `shared`, after copying the parts `keys` into it."""
        for key in keys:
            shared.values[key], shared.costs[key] = self.shared.values[key], self.shared.costs[key]
        self.shared = shared

    @contextmanager
    def stage(self, name: str, latency: bool = True) -> Iterator[None]:
        """Adds the block's time to the stage `name` of the innermost open piece of work."""
        with self.watch.stage((name, latency), self._open[-1].seconds):
            yield

    @property
    def counting(self) -> Passes:
        """Returns the histogram that counts a DiT pass made now."""
        return self._open[-1].passes

    def part(self, stage: str, key: Key, compute: Callable[[], T], latest: int = 0) -> T:
        """Returns the part named `key`, computed by `compute` unless a sample has computed it before.

        `key` must name everything that decides the part. Its time counts in `stage`, once per sample. With `latest` n,
        this part replaces all parts that agree in the key's first n entries, because such parts are large.
        """
        if key in self.shared.values:
            self._open[-1].needs.append((key, stage))
            return self.shared.values[key]
        cost = Cost()
        self._open.append(cost)
        try:
            with self.watch.stage(_OUTSIDE_STAGES, cost.seconds):
                value = compute()
        finally:
            self._open.pop()
        if latest:
            for other in [k for k in self.shared.values if k[:latest] == key[:latest]]:
                del self.shared.values[other]
        self.shared.values[key], self.shared.costs[key] = value, cost
        self._open[-1].needs.append((key, stage))
        self._made[key] = None
        self._done += cost.passes
        return value

    @property
    def done(self) -> Passes:
        """Returns the DiT passes that ran for this sample, without the passes of reused parts."""
        return self._open[0].passes + self._done

    def total(self) -> "Total":
        """Returns the cost of the sample when it is made alone.

        Raises ValueError if one stage was opened both as latency and with latency=False.
        """
        seconds: dict[str, float] = {}
        as_latency: dict[str, set[bool]] = {}
        passes: Passes = Counter()
        found: set[str] = set()
        seen: set[Key] = set()

        def add(cost: Cost, own_stage: str, is_found: bool) -> None:
            for (name, latency), s in cost.seconds.items():
                stage = name or own_stage
                seconds[stage] = seconds.get(stage, 0.0) + s
                as_latency.setdefault(stage, set()).add(latency and stage not in NEVER_LATENCY)
                found.update({stage} if is_found else ())
            passes.update(cost.passes)
            for key, stage in cost.needs:
                if key not in seen:
                    seen.add(key)
                    add(self.shared.costs[key], stage, key not in self._made)

        add(self._open[0], "", False)
        if both := [stage for stage, ways in as_latency.items() if len(ways) > 1]:
            raise ValueError(f"the stage {both[0]} was opened as latency and with latency=False; give one another name")
        outside = frozenset(stage for stage, ways in as_latency.items() if ways == {False})
        return Total(seconds, passes, frozenset(found), outside)


class Total(NamedTuple):
    """The cost of a sample when it is made alone.

    seconds: seconds by stage.
    passes: the DiT's passes.
    found: stages with a part that another sample computed.
    outside_latency: stages that do not count in the latency.
    """

    seconds: dict[str, float]
    passes: Passes
    found: frozenset[str]
    outside_latency: frozenset[str]


def passes_in(passes: Passes, full_shape: tuple[int, ...]) -> float:
    """Returns the number of forwards, in units of a forward on a latent of `full_shape`: frames, height and width.

    A forward on fewer tokens counts as its share of the full latent's tokens. A forward counts in full even if a cache
    skipped layers.
    """
    tokens = math.prod(full_shape)
    return sum((count * (p.forwards * p.frames * p.height * p.width / tokens) for p, count in passes.items()), 0.0)
