"""Compares families at equal latency: each family's quality at the latency of the main family's rows.

A family is a line of settings, such as a cache at three thresholds. At a given latency it has the value between its two
neighbouring settings, interpolated for each sample, so that differences stay paired. Nothing is extrapolated.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from analysis.columns import PRICE_ERROR, Column
from analysis.render import Cell, Sheet
from analysis.row import Row
from analysis.statistics import CONFIDENCE, NOTHING, Interval, holm, interval, p_value, paired, ratio_of_latencies
from analysis.table import Table
from metrics.base import COLUMN_GROUPS


class Place(NamedTuple):
    """A point on the line between two settings of a family: `weight` is the share of `slow`, from 0 to below 1.

    `ratio` is the latency of the point over the wanted latency. It differs from 1 at an end of the line.
    """

    fast: Row
    slow: Row
    weight: float = 0.0
    ratio: float = 1.0

    @property
    def text(self) -> str:
        if not self.weight:
            return _settings(self.fast) + f" ({self.ratio:.2f} times as long)" * (self.ratio != 1)
        shares = f"{1 - self.weight:.0%} and {self.weight:.0%}"
        return f"{_settings(self.fast)} and {_settings(self.slow)} ({shares})"

    def values(self, column: Column) -> pd.Series:
        """Returns the interpolated values of the samples that both settings have."""
        if not self.weight:  # an infinite value times 0 is no number
            return self.fast.values(column.name)
        ends = (self.fast.values(column.name), self.slow.values(column.name))
        both = pd.concat(ends, axis=1, join="inner", keys=["fast", "slow"])
        return (1 - self.weight) * both["fast"] + self.weight * both["slow"]


class Comparison(NamedTuple):
    """A family in one column at the latency of the row `at`.

    `place` is a text with the reason if the family has no value there. `difference` is the paired difference, the
    family's value minus the value of `at`. `p_holm` is its p-value against zero, adjusted for the number of comparisons
    in the column, or None below MIN_PROMPTS prompts.
    """

    at: Row
    family: str
    place: Place | str
    column: Column
    value: Interval = NOTHING
    difference: Interval = NOTHING
    p_holm: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the difference is separated from zero in a column in which one direction is better."""
        told = self.column.better != 0 and not self.column.shown_with
        return told and self.p_holm is not None and self.p_holm < 1 - CONFIDENCE


def families(table: Table, video: str) -> dict[str, list[Row]]:
    """Returns the finished methods of a video setting by family, in the table's order."""
    found: dict[str, list[Row]] = {}
    for row in table.rows:
        if row.ranked and row.n and row.video == video:
            found.setdefault(row.family, []).append(row)
    return found


def place_at(rows: Sequence[Row], at: Row) -> Place | str:
    """Returns the place on a family's line of `rows` with the latency of the row `at`, or the reason for no place.

    Latencies are ratios of means over the samples that one run priced for both rows. An end of the line within the
    error of prices is taken as it is.
    """
    ratios = [(ratio_of_latencies(row.samples, at.samples).value, row) for row in rows]
    line = sorted([(ratio, row) for ratio, row in ratios if ratio is not None], key=lambda each: each[0])
    if not line:
        return "no run timed both"
    for ratio, row in line:
        if ratio == 1:
            return Place(row, row)
    for (low, fast), (high, slow) in pairwise(line):
        if low < 1 < high:
            return Place(fast, slow, (1 - low) / (high - low))
    ratio, row = line[0] if line[0][0] > 1 else line[-1]
    if max(ratio, 1 / ratio) <= 1 + PRICE_ERROR:
        return Place(row, row, ratio=ratio)
    way = "slower" if ratio > 1 else "faster"
    return f"{way} in all settings: {_settings(row)} takes {ratio:.2f} times as long"


def comparisons(table: Table, shown: Sequence[Column], family: str) -> list[Comparison]:
    """Returns every other family at the latency of each row of `family`, in each column of quality."""
    out = []
    for video in table.videos:
        lines = families(table, video)
        for at in lines.pop(family, []):
            for name, rows in lines.items():
                place = place_at(rows, at)
                out += [_compared(at, name, place, column) for column in shown if column.group in COLUMN_GROUPS]
    return _corrected(out)


def _compared(at: Row, family: str, place: Place | str, column: Column) -> Comparison:
    if isinstance(place, str) or any(row.apart(column) for row in (at, place.fast, place.slow)):
        return Comparison(at, family, place, column)
    values = place.values(column)
    return Comparison(at, family, place, column, interval(values), paired(values, at.values(column.name)))


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """Returns the comparisons with p-values that are adjusted within each column."""
    p: dict[str, dict[int, float]] = {}
    for i, each in enumerate(found):
        if isinstance(each.place, Place) and each.difference.low is not None:
            value = p_value(each.place.values(each.column), each.at.values(each.column.name))
            if value is not None:
                p.setdefault(each.column.name, {})[i] = value
    adjusted = {i: q for own in p.values() for i, q in zip(own, holm(list(own.values())), strict=True)}
    return [each._replace(p_holm=adjusted.get(i)) for i, each in enumerate(found)]


def equal_latency_sheet(found: Sequence[Comparison], family: str) -> Sheet | None:
    """Returns a part per row of `family`: the row itself, and below it each other family at its latency."""
    if not found:
        return None
    shown = list(dict.fromkeys(each.column for each in found))
    body: list[tuple[Cell, ...]] = []
    rules: set[int] = set()
    for at in dict.fromkeys(each.at for each in found):
        rules.add(len(body))
        own = (Cell(_number(at.mean(column.name), column)) for column in shown)
        body.append((Cell(at.title), Cell("", "aside"), *own))
        lines: dict[str, list[Comparison]] = {}
        for each in found:
            if each.at is at:
                lines.setdefault(each.family, []).append(each)
        body += [_line(line) for line in lines.values()]
    return Sheet(
        title="At equal latency",
        header=(f"Latency of {family}", "Between", *(column.title for column in shown)),
        rows=tuple(body),
        rules=frozenset(rules),
        notes=(_HOW, *_on_corrections(found)),
    )


def _line(line: Sequence[Comparison]) -> tuple[Cell, ...]:
    place = line[0].place
    cells = (Cell(_text(each), "best" * each.differs) for each in line)
    return (Cell(f"– {line[0].family}"), Cell(place if isinstance(place, str) else place.text), *cells)


def _text(each: Comparison) -> str:
    """Returns the value and the difference with its interval: "30.12 (+1.20 [+0.40, +2.00])"."""
    if each.value.value is None or each.difference.value is None:
        return _number(each.value, each.column)
    digits, difference = each.column.digits, each.difference
    ends = "" if difference.low is None else f" [{difference.low:+.{digits}f}, {difference.high:+.{digits}f}]"
    return f"{each.value.value:.{digits}f} ({difference.value:+.{digits}f}{ends}){_counts(each)}"


def _counts(each: Comparison) -> str:
    """Returns the number of paired samples where it is smaller than the row's, and the number of infinite ones."""
    paired_n, infinite = each.difference.n, each.difference.infinite
    counts = [f"n={paired_n}"] * (paired_n < each.at.n) + [f"{infinite} infinite"] * (infinite > 0)
    return f", {', '.join(counts)}" if counts else ""


def _number(value: Interval, column: Column) -> str:
    return "–" if value.value is None else f"{value.value:.{column.digits}f}"


def _settings(row: Row) -> str:
    return ", ".join(row.settings) or row.name


def csv_rows(found: Sequence[Comparison]) -> list[dict[str, object]]:
    """Returns a mapping per comparison, for a CSV file."""
    return [_csv_row(each) for each in found]


def _csv_row(each: Comparison) -> dict[str, object]:
    row: dict[str, object] = {"at": each.at.slug, "video": each.at.video, "family": each.family}
    row |= {"column": each.column.name, "fast": None, "slow": None, "share_of_slow": None, "latency_ratio": None}
    row["reason"] = None
    if isinstance(each.place, Place):
        row |= {"fast": each.place.fast.slug, "slow": each.place.slow.slug, "share_of_slow": each.place.weight}
        row["latency_ratio"] = each.place.ratio
    else:
        row["reason"] = each.place
    for name, value in (("value", each.value), ("difference", each.difference)):
        row |= {f"{name}_{end}": number for end, number in value._asdict().items()}
    return row | {"difference_p_holm": each.p_holm}


def _on_corrections(found: Sequence[Comparison]) -> list[str]:
    counts = Counter(each.column.name for each in found if each.p_holm is not None)
    if not counts:
        return []
    return [
        f"Bold: the difference is not 0 (t test, p < {1 - CONFIDENCE:.2f}) after Holm's correction for the up to "
        f"{max(counts.values())} comparisons of its column. The intervals are not corrected. Columns without a better "
        "direction, and columns in which frozen videos are best, have no bold cells."
    ]


_HOW = (
    "Below each row stands the quality of the other families at its latency. In parentheses: the paired difference to "
    "the row, with its 95 % t interval over prompts. A family's value lies on the straight line between its two "
    "neighbouring settings and is interpolated for each sample. The shares of the two settings follow from ratios of "
    f"mean latencies in one run, and they are taken as exact: intervals do not hold the error of prices, up to "
    f"{100 * PRICE_ERROR:.0f} %. Nothing is extrapolated: of a family that is faster or slower in all settings, the "
    "nearest setting is taken as it is if it is within this error. Else there are dashes, and Between says why."
)
