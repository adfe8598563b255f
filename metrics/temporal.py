"""What happens between a video's frames: flicker, and motion beside it, since a frozen video does not flicker."""

import cv2
import numpy as np
from jaxtyping import Float

from metrics.base import Metric, Score, Video


def flicker(video: Video) -> Score:
    """(255 - mean |x[t+1] - x[t]|) / 255 in [0, 1] (VBench's temporal flickering); 1 for a frozen video."""
    steps = _mean_steps(video)
    return Score(float((255 - steps.mean()) / 255), (255 - steps) / 255)


def motion(video: Video, reference: Video) -> Score:
    """Mean |x[t+1] - x[t]| over that of the reference: below 1, motion was lost. Raises if the reference is frozen."""
    own, of_reference = _mean_steps(video), _mean_steps(reference).mean()
    if of_reference == 0:
        raise ValueError("motion is a ratio to the reference's, and the reference does not change at all")
    return Score(float(own.mean() / of_reference), own / of_reference)


def motion_flow(video: Video) -> Score:
    """Mean length of the DIS optical flow between successive frames, in pixels per frame."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    lengths = [
        np.linalg.norm(dis.calc(a, b, None), axis=-1).mean()  # type: ignore[call-overload]  # no initial flow
        for a, b in zip(gray, gray[1:], strict=False)
    ]
    return Score(float(np.mean(lengths)), np.array(lengths, np.float64))


TEMPORAL = (
    Metric("flicker", 1, "", True, flicker),
    Metric("motion", 1, "ratio", None, motion, needs_reference=True),
    Metric("motion_flow", 1, "px/frame", None, motion_flow),
)


def _mean_steps(video: Video) -> Float[np.ndarray, " t1"]:
    if len(video) < 2:
        raise ValueError(f"what happens between frames needs at least two of them, got {len(video)}")
    return np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in zip(video, video[1:], strict=False)])
