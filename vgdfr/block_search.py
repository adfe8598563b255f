"""The best blocks to merge, found by dynamic programming over the latent groups of a video."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, NamedTuple

Block = tuple[int, int]  # the first frame and the factor of frames that merge


class Found(NamedTuple):
    """Blocks from left to right, the least of their values, and the sum of their values."""

    least: float
    total: float
    blocks: tuple[Block, ...]

    def after(self, block: Block, value: float) -> "Found":
        return Found(min(value, self.least), value + self.total, (block, *self.blocks))


def best_blocks(
    values: Mapping[Block, float], group: int, step: int, most_saved: int, rank: Callable[[Found], Any]
) -> tuple[Block, ...]:
    """Returns the blocks with the greatest `rank` among those that save as many latent frames as possible.

    A block of factor f is f groups of `group` frames and saves f - 1 latent frames. At most `most_saved` are saved.
    `values` holds the value of each block that may merge, and its key is the block. Blocks start `step` frames apart
    from frame 1 on. The search is exact for a `rank` by `total`, and for one by `least`. With a second criterion for
    ties it need not find the best tie. Of equal results it takes the one that starts its blocks later. If both start
    alike, it takes the larger block.
    """
    best: dict[int, dict[int, Found]] = defaultdict(lambda: {0: Found(inf, 0.0, ())})  # by first frame and by saving
    last = max((start for start, _ in values), default=0)
    for at in range(last, 0, -step):
        options = [best[at + step]]
        for factor in sorted((factor for start, factor in values if start == at), reverse=True):
            block, rests = (at, factor), best[at + group * factor]
            options.append({saved + factor - 1: rest.after(block, values[block]) for saved, rest in rests.items()})
        best[at] = {
            saved: max((found[saved] for found in options if saved in found), key=rank)
            for saved in set().union(*options)
        }
    return best[1][max(saved for saved in best[1] if saved <= most_saved)].blocks
