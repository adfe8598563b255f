"""What can be wrong with a frame: blur, noise, and two moments blended into one, each with a strength."""

import cv2
import numpy as np
from jaxtyping import UInt8

Video = UInt8[np.ndarray, "t h w 3"]

QUALITIES = ("clear", "blurred", "noisy", "ghosted")


def blur(video: Video, sigma: float) -> Video:
    """Gaussian blur of `sigma` pixels."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in video])


def noise(video: Video, sigma: float, rng: np.random.Generator) -> Video:
    """Gaussian noise of `sigma` grey levels, new in every frame."""
    return _to_uint8(video + sigma * rng.standard_normal(video.shape, np.float32))


def blend(video: Video, distance: int) -> Video:
    """Each frame averaged with the one `distance` frames later (before, at the end): ghosts where something moves.

    Raises ValueError for a video of no more than `2 * distance` frames, whose middle would have neither.
    """
    if len(video) <= 2 * distance:
        raise ValueError(f"blending over {distance} frames needs more than {2 * distance}, got {len(video)}")
    t = np.arange(len(video))
    other = np.where(t + distance < len(video), t + distance, t - distance)
    return _to_uint8((video.astype(np.float32) + video[other]) / 2)


def _to_uint8(video: np.ndarray) -> Video:
    return np.clip(video.round(), 0, 255).astype(np.uint8)
