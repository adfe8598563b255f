"""DVG's grids, and the changes of a latent from one grid to the next (arXiv 2605.21042 and its public code).

A coarse grid is a subset of the final latent's coordinates. Its points are anchors: they keep their values when the
latent grows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Shape = tuple[int, int, int]
Coordinates = tuple[int, ...]


class Grid(NamedTuple):
    """The increasing coordinates of a latent's frames, rows and columns in the final latent."""

    frames: Coordinates
    rows: Coordinates
    columns: Coordinates

    @property
    def shape(self) -> Shape:
        return len(self.frames), len(self.rows), len(self.columns)


def full_grid(shape: Shape) -> Grid:
    """Returns the grid of the final latent."""
    frames, rows, columns = (tuple(range(size)) for size in shape)
    return Grid(frames, rows, columns)


def subset(coordinates: Sequence[int], count: int) -> Coordinates:
    """Returns `count` evenly spaced entries of `coordinates`; from two on the first and the last are among them."""
    last = len(coordinates) - 1
    return tuple(coordinates[round(i * last / max(count - 1, 1))] for i in range(count))


def coarser(grid: Grid, shape: Shape) -> Grid:
    """Returns a grid of `shape` whose points are evenly spaced points of `grid`."""
    frames, rows, columns = (subset(axis, size) for axis, size in zip(grid, shape, strict=True))
    return Grid(frames, rows, columns)


def nested(shapes: Sequence[Shape]) -> list[Grid]:
    """Returns the grids of growing `shapes`. The last is the final latent's, and each grid is a subset of the next."""
    grids = [full_grid(shapes[-1])]
    for shape in reversed(shapes[:-1]):
        grids.append(coarser(grids[-1], shape))
    return grids[::-1]


def resized(x: Float[Tensor, "1 c n y x"], source: Grid, target: Grid) -> Float[Tensor, "1 c n2 y2 x2"]:
    """Returns the latent `x` on the grid `source`, brought onto the finer grid `target`, of which `source` is a subset.

    Each frame is enlarged by area interpolation, and its values are written back at their anchors. Frames between two
    anchors are a linear blend of the two, by their place in `target`.
    """
    frames, rows, columns = (
        torch.tensor([there.index(at) for at in here], device=x.device)
        for here, there in zip(source, target, strict=True)
    )
    small = x[0].transpose(0, 1)
    large = F.interpolate(small, size=target.shape[1:], mode="area")
    large[:, :, rows[:, None], columns] = small
    return _in_time(large, frames, target.shape[0]).transpose(0, 1)[None].contiguous()


def _in_time(x: Float[Tensor, "n c y x"], anchors: Tensor, count: int) -> Float[Tensor, "n2 c y x"]:
    """Returns `count` frames with the frames `x` at the places `anchors`, and linear blends between them."""
    places = torch.arange(count, device=x.device)
    left = (torch.searchsorted(anchors, places, right=True) - 1).clamp(0, len(anchors) - 2)
    start, end = anchors[left], anchors[left + 1]
    share = ((places - start) / (end - start)).to(x.dtype)
    return torch.lerp(x[left], x[left + 1], share[:, None, None, None])


def blurred(x: Float[Tensor, "1 c n y x"], share: float) -> Float[Tensor, "1 c n y x"]:
    """Returns the latent blended with its 3 x 3 box blur within each frame; `share` is the blur's weight.

    At a border the mean is over the neighbours that exist.
    """
    frames = x[0].transpose(0, 1)
    mean = F.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)
    return ((1 - share) * frames + share * mean).transpose(0, 1)[None].contiguous()
