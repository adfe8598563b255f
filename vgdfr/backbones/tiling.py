"""The tiles of a video VAE."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tiling:
    """VAE tiles in pixels and frames: their size, and the distance between the starts of two tiles.

    Tiles overlap by the difference, and the overlap is blended. The defaults are the original HunyuanVideo's.
    diffusers' own 16 frames give visibly different output.
    """

    frames: int = 64
    frames_stride: int = 48
    pixels: int = 256
    pixels_stride: int = 192
