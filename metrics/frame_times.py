"""Reads when a player shows each frame of a file, and compares the times of two files."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float

SAME_RATE = 1e-5  # relative difference of equal rates, because containers round 60000/1001


@dataclass(frozen=True, eq=False, slots=True)
class FrameTimes:
    """The times of frames in seconds after the first frame. The container rounds them to multiples of `tick_s`.

    `fps` is the rate that the file states if its times agree with that rate within half a frame; then `exact` is true.
    Otherwise `fps` is the mean rate, because GIF states no rate, and Matroska files may omit it.
    """

    seconds: Float[np.ndarray, " t"]
    tick_s: float
    fps: float
    exact: bool

    @property
    def frame_s(self) -> float:
        """Returns the mean time between successive frames in seconds, or 1 / `fps` for a single frame."""
        return float(self.seconds[-1]) / (len(self.seconds) - 1) if len(self.seconds) > 1 else 1 / self.fps

    def rates(self) -> tuple[float, float]:
        """Returns the lowest and the highest rate in fps that may lie behind these rounded times."""
        if self.exact:
            return self.fps * (1 - SAME_RATE / 2), self.fps * (1 + SAME_RATE / 2)
        # some writers round each time, others round each duration, which adds up (Pillow's GIF, FFmpeg's MPEG)
        rounding = self.tick_s * (1.0 if len(self.seconds) == 2 else 0.5)
        return 1 / (self.frame_s + rounding), 1 / max(self.frame_s - rounding, 1e-9)


def constant_rate(count: int, fps: float) -> FrameTimes:
    """Returns the times of `count` frames at the rate `fps`, for frames without times of their own."""
    return FrameTimes(np.arange(count) / fps, 0.0, fps, True)


def frame_times(pts: Sequence[int | None], tick: Fraction, rates: Sequence[Fraction | None]) -> FrameTimes:
    """Returns the times of frames in display order, from their `pts` in units of `tick` seconds.

    `rates` are the rates that FFmpeg found in the container and in the codec. FFmpeg estimates a rate that the file
    does not state, each in another way, so a rate counts as stated only if two of them are equal. Raises ValueError if
    there is neither a time nor a rate.
    """
    count, found = len(pts), [rate for rate in rates if rate]
    stated = next((rate for rate in found if found.count(rate) > 1), None)
    known = [n for n in pts if n is not None]
    if len(known) < count or count == 1:
        if not found:
            raise ValueError("has neither frame times nor a frame rate")
        return constant_rate(count, float(stated or found[0]))
    seconds = (np.array(known, np.int64) - known[0]) * float(tick)
    if stated and np.abs(seconds - np.arange(count) / float(stated)).max() <= 0.5 / float(stated):
        return FrameTimes(seconds, float(tick), float(stated), True)
    fps = (count - 1) / seconds[-1] if seconds[-1] > 0 else 0.0
    return FrameTimes(seconds, float(tick), float(fps), False)


def uneven(times: FrameTimes) -> str | None:
    """Describes the frame that is furthest from even times, or returns None if the times are even.

    Times are even if no step differs from the mean step by more than half a frame, and no frame is more than half a
    frame away from the nearest grid of the mean rate.
    """
    if len(times.seconds) < 3:
        return None
    frame_s = times.frame_s
    if frame_s <= 0:
        return "the last frame is not after the first"
    steps = np.diff(times.seconds) / frame_s
    worst = int(np.abs(steps - 1).argmax())
    if abs(steps[worst] - 1) > 0.5 + 1e-6:
        after = steps[worst] * frame_s
        return f"frame {worst + 1} comes {after:.4g} s after frame {worst}, and the mean step is {frame_s:.4g} s"
    off = times.seconds / frame_s - np.arange(len(times.seconds))
    off -= (off.max() + off.min()) / 2  # the distance from the nearest grid
    worst = int(np.abs(off).argmax())
    if abs(off[worst]) > 0.5 + 1e-6:
        return (
            f"frame {worst} is {abs(off[worst]):.2g} frames away from an even grid at the mean of {1 / frame_s:.4g} fps"
        )
    return None


def different(one: FrameTimes, other: FrameTimes) -> str | None:
    """Describes where two files of equal length differ most, or returns None if they agree within half a frame."""
    apart = np.abs(one.seconds - other.seconds)
    worst = int(apart.argmax())
    if apart[worst] <= max(one.frame_s, other.frame_s) / 2:
        return None
    return f"frame {worst} at {one.seconds[worst]:.4g} s and {other.seconds[worst]:.4g} s"


def same_rate(one: FrameTimes, other: FrameTimes) -> bool:
    """Returns whether both files may have the same rate, as far as their rounded times tell.

    The answer is strict if both files state their rates.
    """
    (low, high), (other_low, other_high) = one.rates(), other.rates()
    return low <= other_high and other_low <= high
