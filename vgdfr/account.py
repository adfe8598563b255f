"""The parts that samples of one prompt and seed share, and the cost of each sample: seconds, DiT passes and memory."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch

from vgdfr.passes import Pass, Passes, kind_of
from vgdfr.stopwatch import Stopwatch, Took
from vgdfr.video import VideoSpec

T = TypeVar("T")
Key = tuple[Hashable, ...]
AROUND_THE_LOOP = frozenset({"encode_prompt", "decode", "interpolate"})
# The paper's latency leaves these stages out. Every other stage counts, also one that only a method knows.
NEVER_LATENCY = AROUND_THE_LOOP | {"borrow_schedule"}


class Stage(NamedTuple):
    """An open stage and whether it was opened as latency."""

    name: str
    latency: bool = True


# a part's time outside the stages within it, which counts in the stage of the sample that asks for the part
_OUTSIDE_STAGES = Stage("")


class Entry(NamedTuple):
    """The time of one block. Blocks of one `kind` cost the same on one machine; None for a block of no kind."""

    stage: Stage
    kind: str | None
    took: Took


@dataclass
class Cost:
    """The cost of one piece of work.

    entries: the times of its blocks.
    needs: the parts that the work used, each with the stage that its time counts in.
    rise_bytes: the bytes by which the work raised a GPU's memory at most; 0 on a CPU.
    """

    entries: list[Entry] = field(default_factory=list)
    passes: Passes = field(default_factory=Counter)
    needs: list[tuple[Key, str]] = field(default_factory=list)
    rise_bytes: int = 0


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
    """Accounts for one sample: seconds, DiT passes and memory, whether computed now or reused.

    `resident_bytes` is the model's memory on a GPU, None on a CPU. `observed` holds the kind and the time of each block
    of a kind that was computed now, in order.
    """

    def __init__(self, shared: Shared, device: torch.device, resident_bytes: int | None) -> None:
        self.shared = shared
        self._resident_bytes = resident_bytes
        self.observed: list[tuple[str, Took]] = []
        self._watch = Stopwatch(device)
        self._open = [Cost()]  # the sample's own work, then the nested parts that are being computed
        self._stages: list[Stage] = []
        self._passing: Passes | None = None  # the passes of the open block of `passing`
        self._made: dict[Key, None] = {}
        self._done: Passes = Counter()

    def switch_to(self, shared: Shared, *keys: Key) -> None:
        """Switches the sample to the parts of `shared`, after copying the parts `keys` into it."""
        for key in keys:
            shared.values[key], shared.costs[key] = self.shared.values[key], self.shared.costs[key]
        self.shared = shared

    @contextmanager
    def sample(self) -> Iterator[None]:
        """Within the block the memory of the sample's own work is measured. May be entered several times."""
        with self._watch.memory(self._raised(self._open[0])):
            yield

    @contextmanager
    def stage(self, name: str, latency: bool = True, kind: str | None = None) -> Iterator[None]:
        """Adds the block's time to the stage `name` of the innermost open piece of work."""
        with self._timed(Stage(name, latency), kind):
            yield

    @contextmanager
    def passing(self, patched: str = "") -> Iterator[Passes]:
        """Times a block in which the DiT runs, and yields the histogram for its passes. Inner blocks belong to it.

        A step of a solver is such a block. It counts in the innermost open stage, or in "other". `patched` names the
        accelerators that are on: their own work takes time, too, so the passes are of another kind.
        """
        if self._passing is not None:
            yield self._passing
            return
        if not self._stages:
            with self.stage("other"), self.passing(patched) as passes:
                yield passes
            return
        cost, stage, passes = self._open[-1], self._stages[-1], Counter[Pass]()
        self._passing = passes
        try:
            with self._watch.brief(lambda took: self._add(cost, Entry(stage, kind_of(passes, patched), took))):
                yield passes
        finally:
            self._passing = None
        cost.passes.update(passes)

    def part(self, stage: str, key: Key, compute: Callable[[], T], latest: int = 0, kind: str | None = None) -> T:
        """Returns the part named `key`, computed by `compute` unless a sample has computed it before.

        `key` must name everything that decides the part. Its time counts in `stage`, once per sample. With `latest` n,
        this part replaces all parts that agree in the key's first n entries, because such parts are large. `kind` is
        the kind of the time outside of stages.
        """
        if key in self.shared.values:
            self._open[-1].needs.append((key, stage))
            return self.shared.values[key]
        cost = Cost()
        self._open.append(cost)
        try:
            with self._watch.memory(self._raised(cost)), self._timed(_OUTSIDE_STAGES, kind):
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

    @contextmanager
    def _timed(self, stage: Stage, kind: str | None) -> Iterator[None]:
        cost = self._open[-1]
        self._stages.append(stage)
        try:
            with self._watch.block(lambda took: self._add(cost, Entry(stage, kind, took))):
                yield
        finally:
            self._stages.pop()

    def _add(self, cost: Cost, entry: Entry) -> None:
        cost.entries.append(entry)
        if entry.kind is not None:
            self.observed.append((entry.kind, entry.took))

    @staticmethod
    def _raised(cost: Cost) -> Callable[[int], None]:
        def raised(rise_bytes: int) -> None:
            cost.rise_bytes = max(cost.rise_bytes, rise_bytes)

        return raised

    @property
    def done(self) -> Passes:
        """Returns the DiT passes that ran for this sample, without the passes of reused parts."""
        return self._open[0].passes + self._done

    def total(self) -> "Total":
        """Returns the cost of the sample when it is made alone.

        Raises ValueError if one stage was opened both as latency and with latency=False.
        """
        entries: list[Entry] = []
        passes: Passes = Counter()
        found: set[str] = set()
        seen: set[Key] = set()
        rises: list[int] = []

        def add(cost: Cost, own_stage: str, is_found: bool) -> None:
            for entry in cost.entries:
                name = entry.stage.name or own_stage
                latency = entry.stage.latency and name not in NEVER_LATENCY
                entries.append(entry._replace(stage=Stage(name, latency)))
                found.update({name} if is_found else ())
            passes.update(cost.passes)
            rises.append(cost.rise_bytes)
            for key, stage in cost.needs:
                if key not in seen:
                    seen.add(key)
                    add(self.shared.costs[key], stage, key not in self._made)

        add(self._open[0], "", False)
        peak_bytes = None if self._resident_bytes is None else self._resident_bytes + max(rises)
        return Total(tuple(entries), passes, frozenset(found), peak_bytes).checked()


class Total(NamedTuple):
    """The cost of a sample when it is made alone.

    entries: the times of all blocks.
    passes: the DiT's passes.
    found: stages with a part that another sample computed.
    peak_bytes: the model's memory on a GPU, and the largest rise of any part; None on a CPU. What a sample holds from
        earlier parts meanwhile, such as its preview, is left out.
    """

    entries: tuple[Entry, ...]
    passes: Passes
    found: frozenset[str]
    peak_bytes: int | None

    def checked(self) -> "Total":
        """Returns itself. Raises ValueError for a stage that was opened both as latency and with latency=False."""
        names = [stage.name for stage in {entry.stage for entry in self.entries}]
        if both := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the stage {both[0]} was opened as latency and with latency=False; give one another name")
        return self

    @property
    def seconds(self) -> dict[str, float]:
        """Returns wall seconds by stage."""
        seconds: dict[str, float] = {}
        for entry in self.entries:
            seconds[entry.stage.name] = seconds.get(entry.stage.name, 0.0) + entry.took.wall_s
        return seconds

    @property
    def outside_latency(self) -> frozenset[str]:
        """Returns the stages that do not count in the latency."""
        return frozenset(entry.stage.name for entry in self.entries if not entry.stage.latency)

    @property
    def timed(self) -> dict[str, tuple[int, Took]]:
        """Returns count and total time of each kind of block in the latency."""
        timed: dict[str, tuple[int, Took]] = {}
        for entry in self.entries:
            if entry.stage.latency and entry.kind is not None:
                count, took = timed.get(entry.kind, (0, None))
                timed[entry.kind] = count + 1, entry.took if took is None else took.plus(entry.took)
        return timed

    @property
    def unpooled(self) -> dict[str, Took]:
        """Returns the time of blocks of no kind in the latency, by stage."""
        unpooled: dict[str, Took] = {}
        for entry in self.entries:
            if entry.stage.latency and entry.kind is None:
                name, before = entry.stage.name, unpooled.get(entry.stage.name)
                unpooled[name] = entry.took if before is None else before.plus(entry.took)
        return unpooled


def passes_in(passes: Passes, full_shape: tuple[int, ...]) -> float:
    """Returns the number of forwards, in units of a forward on a latent of `full_shape`: frames, height and width.

    A forward on fewer tokens counts as its share of the full latent's tokens. A forward counts in full even if a cache
    skipped layers.
    """
    tokens = math.prod(full_shape)
    return sum((count * (p.forwards * p.frames * p.height * p.width / tokens) for p, count in passes.items()), 0.0)
