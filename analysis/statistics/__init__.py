"""Means with t intervals over prompts, tests against zero, and corrections for many comparisons.

Seeds of one prompt are not independent, because they show the same thing. So the prompt is the unit: all seeds of a
prompt are one observation. Every statistic here is a quotient of two sums over prompts, so that one function gives
all intervals and tests. Values are Series whose index has the levels prompt and seed; NaN values are skipped.
docs/statistics.md says how often the intervals hold the truth.
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
MIN_PROMPTS = 5  # below 5 prompts, intervals over skewed values hold the truth too seldom, and are very wide

# a report's note on its intervals
HOW_INTERVALS = (
    "In brackets: 95 % t intervals over prompts; all seeds of a prompt are one observation. There are none below "
    f"{MIN_PROMPTS} prompts. Over few prompts, intervals of very skewed values are too short: docs/statistics.md has "
    "a table."
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


def interval(values: pd.Series, confidence: float = CONFIDENCE) -> Interval:
    """Returns the mean over all samples, with its t interval over prompts."""
    finite, infinite = _finite(values)
    return _interval(finite, pd.Series(1.0, finite.index), infinite, confidence)


def paired(a: pd.Series, b: pd.Series, confidence: float = CONFIDENCE) -> Interval:
    """Returns the mean of a - b over the samples that both have, with its t interval over prompts.

    A sample that is infinite on either side counts as infinite.
    """
    x, y, infinite = common(a, b)
    return _interval(x - y, pd.Series(1.0, x.index), infinite, confidence)


def ratio_of_means(a: pd.Series, b: pd.Series, confidence: float = CONFIDENCE) -> Interval:
    """Returns the mean of a over the mean of b, over the samples that both have, with its interval over prompts.

    This is the paper's speed-up if `a` are the baseline's latencies. Raises ValueError unless `b` is above zero.
    """
    x, y, infinite = common(a, b)
    if (y <= 0).any():
        raise ValueError(f"a ratio needs values above zero as its denominator, got {y[y <= 0].iloc[0]}")
    return _interval(x, y, infinite, confidence)


def p_value(a: pd.Series, b: pd.Series | None = None) -> float | None:
    """Returns the p-value of the mean of `a`, or of a - b over the samples that both have, against zero.

    The two-sided t test over prompts agrees with the intervals: p < 0.05 if the 95 % interval excludes zero. Returns
    None below MIN_PROMPTS prompts. Infinite values are left out.
    """
    if b is None:
        finite, _ = _finite(a)
    else:
        x, y, _ = common(a, b)
        finite = x - y
    found = _estimate(finite, pd.Series(1.0, finite.index))
    if found is None or found.prompts < MIN_PROMPTS:
        return None
    if not found.error:
        return 0.0 if found.value else 1.0
    return float(2 * stdtr(found.prompts - 1, -abs(found.value) / found.error))


def deviation(a: pd.Series, b: pd.Series, ratio: bool = False) -> float | None:
    """Returns the standard deviation over prompts of the mean paired difference a - b, or of the ratio of means.

    It is the standard error times the root of the number of prompts. Returns None below MIN_PROMPTS prompts.
    """
    x, y, _ = common(a, b)
    found = _estimate(x, y) if ratio else _estimate(x - y, pd.Series(1.0, x.index))
    return None if found is None or found.prompts < MIN_PROMPTS else found.error * math.sqrt(found.prompts)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values adjusted for as many comparisons (Holm 1979), in the order given.

    If each adjusted value below 0.05 is called a difference, then one or more of these calls are false with a
    probability of at most 5 %, whatever the dependence between the comparisons.
    """
    adjusted, least, count = [0.0] * len(p_values), 0.0, len(p_values)
    for place, i in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (count - place) * p_values[i]))
        adjusted[i] = least
    return adjusted


def holm_by_group(groups: Sequence[Hashable], p_values: Sequence[float | None]) -> list[float | None]:
    """Returns the p-values adjusted within their `groups`, which has a group per p-value.

    None is no comparison and stays None.
    """
    places: dict[Hashable, list[int]] = {}
    for i, (group, p) in enumerate(zip(groups, p_values, strict=True)):
        if p is not None:
            places.setdefault(group, []).append(i)
    adjusted: list[float | None] = [None] * len(p_values)
    for own in places.values():
        for i, q in zip(own, holm([p for i in own if (p := p_values[i]) is not None]), strict=True):
            adjusted[i] = q
    return adjusted


def speedup(samples: pd.DataFrame) -> Interval:
    """Returns the paper's speed-up: the mean latency of the references over the mean latency of the samples.

    A sample counts only if its reference was timed in the same run (`reference_latency_s`).
    """
    return ratio_of_means(samples["reference_latency_s"], samples["latency_s"])


def ratio_of_latencies(a: pd.DataFrame, b: pd.DataFrame) -> Interval:
    """Returns the mean latency of the samples `a` over the mean latency of `b`.

    Only samples count that one run timed for both.
    """
    return ratio_of_means(latencies(a), latencies(b))


def latencies(samples: pd.DataFrame) -> pd.Series:
    """Returns the latencies with the run in their index, so that only latencies of one run are paired."""
    return samples.set_index("run", append=True)["latency_s"]


def sum_ratio(over: Sequence[float] | np.ndarray, under: Sequence[float] | np.ndarray) -> float:
    """Returns the sum of `over` divided by the sum of `under`: a ratio of means over the same samples."""
    return math.fsum(over) / math.fsum(under)


def mean_step(a: Float[np.ndarray, " samples"], b: Float[np.ndarray, " samples"]) -> float:
    """Returns the mean of a - b. It is infinite if more samples of one side than of the other exceed by infinity.

    An infinite value exceeds every finite value and equals another infinite one.
    """
    steps = a[a != b] - b[a != b]
    infinite = float(np.sign(steps[np.isinf(steps)]).sum())
    return math.copysign(math.inf, infinite) if infinite else math.fsum(steps[np.isfinite(steps)]) / len(a)


def _finite(values: pd.Series) -> tuple[pd.Series, int]:
    present = values.dropna()
    finite = present[np.isfinite(present)]
    return finite, len(present) - len(finite)


def common(a: pd.Series, b: pd.Series) -> tuple[pd.Series, pd.Series, int]:
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


def _interval(over: pd.Series, under: pd.Series, infinite: int, confidence: float) -> Interval:
    """Returns the sum of `over` divided by the sum of `under`, with its interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    n, found = len(over), _estimate(over, under)
    if found is None:
        return Interval(None, None, None, 0, infinite)
    if found.prompts < MIN_PROMPTS:
        return Interval(found.value, None, None, n, infinite)
    half = _quantile(found.prompts, confidence) * found.error
    return Interval(found.value, found.value - half, found.value + half, n, infinite)


class _Estimate(NamedTuple):
    value: float
    error: float
    prompts: int


def _estimate(over: pd.Series, under: pd.Series) -> _Estimate | None:
    """Returns the sum of `over` divided by the sum of `under` with its standard error, or None without values.

    The error of a single prompt is 0.
    """
    if over.empty:
        return None
    above, below = _sums_by_prompt(over), _sums_by_prompt(under)
    value = sum_ratio(above, below)
    error = float(standard_error(above, below, np.array(value))) if len(above) > 1 else 0.0
    return _Estimate(value, error, len(above))


def half_width(
    above: Float[np.ndarray, "*studies prompts"],
    below: Float[np.ndarray, "*studies prompts"],
    value: Float[np.ndarray, "*studies"],
    confidence: float = CONFIDENCE,
) -> Float[np.ndarray, "*studies"]:
    """Returns half the width of the t interval around `value`, the sum of `above` divided by the sum of `below`."""
    return _quantile(above.shape[-1], confidence) * standard_error(above, below, value)


def _quantile(prompts: int, confidence: float) -> float:
    return float(stdtrit(prompts - 1, (1 + confidence) / 2))


def standard_error(
    above: Float[np.ndarray, "*studies prompts"],
    below: Float[np.ndarray, "*studies prompts"],
    value: Float[np.ndarray, "*studies"],
) -> Float[np.ndarray, "*studies"]:
    """Returns the standard error of `value`, the sum of `above` divided by the sum of `below`.

    It is the error of the linearised ratio, which is the usual error of a mean if `below` is 1 (Cochran, Sampling
    Techniques, 1977, section 6.4). Equal values have the error 0 and not rounding.
    """
    deviations = above - value[..., None] * below
    error = deviations.std(axis=-1, ddof=1) / (below.mean(axis=-1) * math.sqrt(above.shape[-1]))
    scale = np.maximum(np.abs(value), np.abs(above / below).max(axis=-1))
    return np.where(error <= 1e-12 * scale, 0.0, error)


def _sums_by_prompt(values: pd.Series) -> np.ndarray:
    """Returns the sum for each prompt, sorted by prompt."""
    index = values.index
    assert isinstance(index, pd.MultiIndex)
    place = index.names.index("prompt")
    prompts, codes = index.levels[place], index.codes[place]
    sums, counts = np.bincount(codes, values, len(prompts)), np.bincount(codes, minlength=len(prompts))
    order = np.arange(len(prompts)) if prompts.is_monotonic_increasing else np.argsort(prompts)
    return sums[order][counts[order] > 0]
