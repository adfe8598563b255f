"""FasterCache extrapolates the results of attention from the two results before."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from vgdfr.accelerator import Running
from vgdfr.accelerators.hooked import ATTENTION, HookedCache, Place
from vgdfr.accelerators.settings import check_count, check_range, checked_number


@dataclass(frozen=True)
class FasterCache(HookedCache):
    """FasterCache (arXiv 2410.19355) for models without classifier-free guidance, by diffusers' hooks.

    Within a range of timesteps, the attention of every block is computed in one step of `skip_range`. In the others its
    result is a + weight (a - b), with the last result a and the result before, b. The paper's second part, which skips
    the unconditional forward, has no use on a guidance-distilled model.

    skip_range: attention is computed in steps whose number is a multiple, at least 1. 1 skips nothing. The paper takes
        2.
    above, below: attention is skipped only at timesteps (1000 times the noise level) between these two. The defaults
        are diffusers' defaults, which were chosen for CogVideoX. A high flow shift leaves few steps between them.
    weight: the factor of the difference; 0 reuses the last result. 0.5 is diffusers' default. In the paper the weight
        grows along the trajectory.
    """

    skip_range: int
    above: int = -1
    below: int = 681
    weight: float | int = 0.5

    hook_names: ClassVar[tuple[str, ...]] = ("faster_cache_block",)
    has_one_state: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("skip_range", self.skip_range, 1)
        check_range("above", self.above, "below", self.below)
        object.__setattr__(self, "weight", checked_number("weight", self.weight, 0))

    def config(self, place: Place) -> Any:
        from diffusers import FasterCacheConfig

        return FasterCacheConfig(
            spatial_attention_block_skip_range=self.skip_range,
            spatial_attention_timestep_skip_range=(self.above, self.below),
            spatial_attention_block_identifiers=(ATTENTION,),
            attention_weight_callback=lambda _: self.weight,
            is_guidance_distilled=True,
            # diffusers' hook fails in a first pass within the range, as after a merge: it has nothing to reuse
            current_timestep_callback=lambda: math.inf if place.is_first else place.timestep,  # type: ignore[arg-type]
        )

    def begin_pass(self, hooks: Sequence[Any], config: Any, place: Place) -> None:
        """Lets diffusers' count of calls be the trajectory's step, also after a merge."""
        for hook in hooks:
            hook.state.iteration = place.step

    @contextmanager
    def applied(self, transformer: Any) -> Iterator[Running]:
        from diffusers.hooks.faster_cache import logger

        logger.addFilter(_not_the_announcement)  # each sample would print that FasterCache is experimental
        try:
            with super().applied(transformer) as running:
                yield running
        finally:
            logger.removeFilter(_not_the_announcement)


def _not_the_announcement(record: Any) -> bool:
    return "purely experimental" not in record.getMessage()
