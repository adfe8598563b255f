"""When each frame of a file is shown, and whether two files show theirs at the same times."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float

SAME_RATE = 1e-5  # relative: containers round 60000/1001


@dataclass(frozen=True, eq=False, slots=True)
class FrameTimes:
    """Times in seconds from the first frame. Times are rounded to `tick_s` by the container.

    `fps` is the rate that the file says where its times agree within half a frame (then it is `exact`), and the mean
    rate otherwise: GIF has no rate, and a Matroska file need not have one.
    """

    seconds: Float[np.ndarray, " t"]
    tick_s: float
    fps: float
    exact: bool

    @property
    def frame_s(self) -> float:
        """The mean time from a frame to the next; that of the rate where there is one frame only."""
        return float(self.seconds[-1]) / (len(self.seconds) - 1) if len(self.seconds) > 1 else 1 / self.fps

    def rates(self) -> tuple[float, float]:
        """The lowest and highest rate that these times may have been rounded from."""
        if self.exact:
            return self.fps * (1 - SAME_RATE / 2), self.fps * (1 + SAME_RATE / 2)
        # a writer rounds each time, or each frame's duration, which adds up (GIF by Pillow, MPEG by FFmpeg)
        rounding = self.tick_s * (1.0 if len(self.seconds) == 2 else 0.5)
        return 1 / (self.frame_s + rounding), 1 / max(self.frame_s - rounding, 1e-9)


def constant_rate(count: int, fps: float) -> FrameTimes:
    """Times of frames that come from no file, or from one without times."""
    return FrameTimes(np.arange(count) / fps, 0.0, fps, True)


def frame_times(pts: Sequence[int | None], tick: Fraction, rates: Sequence[Fraction | None]) -> FrameTimes:
    """Of frames in the order they are shown. `rates` are those that FFmpeg found in the container and in the codec.

    FFmpeg estimates each that the file does not say, in other ways: so a rate counts as said where two are equal.
    Raises ValueError where there is neither a time nor a rate.
    """
    count, found = len(pts), [rate for rate in rates if rate]
    said = next((rate for rate in found if found.count(rate) > 1), None)
    known = [n for n in pts if n is not None]
    if len(known) < count or count == 1:
        if not found:
            raise ValueError("has neither frame times nor a frame rate")
        return constant_rate(count, float(said or found[0]))
    seconds = (np.array(known, np.int64) - known[0]) * float(tick)
    if said and np.abs(seconds - np.arange(count) / float(said)).max() <= 0.5 / float(said):
        return FrameTimes(seconds, float(tick), float(said), True)
    fps = (count - 1) / seconds[-1] if seconds[-1] > 0 else 0.0
    return FrameTimes(seconds, float(tick), float(fps), False)


def uneven(times: FrameTimes) -> str | None:
    """Where a frame is more than half a frame away from an even grid at the mean rate, or from its neighbour's step."""
    if len(times.seconds) < 3:
        return None
    frame_s = times.frame_s
    if frame_s <= 0:
        return "the last frame is not after the first"
    steps = np.diff(times.seconds) / frame_s
    worst = int(np.abs(steps - 1).argmax())
    if abs(steps[worst] - 1) > 0.5 + 1e-6:
        after = steps[worst] * frame_s
        return f"frame {worst + 1} comes {after:.4g} s after frame {worst}, where {frame_s:.4g} s are the mean"
    off = times.seconds / frame_s - np.arange(len(times.seconds))
    off -= (off.max() + off.min()) / 2  # from the even grid that is nearest
    worst = int(np.abs(off).argmax())
    if abs(off[worst]) > 0.5 + 1e-6:
        return (
            f"frame {worst} is {abs(off[worst]):.2g} frames away from an even grid at the mean of {1 / frame_s:.4g} fps"
        )
    return None


def different(one: FrameTimes, other: FrameTimes) -> str | None:
    """Where times of two files of equal length differ by more than half a frame."""
    apart = np.abs(one.seconds - other.seconds)
    worst = int(apart.argmax())
    if apart[worst] <= max(one.frame_s, other.frame_s) / 2:
        return None
    return f"frame {worst} at {one.seconds[worst]:.4g} s and {other.seconds[worst]:.4g} s"


def same_rate(one: FrameTimes, other: FrameTimes) -> bool:
    """Whether both may have one rate: strictly where both files say theirs, else as far as rounded times tell."""
    (low, high), (other_low, other_high) = one.rates(), other.rates()
    return low <= other_high and other_low <= high
