"""Interpolation: synthesises merged frames between kept frames (paper, equation 7)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.methods import rife
from vgdfr.schedule import FrameSchedule
from vgdfr.video import to_uint8

Frame = UInt8[np.ndarray, "h w 3"]
Levels = Float[np.ndarray, "h w 3"]
"""A frame in levels from 0 to 255, which is not rounded."""
InterpolatorName = Literal["flow", "linear", "rife"]


@dataclass(frozen=True)
class Interpolator:
    """Makes frames between two frames: `between(before, after, times in (0, 1))` returns a frame per time.

    With `of_floats` it takes decoded frames, `[3, h, w]` in [-1, 1]. Otherwise it takes levels from 0 to 255,
    `[h, w, 3]`, as bytes or floats. Its frames are levels in either case, and it does not round them.
    """

    between: Callable[[Any, Any, list[float]], list[Levels]]
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
    _refuse_another_number(frames, schedule)
    if interpolator.of_floats and not isinstance(frames, Tensor) and not schedule.keeps_everything:
        raise ValueError("this interpolator takes frames as they were decoded, got bytes")
    as_bytes = to_uint8(frames) if isinstance(frames, Tensor) else frames
    filled = np.empty((schedule.num_frames, *as_bytes.shape[1:]), np.uint8)
    filled[list(schedule.kept_frames)] = as_bytes
    for gap, made in _gaps(frames if interpolator.of_floats else as_bytes, schedule, interpolator):
        filled[gap] = [_rounded(frame) for frame in made]
    return filled


def fill_unrounded(
    frames: Float[Tensor, "kept 3 h w"], schedule: FrameSchedule, interpolator: Interpolator
) -> Float[Tensor, "t 3 h w"]:
    """Returns all frames as `fill` does, in [-1, 1] without rounding. The kept frames are the given ones.

    Raises ValueError unless there are as many frames as the schedule keeps.
    """
    _refuse_another_number(frames, schedule)
    filled = frames.new_empty(schedule.num_frames, *frames.shape[1:])
    filled[list(schedule.kept_frames)] = frames
    ends = frames if interpolator.of_floats else rearrange((frames / 2 + 0.5) * 255, "t c h w -> t h w c").cpu().numpy()
    for gap, made in _gaps(ends, schedule, interpolator):
        filled[gap] = rearrange(torch.from_numpy(np.stack(made)), "t h w c -> t c h w").to(filled) / 127.5 - 1
    return filled


def _refuse_another_number(frames: Any, schedule: FrameSchedule) -> None:
    if len(frames) != len(schedule.kept_frames):
        raise ValueError(f"the schedule keeps {len(schedule.kept_frames)} frames, got {len(frames)}")


def _gaps(
    ends: np.ndarray | Tensor, schedule: FrameSchedule, interpolator: Interpolator
) -> Iterator[tuple[slice, list[Levels]]]:
    """Yields the places of each run of merged frames, and the frames made for them from the kept frames at its ends."""
    kept = schedule.kept_frames
    for i, (start, end) in enumerate(zip(kept, kept[1:], strict=False)):
        if end - start > 1:
            times = [step / (end - start) for step in range(1, end - start)]
            yield slice(start + 1, end), interpolator.between(ends[i], ends[i + 1], times)


def linear(before: Frame | Levels, after: Frame | Levels, times: list[float]) -> list[Levels]:
    """Returns blends of the two frames."""
    a, b = before.astype(np.float32), after.astype(np.float32)
    return [(1 - t) * a + t * b for t in times]


def flow(before: Frame | Levels, after: Frame | Levels, times: list[float]) -> list[Levels]:
    """Returns blends of the two frames, each warped towards time t along its DIS optical flow (Kroeger et al., 2016).

    The flow at t is approximated by each end frame's flow at the same pixel, scaled by the distance in time. DIS takes
    bytes, so the flow is that between the rounded frames.
    """
    a, b = before.astype(np.float32), after.astype(np.float32)
    gray = [cv2.cvtColor(_rounded(f), cv2.COLOR_RGB2GRAY) for f in (a, b)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward = dis.calc(gray[0], gray[1], None)  # type: ignore[call-overload]  # no initial flow
    backward = dis.calc(gray[1], gray[0], None)  # type: ignore[call-overload]
    return [(1 - t) * _warp(a, -t * forward) + t * _warp(b, -(1 - t) * backward) for t in times]


def _warp(frame: Levels, offsets: Float[np.ndarray, "h w 2"]) -> Levels:
    y, x = np.mgrid[0 : frame.shape[0], 0 : frame.shape[1]].astype(np.float32)
    return cv2.remap(frame, x + offsets[..., 0], y + offsets[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _rounded(frame: Levels) -> Frame:
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)
