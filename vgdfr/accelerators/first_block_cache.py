"""First Block Cache skips the blocks after the first where the first block's residual has changed little."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from vgdfr.accelerators.hooked import HookedCache, Place
from vgdfr.accelerators.settings import checked_number


@dataclass(frozen=True)
class FirstBlockCache(HookedCache):
    """First Block Cache (chengzeyi/ParaAttention), by diffusers' hooks.

    The first block always runs. The other blocks are skipped, and their last residual is added, where the first block's
    residual differs from the one at the last whole pass by less than `threshold`, as a relative L1 distance.

    threshold: 0 or more. 0 skips nothing.
    """

    threshold: float | int

    hook_names: ClassVar[tuple[str, ...]] = ("fbc_leader_block_hook", "fbc_block_hook")
    skips_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", checked_number("threshold", self.threshold, 0))

    def config(self, place: Place) -> Any:
        from diffusers import FirstBlockCacheConfig

        return FirstBlockCacheConfig(threshold=self.threshold)

    def prepare(self, hooks: Sequence[Any], place: Place) -> None:
        """Replaces diffusers' comparison, which skips where the difference is NaN or, at threshold 0, exactly 0."""
        first = hooks[0]
        first._should_compute_remaining_blocks = partial(_must_compute, first)


def _must_compute(first: Any, residual: Tensor) -> bool:
    before = first.state_manager.get_state().head_block_residual
    if before is None:
        return True
    change = ((residual - before).abs().mean() / before.abs().mean()).item()
    return not change < first.threshold
