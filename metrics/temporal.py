"""Changes between a video's frames: flicker, and motion to read with it, because a frozen video does not flicker."""

import cv2
import numpy as np
from jaxtyping import Float

from metrics.base import VIDEO_QUALITY, Metric, Score, Video, mean


def flicker(video: Video) -> Score:
    """(255 - mean |x[t+1] - x[t]|) / 255 in [0, 1] (VBench's temporal flickering). It is 1 for a frozen video."""
    return mean((255 - _mean_steps(video)) / 255)


def motion(video: Video, reference: Video) -> Score:
    """Mean |x[t+1] - x[t]|, divided by the reference's mean. Below 1, motion was lost.

    A frozen reference is an error.
    """
    of_reference = _mean_steps(reference).mean()
    if of_reference == 0:
        raise ValueError("motion is a ratio to the reference's, and the reference does not change at all")
    return mean(_mean_steps(video) / of_reference)


def motion_flow(video: Video) -> Score:
    """Mean length of the DIS optical flow between successive frames, in pixels per frame."""
    _refuse_one_frame(video)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = (dis.calc(a, b, None) for a, b in zip(gray, gray[1:], strict=False))  # type: ignore[call-overload]
    return mean([float(np.linalg.norm(flow, axis=-1).mean()) for flow in flows])


TEMPORAL = (
    Metric(
        "flicker", 2, "", True, flicker, title="FLICKER", digits=4, range="0-1",
        source="VBench's temporal flickering, over all frames",
        cannot_tell="a calm video from a frozen one, which scores 1: read it with motion",
        shown_with="motion",
    ),
    Metric(
        "motion", 2, "ratio", None, motion, title="Motion", group=VIDEO_QUALITY, needs_reference=True, pool=None,
        range="0 and up", source="ours",
        cannot_tell="motion from flicker, both of which change pixels",
    ),
    Metric(
        "motion_flow", 1, "px/frame", None, motion_flow, title="Motion (optical flow)", range="0 and up",
        source="OpenCV's DIS flow, medium preset (Kroeger et al. 2016)",
        cannot_tell="the motion of areas without texture",
    ),
)  # fmt: skip


def _refuse_one_frame(video: Video) -> None:
    if len(video) < 2:
        raise ValueError(f"what happens between frames needs at least two of them, got {len(video)}")


def _mean_steps(video: Video) -> Float[np.ndarray, " t1"]:
    _refuse_one_frame(video)
    return np.array([cv2.norm(b, a, cv2.NORM_L1) / a.size for a, b in zip(video, video[1:], strict=False)])
