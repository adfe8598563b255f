"""The dynamic frame rate schedule: which frames are merged, and what is kept (paper, section 3.2, step 3)."""

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Float
from torch import Tensor

# Frames per latent frame of the causal video VAE; a merge of factor f turns f latent frames into one.
GROUP = 4
FACTORS = (4, 2)


@dataclass(frozen=True, init=False, eq=False)
class Similarity:
    """Similarity of frames 1, 2 and 3 apart: `lag1[i]` compares frames i and i+1, and so on; 1 means identical.

    Each is a numpy array or a torch tensor (any device), kept as float64 numpy. For F frames their lengths are
    F-1, F-2 and F-3 (never below 0). Raises ValueError otherwise, and when a value is not finite.
    """

    lag1: np.ndarray
    lag2: np.ndarray
    lag3: np.ndarray

    def __init__(self, lag1: np.ndarray | Tensor, lag2: np.ndarray | Tensor, lag3: np.ndarray | Tensor) -> None:
        arrays = [_as_float64(name, lag) for name, lag in (("lag1", lag1), ("lag2", lag2), ("lag3", lag3))]
        lengths = tuple(len(array) for array in arrays)
        f = lengths[0] + 1
        if lengths != (f - 1, max(f - 2, 0), max(f - 3, 0)):
            raise ValueError(f"similarities of {f} frames have lengths {(f - 1, f - 2, f - 3)}, got {lengths}")
        for name, array in zip(("lag1", "lag2", "lag3"), arrays, strict=True):
            object.__setattr__(self, name, array)

    @property
    def num_frames(self) -> int:
        return len(self.lag1) + 1

    def lowest_pair(self, start: int, length: int, factor: int) -> float:
        """The least similar pair that would be averaged together, merging `length` frames by `factor` (2 or 4)."""
        groups = np.arange(start, start + length, factor)
        lags = ((self.lag1, factor - 1), (self.lag2, factor - 2), (self.lag3, factor - 3))
        return float(min(lag[groups + i].min() for lag, pairs in lags for i in range(max(pairs, 0))))


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` consecutive frames from `start`, averaged in groups of `factor` (1: kept as they are)."""

    start: int
    length: int
    factor: int

    @property
    def kept_frames(self) -> range:
        """The first frame of each averaged group, at its original index."""
        return range(self.start, self.start + self.length, self.factor)


@dataclass(frozen=True)
class FrameSchedule:
    """Segments that cover frames 0..F-1 in order; frame 0 is a segment of its own, all others are latent groups."""

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        expected = 0
        for i, s in enumerate(self.segments):
            whole = (s.length == 1 and s.factor == 1) if i == 0 else s.length % (GROUP * s.factor) == 0
            if s.start != expected or s.length < 1 or s.factor not in (1, *FACTORS) or not whole:
                raise ValueError(
                    f"segment {i} must start at frame {expected} and hold whole latent groups (frame 0 alone), got {s}"
                )
            expected += s.length
        if not self.segments or self.segments[-1].factor != 1:
            raise ValueError("the last frame is never merged: a schedule must end with a segment of factor 1")

    @property
    def num_frames(self) -> int:
        return self.segments[-1].start + self.segments[-1].length

    @property
    def num_latents(self) -> int:
        return (self.num_frames - 1) // GROUP + 1

    @cached_property
    def kept_frames(self) -> tuple[int, ...]:
        """Original indices of the frames that remain; frame i of the shortened video stands at `kept_frames[i]`."""
        return tuple(f for s in self.segments for f in s.kept_frames)

    @cached_property
    def kept_latents(self) -> tuple[int, ...]:
        """Indices of the latent frames that remain: those of the first frame of each group of `GROUP` kept frames."""
        return tuple((f + GROUP - 1) // GROUP for f in (0, *self.kept_frames[1::GROUP]))

    @property
    def token_ratio(self) -> float:
        """Kept share of the latent frames, which is the share of the tokens the DiT sees; in (0, 1]."""
        return len(self.kept_latents) / self.num_latents

    @property
    def frame_ratio(self) -> float:
        """Kept share of the video frames; in (0, 1]."""
        return len(self.kept_frames) / self.num_frames

    @property
    def keeps_everything(self) -> bool:
        return len(self.kept_frames) == self.num_frames

    @classmethod
    def of_factors(cls, num_frames: int, blocks: list[tuple[int, int]]) -> "FrameSchedule":
        """The schedule with the merged `blocks` (start, factor), everything between them kept."""
        segments, at = [Segment(0, 1, 1)], 1
        for start, factor in [*blocks, (num_frames, 1)]:
            if start > at:
                segments.append(Segment(at, start - at, 1))
            if factor > 1:
                segments.append(Segment(start, GROUP * factor, factor))
            at = start + GROUP * factor
        return cls(tuple(segments))

    @classmethod
    def keep_all(cls, num_frames: int) -> "FrameSchedule":
        return cls.of_factors(num_frames, [])


def by_threshold(similarity: Similarity, theta: float, max_merge: int = 4) -> FrameSchedule:
    """Merge from the left wherever every pair of frames that would be averaged is more similar than `theta`.

    At each position a block of factor 4 is tried first (16 frames become 4; only if `max_merge` is 4), then one of
    factor 2 (8 become 4), else 8 frames are kept. A block may only start where at least two frames follow it, so the
    last frame is never merged. (Paper, equation 4; alignment as in the released code.)

    Raises ValueError unless 0 < theta <= 1, `max_merge` is 2 or 4, and the number of frames is 4n+1.
    """
    if not 0 < theta <= 1:
        raise ValueError(f"theta must be in (0, 1], got {theta}")
    _check(similarity.num_frames, max_merge)
    f = similarity.num_frames
    blocks, at = [], 1
    while at < f:
        for factor in FACTORS:
            length = GROUP * factor
            fits = factor <= max_merge and at < f - length - 1
            if fits and similarity.lowest_pair(at, length, factor) > theta:
                blocks.append((at, factor))
                at += length
                break
        else:
            at += 2 * GROUP
    return FrameSchedule.of_factors(f, blocks)


def uniform(num_frames: int, max_merge: int = 4) -> FrameSchedule:
    """Every block merged, whatever it shows: `by_threshold` of a video that does not change."""
    still = (np.ones(max(num_frames - lag, 0)) for lag in (1, 2, 3))
    return by_threshold(Similarity(*still), 0.5, max_merge)


def by_token_ratio(similarity: Similarity, token_ratio: float, max_merge: int = 4) -> FrameSchedule:
    """The schedule whose share of kept latents is closest to `token_ratio` from above, with its worst merge the best.

    Blocks lie where `by_threshold` may put them. Among the schedules with that share, the least similar merged pair is
    as similar as possible. If several schedules are equal in this, a fixed rule chooses one of them; beyond the least
    similar pair the choice is no optimum. If too few frames can merge, as many merge as can.

    Raises ValueError unless 0 < token_ratio <= 1, `max_merge` is 2 or 4, and the number of frames is 4n+1.
    """
    _check(similarity.num_frames, max_merge)
    if not 0 < token_ratio <= 1:
        raise ValueError(f"token_ratio must be in (0, 1], got {token_ratio}")
    f = similarity.num_frames
    num_latents = (f - 1) // GROUP + 1
    lowest = {
        (start, factor): similarity.lowest_pair(start, GROUP * factor, factor)
        for factor in FACTORS
        for start in range(1, f - GROUP * factor - 1, 2 * GROUP)
        if factor <= max_merge
    }

    @cache
    def best(at: int, saved: int) -> tuple[float, float, tuple[tuple[int, int], ...]] | None:
        """Save exactly `saved` latents from frame `at` on: the least similarity, the blocks' sum, and the blocks.

        The least similarity is the greatest possible. The sum only breaks ties between the options below and is not the
        greatest possible: a rest whose least similarity is lower may have a greater sum, and is no option here.
        """
        if saved == 0:
            return np.inf, 0.0, ()
        if saved < 0 or at >= f:
            return None
        options = [best(at + 2 * GROUP, saved)]
        for factor in FACTORS:
            rest = best(at + GROUP * factor, saved - factor + 1) if (at, factor) in lowest else None
            if rest:
                own = lowest[at, factor]
                options.append((min(own, rest[0]), own + rest[1], ((at, factor), *rest[2])))
        return max((o for o in options if o), key=lambda o: o[:2], default=None)

    most = num_latents - math.ceil(token_ratio * num_latents - 1e-9)
    chosen = next(found for saved in range(most, -1, -1) if (found := best(1, saved)))
    return FrameSchedule.of_factors(f, list(chosen[2]))


def by_token_ratio_as_released(similarity: Similarity, frame_ratio: float) -> FrameSchedule:
    """The released code's search: bisect theta in [0.01, 0.99] to 1e-3 for a share of kept *frames*, take the middle.

    Factor 4 is allowed only while theta is below 0.5. Raises ValueError unless 0 < frame_ratio <= 1.
    """
    if not 0 < frame_ratio <= 1:
        raise ValueError(f"token_ratio must be in (0, 1], got {frame_ratio}")

    def at(theta: float) -> FrameSchedule:
        return by_threshold(similarity, theta, 4 if theta < 0.5 else 2)

    low, high = 0.01, 0.99
    while high - low > 1e-3:
        theta = (low + high) / 2
        if at(theta).frame_ratio < frame_ratio:
            low = theta
        else:
            high = theta
    return at((low + high) / 2)


def _check(num_frames: int, max_merge: int) -> None:
    if max_merge not in FACTORS:
        raise ValueError(f"max_merge must be 2 or 4, got {max_merge}")
    if num_frames % GROUP != 1:
        raise ValueError(f"the number of frames must be 4n+1, got {num_frames}")


def _as_float64(name: str, values: np.ndarray | Tensor) -> Float[np.ndarray, " n"]:
    array = values.detach().double().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be one-dimensional and finite, got shape {array.shape}: {array}")
    return array
