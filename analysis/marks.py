"""Marks the best and the second best numbers of a table."""

from collections.abc import Sequence

from analysis.columns import Column
from analysis.table import Row, Table


def rivals(rows: Sequence[Row], column: Column) -> list[Row]:
    """Returns the methods' rows of one video setting that compete in a column: the largest group with equal samples.

    Returns an empty list if a row of the group holds an infinite value. A mean leaves infinite values out, so it would
    not be over the same samples.
    """
    groups: list[list[Row]] = []
    for row in rows:
        if row.ranked and row.present(column.name):
            samples = row.values(column.name).index
            alike = next((g for g in groups if g[0].values(column.name).index.equals(samples)), None)
            groups.append([row]) if alike is None else alike.append(row)
    competing = max(groups, key=lambda group: (len(group), group[0].present(column.name)), default=[])
    return [] if any(row.mean(column.name).infinite for row in competing) else competing


def leaders(competing: Sequence[Row], column: Column) -> tuple[float | None, float | None]:
    """Returns the best and the second best printed value, each None if too few values differ."""
    values = sorted({round(row.mean(column.name).value or 0.0, column.digits) for row in competing})
    if not column.better or len(values) < 2:
        return None, None
    ranked = values[::-1] if column.better > 0 else values
    return ranked[0], ranked[1] if len(ranked) > 2 else None


def marks(table: Table, shown: Sequence[Column]) -> dict[tuple[str, str], str]:
    """Returns the marks "best" and "second" by condition and name of the column, for all kinds of tables."""
    out = {}
    for column in shown:
        for video in table.videos:
            competing = rivals([row for row in table.rows if row.video == video], column)
            first, second = leaders(competing, column)
            for row in competing if first is not None else ():
                printed = round(row.mean(column.name).value or 0.0, column.digits)
                if printed in (first, second):
                    out[row.condition, column.name] = "best" if printed == first else "second"
    return out
