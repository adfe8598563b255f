"""Means with bootstrap intervals over prompts.

Seeds of one prompt are not independent, because they show the same thing. So prompts are resampled, and all seeds of a
drawn prompt come with it. Every statistic here is a sum over prompts divided by another one, so that one function gives
all intervals. Values are Series whose index has the levels prompt and seed; NaN values are skipped.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

CONFIDENCE, RESAMPLES, SEED = 0.95, 2000, 0
MIN_PROMPTS = 5  # an interval over fewer prompts misses the truth far more often than it says: over 2, half of the time

# a report's note on its intervals
HOW_INTERVALS = (
    "In brackets: 95 % bootstrap intervals (BCa) over prompts; all seeds of a drawn prompt come with it. There are "
    f"none below {MIN_PROMPTS} prompts. They are somewhat too short for few prompts: over 6 they hold the truth about "
    "83 times in 100, over 10 about 90 times."
)


class Interval(NamedTuple):
    """`value` over `n` finite samples, None if there is none, and the interval around it.

    `low` and `high` are None below MIN_PROMPTS prompts. `infinite` samples are counted and never averaged in.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    infinite: int


NOTHING = Interval(None, None, None, 0, 0)


def interval(
    values: pd.Series, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """Returns the mean over all samples, with its bootstrap interval over prompts.

    The same values give the same interval.
    """
    finite, infinite = _finite(values)
    return _interval(finite, pd.Series(1.0, finite.index), infinite, confidence, resamples, seed)


def paired(
    a: pd.Series, b: pd.Series, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """Returns the mean of a - b over the samples that both have, with its bootstrap interval over prompts.

    A sample that is infinite on either side counts as infinite.
    """
    x, y, infinite = _common(a, b)
    return _interval(x - y, pd.Series(1.0, x.index), infinite, confidence, resamples, seed)


def ratio_of_means(
    a: pd.Series, b: pd.Series, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """Returns the mean of a over the mean of b, over the samples that both have, with its interval over prompts.

    This is the paper's speed-up if `a` are the baseline's latencies. Raises ValueError unless `b` is above zero.
    """
    x, y, infinite = _common(a, b)
    if (y <= 0).any():
        raise ValueError(f"a ratio needs values above zero as its denominator, got {y[y <= 0].iloc[0]}")
    return _interval(x, y, infinite, confidence, resamples, seed)


def speedup(samples: pd.DataFrame) -> Interval:
    """Returns the paper's speed-up: the mean latency of the references over the mean latency of the samples.

    A sample counts only if its reference was timed in the same run (`reference_latency_s`).
    """
    return ratio_of_means(samples["reference_latency_s"], samples["latency_s"])


def ratio_of_latencies(a: pd.DataFrame, b: pd.DataFrame) -> Interval:
    """Returns the mean latency of the samples `a` over the mean latency of `b`.

    Only samples count that one run timed for both.
    """
    one, other = (samples.set_index("run", append=True)["latency_s"] for samples in (a, b))
    return ratio_of_means(one, other)


def sum_ratio(over: Sequence[float] | np.ndarray, under: Sequence[float] | np.ndarray) -> float:
    """Returns the sum of `over` divided by the sum of `under`: a ratio of means over the same samples."""
    return math.fsum(over) / math.fsum(under)


def _finite(values: pd.Series) -> tuple[pd.Series, int]:
    present = values.dropna()
    finite = present[np.isfinite(present)]
    return finite, len(present) - len(finite)


def _common(a: pd.Series, b: pd.Series) -> tuple[pd.Series, pd.Series, int]:
    """Returns the finite values of `a` and `b` for the samples that both have, and how many others are infinite."""
    for side in (a, b):
        if side.index.has_duplicates:
            raise ValueError(
                f"{tuple(side.index[side.index.duplicated()][0])} is there twice; samples of several studies are "
                "compared study by study: samples[samples['study'] == NAME]"
            )
    both = pd.concat([a, b], axis=1, join="inner", keys=["a", "b"]).dropna()
    finite = both[np.isfinite(both).all(axis=1)]
    return finite["a"], finite["b"], len(both) - len(finite)


def _interval(
    over: pd.Series, under: pd.Series, infinite: int, confidence: float, resamples: int, seed: int
) -> Interval:
    """Returns the sum of `over` divided by the sum of `under`, with its bias-corrected and accelerated interval.

    The method is BCa (Efron 1987). The same prompts are drawn for every statistic over as many prompts.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    n = len(over)
    if not n:
        return Interval(None, None, None, 0, infinite)
    above, below = _sums_by_prompt(over), _sums_by_prompt(under)
    value = sum_ratio(above, below)
    if len(above) < MIN_PROMPTS:
        return Interval(value, None, None, n, infinite)
    deviations = above - value * below  # equal values give an interval without width, not noise
    drawn = _draws(len(above), resamples, seed)
    # as many prompts are drawn each time, so that equal numbers of samples have one sum
    drawn_below = drawn @ below if np.ptp(below) else below[0] * len(below)
    spread = (drawn @ deviations) / drawn_below
    rounding = 1e-12 * max(abs(value), np.abs(above / below).max())
    if np.ptp(spread) <= rounding:
        return Interval(value, value, value, n, infinite)
    left_out = (deviations.sum() - deviations) / (below.sum() - below)
    centred = left_out.mean() - left_out
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    # the share of draws below the value itself, never 0 or 1, which have no quantile
    share = ((spread < -rounding).sum() + (spread <= rounding).sum()) / (2 * resamples)
    bias = ndtri(np.clip(share, 0.5 / resamples, 1 - 0.5 / resamples))
    ends = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(spread, ndtr(bias + ends / (1 - acceleration * ends)))
    return Interval(value, value + float(low), value + float(high), n, infinite)


def _sums_by_prompt(values: pd.Series) -> np.ndarray:
    """Returns the sum for each prompt, sorted by prompt."""
    index = values.index
    assert isinstance(index, pd.MultiIndex)
    place = index.names.index("prompt")
    prompts, codes = index.levels[place], index.codes[place]
    sums, counts = np.bincount(codes, values, len(prompts)), np.bincount(codes, minlength=len(prompts))
    order = np.arange(len(prompts)) if prompts.is_monotonic_increasing else np.argsort(prompts)
    return sums[order][counts[order] > 0]


@lru_cache(maxsize=4)
def _draws(prompts: int, resamples: int, seed: int) -> np.ndarray:
    """Returns how often each prompt is drawn in each resample."""
    drawn = np.random.default_rng(seed).integers(0, prompts, (resamples, prompts))
    offsets = drawn + np.arange(resamples)[:, None] * prompts
    return np.bincount(offsets.ravel(), minlength=resamples * prompts).reshape(resamples, prompts).astype(float)
