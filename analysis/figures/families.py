"""Draws quality against costs: a line per family of methods, and the Pareto front of all.

`analysis.family_cost` defines the costs. The default costs are DiT work in full-length passes, and latency as a share
of the baseline's latency, so that latencies of different runs share an axis. A line joins the conditions of a family by
rising cost. Of a family with several free settings it joins only the conditions on the family's own front, and the
others are faint marks. A hollow marker is a condition on the Pareto front of all families, by the means. Each video
setting and metric has a row with a panel per cost. By default the metrics are PSNR and VQA.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill

from analysis.columns import Column
from analysis.complete import incomplete
from analysis.family_cost import LATENCY, Cost, costs_named, with_costs
from analysis.figures.caption import INCHES_PER_LINE, NO_RIVAL, left_out, means, wrapped, write_below
from analysis.figures.style import BASELINE, FAMILY_COLOURS, FAMILY_MARKERS, K_COLOURS, LEGEND_LETTERS, RC
from analysis.figures.tradeoff import FRONT, LEGEND_LETTERS_PER_INCH, LEGEND_MARGIN, around, axis_title
from analysis.pareto import free_settings, front
from analysis.row import Row
from analysis.statistics import Interval
from analysis.study import StudyError
from analysis.table import Table
from bench.drawing import Axes, Figure, Line2D, settings

METRICS, COSTS = ("psnr", "vqa"), ("work", "latency")
# 13 colours and 10 markers, so that the first 130 families look different
COLOURS = (*K_COLOURS.values(), *FAMILY_COLOURS, "#AA4499", "#888888", "#DDCC77")
FAINT = 0.3
OWN_FRONT = (
    "Of a family with several free settings, the line joins the settings on the family's own front of cost and metric, "
    "by the means. Its other settings are faint marks without bars. Such a family has no line where no direction of "
    "the metric is better"
)

ON_NO_FRONT = "A mean leaves infinite values out, so conditions with some of them are on no front"


@dataclass(frozen=True)
class Point:
    """A condition: its cost and the metric's mean.

    best: it is on the Pareto front of all families. joined: the line of its family goes through it.
    """

    row: Row
    cost: Interval
    metric: Interval
    best: bool
    joined: bool

    @property
    def at(self) -> tuple[float, float]:
        return self.cost.value or 0.0, self.metric.value or 0.0


@dataclass(frozen=True)
class Panel:
    """The conditions of one video setting under one metric and one cost.

    baseline: the cost and the value of the baseline, if it has one. left_out: conditions that the panel does not draw,
    with the reason.
    """

    column: Column
    cost: Cost
    video: str
    points: tuple[Point, ...]
    baseline: tuple[float, Interval] | None
    left_out: tuple[tuple[Row, str], ...]


def panels(
    table: Table,
    names: Sequence[str] | None = None,
    costs: Sequence[str] = COSTS,
    only: Sequence[str] | None = None,
) -> list[Panel]:
    """Returns a panel per video setting, metric and cost. Default metrics without scores are left out.

    `only` are the families to draw, by default all. Raises StudyError for a metric in `names` without scores, for an
    unknown cost or family, and if there is nothing to draw.
    """
    chosen = costs_named(costs)
    table = with_costs(_of_families(table, only), chosen)
    wanted = table.columns(METRICS if names is None else names)
    shown = [column for column in wanted if _scored(table, column)]
    if names is not None and (lacking := [column.title for column in wanted if column not in shown]):
        raise StudyError(f"no method has a score of {', '.join(lacking)}; score the study: python -m bench.score STUDY")
    videos = [video for video in table.videos if any(r.ranked and r.n and r.video == video for r in table.rows)]
    out = [_panel(table, video, column, cost) for video in videos for column in shown for cost in chosen]
    if not any(panel.points for panel in out):
        raise StudyError("no method has both a cost and a finite score, so there is nothing to draw")
    return out


def _of_families(table: Table, only: Sequence[str] | None) -> Table:
    """Returns the table with the baselines and the families `only`."""
    if only is None:
        return table
    there = list(dict.fromkeys(row.family for row in table.rows if row.ranked))
    if wrong := [name for name in only if name not in there]:
        raise StudyError(f"there is no family {wrong[0] or repr('')}; there are {', '.join(there)}")
    return replace(table, rows=tuple(row for row in table.rows if row.is_reference or row.family in only))


def _scored(table: Table, column: Column) -> bool:
    return any(row.competes(column) and row.mean(column.name).value is not None for row in table.rows)


def _panel(table: Table, video: str, column: Column, cost: Cost) -> Panel:
    rows = [row for row in table.rows if row.video == video and not row.is_reference]
    reasons = {row: _reason(row, column, cost) for row in rows}
    drawn = [row for row in rows if reasons[row] is None]
    # a mean leaves infinite values out, so a row with some of them cannot be ranked: it is on no front
    known = [row for row in drawn if not row.mean(column.name).infinite]
    at = {row: (-(cost.mean(row).value or 0.0), row.mean(column.name).value or 0.0) for row in known}
    best = dict.fromkeys(drawn, False) | dict(zip(known, front(list(at.values()), column), strict=True))
    joined: dict[Row, bool] = {}
    for name in dict.fromkeys(row.family for row in drawn):
        own = [row for row in drawn if row.family == name]
        joined |= dict.fromkeys(own, len(free_settings(own)) < 2)
        ranked = [row for row in known if row in own and not joined[row]]
        joined |= zip(ranked, front([at[row] for row in ranked], column), strict=True)
    points = (Point(row, cost.mean(row), row.mean(column.name), best[row], joined[row]) for row in drawn)
    pairs = tuple((row, reason) for row, reason in reasons.items() if reason)
    return Panel(column, cost, video, tuple(points), _baseline(table.reference(video), column, cost), pairs)


def _baseline(reference: Row | None, column: Column, cost: Cost) -> tuple[float, Interval] | None:
    """Returns the cost and the value of the baseline, None if one is missing."""
    if reference is None or reference.mean(column.name).value is None:
        return None
    x = cost.mean(reference).value
    return None if x is None else (x, reference.mean(column.name))


def _reason(row: Row, column: Column, cost: Cost) -> str | None:
    """Returns why a row is not drawn, or None."""
    if not row.ranked:
        return NO_RIVAL
    if not row.n:
        return row.fault or "without a finished sample"
    if row.apart(column):
        return f"with noise of its own, so that {column.title} compares other videos, not drawn"
    if row.mean(column.name).value is None:
        infinite = row.mean(column.name).infinite
        return f"at infinite {column.title}, not drawn" if infinite else f"without {column.title}, not drawn"
    return None if cost.mean(row).value is not None else f"without {cost.title}, not drawn"


def families(table: Table, data: Sequence[Panel]) -> Figure:
    """Draws the panels of `table` with 95 % intervals, the families in its order."""
    drawn = {point.row.family for panel in data for point in panel.points}
    style = styles(name for name in dict.fromkeys(row.family for row in table.rows) if name in drawn)
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=6, label=fill(name, LEGEND_LETTERS))
        for name, (colour, marker) in style.items()
    ]
    handles.append(Line2D([], [], color=FRONT, lw=6, label="Pareto front"))
    if any(panel.baseline for panel in data):
        handles.append(Line2D([], [], color=BASELINE, marker="*", ls="", ms=10, label="Original"))
    lines = [line for handle in handles for line in str(handle.get_label()).split("\n")]
    across = len(dict.fromkeys(panel.cost for panel in data))
    down = len(data) // across
    with settings(RC):
        width = 4.4 * across + (max(map(len, lines)) + LEGEND_MARGIN) / LEGEND_LETTERS_PER_INCH
        below = wrapped([incomplete(table), *_caption(table, data)], width)
        height = max(0.3 + 3.4 * down, 0.5 + 0.22 * len(lines) - INCHES_PER_LINE * len(below))
        figure = Figure((width, height), layout="constrained")
        for ax, panel in zip(figure.subplots(down, across, squeeze=False).flat, data, strict=True):
            _draw(ax, panel, style)
        figure.legend(handles=handles, loc="outside right upper")
        write_below(figure, below)
    return figure


def _caption(table: Table, data: Sequence[Panel]) -> list[str]:
    """Returns the lines below the figure: means, lines, costs in full-length passes, and the rows left out."""
    told = {row.family for panel in data for row in (*(p.row for p in panel.points), *dict(panel.left_out))}
    others = dict.fromkeys(row.family for row in table.rows if row.ranked and row.family not in told)
    below = means((p.metric for panel in data for p in panel.points), [panel.column for panel in data])
    below += [ON_NO_FRONT] * any(point.metric.infinite for panel in data for point in panel.points)
    below += [OWN_FRONT] * any(not point.joined for panel in data for point in panel.points)
    below += [cost.explained for cost in dict.fromkeys(panel.cost for panel in data) if cost is not LATENCY]
    below += [f"Families not drawn, by choice: {', '.join(others)}"] * bool(others)
    return [*below, *left_out(_each_once(data))]


def styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns a colour and a marker for each family."""
    return {name: (COLOURS[i % len(COLOURS)], FAMILY_MARKERS[i % len(FAMILY_MARKERS)]) for i, name in enumerate(names)}


def _each_once(data: Sequence[Panel]) -> list[tuple[Row, str]]:
    return list(dict.fromkeys(pair for panel in data for pair in panel.left_out))


def _draw(ax: Axes, panel: Panel, style: Mapping[str, tuple[str, str]]) -> None:
    """Draws the Pareto front, a line per family, the conditions with their intervals, and the baseline."""
    if front := sorted(point.at for point in panel.points if point.best):
        ax.plot(*zip(*front, strict=True), color=FRONT, lw=7, solid_capstyle="round", solid_joinstyle="round", zorder=1)
    for name, (colour, marker) in style.items():
        points = sorted((p for p in panel.points if p.row.family == name), key=lambda point: point.at)
        if joined := [p.at for p in points if p.joined]:
            ax.plot(*zip(*joined, strict=True), color=colour, lw=1.2, zorder=3)
        for p in points:
            is_faint = _is_faint(panel, p)
            if not is_faint:
                ax.errorbar(*p.at, xerr=around(p.cost), yerr=around(p.metric), color=colour, alpha=0.3, lw=1, zorder=2)
            fill_colour, alpha = "white" if p.best else colour, FAINT if is_faint else 1.0
            ax.plot(*p.at, marker, color=colour, ms=6, mfc=fill_colour, mew=1.3, alpha=alpha, zorder=4)
    if panel.baseline:
        x, value = panel.baseline
        ax.errorbar(x, value.value or 0.0, yerr=around(value), color=BASELINE, alpha=0.35, lw=1)
        ax.plot(x, value.value or 0.0, "*", color=BASELINE, ms=11, markeredgecolor="white", zorder=4)
    arrow = {1: ": higher is better", -1: ": lower is better", 0: ""}[panel.column.better]
    title = f"{panel.column.title}{arrow}" + (f"\n{panel.video}" if panel.video else "")
    ax.set(xlabel=panel.cost.axis, ylabel=axis_title(panel.column), title=title)


def _is_faint(panel: Panel, point: Point) -> bool:
    """Returns whether the line of the point's family passes it by. Without a front, a family has no line at all."""
    return not point.joined and any(p.joined for p in panel.points if p.row.family == point.row.family)
