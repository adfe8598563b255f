"""DVG's plan: the latent's size in each of four stages, for a budget (arXiv 2605.21042 and its public code)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vgdfr.methods.dvg_resize import Shape

Latent = Float[Tensor, "1 c n y x"]
SPACE_STEP = 0.1  # between two candidates' sizes in the second stage


@dataclass(frozen=True)
class Plan:
    """The latent's `shapes` (frames, height, width) in the four stages, and the number of `passes` of each stage."""

    shapes: tuple[Shape, Shape, Shape, Shape]
    passes: tuple[int, int, int, int]

    @property
    def density(self) -> float:
        """Returns the tokens of all passes over the tokens of as many passes on the full latent."""
        tokens = sum(count * math.prod(shape) for shape, count in zip(self.shapes, self.passes, strict=True))
        return tokens / (sum(self.passes) * math.prod(self.shapes[-1]))


def passes_of(steps: int, switches: Sequence[float]) -> tuple[int, int, int, int]:
    """Returns the number of passes in each stage. A switch at the share r follows the pass of step int(steps * r).

    Steps count from 0. Raises ValueError if a stage would have no pass.
    """
    ends = [int(steps * share + 1e-9) + 1 for share in switches]
    first, second, third, fourth = (b - a for a, b in zip((0, *ends), (*ends, steps), strict=True))
    if min(first, second, third, fourth) < 1:
        raise ValueError(
            f"DVG needs a step in each of its four stages: {steps} steps with switches at "
            f"{', '.join(map(str, switches))} give {first}, {second}, {third} and {fourth}; take more steps "
            "(num_inference_steps) or other switches"
        )
    return first, second, third, fourth


@dataclass(frozen=True)
class Sizes:
    """The latent sizes that a plan may have.

    full: the final latent's frames, height and width.
    patch: latent pixels per token in height and in width; every size is a multiple of it.
    space, time: the first stage's share of the height and width, and of the frames.
    """

    full: Shape
    patch: int
    space: float
    time: float

    @property
    def first(self) -> Shape:
        """Returns the first stage's shape."""
        return (max(1, round(self.full[0] * self.time)), *self._scaled(self.space))

    def _scaled(self, share: float) -> tuple[int, int]:
        height, width = (self.patch * max(1, round(size * share / self.patch)) for size in self.full[1:])
        return height, width

    def candidates(self, passes: tuple[int, int, int, int]) -> list[Plan]:
        """Returns all plans, each once.

        The second stage has a size in space from the first stage's to the full size, in steps of a tenth, and a number
        of frames from the first stage's to all. The third stage has its frames at full size.
        """
        count = math.ceil((1 - self.space) / SPACE_STEP - 1e-9)
        shares = [*(self.space + i * SPACE_STEP for i in range(count)), 1.0]
        plans = [
            Plan((self.first, (frames, *self._scaled(share)), (frames, *self.full[1:]), self.full), passes)
            for share in shares
            for frames in range(self.first[0], self.full[0] + 1)
        ]
        return list(dict.fromkeys(plans))


def within(plans: Sequence[Plan], budget: float, tolerance: float) -> list[Plan]:
    """Returns the plans whose density is at most `tolerance` from the budget, the nearest first."""
    found = [plan for plan in plans if abs(plan.density - budget) <= tolerance + 1e-9]
    return sorted(found, key=lambda plan: abs(plan.density - budget))


def motion(clean: Latent) -> float:
    """Returns the demand for time, m_t in [0, 1): the mean of f(|u, v|) over neighbouring frames, f(x) = x / (1 + x).

    The frames are the mean of the channels, each with mean 0 and standard deviation 1. u and v, in latent pixels, are
    one shift of the whole frame by Lucas and Kanade.
    """
    grey = clean[0].float().mean(0)
    grey = (grey - grey.mean((1, 2), keepdim=True)) / grey.std((1, 2), keepdim=True).clamp_min(1e-6)
    speed = global_shift(grey[:-1], grey[1:]).norm(dim=1)
    return float((speed / (1 + speed)).mean())


def global_shift(before: Float[Tensor, "n y x"], after: Float[Tensor, "n y x"]) -> Float[Tensor, "n 2"]:
    """Returns the shift (u, v) in columns and rows that best explains `after` by `before`, for each pair of frames.

    It solves gradient . (u, v) = before - after by least squares over all pixels (Lucas and Kanade). The gradients are
    Sobel's, with zeros outside the frame as in the public code.
    """
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=before.device) / 8
    x, y = F.conv2d(before[:, None], torch.stack([kernel, kernel.T])[:, None], padding=1).unbind(1)
    change = before - after
    xx, yy, xy, xd, yd = ((a * b).sum((1, 2)) for a, b in ((x, x), (y, y), (x, y), (x, change), (y, change)))
    determinant = (xx * yy - xy * xy).clamp_min(1e-6)
    return torch.stack([xd * yy - yd * xy, yd * xx - xd * xy], dim=1) / determinant[:, None]


def detail(clean: Latent) -> float:
    """Returns the demand for space, m_s in [0, 1]: the share of the frames' 2-D Fourier energy at radius 0.5 or more.

    Each channel has mean 0 and standard deviation 1 over all frames. The shifted spectrum's rows and columns are
    numbered evenly from -1 to 1, as in the public code, and the radius is 1 in its corners.
    """
    x = clean[0].float()
    x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
    energy = torch.fft.fftshift(torch.fft.fft2(x).abs().square(), dim=(-2, -1))
    rows, columns = (torch.linspace(-1, 1, size, device=x.device) for size in x.shape[-2:])
    radius = ((rows[:, None].square() + columns.square()) / 2).sqrt()
    return float(energy[..., radius >= 0.5].sum() / energy.sum().clamp_min(1e-12))


def demands(m_s: float, m_t: float, alpha: float) -> tuple[float, float]:
    """Returns the shares of space and of time: the softmax of the demands times `alpha`."""
    space, time = math.exp(alpha * m_s), math.exp(alpha * m_t)
    return space / (space + time), time / (space + time)


def chosen(plans: Sequence[Plan], space: float, time: float) -> Plan:
    """Returns the plan whose gains are nearest to the demands `space` and `time`, the first of equals.

    A plan's gain in space is the second stage's area, scaled so that the plans reach from 0 to 1. Its gain in time is
    the second stage's number of frames, scaled alike.
    """
    areas = _scaled([plan.shapes[1][1] * plan.shapes[1][2] for plan in plans])
    frames = _scaled([plan.shapes[1][0] for plan in plans])
    scores = [-0.5 * (a - space) ** 2 - 0.5 * (f - time) ** 2 for a, f in zip(areas, frames, strict=True)]
    return plans[scores.index(max(scores))]


def _scaled(values: Sequence[int]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / max(high - low, 1) for value in values]
