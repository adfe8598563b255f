"""Measures what a calibration needs, in each pass of a trajectory, and skips nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vgdfr.accelerator import Accelerator, Running
from vgdfr.accelerators.blocks import Block, blocks_of, check_modulated, modulated_input, relative_l1, wrapped
from vgdfr.architecture import Architecture
from vgdfr.video import VideoSpec

# The names of the measurements; the number of the step follows.
INPUT_CHANGE, OUTPUT_CHANGE, RATIO = "input_change ", "output_change ", "ratio "


@dataclass(frozen=True)
class Recorder(Accelerator):
    """Compares each pass of a trajectory with the pass before.

    quantity: "changes" measures the relative L1 changes of the first block's modulated input and of the DiT's output,
        for TeaCache. "ratios" measures the mean over image tokens of the ratio of the residuals' norms, for MagCache. A
        residual is the blocks' output minus their input.
    """

    quantity: Literal["changes", "ratios"]

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        if self.quantity not in ("changes", "ratios"):
            raise ValueError(f"quantity must be changes or ratios, got {self.quantity!r}")
        if (forwards := architecture.forwards_per_step) != 1:
            raise ValueError(f"a calibration needs one forward of the DiT per step, and the model has {forwards}")

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        blocks = blocks_of(transformer)
        if self.quantity == "changes":
            check_modulated(blocks[0])
        log = _Log(blocks, self.quantity)
        hook = transformer.register_forward_hook(log.finish)
        try:
            with wrapped(blocks, log.call):
                yield Running(log.reset, lambda: {"gate_asked": log.passes, **log.values}, log.at)
        finally:
            hook.remove()


class _Log:
    """The measurements so far, by name, and the tensors of the last pass."""

    def __init__(self, blocks: list[Block], quantity: str) -> None:
        self.blocks, self.quantity = blocks, quantity
        self.passes, self.step = 0, 0
        self.values: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        self.last: dict[str, Tensor] = {}
        self.input: Tensor | None = None

    def at(self, step: int, sigma: float, num_steps: int) -> None:
        self.step = step

    def call(self, i: int, forward: Any, *args: Any, **kwargs: Any) -> Any:
        block = self.blocks[i]
        if i == 0 and self.quantity == "changes":
            self.compare(INPUT_CHANGE, modulated_input(block, args, kwargs))
        if i == 0:
            self.input = block.image_in(args, kwargs)
        result = forward(*args, **kwargs)
        if i == len(self.blocks) - 1 and self.quantity == "ratios":
            assert self.input is not None
            self.compare(RATIO, block.image_out(result) - self.input)
        return result

    def finish(self, transformer: nn.Module, args: Any, result: Any) -> None:
        self.passes += 1
        if self.quantity == "changes":
            self.compare(OUTPUT_CHANGE, result[0])

    def compare(self, name: str, value: Tensor) -> None:
        """Measures the change of `value` since the last pass, if there was one."""
        if (before := self.last.get(name)) is not None:
            measure = norm_ratio if name == RATIO else relative_l1
            self.values[f"{name}{self.step}"] = measure(value, before)
        self.last[name] = value


def norm_ratio(new: Tensor, old: Tensor) -> float:
    """Returns the mean over tokens of the ratio of norms, with the formula of diffusers' MagCache."""
    norms = (torch.linalg.norm(residual.float(), dim=-1) for residual in (new, old))
    above, below = norms
    return (above / (below + 1e-8)).mean().item()
