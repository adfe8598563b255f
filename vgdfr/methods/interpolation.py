"""Interpolation: synthesises merged frames between kept frames (paper, equation 7)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.methods import rife
from vgdfr.schedule import FrameSchedule
from vgdfr.video import to_uint8

Frame = UInt8[np.ndarray, "h w 3"]
InterpolatorName = Literal["flow", "linear", "rife"]


@dataclass(frozen=True)
class Interpolator:
    """Makes frames between two frames: `between(before, after, times in (0, 1))` returns a frame per time.

    With `of_floats` it takes decoded frames, `[3, h, w]` in [-1, 1], so that only its result is rounded to bytes.
    Otherwise it takes bytes, `[h, w, 3]`.
    """

    between: Callable[[Any, Any, list[float]], list[Frame]]
    of_floats: bool = False

    @classmethod
    def named(cls, name: InterpolatorName, weights: str | None, device: torch.device) -> "Interpolator":
        """Returns the interpolator of this name.

        RIFE's weights are loaded onto `device` once per process; FileNotFoundError or ValueError as in `rife`.
        """
        if name == "rife":
            network = rife.load_once(rife.weights_file(weights), device)
            return cls(partial(rife.interpolate, network), of_floats=True)
        return cls({"flow": flow, "linear": linear}[name])


def fill(
    frames: UInt8[np.ndarray, "kept h w 3"] | Float[Tensor, "kept 3 h w"],
    schedule: FrameSchedule,
    interpolator: Interpolator,
) -> UInt8[np.ndarray, "t h w 3"]:
    """Returns all frames: `frames` at the schedule's kept indices, and synthesised frames between them.

    Synthesised frames are equally spaced in time. Raises ValueError unless there are as many frames as the schedule
    keeps. Raises ValueError for bytes if the interpolator takes floats and the schedule merges frames.
    """
    kept = schedule.kept_frames
    if len(frames) != len(kept):
        raise ValueError(f"the schedule keeps {len(kept)} frames, got {len(frames)}")
    if interpolator.of_floats and not isinstance(frames, Tensor) and not schedule.keeps_everything:
        raise ValueError("this interpolator takes frames as they were decoded, got bytes")
    as_bytes = to_uint8(frames) if isinstance(frames, Tensor) else frames
    filled = np.empty((schedule.num_frames, *as_bytes.shape[1:]), np.uint8)
    filled[list(kept)] = as_bytes
    ends = frames if interpolator.of_floats else as_bytes
    for i, (start, end) in enumerate(zip(kept, kept[1:], strict=False)):
        if end - start > 1:
            times = [step / (end - start) for step in range(1, end - start)]
            filled[start + 1 : end] = interpolator.between(ends[i], ends[i + 1], times)
    return filled


def linear(before: Frame, after: Frame, times: list[float]) -> list[Frame]:
    """Returns blends of the two frames."""
    a, b = before.astype(np.float32), after.astype(np.float32)
    return [_rounded((1 - t) * a + t * b) for t in times]


def flow(before: Frame, after: Frame, times: list[float]) -> list[Frame]:
    """Returns blends of the two frames, each warped towards time t along its DIS optical flow (Kroeger et al., 2016).

    The flow at t is approximated by each end frame's flow at the same pixel, scaled by the distance in time.
    """
    gray = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (before, after)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward = dis.calc(gray[0], gray[1], None)  # type: ignore[call-overload]  # no initial flow
    backward = dis.calc(gray[1], gray[0], None)  # type: ignore[call-overload]
    a, b = before.astype(np.float32), after.astype(np.float32)
    return [_rounded((1 - t) * _warp(a, -t * forward) + t * _warp(b, -(1 - t) * backward)) for t in times]


def _warp(frame: Float[np.ndarray, "h w 3"], offsets: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w 3"]:
    y, x = np.mgrid[0 : frame.shape[0], 0 : frame.shape[1]].astype(np.float32)
    return cv2.remap(frame, x + offsets[..., 0], y + offsets[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _rounded(frame: Float[np.ndarray, "h w 3"]) -> Frame:
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)
