"""Measures changes between a video's frames: flicker and motion.

Flicker is read with motion, because a frozen video does not flicker. All functions raise ValueError for one frame.
"""

import cv2
import numpy as np
from jaxtyping import Float

from metrics.base import Score, Video, mean


def flicker(video: Video) -> Score:
    """Returns (255 - mean |x[t+1] - x[t]|) / 255, in [0, 1]. It is 1 for a frozen video."""
    return mean((255 - _mean_steps(video)) / 255)


def motion(video: Video, reference: Video) -> Score:
    """Returns the mean |x[t+1] - x[t]|, divided by the reference's mean. Below 1, motion was lost.

    A frozen reference raises ValueError.
    """
    of_reference = _mean_steps(reference).mean()
    if of_reference == 0:
        raise ValueError("motion is a ratio to the reference's, and the reference does not change at all")
    return mean(_mean_steps(video) / of_reference)


def motion_flow(video: Video) -> Score:
    """Returns the mean length of the DIS optical flow between successive frames, in pixels per frame."""
    _refuse_one_frame(video)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = (dis.calc(a, b, None) for a, b in zip(gray, gray[1:], strict=False))  # type: ignore[call-overload]
    return mean([float(np.linalg.norm(flow, axis=-1).mean()) for flow in flows])


def _refuse_one_frame(video: Video) -> None:
    if len(video) < 2:
        raise ValueError(f"changes between frames need at least two frames, got {len(video)}")


def _mean_steps(video: Video) -> Float[np.ndarray, " t1"]:
    _refuse_one_frame(video)
    return np.array([cv2.norm(b, a, cv2.NORM_L1) / a.size for a, b in zip(video, video[1:], strict=False)])
