"""Says how many prompts separate two conditions, from the stored variance of their paired differences."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import nctdtr, stdtrit

from analysis.columns import Column, columns, in_paper
from analysis.complete import incomplete
from analysis.differences import deviation, rows_named
from analysis.output import Report, csv_of, file_name
from analysis.render import Sheet, plain
from analysis.statistics import MIN_PROMPTS
from analysis.study import Study, StudyError
from analysis.table import Row, Table, table_of

LEVEL, POWER = 0.05, 0.8
_DECIBELS, _PERCENTS = (0.25, 0.5, 1.0), (0.01, 0.02, 0.05)
MOST = 100_000  # beyond this number of prompts a report says "more than"


class Needed(NamedTuple):
    """How many prompts show a difference `x` in a column, for the median and for the worst pair of rows.

    deviations: the median and the largest standard deviation over prompts, of `pairs` pairs of rows.
    """

    column: Column
    x: float
    deviations: tuple[float, float]
    prompts: tuple[int, int]
    pairs: int


def prompts_needed(spread: float, x: float) -> int:
    """Returns the least number of prompts, MIN_PROMPTS or more, over which a paired t test finds a mean difference `x`.

    The test is two-sided at the level LEVEL and finds the difference with the probability POWER. Prompts differ by
    the standard deviation `spread`. Returns MOST + 1 if MOST prompts are too few.
    """
    low, high = 1, 2
    while high <= MOST and _power(high, spread, x) < POWER:
        low, high = high, 2 * high
    if high > MOST and _power(MOST, spread, x) < POWER:
        return MOST + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, spread, x) >= POWER else (middle, high)
    return max(high, MIN_PROMPTS)


def _power(prompts: int, spread: float, x: float) -> float:
    """Returns the probability that the test finds the difference: the tails of the noncentral t distribution."""
    if not spread:
        return 1.0
    freedom, shift = prompts - 1, abs(x) / spread * math.sqrt(prompts)
    border = stdtrit(freedom, 1 - LEVEL / 2)
    return float(1 - nctdtr(freedom, shift, border) + nctdtr(freedom, shift, -border))


def needed(table: Table, pair: tuple[str, str] | None, asked: Mapping[str, Sequence[float]]) -> list[Needed]:
    """Returns the numbers of prompts for the columns and differences `asked`, by default for columns with a direction.

    The pairs are all pairs of methods' rows of one video setting, or only the `pair` of conditions, named by title or
    folder.
    Raises StudyError for an unknown condition or column, and if no pair has enough prompts.
    """
    chosen = [rows_named(table, name) for name in pair] if pair else []
    pairs = [
        (a, b) for a, b in combinations(table.rows, 2)
        if a.video == b.video and (_are(a, b, chosen) if chosen else a.ranked and b.ranked)
    ]  # fmt: skip
    out = []
    for column in columns(table.samples, list(asked) or None):
        found = [d for a, b in pairs if (d := deviation(a, b, column))]  # rows of equal values say nothing
        if not found or not (asked or column.better):
            continue
        middle, worst = float(np.median(found)), max(found)
        for x in asked.get(column.name) or asked.get(in_paper(column)) or _usual(table, column):
            prompts = prompts_needed(middle, x), prompts_needed(worst, x)
            out.append(Needed(column, x, (middle, worst), prompts, len(found)))
    if not out:
        raise StudyError(f"no two conditions have {MIN_PROMPTS} common prompts in a column; --power needs their spread")
    return out


def _are(a: Row, b: Row, chosen: Sequence[Sequence[Row]]) -> bool:
    return (a in chosen[0] and b in chosen[1]) or (b in chosen[0] and a in chosen[1])


def _usual(table: Table, column: Column) -> list[float]:
    """Returns usual differences: decibels, percents of a ratio of latencies, or percents of the rows' mean."""
    if column.unit == "dB":
        return list(_DECIBELS)
    means = [row.mean(column.name).value for row in table.rows]
    size = 1.0 if column.name == "speedup" else abs(float(np.mean([mean for mean in means if mean is not None])))
    return [float(f"{percent * size:.2g}") for percent in _PERCENTS if percent * size > 0]


def asked_of(texts: Sequence[str]) -> dict[str, list[float]]:
    """Returns the differences by column of texts such as "psnr=0.5". Raises StudyError for another text."""
    out: dict[str, list[float]] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            x = float(number)
        except ValueError:
            x = math.nan
        if not (name and math.isfinite(x) and x > 0):
            raise StudyError(f"--power takes a column and a difference above zero, such as psnr=0.5; got {text!r}")
        out.setdefault(name, []).append(x)
    return out


def power_report(
    study: Study,
    asked: Mapping[str, Sequence[float]] | None = None,
    pair: tuple[str, str] | None = None,
    allow_mixed: bool = False,
) -> Report:
    """Returns a row per column and difference: how many prompts separate two conditions that differ by so much."""
    table = table_of(study, allow_mixed=allow_mixed)
    found = needed(table, pair, asked or {})
    body = [
        plain(n.column.title, f"{n.x:g}", *(f"{d:.3g}" for d in n.deviations), *map(_count, n.prompts), str(n.pairs))
        for n in found
    ]
    lines = [
        {"column": n.column.name, "x": n.x, "deviation_median": n.deviations[0], "deviation_worst": n.deviations[1],
         "prompts_median": n.prompts[0], "prompts_worst": n.prompts[1], "pairs": n.pairs}
        for n in found
    ]  # fmt: skip
    header = ("Column", "Difference", "SD (median)", "SD (worst)", "Prompts (median)", "Prompts (worst)", "Pairs")
    sheet = Sheet(header, tuple(body), title="Prompts needed", notes=(_HOW,), banner=incomplete(table))
    conditions = [f"{file_name(pair[0])}-against-{file_name(pair[1])}"] if pair else []
    stem = "-".join(("statistics-power", *conditions, *(asked or ())))
    return Report(stem, (sheet,), {f"{stem}.csv": csv_of(lines)})


def _count(prompts: int) -> str:
    return str(prompts) if prompts <= MOST else f"more than {MOST}"


_HOW = (
    "Prompts: how many prompts a paired t test needs to find a difference of this size between two conditions, "
    f"two-sided at {100 * LEVEL:.0f} %, with a probability of {100 * POWER:.0f} %. SD: the standard deviation of the "
    "paired difference over this study's prompts, with as many seeds per prompt as here. Median and worst are over "
    "the pairs of conditions. In Speedup the difference is of the ratio of two latencies: 0.01 is one percent. By "
    "default differences are 0.25, 0.5 and 1 dB, or 1, 2 and 5 % of the mean of the rows."
)
