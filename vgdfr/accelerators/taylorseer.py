"""TaylorSeer predicts the results of modules from their results in earlier steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from vgdfr.accelerators.hooked import ATTENTION, HookedCache, Place
from vgdfr.accelerators.settings import check_count
from vgdfr.accelerators.starting import start_states_at

Dtype = Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class TaylorSeer(HookedCache):
    """TaylorSeer (arXiv 2503.06923), by diffusers' hooks.

    One pass of each `cache_interval` is computed. In the others each attention module's result is the value of a Taylor
    polynomial, with finite differences of the computed results as derivatives.

    cache_interval: at least 1. 1 predicts nothing.
    disable_cache_before_step: the number of steps at the trajectory's start that are always computed, at least 1.
        After a merge at step k the differences are lost. Then the first max_order + 1 passes are computed, or as many
        as this setting if it is smaller. The pass after these is predicted and the next one begins an interval.
    max_order: the polynomial's order. 0 reuses the last result.
    factors_dtype: the precision of the stored differences.
    lite: predicts only the DiT's output projection and skips all blocks. It needs little memory and saves more work.
    """

    cache_interval: int
    disable_cache_before_step: int = 3
    max_order: int = 1
    factors_dtype: Dtype = "bfloat16"
    lite: bool = False

    hook_names: ClassVar[tuple[str, ...]] = ("taylorseer_cache",)

    def __post_init__(self) -> None:
        check_count("cache_interval", self.cache_interval, 1)
        check_count("disable_cache_before_step", self.disable_cache_before_step, 1)
        check_count("max_order", self.max_order, 0)
        if self.factors_dtype not in get_args(Dtype):
            known = ", ".join(get_args(Dtype))
            raise ValueError(
                f"factors_dtype (accelerator.factors_dtype) must be one of {known}, got {self.factors_dtype!r}"
            )
        if not isinstance(self.lite, bool):
            raise ValueError(f"lite (accelerator.lite) must be true or false, got {self.lite!r}")

    @property
    def family(self) -> str:
        return f"{self.title} lite" if self.lite else self.title

    def config(self, place: Place) -> Any:
        import torch
        from diffusers import TaylorSeerCacheConfig

        return TaylorSeerCacheConfig(
            cache_interval=self.cache_interval,
            disable_cache_before_step=self.disable_cache_before_step,
            max_order=self.max_order,
            taylor_factors_dtype=getattr(torch, self.factors_dtype),
            cache_identifiers=None if self.lite else [ATTENTION],
            use_lite_mode=self.lite,
        )

    def prepare(self, hooks: Sequence[Any], place: Place) -> None:
        """Lets diffusers' count of calls begin at the trajectory's step, which is k after a merge."""
        start_states_at(hooks, "current_step", lambda: place.step - 1)  # each call raises the count first

    def begin_pass(self, hooks: Sequence[Any], config: Any, place: Place) -> None:
        """Keeps the first passes after a reset computed, since a prediction needs earlier results."""
        if place.is_first:
            needed = min(self.disable_cache_before_step, self.max_order + 1)
            first = self.disable_cache_before_step if place.step == 0 else place.step + needed
            for hook in hooks:
                hook.disable_cache_before_step = max(self.disable_cache_before_step, first)
