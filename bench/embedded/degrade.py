"""Degrades video frames by blur, noise, or a blend of two moments, each with a strength."""

import cv2
import numpy as np
from jaxtyping import UInt8

Video = UInt8[np.ndarray, "t h w 3"]

QUALITIES = ("clear", "blurred", "noisy", "ghosted")


def blur(video: Video, sigma: float) -> Video:
    """Returns the video with Gaussian blur of `sigma` pixels."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in video])


def noise(video: Video, sigma: float, rng: np.random.Generator) -> Video:
    """Returns the video with Gaussian noise of `sigma` grey levels, which is new in every frame."""
    return _to_uint8(video + sigma * rng.standard_normal(video.shape, np.float32))


def blend(video: Video, distance: int) -> Video:
    """Returns the video with each frame averaged with the frame `distance` later: moving things get ghosts.

    Frames at the end are averaged with an earlier frame. Raises ValueError for a video of at most `2 * distance`
    frames, because frames in its middle would have neither partner.
    """
    if len(video) <= 2 * distance:
        raise ValueError(f"blending over {distance} frames needs more than {2 * distance}, got {len(video)}")
    t = np.arange(len(video))
    other = np.where(t + distance < len(video), t + distance, t - distance)
    return _to_uint8((video.astype(np.float32) + video[other]) / 2)


def _to_uint8(video: np.ndarray) -> Video:
    return np.clip(video.round(), 0, 255).astype(np.uint8)
