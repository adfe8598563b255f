"""Compares two rows of a table: their paired difference, whether it is more than chance, and the noise floor."""

import pandas as pd

from analysis import statistics
from analysis.columns import PRICE_ERROR, PRICED, Column
from analysis.statistics import Interval, latencies, mean_step, paired, ratio_of_latencies
from analysis.study import StudyError
from analysis.table import Row, Table
from metrics.base import DIFFERENCE

RERUN = "baselinererun"  # the method that computes the baseline again, by its name in records


def difference(a: Row, b: Row, column: Column) -> Interval:
    """Returns the mean paired difference a - b over the samples that both have.

    In the column speedup this is the ratio of b's mean latency to a's.
    """
    if column.name == "speedup":
        return ratio_of_latencies(b.samples, a.samples)
    return paired(comparable(a, column), comparable(b, column))


def comparable(row: Row, column: Column) -> pd.Series:
    """Returns the row's values. Latencies also have the run as index, because they are compared only within a run."""
    return latencies(row.samples).dropna() if column.name == "latency_s" else row.values(column.name)


def separated(a: Row, b: Row, column: Column) -> bool:
    """Returns whether the paired interval of the rows excludes 0, or in the column speedup the ratio 1.

    The rows must also be `beyond_prices`. Returns False where there are too few prompts for an interval.
    """
    found, equal = difference(a, b, column), 1.0 if column.name == "speedup" else 0.0
    excluded = found.low is not None and found.high is not None and not found.low <= equal <= found.high
    return excluded and beyond_prices(a, b, column)


def beyond_prices(a: Row, b: Row, column: Column) -> bool:
    """Returns whether the rows' latencies differ by more than the error of prices, and True in columns without prices.

    The mean latencies are over the samples that one run priced for both.
    """
    if column.name not in PRICED:
        return True
    ratio = ratio_of_latencies(a.samples, b.samples).value
    return ratio is not None and max(ratio, 1 / ratio) > 1 + PRICE_ERROR


def deviation(a: Row, b: Row, column: Column) -> float | None:
    """Returns the standard deviation over prompts of the paired difference, or None below MIN_PROMPTS prompts.

    It is the standard error of `difference` times the root of the number of prompts.
    """
    if column.name == "speedup":
        return statistics.deviation(latencies(b.samples), latencies(a.samples), ratio=True)
    return statistics.deviation(comparable(a, column), comparable(b, column))


def rows_named(table: Table, name: str) -> list[Row]:
    """Returns the rows with the title or the folder `name`. Raises StudyError if no row has it."""
    if found := [row for row in table.rows if name in (row.slug, row.title)]:
        return found
    there = ", ".join(dict.fromkeys(row.slug for row in table.rows))
    raise StudyError(f"there is no condition {name}; there are {there}")


def has_floor(column: Column) -> bool:
    """Returns whether the column measures a difference from the baseline that has a direction."""
    return column.group == DIFFERENCE and column.better != 0


def floor_of(table: Table, video: str) -> Row | None:
    """Returns the row of the baseline computed again under a video setting, or None if the study has no such row.

    The difference between this row and the baseline is the machine's noise floor.
    """
    return next((row for row in table.rows if row.method == RERUN and row.video == video and row.n), None)


def within_floor(row: Row, floor: Row, column: Column) -> bool:
    """Returns whether `row` is no farther from the baseline than `floor`, on average over the samples that both have.

    An infinite PSNR exceeds every finite one. Returns False without common samples.
    """
    both = pd.concat([row.values(column.name), floor.values(column.name)], axis=1, join="inner").to_numpy()
    return len(both) > 0 and column.better * mean_step(both[:, 0], both[:, 1]) >= 0
