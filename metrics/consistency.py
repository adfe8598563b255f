"""Measures how much the embeddings of a video's frames stay alike, from step to step and over longer distances."""

from jaxtyping import Float
from torch import Tensor

from metrics.base import Score, mean


def background_consistency(images: Float[Tensor, "t d"]) -> Score:
    """Returns VBench's background consistency, in [0, 1], from embeddings of unit length. It is 1 for a frozen video.

    The value of a frame after the first is the mean of its cosine with the previous frame and its cosine with the first
    frame. Negative cosines count as 0. Raises ValueError for a video of one frame.

    Source: Huang et al. 2024; vbench/background_consistency.py in github.com/Vchitect/VBench.
    """
    _require(images, 1)
    with_previous, with_first = (images[1:] * images[:-1]).sum(1), images[1:] @ images[0]
    return mean(((with_previous.clamp(min=0) + with_first.clamp(min=0)) / 2).double().numpy())


def coherence(images: Float[Tensor, "t d"], distance: int) -> Score:
    """Returns the mean cosine of frames that are `distance` frames apart, in [-1, 1], from embeddings of unit length.

    Raises ValueError for a video without two such frames.
    """
    _require(images, distance)
    return Score(float((images[:-distance] * images[distance:]).sum(1).double().mean()))


def _require(images: Float[Tensor, "t d"], distance: int) -> None:
    """Raises ValueError unless two frames are `distance` frames apart."""
    if len(images) <= distance:
        raise ValueError(f"frames {distance} apart need at least {distance + 1} frames, got {len(images)}")
