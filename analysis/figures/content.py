"""Draws which content profits: tokens, speed-up and metrics by speed profile or VBench dimension."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.columns import Column
from analysis.figures.caption import means, not_shown, wrapped, write_below
from analysis.figures.style import RC, Look, looks
from analysis.figures.tradeoff import around, axis_title
from analysis.statistics import Interval, interval, speedup
from analysis.study import StudyError
from analysis.table import Row, Table
from bench.drawing import Axes, Figure, MaxNLocator, settings

SHOWN = ("lpips", "psnr")


@dataclass(frozen=True)
class Bar:
    """The value of one kind of content under one condition."""

    content: str
    row: Row
    value: Interval


@dataclass(frozen=True)
class Panel:
    """The values of one quantity. `column` is the metric, or None for tokens and speed-up."""

    title: str
    column: Column | None
    bars: tuple[Bar, ...]


def panels(table: Table, k: int | None = None, names: Sequence[str] | None = None) -> tuple[int | None, list[Panel]]:
    """Returns the k (by default the lowest) and a panel for tokens, speed-up and each metric that has values.

    The default metrics are SHOWN. The panels show the rows of `rows_of`. Raises StudyError for fewer than
    two kinds of content, and for a k that the study does not have.
    """
    k, rows = rows_of(table, k)
    parts = [(row, row.samples.assign(kind=row.samples["content"].str.split("\n")).explode("kind")) for row in rows]
    kinds = sorted({kind for _, part in parts for kind in part["kind"].unique() if kind})
    if len(kinds) < 2:
        raise StudyError("content is known of VBench's prompts and the embedded world's; this study has not two kinds")

    def panel(title: str, column: Column | None, value: Callable[[pd.DataFrame], Interval]) -> Panel:
        bars = (Bar(kind, row, value(part[part["kind"] == kind])) for kind in kinds for row, part in parts)
        return Panel(title, column, tuple(bars))

    out = [panel("tokens kept", None, lambda part: interval(part["token_ratio"])), panel("speed-up (×)", None, speedup)]
    for column in table.columns(SHOWN if names is None else names):
        if any(row.mean(column.name).value is not None for row in rows):
            out.append(panel(axis_title(column), column, lambda part, n=column.name: interval(part[n])))
    return k, out


def rows_of(table: Table, k: int | None = None) -> tuple[int | None, list[Row]]:
    """Returns the k (by default the lowest), and the finished methods at this k or without k.

    They are of the first video setting. Raises StudyError if there are none.
    """
    made = [row for row in table.rows if row.ranked and row.n]
    made = [row for row in made if row.video == made[0].video]
    ks = {row.k for row in made if row.k is not None}
    if not made or (k is not None and k not in ks):
        raise StudyError("the study has no finished sample of a method" + (f" with k={k}" if k is not None else ""))
    k = min(ks, default=None) if k is None else k
    return k, [row for row in made if row.k in (k, None)]


def content(table: Table, k: int | None, data: Sequence[Panel], banner: str | None = None) -> Figure:
    """Draws a panel per quantity, with contents on a common axis, a marker per condition and 95 % intervals."""
    kinds = list(dict.fromkeys(bar.content for bar in data[0].bars))
    rows = list(dict.fromkeys(bar.row for bar in data[0].bars))
    look = looks(rows)
    with settings(RC):
        width, height = 2.1 + 2.4 * len(data), 1.2 + max(0.62, 0.17 * len(rows)) * len(kinds)
        figure = Figure((width, height), layout="constrained")
        axes = figure.subplots(1, len(data), sharey=True, squeeze=False)
        for ax, panel in zip(axes[0], data, strict=True):
            _draw(ax, panel, kinds, rows, look)
        handles = {look[row.slug].label: look[row.slug].handle(lw=0) for row in rows}
        title = "By content" if k is None else f"By content, k = {k}"
        figure.legend(
            handles=list(handles.values()), loc="outside upper center", ncols=min(len(handles), 4), title=title
        )
        below = means((bar.value for panel in data for bar in panel.bars), [p.column for p in data if p.column])
        left_out = not_shown(table, rows, k, "not drawn")
        write_below(figure, wrapped([banner, *below, *left_out], width))
    return figure


def _draw(ax: Axes, panel: Panel, kinds: Sequence[str], rows: Sequence[Row], look: dict[str, Look]) -> None:
    """Draws a panel's values. The conditions of one kind of content stand below each other."""
    for bar in panel.bars:
        if bar.value.value is not None:
            y = kinds.index(bar.content) + 0.8 * ((rows.index(bar.row) + 0.5) / len(rows) - 0.5)
            look[bar.row.slug].draw(ax, bar.value.value, y, xerr=around(bar.value))
    for between in range(1, len(kinds)):
        ax.axhline(between - 0.5, color="#d1d5db", lw=0.8)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set(xlabel=panel.title, yticks=range(len(kinds)), ylim=(len(kinds) - 0.5, -0.5))
    ax.set_yticklabels([kind.replace("_", " ") for kind in kinds])
    ax.tick_params(axis="y", length=0)
