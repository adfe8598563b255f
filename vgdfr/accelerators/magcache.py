"""MagCache skips all blocks where the known ratios of successive residuals promise a small error."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vgdfr.accelerator import HasWeights
from vgdfr.accelerators.calibration import are_numbers, calibration_for, check_shift, word_of
from vgdfr.accelerators.hooked import HookedCache, Place
from vgdfr.accelerators.settings import check_count, checked_number
from vgdfr.accelerators.starting import start_states_at
from vgdfr.video import VideoSpec

CALIBRATED = "magcache"


@dataclass(frozen=True)
class MagCache(HookedCache):
    """MagCache (arXiv 2506.09045), by diffusers' hooks.

    A pass is skipped, and the last residual of all blocks is added, while the product of the ratios since the last
    computed pass stays near 1: the sum of the products' distances from 1 must be at most `threshold`.

    threshold: 0 or more.
    calibration: a file that `bench.calibrate` wrote; None for the calibration that ships for the model.
    ratios: for each step of the model's trajectory, the mean over tokens of the norm of the blocks' residual divided by
        its norm in the step before; the first is 1. None for the calibration's. A trajectory of another length takes
        the nearest steps' ratios, as in the paper's code.
    max_skip_steps: the largest number of passes in a row that are skipped. 0 skips nothing.
    retention_ratio: the share of the trajectory's steps, from its start, that is always computed.
    """

    threshold: float | int
    calibration: str | None = None
    ratios: tuple[float | int, ...] | None = None
    max_skip_steps: int = 3
    retention_ratio: float | int = 0.2

    of_one_shift: ClassVar[bool] = True
    hook_names: ClassVar[tuple[str, ...]] = ("mag_cache_leader_block_hook", "mag_cache_block_hook")
    skips_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("threshold", "retention_ratio"):
            object.__setattr__(self, name, checked_number(name, getattr(self, name), 0))
        if self.retention_ratio > 1:
            raise ValueError(
                f"retention_ratio (accelerator.retention_ratio) must be in [0, 1], got {self.retention_ratio:g}"
            )
        check_count("max_skip_steps", self.max_skip_steps, 0)
        if self.ratios is not None:
            if not are_numbers(self.ratios) or min(self.ratios) <= 0:
                raise ValueError(f"ratios (accelerator.ratios) must be finite numbers above 0, got {self.ratios!r}")
            object.__setattr__(self, "ratios", tuple(map(float, self.ratios)))
            if self.calibration is not None:
                raise ValueError("ratios replace a calibration's; give ratios or calibration, and not both")

    def calibrated(self, model: HasWeights | None, spec: VideoSpec) -> "MagCache":
        if self.ratios is not None:
            return self
        found = calibration_for(CALIBRATED, self.calibration, model)
        check_shift(found, spec)
        return replace(self, calibration=None, ratios=found.values)

    def words(self) -> list[str]:
        """Returns the settings, and a hash of ratios that do not ship with the package."""
        if self.ratios is None:
            return super().words()
        return [*HookedCache.words(replace(self, ratios=None)), *word_of(self.ratios)]

    def config(self, place: Place) -> Any:
        from diffusers import MagCacheConfig

        if self.ratios is None:
            raise ValueError("MagCache has no ratios yet; `calibrated` gives them")
        return MagCacheConfig(
            threshold=self.threshold,
            max_skip_steps=self.max_skip_steps,
            retention_ratio=self.retention_ratio,
            num_inference_steps=len(self.ratios),
            mag_ratios=list(self.ratios),
        )

    def prepare(self, hooks: Sequence[Any], place: Place) -> None:
        """Lets diffusers' count of calls begin at the trajectory's step, which is k after a merge."""
        start_states_at(hooks, "step_index", lambda: place.step)

    def begin_pass(self, hooks: Sequence[Any], config: Any, place: Place) -> None:
        """Fits ratios and number of steps to the trajectory, which may be shorter than the model's."""
        if place.num_steps != config.num_inference_steps:
            import torch
            from diffusers.hooks.mag_cache import nearest_interp

            config.num_inference_steps = place.num_steps
            config.mag_ratios = nearest_interp(torch.tensor(self.ratios), place.num_steps)
