"""Pyramid Attention Broadcast reuses the results of attention in the steps where they change little."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from vgdfr.accelerators.hooked import ATTENTION, HookedCache, Place
from vgdfr.accelerators.settings import check_count, check_range


@dataclass(frozen=True)
class PyramidAttentionBroadcast(HookedCache):
    """Pyramid Attention Broadcast (PAB, arXiv 2408.12588), by diffusers' hooks.

    Within a range of timesteps, the attention of every block is computed in one step of `skip_range` and its result is
    used again in the others. HunyuanVideo has one kind of attention, over space, time and text, so that the pyramid has
    one level. Cross-attention of other models is computed in every step.

    skip_range: attention is computed in steps whose number is a multiple, at least 1. 1 skips nothing. diffusers and
        the paper take 2 for spatial attention.
    above, below: attention is skipped only at timesteps (1000 times the noise level) between these two. The defaults
        are diffusers' defaults, which were chosen for CogVideoX. A high flow shift leaves few steps between them.
    """

    skip_range: int
    above: int = 100
    below: int = 800

    hook_names: ClassVar[tuple[str, ...]] = ("pyramid_attention_broadcast",)
    has_one_state: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("skip_range", self.skip_range, 1)
        check_range("above", self.above, "below", self.below)

    @property
    def title(self) -> str:
        return "PAB"

    def config(self, place: Place) -> Any:
        from diffusers import PyramidAttentionBroadcastConfig

        return PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=self.skip_range,
            spatial_attention_timestep_skip_range=(self.above, self.below),
            spatial_attention_block_identifiers=(ATTENTION,),  # diffusers' own also match a text refiner's attention
            current_timestep_callback=lambda: place.timestep,  # type: ignore[arg-type]
        )

    def begin_pass(self, hooks: Sequence[Any], config: Any, place: Place) -> None:
        """Lets diffusers' count of calls be the trajectory's step, also after a merge."""
        for hook in hooks:
            hook.state.iteration = place.step
