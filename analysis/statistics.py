"""Means with bootstrap intervals over prompts, and what must not go into them.

A study's samples of one prompt are not independent (its seeds show the same thing), so prompts are what is drawn anew:
all seeds of a drawn prompt come with it. Every statistic here is a sum over prompts divided by another, which is why
one function gives all intervals.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from vgdfr_commands.start import run

Key = tuple[str, int]  # a sample: prompt and seed
CONFIDENCE, RESAMPLES, SEED = 0.95, 2000, 0
MIN_PROMPTS = 5  # an interval of fewer holds the truth far less often than it says: of 2, half of the time


class Interval(NamedTuple):
    """`value` over `n` finite samples (None if there is none), and the interval around it.

    `low` and `high` are None below MIN_PROMPTS prompts. `infinite` samples are counted apart, never averaged in.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    infinite: int


def interval(
    values_by_prompt: Mapping[str, Sequence[float | None]],
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """The mean over all samples, with its bootstrap interval over prompts; None is skipped, infinities counted apart.

    Deterministic: the same numbers give the same interval.
    """
    infinite, sums = 0, []
    for _, values in sorted(values_by_prompt.items()):
        present = [v for v in values if v is not None]
        finite = [v for v in present if math.isfinite(v)]
        infinite += len(present) - len(finite)
        if finite:
            sums.append((math.fsum(finite), len(finite)))
    return _interval(sums, sum(n for _, n in sums), infinite, confidence, resamples, seed)


def paired(
    a: Mapping[Key, float | None],
    b: Mapping[Key, float | None],
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """The mean of a - b over the samples that both have, with its bootstrap interval over prompts.

    A sample that is infinite on either side is counted as such.
    """
    common, infinite = _common(a, b)
    by_prompt: dict[str, list[float]] = {}
    for prompt, x, y in common:
        by_prompt.setdefault(prompt, []).append(x - y)
    sums = [(math.fsum(values), len(values)) for _, values in sorted(by_prompt.items())]
    return _interval(sums, len(common), infinite, confidence, resamples, seed)


def ratio_of_means(
    a: Mapping[Key, float | None],
    b: Mapping[Key, float | None],
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """The mean of a over the mean of b, over the samples that both have, with its bootstrap interval over prompts.

    The paper's speed-up: `a` the baseline's latencies, `b` the condition's own. `b` must be above zero.
    """
    common, infinite = _common(a, b)
    if wrong := [y for _, _, y in common if y <= 0]:
        raise ValueError(f"a ratio needs values above zero under the line, got {wrong[0]}")
    by_prompt: dict[str, list[tuple[float, float]]] = {}
    for prompt, x, y in common:
        by_prompt.setdefault(prompt, []).append((x, y))
    sums = [(math.fsum(x for x, _ in pairs), math.fsum(y for _, y in pairs)) for _, pairs in sorted(by_prompt.items())]
    return _interval(sums, len(common), infinite, confidence, resamples, seed)


def _common(a: Mapping[Key, float | None], b: Mapping[Key, float | None]) -> tuple[list[tuple[str, float, float]], int]:
    """(prompt, a's, b's) of the samples that both have, in a's order, and how many of them are infinite."""
    both = [(key[0], x, y) for key, x in a.items() if x is not None and (y := b.get(key)) is not None]
    finite = [pair for pair in both if math.isfinite(pair[1]) and math.isfinite(pair[2])]
    return finite, len(both) - len(finite)


def _interval(
    sums: Sequence[tuple[float, float]], n: int, infinite: int, confidence: float, resamples: int, seed: int
) -> Interval:
    """The first sums' total over the second's, with the bias-corrected and accelerated interval (BCa, Efron 1987).

    One pair of sums per prompt. The same prompts are drawn for every statistic over as many prompts.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if not sums:
        return Interval(None, None, None, 0, infinite)
    above, below = (np.array(side, float) for side in zip(*sums, strict=True))
    value = math.fsum(above) / math.fsum(below)
    if len(sums) < MIN_PROMPTS:
        return Interval(value, None, None, n, infinite)
    deviations = above - value * below  # about zero, so that equal values give an interval without width, not noise
    drawn = _draws(len(sums), resamples, seed)
    spread = (drawn @ deviations) / (drawn @ below)
    rounding = 1e-12 * max(abs(value), np.abs(above / below).max())
    if np.ptp(spread) <= rounding:
        return Interval(value, value, value, n, infinite)
    left_out = (deviations.sum() - deviations) / (below.sum() - below)
    centred = left_out.mean() - left_out
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    # the share of the draws below the value itself; never none or all of them, which would have no quantile
    share = ((spread < -rounding).sum() + (spread <= rounding).sum()) / (2 * resamples)
    bias = ndtri(np.clip(share, 0.5 / resamples, 1 - 0.5 / resamples))
    ends = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(spread, ndtr(bias + ends / (1 - acceleration * ends)))
    return Interval(value, value + float(low), value + float(high), n, infinite)


@lru_cache(maxsize=4)
def _draws(prompts: int, resamples: int, seed: int) -> np.ndarray:
    """How often each prompt is drawn in each resample."""
    drawn = np.random.default_rng(seed).integers(0, prompts, (resamples, prompts))
    offsets = drawn + np.arange(resamples)[:, None] * prompts
    return np.bincount(offsets.ravel(), minlength=resamples * prompts).reshape(resamples, prompts).astype(float)


def command() -> None:
    import argparse

    from analysis import differences  # which builds on this module
    from analysis.output import add_out

    parser = argparse.ArgumentParser(
        description="Means with intervals, and paired differences, of a study, printed and written to report/: "
        "python -m analysis.statistics runs/table1 --by speed"
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--between", nargs=2, metavar=("A", "B"), help="A less B, conditions named as their folders")
    parser.add_argument("--by", choices=differences.GROUPINGS, help="within groups of prompts or videos")
    parser.add_argument("--allow-mixed", action="store_true", help="samples made on different devices together")
    add_out(parser)
    given = parser.parse_args()
    differences.main(given.study, given.between and tuple(given.between), given.by, given.allow_mixed, given.out)


if __name__ == "__main__":
    run(command)
