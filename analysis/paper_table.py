"""Reads the paper's Table 1 (arXiv 2504.12259), and compares the trends of a study with it."""

import csv
import math
from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.columns import Column, in_paper
from analysis.render import Cell, Sheet
from analysis.statistics import sum_ratio
from analysis.table import Row, Table

FILE = Path(__file__).parent / "paper_table1.csv"
_CLEAR = 1 / 3  # twice as many pairs of rows one way as the other
Setting = tuple[int, float] | None  # k and theta; None for the baseline


@cache
def rows() -> dict[Setting, dict[str, float]]:
    """Returns the numbers of each row by column."""
    return {setting: {name: float(v) for name, v in row.items()} for setting, row in printed().items()}


@cache
def printed() -> dict[Setting, dict[str, str]]:
    """Returns `rows` as text, with the digits that the paper prints."""
    found: dict[Setting, dict[str, str]] = {}
    with FILE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            setting = (int(row["k"]), float(row["theta"])) if row["k"] else None
            found[setting] = {n: v for n, v in row.items() if v and n not in ("method", "k", "theta")}
    return found


def setting_of(row: Row) -> tuple[Setting] | None:
    """Returns a tuple of the setting of the paper's row for `row`, or None if the paper has none.

    Ablations and other methods have none. The paper's table is of VGDFR, so this function looks at the method's
    name.
    """
    if row.is_reference:
        return (None,)
    if row.method != "vgdfr" or not row.ranked or row.other or row.k is None or row.theta is None:
        return None
    return ((row.k, row.theta),) if (row.k, row.theta) in rows() else None


def row_of(row: Row) -> dict[str, str] | None:
    """Returns the paper's row for `row` as printed, or None."""
    setting = setting_of(row)
    return printed()[setting[0]] if setting else None


class Trend(NamedTuple):
    """Kendall's tau-a over `pairs` row pairs: the fraction that rise minus the fraction that fall."""

    tau: float
    pairs: int

    @property
    def direction(self) -> str:
        return "rises" if self.tau >= _CLEAR else "falls" if self.tau <= -_CLEAR else "no trend"


# returns by how much the second row exceeds the first, or None if the rows cannot be compared
Step = Callable[[Setting, Setting], float | None]


def _trend(steps: list[float | None]) -> Trend | None:
    signs = [(step > 0) - (step < 0) for step in steps if step is not None]
    return Trend(sum(signs) / len(signs), len(signs)) if signs else None


def trend(settings: list[tuple[int, float]], step: Step, along: str) -> Trend | None:
    """Returns the trend of rows along "k" or "theta" with the other fixed, or None if no two rows can be compared."""
    own, held = (0, 1) if along == "k" else (1, 0)
    pairs = combinations(sorted(settings, key=lambda setting: setting[own]), 2)
    return _trend([step(a, b) for a, b in pairs if a[held] == b[held] and a[own] != b[own]])


def against(settings: list[tuple[int, float]], step: Step) -> Trend | None:
    """Returns the fraction of rows above the baseline minus the fraction below, or None without comparable rows."""
    return _trend([step(None, setting) for setting in settings])


def printed_step(numbers: Mapping[Any, float]) -> Step:
    """Returns the differences between numbers of a printed table."""
    return lambda a, b: numbers[b] - numbers[a] if a in numbers and b in numbers else None


def measured_step(of: Mapping[Setting, Row], column: Column) -> Step:
    """Returns differences between a study's rows: means over the samples that both have, rounded to printed digits.

    An infinite value exceeds every finite value and equals another infinite one. Speed-ups are ratios of mean
    latencies.
    """
    names = ("reference_latency_s", "latency_s") if column.name == "speedup" else (column.name,)
    # a column per row of the table, a line per sample, NaN where a row lacks the sample
    values = [pd.concat({s: row.values(name) for s, row in of.items()}, axis=1).to_numpy().T for name in names]
    place = {setting: i for i, setting in enumerate(of)}

    def step(a: Setting, b: Setting) -> float | None:
        if a not in place or b not in place:
            return None
        pairs = [each[[place[b], place[a]]] for each in values]
        common = ~np.isnan(np.concatenate(pairs)).any(axis=0)
        if not common.any():
            return None
        if column.name == "speedup":
            (up, down), (own_s, other_s) = (pair[:, common] for pair in pairs)
            return round(sum_ratio(up, own_s) - sum_ratio(down, other_s), column.digits)
        ours, theirs = pairs[0][:, common]
        steps = ours[ours != theirs] - theirs[ours != theirs]
        infinite = np.sign(steps[np.isinf(steps)]).sum()
        return float(infinite) or round(math.fsum(steps[np.isfinite(steps)]) / int(common.sum()), column.digits)

    return step


def trends(table: Table, column: Column) -> dict[str, tuple[Trend | None, Trend | None]]:
    """Returns the trends (paper's, study's) with k, with theta and against the baseline, over rows that both have."""
    name = in_paper(column)
    ours: dict[Setting, Row] = {}
    for row in table.rows:
        if (setting := setting_of(row)) and row.video == table.videos[0]:
            ours.setdefault(setting[0], row)
    theirs = {setting: numbers[name] for setting, numbers in rows().items() if name in numbers}
    both = [s for s in theirs if s is not None and s in ours and ours[s].present(column.name)]
    # if the study has none of the rows, the paper's trend is over all rows of the paper
    paper = both or [s for s in theirs if s is not None]
    there, here = printed_step(theirs), measured_step(ours, column)
    return {
        "k": (trend(paper, there, "k"), trend(both, here, "k")),
        "θ": (trend(paper, there, "theta"), trend(both, here, "theta")),
        "Original": (against(paper, there), against(both, here)),
    }


def trends_sheet(table: Table, shown: list[Column]) -> Sheet:
    """Returns a row per column and trend: the direction in the paper, the direction here, and whether they agree."""
    body, counts = [], {"agrees": 0, "differs": 0, "not measured": 0}
    rules = set()
    for column in shown:
        if not any(in_paper(column) in numbers for numbers in rows().values()):
            continue
        rules.add(len(body))
        for along, (theirs, ours) in trends(table, column).items():
            if theirs is None:
                continue
            same = "not measured" if ours is None else "agrees" if ours.direction == theirs.direction else "differs"
            counts[same] += 1
            way = "from Original" if along == "Original" else f"with {along}"
            said = [f"{t.direction} ({t.tau:+.2f})" if t else "–" for t in (theirs, ours)]
            body.append(tuple(map(Cell, (f"{column.title} {way}", *said, same))))
    note = "{agrees} agree, {differs} differ, {} not measured".format(counts["not measured"], **counts)
    return Sheet(
        header=("Trend", "Paper", "Here", "Verdict"),
        rows=tuple(body),
        rules=frozenset(rules),
        title="Trends",
        notes=(
            f"{note}. In parentheses: over the pairs of rows that differ in k (or θ) alone, the fraction in which the "
            "number rises minus the fraction in which it falls; from Original: the fraction of VGDFR rows above it "
            "minus the fraction below. A trend begins at 0.33. Only rows that both tables have count. Two rows of the "
            "study are compared over the samples that both have, and an infinite value exceeds every other. The paper "
            "used another model and other judges, so directions compare and numbers do not.",
        ),
    )
