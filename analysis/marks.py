"""Marks numbers of a table: the best and the second best where they are separated, and those in the noise floor."""

from collections.abc import Sequence

import numpy as np

from analysis.columns import Column
from analysis.differences import floor_of, has_floor, separated, within_floor
from analysis.table import Row, Table

Entry = list[Row]  # rows with equal values in all samples, which are never ranked against each other


def rivals(rows: Sequence[Row], column: Column) -> list[Row]:
    """Returns the methods' rows of one video setting that compete in a column: the largest group with equal samples.

    Returns an empty list if a row of the group holds an infinite value. A mean leaves infinite values out, so it would
    not be over the same samples.
    """
    groups: list[list[Row]] = []
    for row in rows:
        if row.competes(column) and row.present(column.name):
            samples = row.values(column.name).index
            alike = next((g for g in groups if g[0].values(column.name).index.equals(samples)), None)
            groups.append([row]) if alike is None else alike.append(row)
    competing = max(groups, key=lambda group: (len(group), group[0].present(column.name)), default=[])
    return [] if any(row.mean(column.name).infinite for row in competing) else competing


def ranked(competing: Sequence[Row], column: Column) -> list[Entry]:
    """Returns the entries of the `rivals`, the best first. Rows with equal values in all samples are one entry."""
    entries: list[tuple[np.ndarray, Entry]] = []
    for row in competing:
        values = row.values(column.name).to_numpy()
        alike = next((entry for others, entry in entries if np.array_equal(others, values)), None)
        entries.append((values, [row])) if alike is None else alike.append(row)
    return sorted((entry for _, entry in entries), key=lambda entry: -column.better * _value(entry[0], column))


def leaders(competing: Sequence[Row], column: Column) -> tuple[Entry, Entry]:
    """Returns the best and the second best entry. An entry that is not separated from the next one is empty.

    There is no second without a best and a third. A test of the best entry against the runner-up alone keeps its level
    for any number of entries of equal variance (Gutmann and Maymin, Annals of Statistics, 1987). A column that rewards
    frozen videos, or without a better direction, has no leaders.
    """
    if not column.better or column.shown_with:
        return [], []
    entries = ranked(competing, column)
    ahead = [_ahead(a[0], b[0], column) for a, b in zip(entries[:2], entries[1:3], strict=False)]
    first = entries[0] if ahead[:1] == [True] else []
    return first, entries[1] if ahead == [True, True] else []


def marks(table: Table, shown: Sequence[Column]) -> dict[tuple[str, str], str]:
    """Returns the marks "best", "second" and "grey" by condition and column name, for all kinds of tables.

    A grey number is no farther from the baseline than the baseline computed again.
    """
    out: dict[tuple[str, str], str] = {}
    for column in shown:
        for video in table.videos:
            rows = [row for row in table.rows if row.video == video]
            for mark, entry in zip(("best", "second"), leaders(rivals(rows, column), column), strict=True):
                out |= {(row.condition, column.name): mark for row in entry}
            floor = floor_of(table, video) if has_floor(column) else None
            if floor is not None:
                others = [row for row in rows if row is not floor and not row.is_reference]
                out |= {(r.condition, column.name): "grey" for r in others if within_floor(r, floor, column)}
    return out


def _value(row: Row, column: Column) -> float:
    return row.mean(column.name).value or 0.0


def _ahead(a: Row, b: Row, column: Column) -> bool:
    """Returns whether `a` is separated from the next entry, and also as the table prints them."""
    return round(_value(a, column), column.digits) != round(_value(b, column), column.digits) and separated(
        a, b, column
    )
