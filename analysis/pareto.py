"""The Pareto front of settings, and the settings that the line of a family joins."""

from collections.abc import Sequence

from analysis.columns import Column
from analysis.row import Row

Points = Sequence[tuple[float, float]]


def pareto(points: Points, better: int) -> list[bool]:
    """Returns whether each point is on the front: no other point is as good in both numbers and better in one.

    Higher `x` is better.
    """
    signed = [(x, better * y) for x, y in points]
    return [not any(a >= x and b >= y and (a, b) != (x, y) for a, b in signed) for x, y in signed]


def has_front(column: Column) -> bool:
    """Returns whether one direction of the column is better, and frozen videos are not best in it."""
    return column.better != 0 and not column.shown_with


def front(points: Points, column: Column) -> list[bool]:
    """Returns `pareto` for a column, and no front for a column without one."""
    return pareto(points, column.better) if has_front(column) else [False] * len(points)


def free_settings(rows: Sequence[Row]) -> list[str]:
    """Returns the names of the settings in which the rows of a family differ, apart from settings of the video."""
    own = [named_settings(row) for row in rows]
    return [
        name for name in dict.fromkeys(n for each in own for n in each) if len({each.get(name) for each in own}) > 1
    ]


def named_settings(row: Row) -> dict[str, str]:
    """Returns the row's settings by name, such as "k=5" for "k", apart from settings of the video.

    Settings at their defaults are left out, apart from k and theta.
    """
    of_video = row.video.split(", ")
    return {text.partition("=")[0]: text for text in row.settings if text not in of_video}


def on_line(rows: Sequence[Row], points: Points, column: Column) -> list[bool]:
    """Returns whether the line of a family goes through each of its `rows`, which lie at `points` as in `pareto`.

    A family with one free setting, such as a cache's threshold, is a line by this setting. With several free settings,
    a line through all rows would be a zigzag. Then it goes through the family's own front.
    """
    return [True] * len(rows) if len(free_settings(rows)) < 2 else front(points, column)
