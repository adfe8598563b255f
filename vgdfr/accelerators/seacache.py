"""SeaCache skips all blocks where the filtered latent has changed little since the last computed pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from torch import Tensor, nn

from vgdfr.accelerators.hooked import HookedCache, Place
from vgdfr.accelerators.settings import check_count, checked_number


@dataclass(frozen=True)
class SeaCache(HookedCache):
    """SeaCache (arXiv 2602.18993), by diffusers' hooks.

    A filter weakens the frequencies of the latent that are noise at its noise level. The filtered latent's relative L1
    change from step to step is summed, and all blocks are skipped while the sum stays below `threshold`.

    threshold: 0 or more. 0 skips nothing.
    residual_order: 0 adds the blocks' last residual, 1 extrapolates it from the last two.
    retention_steps: the number of steps at the trajectory's start that are always computed.
    cache_end_steps: the number of steps at the trajectory's end that are always computed.
    max_consecutive_cached: the largest number of passes in a row that are skipped; 0 sets no limit.
    power_exp: the exponent of a clean video's spectrum, above 0; 3 is diffusers' value for videos.
    """

    threshold: float | int
    residual_order: int = 1
    retention_steps: int = 1
    cache_end_steps: int = 1
    max_consecutive_cached: int = 2
    power_exp: float | int = 3.0

    hook_names: ClassVar[tuple[str, ...]] = ("sea_cache_leader_block", "sea_cache_block")
    skips_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("threshold", "power_exp"):
            object.__setattr__(self, name, checked_number(name, getattr(self, name), 0))
        for name in ("residual_order", "retention_steps", "cache_end_steps", "max_consecutive_cached"):
            check_count(name, getattr(self, name), 0)
        if self.residual_order > 1:
            raise ValueError(f"residual_order (accelerator.residual_order) must be 0 or 1, got {self.residual_order}")
        if self.power_exp == 0:
            raise ValueError("power_exp (accelerator.power_exp) must be above 0, got 0")

    def config(self, place: Place) -> Any:
        from diffusers import SeaCacheConfig

        return SeaCacheConfig(
            threshold=self.threshold,
            residual_order=self.residual_order,
            retention_steps=self.retention_steps,
            cache_end_steps=self.cache_end_steps,
            max_consecutive_cached=self.max_consecutive_cached,
            power_exp=self.power_exp,
            raw_vision_callback=_latents,
        )

    def prepare(self, hooks: Sequence[Any], place: Place) -> None:
        """Raises where diffusers would warn once and compute everything from then on."""
        hooks[0].shared_state.mark_fail_open = _refuse


def _latents(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Returns the latents of a call of the DiT, each [c, n, y, x]. HunyuanVideo has no such function in diffusers."""
    return list(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])


def _refuse(message: str) -> NoReturn:
    raise RuntimeError(f"SeaCache cannot decide, and diffusers would compute everything under its name: {message}")
