"""The paper's own Table 1 (arXiv 2504.12259), and whether a study's numbers move as it does."""

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
_CLEAR = 1 / 3  # twice as many pairs of rows one way as the other: less is no trend
Setting = tuple[int, float] | None  # k and theta; None for the baseline


@cache
def rows() -> dict[Setting, dict[str, float]]:
    """Column by column the numbers of each of its rows."""
    return {setting: {name: float(v) for name, v in row.items()} for setting, row in printed().items()}


@cache
def printed() -> dict[Setting, dict[str, str]]:
    """`rows` as the paper prints them, digits and all."""
    found: dict[Setting, dict[str, str]] = {}
    with FILE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            setting = (int(row["k"]), float(row["theta"])) if row["k"] else None
            found[setting] = {n: v for n, v in row.items() if v and n not in ("method", "k", "theta")}
    return found


def name_of(column: Column) -> str:
    """What the paper calls a column, whoever judged it here."""
    return column.name.removesuffix("_embedded")


def setting_of(line: Line) -> tuple[Setting] | None:
    """The paper's row that a line is to be laid beside; None if it has none: an ablation, another method."""
    if line.method == "baseline":
        return (None,)
    plain = line.ranked and not line.other and line.k is not None and line.theta is not None
    return ((line.k, line.theta),) if plain and (line.k, line.theta) in rows() else None  # pyright: ignore


def row_of(line: Line) -> dict[str, str] | None:
    """The paper's row as it is printed there."""
    setting = setting_of(line)
    return printed()[setting[0]] if setting else None


class Trend(NamedTuple):
    """Of `pairs` of rows the share in which the number rises less that in which it falls (Kendall's tau-a)."""

    tau: float
    pairs: int

    @property
    def direction(self) -> str:
        return "rises" if self.tau >= _CLEAR else "falls" if self.tau <= -_CLEAR else "no trend"


# how far the second row of two lies above the first; None if they cannot be compared
Step = Callable[[Setting, Setting], float | None]


def _trend(steps: list[float | None]) -> Trend | None:
    signs = [(step > 0) - (step < 0) for step in steps if step is not None]
    return Trend(sum(signs) / len(signs), len(signs)) if signs else None


def trend(settings: list[tuple[int, float]], step: Step, along: str) -> Trend | None:
    """How rows of (k, theta) move with `along`, "k" or "theta", the other held; None if no two can be compared."""
    own, held = (0, 1) if along == "k" else (1, 0)
    pairs = combinations(sorted(settings, key=lambda setting: setting[own]), 2)
    return _trend([step(a, b) for a, b in pairs if a[held] == b[held] and a[own] != b[own]])


def against(settings: list[tuple[int, float]], step: Step) -> Trend | None:
    """In how many rows the number lies above the baseline's less in how many below."""
    return _trend([step(None, setting) for setting in settings])


def printed_step(numbers: Mapping[Any, float]) -> Step:
    """Between the numbers of a printed table."""
    return lambda a, b: numbers[b] - numbers[a] if a in numbers and b in numbers else None


def measured_step(of: Mapping[Setting, Line], column: Column) -> Step:
    """Between a study's rows, over the samples that both have: their mean difference as far as it is printed.

    An infinite value lies above every finite one, and equal to another. Speed-ups are ratios of the mean latencies.
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
    """(paper's, the study's) with k, with theta and against the baseline, over the rows that both have."""
    name = name_of(column)
    ours: dict[Setting, Line] = {}
    for line in table:
        if (setting := setting_of(line)) and line.video == table[0].video:
            ours.setdefault(setting[0], line)
    theirs = {setting: row[name] for setting, row in rows().items() if name in row}
    both = [s for s in theirs if s is not None and s in ours and ours[s].present(column)]
    # what the study lacks is not measured; the paper's trend is then that of all its rows
    paper = both or [s for s in theirs if s is not None]
    there, here = printed_step(theirs), measured_step(ours, column)
    return {
        "k": (trend(paper, there, "k"), trend(both, here, "k")),
        "θ": (trend(paper, there, "theta"), trend(both, here, "theta")),
        "Original": (against(paper, there), against(both, here)),
    }


def trends_sheet(table: list[Line], shown: list[Column]) -> Sheet:
    """A row per column of the paper and way to look: which way it goes there and here, and whether that agrees."""
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
