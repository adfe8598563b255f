"""Normal noise that is a function of coordinate and seed, so that a point has the same noise in every grid."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vgdfr.methods.dvg_resize import Grid

Bits = NDArray[np.uint64]
_STEP = np.uint64(0x9E3779B97F4A7C15)


def coordinate_noise(grid: Grid, channels: int, seed: int) -> Float[Tensor, "1 c n y x"]:
    """Returns standard normal noise on `grid`, float32 on the CPU. A value depends on its coordinates and `seed` alone.

    Seed, frame, row, column and channel are hashed one after another by SplitMix64's output function (Steele et al.,
    2014). The generator's next two numbers give two uniform numbers, and these one normal number by Box and Muller. The
    hash is exact on every machine, logarithm and cosine are float64.
    """
    bits = _mixed(np.array([seed], np.uint64))
    for axis in (*grid, range(channels)):
        bits = _mixed(bits[..., None] + _STEP * (np.array(axis, np.uint64) + np.uint64(1)))
    first, second = (_uniform(_mixed(bits + _STEP * np.array([i], np.uint64))) for i in (1, 2))
    normal = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
    return torch.from_numpy(normal.astype(np.float32)).movedim(-1, 1).contiguous()


def _mixed(bits: Bits) -> Bits:
    """Returns SplitMix64's output for a state. All arithmetic is modulo 2^64."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _uniform(bits: Bits) -> NDArray[np.float64]:
    """Returns the middle of one of 2^52 equal parts of (0, 1), chosen by the upper 52 bits."""
    return ((bits >> np.uint64(12)) + 0.5) / 2**52
