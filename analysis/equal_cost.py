"""Compares families at equal cost: each family's quality at the latency, DiT work or FLOPs of one family's rows.

A family is a line of settings, such as a cache at three thresholds. At a given cost it has the value between its two
neighbouring settings, interpolated for each sample, so that differences stay paired. Nothing is extrapolated.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from analysis.columns import Column
from analysis.family_cost import Cost
from analysis.pareto import free_settings, has_front, on_line
from analysis.render import Cell, Sheet
from analysis.row import Row
from analysis.statistics import CONFIDENCE, NOTHING, Interval, holm_by_group, interval, p_value, paired
from analysis.table import Table
from metrics.base import COLUMN_GROUPS


class Place(NamedTuple):
    """A point on the line between two settings of a family: `weight` is the share of `dearer`, from 0 to below 1.

    `text` describes the point. A line through a front has the column that chose the front as `chosen_by`. A line
    through all settings has None.
    """

    cheaper: Row
    dearer: Row
    text: str
    weight: float = 0.0
    ratio: float = 1.0
    chosen_by: Column | None = None

    def values(self, column: Column) -> pd.Series:
        """Returns the interpolated values of the samples that both settings have."""
        if not self.weight:  # an infinite value times 0 is no number
            return self.cheaper.values(column.name)
        ends = (self.cheaper.values(column.name), self.dearer.values(column.name))
        both = pd.concat(ends, axis=1, join="inner", keys=["cheaper", "dearer"])
        return (1 - self.weight) * both["cheaper"] + self.weight * both["dearer"]


class Comparison(NamedTuple):
    """A family in one column at the cost of the row `at`.

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


def place_at(rows: Sequence[Row], at: Row, cost: Cost, judge: Column | None = None) -> Place | str:
    """Returns the place on a family's line of `rows` with the cost of the row `at`, or the reason for no place.

    Costs are ratios of means over the samples in which both rows compare. The line goes through all rows, or with a
    `judge` through the family's front in this column. Its end is taken as it is within the cost's error, and also if
    the only dearer settings are those that the end beats.
    """
    ratios = sorted([(r, row) for row in rows if (r := cost.ratio(row, at)) is not None], key=lambda each: each[0])
    line = ratios if judge is None else _front(ratios, judge)
    if not line:
        return cost.unknown
    for ratio, row in line:
        if math.isclose(ratio, 1):
            return Place(row, row, _settings(row), chosen_by=judge)
    for (low, cheaper), (high, dearer) in pairwise(line):
        if low < 1 < high:
            weight = (1 - low) / (high - low)
            text = f"{_settings(cheaper)} and {_settings(dearer)} ({1 - weight:.0%} and {weight:.0%})"
            return Place(cheaper, dearer, text, weight, chosen_by=judge)
    ratio, row = line[0] if line[0][0] > 1 else line[-1]
    if max(ratio, 1 / ratio) <= 1 + cost.error or ratio < 1 < ratios[-1][0]:
        return Place(row, row, f"{_settings(row)} ({ratio:.2f} {cost.times})", ratio=ratio, chosen_by=judge)
    way = cost.more if ratio > 1 else cost.less
    return f"{way} in all settings: {_settings(row)} takes {ratio:.2f} {cost.times}"


def _front(ratios: Sequence[tuple[float, Row]], judge: Column) -> list[tuple[float, Row]]:
    """Returns the rows on their own front of cost and the column `judge`, without rows that have no value there."""
    known = [(ratio, row, level) for ratio, row in ratios if (level := row.mean(judge.name).value) is not None]
    kept = on_line([row for _, row, _ in known], [(-ratio, level) for ratio, _, level in known], judge)
    return [(ratio, row) for (ratio, row, _), is_kept in zip(known, kept, strict=True) if is_kept]


def judge_of(rows: Sequence[Row], shown: Sequence[Column]) -> Column | None:
    """Returns the column that chooses the front of a family with several free settings, or None.

    The first column of quality in `shown` is taken that has a front and in which the rows may be compared. A column
    with infinite values is passed over: means leave them out, so a setting with many of them would seem to be beaten.
    """
    if len(free_settings(rows)) < 2:
        return None
    can = (column for column in shown if column.group in COLUMN_GROUPS and has_front(column))
    return next((c for c in can if all(_has_level(row, c) for row in rows)), None)


def _has_level(row: Row, column: Column) -> bool:
    return row.competes(column) and row.present(column.name) > 0 and not row.mean(column.name).infinite


def comparisons(table: Table, shown: Sequence[Column], family: str, cost: Cost) -> list[Comparison]:
    """Returns every other family at the cost of each row of `family`, in each column of quality.

    The rows of `table` need the columns of `with_costs`.
    """
    out = []
    for video in table.videos:
        lines = families(table, video)
        ats = lines.pop(family, [])
        judges = {name: judge_of(rows, shown) for name, rows in lines.items()}
        for at in ats:
            for name, rows in lines.items():
                place = place_at(rows, at, cost, judges[name])
                out += [_compared(at, name, place, column) for column in shown if column.group in COLUMN_GROUPS]
    return _corrected(out)


def _compared(at: Row, family: str, place: Place | str, column: Column) -> Comparison:
    if isinstance(place, str) or any(row.apart(column) for row in (at, place.cheaper, place.dearer)):
        return Comparison(at, family, place, column)
    values = place.values(column)
    return Comparison(at, family, place, column, interval(values), paired(values, at.values(column.name)))


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """Returns the comparisons with p-values that are adjusted within each column."""
    p = [
        p_value(each.place.values(each.column), each.at.values(each.column.name))
        if isinstance(each.place, Place) and each.difference.low is not None
        else None
        for each in found
    ]
    adjusted = holm_by_group([each.column.name for each in found], p)
    return [each._replace(p_holm=q) for each, q in zip(found, adjusted, strict=True)]


def equal_cost_sheet(found: Sequence[Comparison], family: str, cost: Cost) -> Sheet | None:
    """Returns a part per row of `family`: the row itself, and below it each other family at its cost."""
    if not found:
        return None
    shown = list(dict.fromkeys(each.column for each in found))
    body: list[tuple[Cell, ...]] = []
    rules: set[int] = set()
    for at in dict.fromkeys(each.at for each in found):
        rules.add(len(body))
        own = (Cell(_number(at.mean(column.name), column)) for column in shown)
        body.append((Cell(at.title), Cell(cost.cell(at), "aside"), *own))
        lines: dict[str, list[Comparison]] = {}
        for each in found:
            if each.at is at:
                lines.setdefault(each.family, []).append(each)
        body += [_line(line) for line in lines.values()]
    return Sheet(
        title=f"At equal {cost.title}",
        header=(f"{cost.title[0].upper()}{cost.title[1:]} of {family}", "Between", *(column.title for column in shown)),
        rows=tuple(body),
        rules=frozenset(rules),
        notes=(_how(cost), *_on_judges(found), *_on_corrections(found)),
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


def csv_rows(found: Sequence[Comparison], cost: Cost) -> list[dict[str, object]]:
    """Returns a mapping per comparison, for a CSV file."""
    return [_csv_row(each, cost) for each in found]


def _csv_row(each: Comparison, cost: Cost) -> dict[str, object]:
    row: dict[str, object] = {"equal": cost.name, "at": each.at.slug, "video": each.at.video, "family": each.family}
    row |= {"column": each.column.name, "cheaper": None, "dearer": None, "share_of_dearer": None, "cost_ratio": None}
    row["reason"] = None
    if isinstance(place := each.place, Place):
        row |= {"cheaper": place.cheaper.slug, "dearer": place.dearer.slug, "share_of_dearer": place.weight}
        row["cost_ratio"] = place.ratio
    else:
        row["reason"] = place
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


def _on_judges(found: Sequence[Comparison]) -> list[str]:
    """Returns a note on the families with a line through a front, by the column that chose it."""
    chosen: dict[str, dict[str, None]] = {}
    for each in found:
        if isinstance(each.place, Place) and each.place.chosen_by:
            chosen.setdefault(each.place.chosen_by.title, {})[each.family] = None
    return [
        f"{', '.join(names)}: several settings are free, so the line goes through the settings on the family's own "
        f"front of cost and {title}, by the means. The prompts that choose these settings judge them as well, which "
        "favours such a family over the row."
        for title, names in chosen.items()
    ]


def _how(cost: Cost) -> str:
    ends = (
        "of a family that costs more or less in all settings, the nearest setting is taken as it is if it is within "
        "this error. Else there are dashes, and Between says why."
        if cost.error
        else "of a family that costs more or less in all settings there are dashes, and Between says why."
    )
    return (
        f"Below each row stands the quality of the other families at its {cost.title}. In parentheses: the paired "
        "difference to the row, with its 95 % t interval over prompts. A family's value lies on the straight line "
        "between its two neighbouring settings and is interpolated for each sample. "
        f"{cost.explained} Nothing is extrapolated: {ends}"
    )
