"""The dynamic frame rate schedule: which frames are merged and which are kept (paper, section 3.2, step 3)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vgdfr.block_search import Block, best_blocks

if TYPE_CHECKING:  # schedules are read and drawn without PyTorch
    from torch import Tensor

FACTORS = (8, 4, 2)  # a merge of factor f turns f latent frames into one
SIMILARITY_FACTORS = (4, 2)  # the paper's factors: a `Similarity` compares frames that are up to 3 apart


@dataclass(frozen=True, init=False, eq=False)
class Similarity:
    """Similarity of frames that are 1, 2 and 3 apart: `lagN[i]` compares frames i and i+N; 1 means identical.

    Each lag is a numpy array or a torch tensor on any device, and is kept as float64 numpy. For F frames the lengths
    are F-1, F-2 and F-3 (never below 0). Raises ValueError for other lengths and for values that are not finite.
    """

    lag1: np.ndarray
    lag2: np.ndarray
    lag3: np.ndarray

    def __init__(self, lag1: "np.ndarray | Tensor", lag2: "np.ndarray | Tensor", lag3: "np.ndarray | Tensor") -> None:
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
        """Returns the lowest similarity of two frames that a merge of `length` frames by `factor` (2 or 4) averages."""
        groups = np.arange(start, start + length, factor)
        lags = ((self.lag1, factor - 1), (self.lag2, factor - 2), (self.lag3, factor - 3))
        return float(min(lag[groups + i].min() for lag, pairs in lags for i in range(max(pairs, 0))))


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of `length` frames from `start`, averaged in groups of `factor` (1: the frames are kept as they are)."""

    start: int
    length: int
    factor: int

    @property
    def kept_frames(self) -> range:
        """Returns the original index of the first frame of each averaged group."""
        return range(self.start, self.start + self.length, self.factor)


@dataclass(frozen=True)
class FrameSchedule:
    """Segments that cover frames 0..F-1 in order. Frame 0 is a segment of its own; others hold whole latent groups.

    A latent group is `frames_per_latent` frames, which the VAE turns into one latent frame. Raises ValueError for other
    segments, and if the last segment merges frames.
    """

    segments: tuple[Segment, ...]
    frames_per_latent: int

    def __post_init__(self) -> None:
        expected = 0
        for i, s in enumerate(self.segments):
            whole = (s.length == 1 and s.factor == 1) if i == 0 else s.length % (self.frames_per_latent * s.factor) == 0
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
        return (self.num_frames - 1) // self.frames_per_latent + 1

    @cached_property
    def kept_frames(self) -> tuple[int, ...]:
        """Returns the original indices of the kept frames: frame i of the shortened video was `kept_frames[i]`."""
        return tuple(f for s in self.segments for f in s.kept_frames)

    @cached_property
    def kept_latents(self) -> tuple[int, ...]:
        """Returns the original index of each kept latent frame: its latent group's first frame decides the index."""
        group = self.frames_per_latent
        return tuple((f + group - 1) // group for f in (0, *self.kept_frames[1::group]))

    @property
    def token_ratio(self) -> float:
        """Returns the kept share of the latent frames, in (0, 1]. It equals the share of tokens that the DiT sees."""
        return len(self.kept_latents) / self.num_latents

    @property
    def frame_ratio(self) -> float:
        """Returns the kept share of the video frames, in (0, 1]."""
        return len(self.kept_frames) / self.num_frames

    @property
    def keeps_everything(self) -> bool:
        return len(self.kept_frames) == self.num_frames

    @classmethod
    def of_factors(cls, num_frames: int, blocks: Sequence[Block], frames_per_latent: int) -> "FrameSchedule":
        """Returns the schedule that merges `blocks` (start, factor) and keeps all frames between them."""
        segments, at = [Segment(0, 1, 1)], 1
        for start, factor in [*blocks, (num_frames, 1)]:
            if start > at:
                segments.append(Segment(at, start - at, 1))
            if factor > 1:
                segments.append(Segment(start, frames_per_latent * factor, factor))
            at = start + frames_per_latent * factor
        return cls(tuple(segments), frames_per_latent)

    @classmethod
    def keep_all(cls, num_frames: int, frames_per_latent: int) -> "FrameSchedule":
        return cls.of_factors(num_frames, [], frames_per_latent)


def by_threshold(similarity: Similarity, theta: float, max_merge: int = 4, *, frames_per_latent: int) -> FrameSchedule:
    """Merges blocks from the left if all pairs of frames to be averaged are more similar than `theta`.

    At each position a block of factor 4 is tried first (if `max_merge` is 4), then a block of factor 2. If neither
    merges, two latent groups are kept. With 4 frames per latent frame, factor 4 turns 16 frames into 4, factor 2 turns
    8 into 4, and otherwise 8 frames are kept. At least two frames must follow a block, so the last frame is never
    merged. (Paper, equation 4; alignment as in the released code.)

    Raises ValueError unless 0 < theta <= 1, `max_merge` is 2 or 4, and the number of frames is one more than a multiple
    of `frames_per_latent`.
    """
    if not 0 < theta <= 1:
        raise ValueError(f"theta must be in (0, 1], got {theta}")
    _check(similarity.num_frames, max_merge, frames_per_latent)
    f = similarity.num_frames
    blocks, at = [], 1
    while at < f:
        for factor in SIMILARITY_FACTORS:
            length = frames_per_latent * factor
            fits = factor <= max_merge and at < f - length - 1
            if fits and similarity.lowest_pair(at, length, factor) > theta:
                blocks.append((at, factor))
                at += length
                break
        else:
            at += 2 * frames_per_latent
    return FrameSchedule.of_factors(f, blocks, frames_per_latent)


def uniform(num_frames: int, max_merge: int = 4, *, frames_per_latent: int) -> FrameSchedule:
    """Merges every block, whatever its content, as `by_threshold` does for a video that does not change."""
    still = (np.ones(max(num_frames - lag, 0)) for lag in (1, 2, 3))
    return by_threshold(Similarity(*still), 0.5, max_merge, frames_per_latent=frames_per_latent)


def by_token_ratio(
    similarity: Similarity, token_ratio: float, max_merge: int = 4, *, frames_per_latent: int
) -> FrameSchedule:
    """Returns a schedule that keeps the smallest possible share of latent frames of at least `token_ratio`.

    Blocks lie where `by_threshold` may put them. Among the schedules with that share, the least similar merged pair is
    as similar as possible. A fixed rule chooses between schedules that are equal in this; it optimises nothing else.
    If too few frames can merge, as many as possible merge.

    Raises ValueError unless 0 < token_ratio <= 1, `max_merge` is 2 or 4, and the number of frames is one more than a
    multiple of `frames_per_latent`.
    """
    if not 0 < token_ratio <= 1:
        raise ValueError(f"token_ratio must be in (0, 1], got {token_ratio}")
    f, group = similarity.num_frames, frames_per_latent
    _check(f, max_merge, group)
    may_merge = possible_blocks(f, max_merge, frames_per_latent=group, step=2)
    lowest = {(start, factor): similarity.lowest_pair(start, group * factor, factor) for start, factor in may_merge}
    num_latents = (f - 1) // group + 1
    saved = num_latents - latents_of(token_ratio, num_latents)
    # The sum only breaks ties and is not the greatest possible: the search drops rests with a lower least similarity.
    blocks = best_blocks(lowest, group, 2 * group, saved, rank=lambda found: (found.least, found.total))
    return FrameSchedule.of_factors(f, blocks, group)


def latents_of(token_ratio: float, num_latents: int) -> int:
    """Returns the smallest number of latent frames, at least 1, that is at least a share of `num_latents`."""
    return max(1, math.ceil(token_ratio * num_latents - 1e-9))


def possible_blocks(num_frames: int, max_merge: int = 4, *, frames_per_latent: int, step: int) -> list[Block]:
    """Returns the blocks (start, factor) that may merge. At least two frames follow each, so the last frame stays.

    Blocks start every `step` latent groups from frame 1 on; 2 gives the places of `by_threshold`. Raises ValueError
    unless `max_merge` is 2, 4 or 8, and the number of frames is one more than a multiple of `frames_per_latent`.
    """
    _check(num_frames, max_merge, frames_per_latent, FACTORS)
    group = frames_per_latent
    return [
        (start, factor)
        for factor in FACTORS
        if factor <= max_merge
        for start in range(1, num_frames - group * factor - 1, step * group)
    ]


def least_error(
    errors: Mapping[Block, float], num_kept: int, num_frames: int, *, frames_per_latent: int
) -> FrameSchedule:
    """Returns the schedule with the least sum of `errors` among those that keep `num_kept` latent frames.

    `errors` holds the error of each block that may merge: `possible_blocks` with a step of 1. If too few blocks can
    merge, as many as possible merge. Raises ValueError unless `num_kept` is at least 1 and at most all latent frames.
    """
    num_latents = (num_frames - 1) // frames_per_latent + 1
    if not 1 <= num_kept <= num_latents:
        raise ValueError(f"num_kept must be between 1 and the {num_latents} latent frames, got {num_kept}")
    values = {block: -error for block, error in errors.items()}
    saved, group = num_latents - num_kept, frames_per_latent
    blocks = best_blocks(values, group, group, saved, rank=lambda found: found.total)
    return FrameSchedule.of_factors(num_frames, blocks, group)


def by_token_ratio_as_released(similarity: Similarity, frame_ratio: float, *, frames_per_latent: int) -> FrameSchedule:
    """Searches as the released code does: bisects theta in [0.01, 0.99] to 1e-3 for a share of kept *frames*.

    Returns the schedule at the middle of the last interval. Factor 4 is allowed only for theta below 0.5. Raises
    ValueError unless 0 < frame_ratio <= 1 and the number of frames is one more than a multiple of `frames_per_latent`.
    """
    if not 0 < frame_ratio <= 1:
        raise ValueError(f"token_ratio must be in (0, 1], got {frame_ratio}")

    def at(theta: float) -> FrameSchedule:
        return by_threshold(similarity, theta, 4 if theta < 0.5 else 2, frames_per_latent=frames_per_latent)

    low, high = 0.01, 0.99
    while high - low > 1e-3:
        theta = (low + high) / 2
        if at(theta).frame_ratio < frame_ratio:
            low = theta
        else:
            high = theta
    return at((low + high) / 2)


def _check(
    num_frames: int, max_merge: int, frames_per_latent: int, factors: Sequence[int] = SIMILARITY_FACTORS
) -> None:
    if max_merge not in factors:
        raise ValueError(f"max_merge must be one of {', '.join(map(str, sorted(factors)))}, got {max_merge}")
    if num_frames % frames_per_latent != 1 % frames_per_latent:
        raise ValueError(f"the number of frames must be {frames_per_latent}n+1, got {num_frames}")


def _as_float64(name: str, values: "np.ndarray | Tensor") -> Float[np.ndarray, " n"]:
    array = np.asarray(values, np.float64) if isinstance(values, np.ndarray) else values.detach().double().cpu().numpy()
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be one-dimensional and finite, got shape {array.shape}: {array}")
    return array
