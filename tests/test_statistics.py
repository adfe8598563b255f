"""Compares intervals with scipy and with cases worked by hand, and tests their coverage and counts."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perf.coverage import LAWS, PROMPTS, SPEEDUPS, coverage
from scipy import stats

from analysis import statistics
from analysis.statistics import MIN_PROMPTS, Interval, half_width, holm, p_value

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


def test_a_value_per_prompt_is_scipys_t_interval() -> None:
    values = np.random.default_rng(1).gamma(2, size=13)
    ours = interval({f"{i:02}": [v] for i, v in enumerate(values)}, confidence=0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert ours.value == pytest.approx(values.mean()) and ours.n == 13


def test_seeds_come_with_their_prompt_and_a_ratio_is_of_means() -> None:
    """The error of a ratio is the usual error of the residuals, over the mean of the denominator."""
    generator = np.random.default_rng(2)
    counts = generator.integers(1, 4, 11)
    a = {(f"{p:02}", s): float(generator.gamma(3)) for p, n in enumerate(counts) for s in range(n)}
    b = {key: float(generator.gamma(2)) for key in a}
    of = lambda side, p: [v for key, v in side.items() if key[0] == f"{p:02}"]  # noqa: E731

    def expected(over: np.ndarray, under: np.ndarray) -> tuple[float, float]:
        ratio = over.sum() / under.sum()
        error = stats.sem(over - ratio * under) / under.mean()
        return stats.t.interval(0.95, len(over) - 1, ratio, error)

    sums = {name: np.array([sum(of(side, p)) for p in range(11)]) for name, side in (("a", a), ("b", b))}
    mean = interval({f"{p:02}": of(a, p) for p in range(11)})
    assert mean[1:3] == pytest.approx(expected(sums["a"], counts), rel=1e-12)
    assert mean.value == pytest.approx(np.mean(list(a.values()))), "the mean is over samples, not over prompts"
    assert paired(a, b)[1:3] == pytest.approx(expected(sums["a"] - sums["b"], counts), rel=1e-12)
    assert ratio_of_means(a, b)[1:3] == pytest.approx(expected(sums["a"], sums["b"]), rel=1e-12)


def test_a_p_value_is_scipys_and_agrees_with_the_interval() -> None:
    generator = np.random.default_rng(5)
    for shift in (0.0, 0.3, 0.6, 0.9):
        a, b = generator.normal(shift, size=9), generator.normal(size=9)
        one, other = ({(str(i), 0): float(v) for i, v in enumerate(values)} for values in (a, b))
        p = p_value(series(one), series(other))
        assert p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
        made = paired(one, other)
        assert made.low is not None and made.high is not None and p is not None
        assert (p < 0.05) == (made.low > 0 or made.high < 0)
        assert p_value(series(one) - series(other)) == pytest.approx(p)
    equal = {(str(i), 0): 0.1 for i in range(6)}
    assert p_value(series(equal)) == 0.0 and p_value(series(equal), series(equal)) == 1.0
    assert p_value(series({**equal, ("7", 0): math.inf})) == 0.0, "an infinite value is left out"
    assert p_value(series({(str(i), 0): float(i) for i in range(4)})) is None
    assert p_value(series({("a", 0): math.inf})) is None


def test_holms_adjusted_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02]), "as R's p.adjust gives them"
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_holm_keeps_the_level_over_twelve_comparisons_and_plain_tests_do_not() -> None:
    draws = np.random.default_rng(6).normal(size=(1000, 20, 12))
    p = stats.ttest_1samp(draws, 0, axis=1).pvalue
    assert (p < 0.05).any(axis=1).mean() > 0.3
    assert np.mean([min(holm(own)) < 0.05 for own in p]) < 0.07


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
    """The interval is around the mean, deterministic, moves with the values, and widens with confidence."""
    made = interval(values)
    assert made.value is not None and made.low is not None and made.high is not None
    assert made.low <= made.value <= made.high
    assert made == interval(dict(reversed(values.items()))), "the order of the values must not matter"
    moved = interval({p: [scale * x + shift for x in v] for p, v in values.items()})
    assert moved[:3] == pytest.approx([scale * x + shift for x in made[:3] if x is not None], abs=1e-6)
    wide = interval(values, confidence=0.99)
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
        made = interval({str(p): v.tolist() for p, v in enumerate(of_prompt)})
        flat = interval({str(i): [v] for i, v in enumerate(of_prompt.ravel())})
        covered += holds_zero(made)
        naive += holds_zero(flat)
    assert 0.90 <= covered / 400 <= 0.98
    assert naive / 400 < 0.8


# the least coverage that the reports promise, in percent, by law: (for 5 to 19 prompts, from 20 prompts)
PROMISED = {"normal": (93, 93), "t3": (93, 93), "exponential": (88, 91)} | dict.fromkeys(SPEEDUPS, (92, 92))


@pytest.mark.parametrize("law", PROMISED)
def test_intervals_hold_the_truth_as_often_as_promised(law: str) -> None:
    few, many = PROMISED[law]
    found = {n: 100 * coverage(law, n, 20_000) for n in PROMPTS}
    assert all(share >= (few if n < 20 else many) for n, share in found.items()), found
    assert max(found.values()) < 98, "an interval that always holds the truth says nothing"


def test_the_docs_have_the_coverage_of_every_law_and_number_of_prompts() -> None:
    """20,000 studies in place of the 100,000 of docs/statistics.md differ from them by less than one percent."""
    text = (Path(__file__).parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    for law in (*LAWS, *SPEEDUPS):
        line = next(line for line in text.splitlines() if line.startswith(f"| {law} |"))
        printed = [float(cell) for cell in line.strip("|").split("|")[1:]]
        assert len(printed) == len(PROMPTS)
        for prompts, share in list(zip(PROMPTS, printed, strict=True))[:6]:
            assert abs(100 * coverage(law, prompts, 20_000, seed=1) - share) < 1, (law, prompts)


def test_an_interval_of_a_study_is_the_simulated_one() -> None:
    above, below = np.random.default_rng(7).lognormal(size=(2, 6))
    a, b = ({(str(i), 0): float(v) for i, v in enumerate(side)} for side in (above, below))
    made, value = ratio_of_means(a, b), above.sum() / below.sum()
    half = half_width(above, below, np.array(value))
    assert made[:3] == pytest.approx((value, value - half, value + half))
