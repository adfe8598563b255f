"""Marks the best and the second best numbers of a table."""

from collections import Counter
from collections.abc import Sequence

from analysis.columns import Column
from analysis.conditions import Line


def rivals(table: list[Line], column: Column, video: str) -> list[Line]:
    """Returns the methods' lines of one video setting that compete in a column: the largest group with equal samples.

    Returns an empty list if a line of the group holds an infinite value. A mean leaves infinite values out, so it would
    not be over the same samples.
    """
    there = [x for x in table if x.ranked and x.video == video and x.present(column)]
    # a speed-up is over the samples of the latencies
    samples = [frozenset(x.values["latency_s" if column.name == "speedup" else column.name]) for x in there]
    if not samples:
        return []
    counts = Counter(samples)
    chosen = max(counts, key=lambda group: (counts[group], len(group)))
    competing = [line for line, own in zip(there, samples, strict=True) if own == chosen]
    return [] if any(line.means[column.name].infinite for line in competing) else competing


def leaders(competing: list[Line], column: Column) -> tuple[float | None, float | None]:
    """Returns the best and the second best printed value, each None if too few values differ."""
    values = sorted({round(line.means[column.name].value or 0.0, column.digits) for line in competing})
    if not column.better or len(values) < 2:
        return None, None
    ranked = values[::-1] if column.better > 0 else values
    return ranked[0], ranked[1] if len(ranked) > 2 else None


def marks(table: list[Line], shown: Sequence[Column]) -> dict[tuple[int, str], str]:
    """Returns the marks "best" and "second" by index of the line and name of the column, for all kinds of tables."""
    out = {}
    for column in shown:
        for video in {line.video for line in table}:
            competing = rivals(table, column, video)
            first, second = leaders(competing, column)
            if first is None:
                continue
            for i, line in enumerate(table):
                printed = round(line.means[column.name].value or 0.0, column.digits)
                if printed in (first, second) and any(line is x for x in competing):
                    out[i, column.name] = "best" if printed == first else "second"
    return out
