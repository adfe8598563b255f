"""The count of DiT passes: how often the DiT runs, on which latent size, and which share of its layers.

Leaf modules are counted, since a cache replaces larger modules. A cache may skip attention inside a block that runs, a
whole block, or the transformer's forward. PyTorch calls a module's hooks even if its forward was replaced.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:  # records are read without PyTorch
    from torch import nn

Kind = Literal["attention", "feed_forward"]
DIGITS = 6


class Pass(NamedTuple):
    """One evaluation of the velocity on a latent of `frames` x `height` x `width`.

    forwards: forward passes of the DiT; 2 with classifier-free guidance, in two calls or in one batch of two.
    attention, feed_forward: the share of these layers' work that was computed per forward, rounded to 6 digits. 1 is
        all of the work; layers that run repeatedly give more than 1.
    """

    frames: int
    height: int
    width: int
    forwards: int
    attention: float
    feed_forward: float


Passes = Counter[Pass]


def kind_of(passes: Passes, patched: str = "") -> str | None:
    """Returns the kind of a block with these passes, for its price; None without a pass.

    Blocks of equal kind take equally long on one machine. Examples: "dit 9x8x8" is one whole forward on 9 latent frames
    of 8 x 8. "dit 9x8x8 x2 0.10 0.25 with SkipCalls" is one pass of two forwards, in which a tenth of the attention
    layers and a quarter of the feed-forward layers were computed, with an accelerator named by `patched`. Several
    passes are joined by " + ".
    """
    each = [f"{f'{count} ' if count > 1 else ''}{_kind(made)}" for made, count in sorted(passes.items())]
    return " + ".join(each) + (f" with {patched}" if patched else "") if each else None


def kinds_of_rows(rows: Iterable[Sequence[int | float]]) -> dict[str, int]:
    """Returns the number of passes of each kind in a histogram of `to_rows`."""
    return {kind_of(Counter([made])) or "": int(count) for made, count in from_rows(rows).items()}


def _kind(made: Pass) -> str:
    forwards = f" x{made.forwards}" if made.forwards != 1 else ""
    is_whole = made.attention == made.feed_forward == 1
    share = "" if is_whole else f" {made.attention:.2f} {made.feed_forward:.2f}"
    return f"dit {made.frames}x{made.height}x{made.width}{forwards}{share}"


def to_rows(passes: Passes) -> list[list[int | float]]:
    """Returns the record's histogram: [frames, height, width, forwards, attention, feed_forward, count], sorted."""
    return sorted([*one, count] for one, count in passes.items())


def from_rows(rows: Iterable[Sequence[int | float]]) -> Passes:
    """Returns the histogram that `to_rows` wrote. Raises ValueError for a row of another length."""
    passes: Passes = Counter()
    for row in rows:
        names = (*Pass._fields, "count")
        if len(row) != len(names):
            raise ValueError(f"a row of passes must be [{', '.join(names)}], got {list(row)}")
        passes[Pass(*row[:-1])] += row[-1]  # type: ignore[arg-type]
    return passes


@dataclass(frozen=True, eq=False)
class Leaf:
    """A module of a DiT block that sees every image token once per forward, as rows of its first argument.

    kind: the kind of layer that the module stands for.
    sees_text: whether the rows include the prompt's tokens.
    """

    module: "nn.Module"
    kind: Kind
    sees_text: bool


@dataclass(eq=False)
class _Tally:
    text_tokens: int
    forwards: int = 0
    rows: Counter[str] = field(default_factory=Counter)


class PassCounter:
    """Puts counting hooks on a DiT and its leaves, once. They count within `counting` and are idle outside.

    `leaves` holds one leaf per layer and kind. The share of a kind without leaves is 1 in every pass that runs the DiT;
    a compiled DiT has no leaves, since its blocks take no counting hooks. `patch` is the number of latent frames, rows
    and columns of a token.
    """

    def __init__(self, transformer: "nn.Module", leaves: Sequence[Leaf], patch: tuple[int, int, int]) -> None:
        self.patch = patch
        self._num_leaves = Counter(leaf.kind for leaf in leaves)
        self._tally: _Tally | None = None
        self._guarded = False
        transformer.register_forward_pre_hook(self._count_forward, with_kwargs=True)
        for leaf in leaves:
            leaf.module.register_forward_pre_hook(partial(self._count_rows, leaf))

    @contextmanager
    def counting(self, x_shape: Sequence[int], text_tokens: int, into: Passes) -> Iterator[None]:
        """Counts the block as one evaluation of the velocity, and adds its `Pass` to `into` when the block ends.

        `x_shape` is the latent's shape, [..., frames, height, width]. `text_tokens` is the number of prompt tokens that
        the DiT sees. A block that raises adds nothing. Raises RuntimeError inside another such block.
        """
        if self._tally is not None:
            raise RuntimeError("counting does not nest: count each evaluation of the velocity once, where it is called")
        self._tally = tally = _Tally(text_tokens)
        try:
            yield
        finally:
            self._tally = None
        into[self._pass(x_shape, tally)] += 1

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Within the block a forward of the DiT outside `counting` raises RuntimeError: it would cost nothing."""
        self._guarded = True
        try:
            yield
        finally:
            self._guarded = False

    def _uncounted(self) -> None:
        if self._guarded:
            raise RuntimeError("the DiT was called past the counter; a method calls it by run.velocity or run.solve")

    def _pass(self, x_shape: Sequence[int], tally: _Tally) -> Pass:
        frames, height, width = x_shape[-3:]
        # a caller may run layers without calling the DiT; their work counts as one forward
        forwards = tally.forwards or int(any(tally.rows.values()))
        tokens = (frames // self.patch[0]) * (height // self.patch[1]) * (width // self.patch[2])
        shares = []
        for kind in get_args(Kind):
            plain = self._num_leaves[kind] * tokens * forwards
            shares.append(round(tally.rows[kind] / plain, DIGITS) if plain else float(forwards > 0))
        return Pass(frames, height, width, forwards, *shares)

    def _count_forward(self, _: "nn.Module", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._tally is None:
            self._uncounted()
        else:
            latent = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            self._tally.forwards += latent.shape[0]

    def _count_rows(self, leaf: Leaf, _: "nn.Module", args: tuple[Any, ...]) -> None:
        if self._tally is None:
            self._uncounted()
        else:
            *batch, rows, _ = args[0].shape
            text = self._tally.text_tokens if leaf.sees_text else 0
            for size in batch:
                rows, text = rows * size, text * size
            self._tally.rows[leaf.kind] += max(rows - text, 0)  # a cache may pass a subset of tokens without text
