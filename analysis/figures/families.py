"""Draws quality against DiT work and against latency: a line per family of methods, and the Pareto front of all.

Both costs are shares of the baseline's, so that latencies of different runs share an axis. A line joins the conditions
of a family by rising cost. A hollow marker is a condition on the Pareto front, by the means. Each video setting and
metric has a row of two panels. By default the metrics are PSNR and VQA.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from analysis.columns import Column
from analysis.complete import incomplete
from analysis.figures.caption import INCHES_PER_LINE, NO_RIVAL, left_out, means, wrapped, write_below
from analysis.figures.style import BASELINE, FAMILY_COLOURS, FAMILY_MARKERS, K_COLOURS, LEGEND_LETTERS, RC
from analysis.figures.tradeoff import FRONT, LEGEND_LETTERS_PER_INCH, LEGEND_MARGIN, around, axis_title, front
from analysis.row import Row
from analysis.statistics import NOTHING, Interval
from analysis.study import StudyError
from analysis.table import Table
from bench.drawing import Axes, Figure, Line2D, settings

METRICS = ("psnr", "vqa")
# 13 colours and 10 markers, so that the first 130 families look different
COLOURS = (*K_COLOURS.values(), *FAMILY_COLOURS, "#AA4499", "#888888", "#DDCC77")


@dataclass(frozen=True)
class Point:
    """A condition: its cost as a share of the baseline's, and the metric's mean; `best` if on the Pareto front."""

    row: Row
    cost: Interval
    metric: Interval
    best: bool

    @property
    def at(self) -> tuple[float, float]:
        return self.cost.value or 0.0, self.metric.value or 0.0


@dataclass(frozen=True)
class Panel:
    """The conditions of one video setting under one metric and one cost, and the value of the baseline if it has one.

    left_out: conditions that the panel does not draw, with the reason.
    """

    column: Column
    cost: str
    video: str
    points: tuple[Point, ...]
    baseline: Interval | None
    left_out: tuple[tuple[Row, str], ...]


def work(row: Row) -> Interval:
    """Returns the row's DiT work as a share of the baseline's."""
    return row.mean("dit_work")


def latency(row: Row) -> Interval:
    """Returns the row's latency as a share of the baseline's in the same run: the inverse of its speed-up."""
    speedup = row.mean("speedup")
    if not speedup.value:
        return NOTHING
    low, high = (1 / end if end else None for end in (speedup.high, speedup.low))
    return speedup._replace(value=1 / speedup.value, low=low, high=high)


COSTS: Mapping[str, Callable[[Row], Interval]] = {"DiT work": work, "latency": latency}


def panels(table: Table, names: Sequence[str] | None = None) -> list[Panel]:
    """Returns two panels per video setting and metric. Default metrics without scores are left out.

    Raises StudyError for a metric in `names` without scores, and if there is nothing to draw.
    """
    wanted = table.columns(METRICS if names is None else names)
    shown = [column for column in wanted if _scored(table, column)]
    if names is not None and (lacking := [column.title for column in wanted if column not in shown]):
        raise StudyError(f"no method has a score of {', '.join(lacking)}; score the study: python -m bench.score STUDY")
    videos = [video for video in table.videos if any(r.ranked and r.n and r.video == video for r in table.rows)]
    out = [_panel(table, video, column, cost) for video in videos for column in shown for cost in COSTS]
    if not any(panel.points for panel in out):
        raise StudyError("no method has both a cost and a finite score, so there is nothing to draw")
    return out


def _scored(table: Table, column: Column) -> bool:
    return any(row.competes(column) and row.mean(column.name).value is not None for row in table.rows)


def _panel(table: Table, video: str, column: Column, cost: str) -> Panel:
    rows = [row for row in table.rows if row.video == video and not row.is_reference]
    costs = {row: COSTS[cost](row) for row in rows}
    reasons = {row: _reason(row, column, cost, costs[row]) for row in rows}
    drawn = [row for row in rows if reasons[row] is None]
    at = [(-(costs[row].value or 0.0), row.mean(column.name).value or 0.0) for row in drawn]
    best = front(at, column)
    points = (Point(row, costs[row], row.mean(column.name), b) for row, b in zip(drawn, best, strict=True))
    reference = table.reference(video)
    baseline = reference.mean(column.name) if reference and reference.mean(column.name).value is not None else None
    pairs = tuple((row, reason) for row, reason in reasons.items() if reason)
    return Panel(column, cost, video, tuple(points), baseline, pairs)


def _reason(row: Row, column: Column, cost: str, value: Interval) -> str | None:
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
    return None if value.value is not None else f"without {cost}, not drawn"


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
    down = len(data) // len(COSTS)
    with settings(RC):
        width = 4.4 * len(COSTS) + (max(map(len, lines)) + LEGEND_MARGIN) / LEGEND_LETTERS_PER_INCH
        below = means((p.metric for panel in data for p in panel.points), [panel.column for panel in data])
        below = wrapped([incomplete(table), *below, *left_out(_each_once(data))], width)
        height = max(0.3 + 3.4 * down, 0.5 + 0.22 * len(lines) - INCHES_PER_LINE * len(below))
        figure = Figure((width, height), layout="constrained")
        for ax, panel in zip(figure.subplots(down, len(COSTS), squeeze=False).flat, data, strict=True):
            _draw(ax, panel, style)
        figure.legend(handles=handles, loc="outside right upper")
        write_below(figure, below)
    return figure


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
        if not points:
            continue
        ax.plot(*zip(*(p.at for p in points), strict=True), color=colour, lw=1.2, zorder=3)
        for p in points:
            ax.errorbar(*p.at, xerr=around(p.cost), yerr=around(p.metric), color=colour, alpha=0.3, lw=1, zorder=2)
            ax.plot(*p.at, marker, color=colour, ms=6, mfc="white" if p.best else colour, mew=1.3, zorder=4)
    if panel.baseline and panel.baseline.value is not None:
        ax.errorbar(1, panel.baseline.value, yerr=around(panel.baseline), color=BASELINE, alpha=0.35, lw=1)
        ax.plot(1, panel.baseline.value, "*", color=BASELINE, ms=11, markeredgecolor="white", zorder=4)
    arrow = {1: ": higher is better", -1: ": lower is better", 0: ""}[panel.column.better]
    title = f"{panel.column.title}{arrow}" + (f"\n{panel.video}" if panel.video else "")
    ax.set(xlabel=f"{panel.cost} (baseline = 1)", ylabel=axis_title(panel.column), title=title)
