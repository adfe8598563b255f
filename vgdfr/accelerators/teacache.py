"""TeaCache (Liu et al., arXiv 2411.19108): skips the blocks while the first block's input has changed little."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from vgdfr.accelerator import Accelerator, HasWeights, Running
from vgdfr.accelerators.blocks import Block, blocks_of, check_modulated, modulated_input, relative_l1, wrapped
from vgdfr.accelerators.calibration import are_numbers, calibration_for, word_of
from vgdfr.accelerators.settings import check_one_forward, checked_number
from vgdfr.architecture import Architecture
from vgdfr.video import VideoSpec

CALIBRATED = "teacache"


@dataclass(frozen=True)
class TeaCache(Accelerator):
    """Skips a pass's blocks, and adds their last residual, while the estimated change stays below `threshold`.

    The change of the first block's modulated input since the pass before is measured as a relative L1 distance. A
    polynomial estimates the change of the DiT's output from it. The estimates are summed until a pass is computed. The
    trajectory's first and last pass are always computed, and so is the first pass after a reset. An estimate below 0
    counts as 0, so that a threshold of 0 skips nothing.

    threshold: the bound of the summed estimates, from 0.
    calibration: a file that `bench.calibrate` wrote; None for the calibration that ships for the model.
    coefficients: the polynomial, highest power first; None for the calibration's. Given ones are used with any model.
    """

    threshold: float | int
    calibration: str | None = None
    coefficients: tuple[float | int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", checked_number("threshold", self.threshold, 0))
        if self.coefficients is not None:
            if not are_numbers(self.coefficients):
                raise ValueError(f"coefficients must be finite numbers, highest power first, got {self.coefficients!r}")
            object.__setattr__(self, "coefficients", tuple(map(float, self.coefficients)))
        if self.coefficients is not None and self.calibration is not None:
            raise ValueError("coefficients replace a calibration's; give coefficients or calibration, and not both")

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        check_one_forward(self.title, architecture)

    def calibrated(self, model: HasWeights | None, spec: VideoSpec) -> "TeaCache":
        if self.coefficients is not None:
            return self
        found = calibration_for(CALIBRATED, self.calibration, model)
        return replace(self, calibration=None, coefficients=found.values)

    def words(self) -> list[str]:
        """Returns the threshold, and a hash of a polynomial that does not ship with the package."""
        if self.coefficients is None:
            return super().words()
        return [*Accelerator.words(replace(self, coefficients=None)), *word_of(self.coefficients)]

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        if self.coefficients is None:
            raise ValueError("TeaCache has no coefficients yet; `calibrated` gives them")
        blocks = blocks_of(transformer)
        check_modulated(blocks[0])
        gate = _Gate(blocks, self.threshold, self.coefficients)
        with wrapped(blocks, gate.call):
            yield Running(gate.reset, gate.measured, gate.at)


class _Gate:
    """Decides at the first block of each pass whether the pass is skipped, and runs or skips the blocks."""

    def __init__(self, blocks: list[Block], threshold: float, coefficients: tuple[float, ...]) -> None:
        self.blocks, self.coefficients, self.total = blocks, coefficients, Total(threshold)
        self.asked = self.passes_skipped = self.blocks_computed = self.blocks_skipped = 0
        self.is_end = True
        self.reset()

    def reset(self) -> None:
        self.modulated: Tensor | None = None
        self.residual: Tensor | None = None
        self.input: Tensor | None = None
        self.total.sum, self.is_skipping = 0.0, False

    def at(self, step: int, sigma: float, num_steps: int) -> None:
        self.is_end = step in (0, num_steps - 1)

    def measured(self) -> dict[str, int]:
        return {
            "gate_asked": self.asked,
            "passes_skipped": self.passes_skipped,
            "blocks_computed": self.blocks_computed,
            "blocks_skipped": self.blocks_skipped,
        }

    def call(self, i: int, forward: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs or skips block `i`."""
        block = self.blocks[i]
        image = block.image_in(args, kwargs)
        if i == 0:
            self.is_skipping = self.decide(modulated_input(block, args, kwargs))
            self.input = None if self.is_skipping else image
        if self.is_skipping:
            self.blocks_skipped += 1
            if i == 0:
                assert self.residual is not None
                image = image + self.residual
            return block.skipped(image, args, kwargs)
        self.blocks_computed += 1
        result = forward(*args, **kwargs)
        if i == len(self.blocks) - 1:
            self.remember(block.image_out(result))
        return result

    def decide(self, modulated: Tensor) -> bool:
        """Returns whether the pass with this modulated input is skipped."""
        self.asked += 1
        before, self.modulated = self.modulated, modulated
        if self.is_end or before is None or self.residual is None:
            self.total.sum = 0.0
            return False
        skips = self.total.stays_below(polynomial(self.coefficients, relative_l1(modulated, before)))
        self.passes_skipped += skips
        return skips

    def remember(self, output: Tensor) -> None:
        """Keeps the residual of all blocks from the last block's image tokens."""
        assert self.input is not None
        if output.shape != self.input.shape:
            raise ValueError(
                f"the blocks of this DiT take {tuple(self.input.shape)} and give {tuple(output.shape)}; TeaCache needs "
                "blocks that keep image and text tokens apart"
            )
        self.residual, self.input = output - self.input, None


class Total:
    """The sum of the estimated changes since the last computed pass."""

    def __init__(self, threshold: float) -> None:
        self.threshold, self.sum = threshold, 0.0

    def stays_below(self, estimate: float) -> bool:
        """Adds an estimate, and returns whether the sum stays below the threshold. If not, the sum starts again."""
        self.sum += 0.0 if estimate < 0 else estimate
        if self.sum < self.threshold:  # False for NaN
            return True
        self.sum = 0.0
        return False


def polynomial(coefficients: Sequence[float], x: float) -> float:
    """Returns the polynomial at `x` by Horner's rule; the coefficients begin with the highest power."""
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


def share_skipped(coefficients: Sequence[float], changes: Sequence[float], threshold: float) -> float:
    """Returns the share of a trajectory's passes that a threshold skips, if skipping did not change the trajectory.

    `changes` are the changes of the modulated input from pass to pass, one fewer than there are passes.
    """
    total = Total(threshold)
    skipped = sum(total.stays_below(polynomial(coefficients, change)) for change in changes[:-1])
    return skipped / (len(changes) + 1)
