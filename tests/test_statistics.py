"""Compares intervals with scipy and with cases worked by hand, and tests their coverage and counts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis import statistics
from analysis.statistics import MIN_PROMPTS, Interval

Samples = Mapping[tuple[str, int], float | None]


def series(values: Samples) -> pd.Series:
    index = pd.MultiIndex.from_tuples(list(values), names=["prompt", "seed"]) if values else NO_SAMPLES
    return pd.Series(list(values.values()), index, dtype=float)


NO_SAMPLES = pd.MultiIndex.from_arrays([[], []], names=["prompt", "seed"])


def interval(values: Mapping[str, Sequence[float | None]], **options: Any) -> Interval:
    flat = {(prompt, seed): v for prompt, own in values.items() for seed, v in enumerate(own)}
    return statistics.interval(series(flat), **options)


def paired(a: Samples, b: Samples, **options: Any) -> Interval:
    return statistics.paired(series(a), series(b), **options)


def ratio_of_means(a: Samples, b: Samples, **options: Any) -> Interval:
    return statistics.ratio_of_means(series(a), series(b), **options)


def test_a_value_per_prompt_is_scipys_bootstrap() -> None:
    values = np.random.default_rng(1).gamma(2, size=13)
    ours = interval({f"{i:02}": [v] for i, v in enumerate(values)}, resamples=999, seed=5)
    drawn = stats.bootstrap((values,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(5))
    expected = drawn.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert ours.value == pytest.approx(values.mean()) and ours.n == 13


def test_seeds_come_with_their_prompt_and_a_ratio_is_of_means_as_in_scipy() -> None:
    generator = np.random.default_rng(2)
    counts = generator.integers(1, 4, 11)
    a = {(f"{p:02}", s): float(generator.gamma(3)) for p, n in enumerate(counts) for s in range(n)}
    b = {key: float(generator.gamma(2)) for key in a}
    of = lambda side, p: [v for key, v in side.items() if key[0] == f"{p:02}"]  # noqa: E731

    def both(over, under, axis):
        return np.sum(over, axis) / np.sum(under, axis)

    def scipys(over, under):
        drawn = stats.bootstrap(
            (over, under), both, n_resamples=500, method="BCa", paired=True, rng=np.random.default_rng(0)
        )
        return drawn.confidence_interval.low, drawn.confidence_interval.high

    sums = {name: np.array([sum(of(side, p)) for p in range(11)]) for name, side in (("a", a), ("b", b))}
    mean = interval({f"{p:02}": of(a, p) for p in range(11)}, resamples=500)
    assert mean[1:3] == pytest.approx(scipys(sums["a"], counts), rel=1e-9)
    assert mean.value == pytest.approx(np.mean(list(a.values()))), "the mean is over samples, not over prompts"
    assert paired(a, b, resamples=500)[1:3] == pytest.approx(scipys(sums["a"] - sums["b"], counts), rel=1e-9)
    assert ratio_of_means(a, b, resamples=500)[1:3] == pytest.approx(scipys(sums["a"], sums["b"]), rel=1e-9)


def test_hand_worked() -> None:
    assert interval({"a": [1.0, 3.0], "b": [None, 8.0], "c": [math.inf]})[::3] == (4.0, 3)
    assert interval({"a": [1.0, 3.0], "b": [None, 8.0], "c": [math.inf]}).infinite == 1
    a = {("p", 0): 5.0, ("q", 0): 7.0, ("only a", 0): 100.0, ("r", 0): math.inf}
    b = {("p", 0): 4.0, ("q", 0): 5.0, ("only b", 0): 100.0, ("r", 0): 1.0}
    assert paired(a, b) == Interval(1.5, None, None, 2, 1)
    assert ratio_of_means({("p", 0): 6.0, ("q", 0): 2.0}, {("p", 0): 3.0, ("q", 0): 1.0}) == (2.0, None, None, 2, 0)


def test_too_little_for_an_interval_has_none() -> None:
    assert interval({}) == (None, None, None, 0, 0)
    assert interval({"a": [None]}) == (None, None, None, 0, 0)
    assert interval({"a": [math.inf]}) == (None, None, None, 0, 1)
    assert interval({"a": [1.0, 2.0, 3.0]}) == (2.0, None, None, 3, 0), "three seeds of one prompt are one prompt"
    four = {p: [float(i)] for i, p in enumerate("abcd")}
    assert interval(four) == (1.5, None, None, 4, 0), (
        "with so few prompts an interval would hold the truth far too seldom"
    )
    assert interval(four | {"e": [4.0]}).low is not None
    assert paired({("a", 0): 1.0}, {("b", 0): 1.0}) == (None, None, None, 0, 0)
    with pytest.raises(ValueError, match="above zero"):
        ratio_of_means({("a", 0): 1.0}, {("a", 0): 0.0})
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        interval({"a": [1.0]}, confidence=95)


def test_equal_values_give_an_interval_without_width() -> None:
    assert interval({str(i): [0.1] * 3 for i in range(7)}) == (pytest.approx(0.1),) * 3 + (21, 0)


groups = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.lists(st.integers(-100, 100).map(float), min_size=1, max_size=3),
    min_size=MIN_PROMPTS,
)


@settings(deadline=None, max_examples=50)
@given(groups, st.integers(-50, 50), st.sampled_from([0.25, 0.5, 2, 8]))
def test_properties(values: dict[str, list[float]], shift: int, scale: float) -> None:
    """The interval is within the prompts' means, deterministic, moves with the values, and widens with confidence."""
    made = interval(values, resamples=200)
    means = [sum(v) / len(v) for v in values.values()]
    assert made.value is not None and made.low is not None and made.high is not None
    assert min(means) - 1e-9 <= made.low <= made.high <= max(means) + 1e-9
    assert made == interval(dict(reversed(values.items())), resamples=200), "the order of the values must not matter"
    moved = interval({p: [scale * x + shift for x in v] for p, v in values.items()}, resamples=200)
    assert moved[:3] == pytest.approx([scale * x + shift for x in made[:3] if x is not None], abs=1e-6)
    wide = interval(values, confidence=0.99, resamples=200)
    assert wide.low is not None and wide.high is not None
    assert wide.low <= made.low + 1e-9 and made.high - 1e-9 <= wide.high


def holds_zero(made: Interval) -> bool:
    return made.low is not None and made.high is not None and made.low < 0 < made.high


def test_covers_the_truth_as_often_as_it_says_and_ignoring_prompts_would_not() -> None:
    """400 studies of 40 prompts x 4 seeds have mean 0. Prompts differ more than the seeds of a prompt."""
    generator = np.random.default_rng(3)
    covered = naive = 0
    for _ in range(400):
        of_prompt = generator.normal(size=(40, 1)) + 0.3 * generator.normal(size=(40, 4))
        made = interval({str(p): v.tolist() for p, v in enumerate(of_prompt)}, resamples=500)
        flat = interval({str(i): [v] for i, v in enumerate(of_prompt.ravel())}, resamples=500)
        covered += holds_zero(made)
        naive += holds_zero(flat)
    assert 0.90 <= covered / 400 <= 0.98
    assert naive / 400 < 0.8


@pytest.mark.parametrize(("prompts", "least", "most"), [(5, 0.70, 0.90), (6, 0.75, 0.92), (10, 0.85, 0.96)])
def test_of_few_prompts_intervals_are_somewhat_short(prompts: int, least: float, most: float) -> None:
    """The reports say so in a note."""
    generator = np.random.default_rng(4)
    studies = generator.normal(size=(400, prompts))
    covered = sum(holds_zero(interval({str(p): [v] for p, v in enumerate(s)}, resamples=500)) for s in studies)
    assert least <= covered / 400 <= most
