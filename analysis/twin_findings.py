"""Compares twins in each column: both means over the common samples, the paired difference, and Holm's correction."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from analysis.columns import Column
from analysis.differences import beyond_prices, comparable
from analysis.matching import Twins
from analysis.statistics import CONFIDENCE, NOTHING, Interval, common, holm_by_group, interval, p_value, paired
from analysis.table import Table
from analysis.targets import baseline_values, distances, has_target


class Finding(NamedTuple):
    """One column of twins: the values, or their distances from the column's target if `is_distance`.

    `family` and `against` are the means over the finite samples of `difference`, the paired difference family minus
    against. `p_holm` is its p-value against zero, adjusted for the pairs in the column, or None below MIN_PROMPTS
    prompts. `differs`: p_holm is below 0.05, and latencies are `beyond_prices`. `capped`: how many samples of each side
    exceed the column's cap.
    """

    pair: Twins
    column: Column
    is_distance: bool = False
    family: Interval = NOTHING
    against: Interval = NOTHING
    difference: Interval = NOTHING
    capped: tuple[int, int] = (0, 0)
    p_holm: float | None = None
    differs: bool = False

    @property
    def is_judged(self) -> bool:
        """Whether the sign of the difference says which twin is better.

        A column with a target is judged by distances alone, other columns by their better direction.
        """
        return self.is_distance if has_target(self.column) else self.column.better != 0

    @property
    def verdict(self) -> int:
        """1 if the family is better than its twin, -1 if it is worse, and 0 if they are not separated."""
        if not self.differs or self.difference.value is None:
            return 0
        better = -1 if self.is_distance else self.column.better
        return better if self.difference.value > 0 else -better


def findings(table: Table, pairs: Sequence[Twins], shown: Sequence[Column], caps: Mapping[str, float]) -> list[Finding]:
    """Returns each pair in each column, and after a column with a target the distances from it.

    `caps` has the largest value that counts in a column, by the column's name.
    """
    found, p = [], []
    for pair in pairs:
        for column in shown:
            for is_distance in (False, True) if has_target(column) else (False,):
                a, b = _values(table, pair, column, is_distance, caps.get(column.name))
                found.append(_compared(pair, column, is_distance, a, b)._replace(
                    capped=_capped(pair, column, caps.get(column.name))))  # fmt: skip
                p.append(p_value(a, b))
    adjusted = holm_by_group([(f.column.name, f.is_distance) for f in found], p)
    return [f._replace(p_holm=q, differs=_differs(f, q)) for f, q in zip(found, adjusted, strict=True)]


def _values(
    table: Table, pair: Twins, column: Column, is_distance: bool, cap: float | None
) -> tuple[pd.Series, pd.Series]:
    """Returns the values of both rows, or their distances from the target. Values above `cap` count as `cap`."""
    target = baseline_values(table.reference(pair.family.video), column).clip(upper=cap)
    values = (comparable(row, column).clip(upper=cap) for row in (pair.family, pair.against))
    a, b = (distances(each, column, target) if is_distance else each for each in values)
    return a, b


def _compared(pair: Twins, column: Column, is_distance: bool, a: pd.Series, b: pd.Series) -> Finding:
    x, y, _ = common(a, b)
    return Finding(pair, column, is_distance, interval(x), interval(y), paired(a, b))


def _capped(pair: Twins, column: Column, cap: float | None) -> tuple[int, int]:
    """Returns how many of the common samples exceed the cap, in each row."""
    if cap is None:
        return 0, 0
    sides = [row.values(column.name) for row in (pair.family, pair.against)]
    both = pd.concat(sides, axis=1, join="inner", keys=["family", "against"]).dropna()
    return int((both["family"] > cap).sum()), int((both["against"] > cap).sum())


def _differs(found: Finding, p_holm: float | None) -> bool:
    separated = p_holm is not None and p_holm < 1 - CONFIDENCE
    return separated and beyond_prices(found.pair.family, found.pair.against, found.column)
