"""Reads the paper's Table 1 (arXiv 2504.12259), and compares the trends of a study with it."""

import csv
import math
from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from analysis.columns import Column
from analysis.conditions import Line
from analysis.sheet import Cell, Sheet

FILE = Path(__file__).parents[1] / "paper_table1.csv"
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


def name_of(column: Column) -> str:
    """Returns the column's name in the paper, which has no embedded judge."""
    return column.name.removesuffix("_embedded")


def setting_of(line: Line) -> tuple[Setting] | None:
    """Returns a tuple of the setting of the paper's row for `line`, or None for a line without such a row.

    Ablations and other methods have none. The paper's table is of VGDFR, so this function looks at the method's
    name.
    """
    if line.is_reference:
        return (None,)
    plain = line.method == "vgdfr" and line.ranked and not line.other and line.k is not None and line.theta is not None
    return ((line.k, line.theta),) if plain and (line.k, line.theta) in rows() else None  # pyright: ignore


def row_of(line: Line) -> dict[str, str] | None:
    """Returns the paper's row for `line` as printed, or None."""
    setting = setting_of(line)
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


def measured_step(of: Mapping[Setting, Line], column: Column) -> Step:
    """Returns differences between a study's rows: means over the samples that both have, rounded to printed digits.

    An infinite value exceeds every finite value and equals another infinite one. Speed-ups are ratios of mean
    latencies.
    """

    def step(a: Setting, b: Setting) -> float | None:
        if a not in of or b not in of:
            return None
        name = "latency_s" if column.name == "speedup" else column.name
        ours, theirs = of[b].values[name], of[a].values[name]
        common = ours.keys() & theirs.keys()
        if column.name == "speedup":
            baseline_s = of[None].values[name] if None in of else {}
            common &= baseline_s.keys()
            if None in (a, b) or not common:
                return None
            total_s = math.fsum(baseline_s[key] for key in common)
            up, down = (total_s / math.fsum(side[key] for key in common) for side in (ours, theirs))
            return round(up - down, column.digits)
        steps = [ours[key] - theirs[key] for key in common if ours[key] != theirs[key]]
        if not common:
            return None
        infinite = sum((s > 0) - (s < 0) for s in steps if math.isinf(s))
        finite = math.fsum(s for s in steps if math.isfinite(s)) / len(common)
        return float(infinite) or round(finite, column.digits)

    return step


def trends(table: list[Line], column: Column) -> dict[str, tuple[Trend | None, Trend | None]]:
    """Returns the trends (paper's, study's) with k, with theta and against the baseline, over rows that both have."""
    name = name_of(column)
    ours: dict[Setting, Line] = {}
    for line in table:
        if (setting := setting_of(line)) and line.video == table[0].video:
            ours.setdefault(setting[0], line)
    theirs = {setting: row[name] for setting, row in rows().items() if name in row}
    both = [s for s in theirs if s is not None and s in ours and ours[s].present(column)]
    # if the study has none of the rows, the paper's trend is over all rows of the paper
    paper = both or [s for s in theirs if s is not None]
    there, here = printed_step(theirs), measured_step(ours, column)
    return {
        "k": (trend(paper, there, "k"), trend(both, here, "k")),
        "θ": (trend(paper, there, "theta"), trend(both, here, "theta")),
        "Original": (against(paper, there), against(both, here)),
    }


def trends_sheet(table: list[Line], shown: list[Column]) -> Sheet:
    """Returns a row per column and trend: the direction in the paper, the direction here, and whether they agree."""
    body, counts = [], {"agrees": 0, "differs": 0, "not measured": 0}
    rules = set()
    for column in shown:
        if not any(name_of(column) in row for row in rows().values()):
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
            f"{note}. In parentheses: of the pairs of rows that differ in k (or θ) alone, the share in which the "
            "number rises with it less the share in which it falls; from Original: of the VGDFR rows, those above it "
            "less those below. From 0.33 on it is a trend. Over the rows that both tables have; here two rows "
            "are compared over the samples that both have, an infinite value above every other. The paper's numbers "
            "are of another model, its judges others: directions compare, numbers do not.",
        ),
    )
