"""Means over samples, and what must not go into them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """`value` over `n` finite values (None if there is none); `infinite` ones are counted apart, never averaged in."""

    value: float | None
    n: int
    infinite: int


def mean(values: Iterable[float | None]) -> Mean:
    """The mean of what is there: None is skipped, infinities are counted apart."""
    present = [v for v in values if v is not None]
    finite = [v for v in present if math.isfinite(v)]
    return Mean(math.fsum(finite) / len(finite) if finite else None, len(finite), len(present) - len(finite))


class Interval(NamedTuple):
    """`value` over `n` finite samples with its 95 % bootstrap interval; None where fewer than two prompts are there."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    infinite: int


def interval(values_by_prompt: Mapping[str, Sequence[float | None]]) -> Interval:
    """The mean of all finite samples, and its interval over resampled prompts (percentiles; the same every time)."""
    present = [[v for v in values if v is not None] for values in values_by_prompt.values()]
    clusters = [[v for v in values if math.isfinite(v)] for values in present]
    infinite = sum(map(len, present)) - sum(map(len, clusters))
    clusters = [values for values in clusters if values]
    n = sum(map(len, clusters))
    if not n:
        return Interval(None, None, None, 0, infinite)
    value = math.fsum(v for values in clusters for v in values) / n
    if len(clusters) < 2:
        return Interval(value, None, None, n, infinite)
    sums, counts = np.array([math.fsum(c) for c in clusters]), np.array([len(c) for c in clusters])
    drawn = np.random.default_rng(0).integers(0, len(clusters), (10_000, len(clusters)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return Interval(value, float(low), float(high), n, infinite)


def paired(a: Mapping[tuple[str, int], float | None], b: Mapping[tuple[str, int], float | None]) -> Interval:
    """The mean difference a - b over the samples (prompt, seed) that both have, with its interval over prompts."""
    differences: dict[str, list[float | None]] = {}
    for key in sorted(a.keys() & b.keys()):
        x, y = a[key], b[key]
        if x is not None and y is not None:
            both = math.isfinite(x) and math.isfinite(y)
            differences.setdefault(key[0], []).append(x - y if both else math.inf)
    return interval(differences)
