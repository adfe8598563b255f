"""Draws the trade-off of speed-up against metrics, with intervals and the Pareto front.

By default the metrics are LPIPS, PSNR and CLIPSIM. The main family, such as VGDFR in a study of Table 1, has a line per
k and a marker per theta. Any other family has colours of its own and hollow markers. If it has thetas it has a line per
k, and else one line through its conditions. A dotted line across a panel is the level of a diagnostic condition, such
as a ceiling or the noise floor. A legend on the right names these lines or conditions. Each video setting has a row of
panels. The text below names the conditions that a panel does not draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

from analysis.columns import Column
from analysis.figures.caption import INCHES_PER_LINE, NO_RIVAL, left_out, means, wrapped, write_below
from analysis.figures.style import BASELINE, GREY, LEGEND_LETTERS, RC, Look, colour_of, looks, marker_of
from analysis.pareto import front
from analysis.statistics import Interval
from analysis.study import StudyError
from analysis.table import Row, Table, main_family
from bench.drawing import Axes, Figure, Line2D, settings

METRICS = ("lpips", "psnr", "clipsim")
FRONT = "#fde68a"
LABEL_LETTERS = 22  # in a line next to a marker
LEGEND_LETTERS_PER_INCH, LEGEND_MARGIN = 13, 9  # of the legend on the right; the margin is in letters


@dataclass(frozen=True)
class Point:
    """A condition: its speed-up over the baseline and the metric's mean. It is `best` if it is on the Pareto front."""

    row: Row
    speedup: Interval
    metric: Interval
    best: bool

    @property
    def at(self) -> tuple[float, float]:
        return self.speedup.value or 0.0, self.metric.value or 0.0


@dataclass(frozen=True)
class Panel:
    """The conditions of one video setting under one metric, and the value of the baseline if it has one.

    left_out: conditions that the panel does not draw, or not all samples of, with the reason.
    levels: diagnostic conditions with the metric's mean.
    """

    column: Column
    video: str
    points: tuple[Point, ...]
    baseline: Interval | None
    left_out: tuple[tuple[Row, str], ...]
    levels: tuple[tuple[Row, float], ...] = ()

    @property
    def title(self) -> str:
        return axis_title(self.column)


def axis_title(column: Column) -> str:
    """Returns the column's title with its unit."""
    return f"{column.title} ({column.unit})" if column.unit and "(" not in column.title else column.title


def panels(table: Table, names: Sequence[str] | None = None) -> list[Panel]:
    """Returns a panel per video setting and metric, by default for each of METRICS that any method is scored for.

    Means and speed-ups equal the table's. Raises StudyError for fewer than two conditions, and without scores.
    """
    methods = [row for row in table.rows if row.ranked and row.n]
    if len(methods) < 2:
        raise StudyError("a trade-off needs at least two finished conditions beside the baseline; this study has fewer")
    shown = table.columns(METRICS if names is None else names)
    scored = [column for column in shown if any(row.present(column.name) for row in methods)]
    if not scored or (names is not None and scored != shown):
        told = table.study.missing.drop_duplicates("metric").set_index("metric")["reason"]
        without = [f"{c.title} ({told.get(c.name) or 'not scored'})" for c in shown if c not in scored]
        raise StudyError(f"no method has a score of {', '.join(without)}; score the study: python -m bench.score STUDY")
    videos = [video for video in table.videos if any(row.video == video for row in methods)]
    # conditions of a video setting without methods are named with the first panels
    rows = {video: [row for row in table.rows if not row.is_reference and row.video == video] for video in videos}
    rows[videos[0]] += [row for row in table.rows if not row.is_reference and row.video not in videos]
    out = [_panel(table, video, rows[video], column) for video in videos for column in scored]
    if not any(panel.points for panel in out):
        reasons = ". ".join(left_out(pair for panel in out for pair in panel.left_out))
        raise StudyError(f"no method has both a speed-up and a finite score, so there is nothing to draw. {reasons}")
    return out


def _panel(table: Table, video: str, rows: Sequence[Row], column: Column) -> Panel:
    reasons = {row: _reason(table, row, column) if row.ranked or row.video == video else NO_RIVAL for row in rows}
    pairs = [(row, reason) for row, reason in reasons.items() if reason]
    ranked = [row for row in rows if row.competes(column)]
    drawn = [row for row in ranked if None not in (row.mean("speedup").value, row.mean(column.name).value)]
    at = [(row.mean("speedup").value or 0.0, row.mean(column.name).value or 0.0) for row in drawn]
    best = front(at, column)
    points = (Point(row, row.mean("speedup"), row.mean(column.name), b) for row, b in zip(drawn, best, strict=True))
    reference = table.reference(video)
    baseline = reference.mean(column.name) if reference and reference.mean(column.name).value is not None else None
    diagnostics = [row for row in rows if row.role == "diagnostic" and row.video == video]
    levels = tuple((row, value) for row in diagnostics if (value := row.mean(column.name).value) is not None)
    return Panel(column, video, tuple(points), baseline, tuple(pairs), levels)


def _reason(table: Table, row: Row, column: Column) -> str | None:
    """Returns why the row, or a part of its samples, is not drawn. Returns None for a row that is drawn as a whole."""
    if not row.ranked and row.role != "diagnostic":
        return NO_RIVAL
    if not row.n:
        return row.fault or "without a finished sample"
    if row.apart(column):
        return f"with noise of its own, so that {column.title} compares other videos, not drawn"
    metric, missing = row.mean(column.name), table.study.missing
    if metric.value is None and metric.infinite:
        return f"at infinite {column.title}, not drawn"
    if metric.value is None:
        said = missing["reason"][(missing["condition"] == row.condition) & (missing["metric"] == column.name)]
        return f"without {column.title} ({said.iloc[0] if len(said) else 'not scored'}), not drawn"
    if row.ranked and row.mean("speedup").value is None:
        if len(reasons := row.samples["no_speedup"].dropna()):
            why = reasons.iloc[0]
        elif row.present("latency_s"):
            why = "no finished baseline of the same prompt was timed so"
        else:
            why = f"no sample was timed {table.timing}"
        return f"without a speed-up ({why}), not drawn"
    return f"with samples at infinite {column.title}, which the mean leaves out" if metric.infinite else None


def tradeoff(data: Sequence[Panel], banner: str | None = None) -> Figure:
    """Draws the panels with 95 % intervals. See this module for lines and markers. `banner` is a warning."""
    every = [point for panel in data for point in panel.points]
    rows = [point.row for point in every]
    look, main = looks(rows), main_family(rows)
    names = list({look[row.slug].label: look[row.slug].handle() for row in rows if row.family != main}.values())
    level = _level_styles(data)
    names += [Line2D([], [], label=fill(title, LEGEND_LETTERS), **style) for title, style in level.items()]
    lines = [line for handle in names for line in str(handle.get_label()).split("\n")]
    columns = len({panel.column.name for panel in data})
    down = len(data) // columns
    with settings(RC):
        beside = (max(map(len, lines)) + LEGEND_MARGIN) / LEGEND_LETTERS_PER_INCH if lines else 0.0
        width = 3.7 * columns + beside
        below = means([v for p in every for v in (p.speedup, p.metric)], [panel.column for panel in data])
        below = wrapped([banner, *below, *left_out(pair for panel in data for pair in panel.left_out)], width)
        height = max(0.5 + 3.0 * down, 0.5 + 0.22 * len(lines) - INCHES_PER_LINE * len(below))
        figure = Figure((width, height), layout="constrained")
        for ax, panel in zip(figure.subplots(down, columns, squeeze=False).flat, data, strict=True):
            _draw(ax, panel, look, main)
            for row, value in panel.levels:
                ax.axhline(value, zorder=1, **level[replace(row, video="").title])
        handles = _handles(data, rows, main)
        figure.legend(
            handles=handles,
            loc="outside upper left" if names else "outside upper center",  # the other legend is on the right
            ncols=min(len(handles), 4 * columns - 2),
            columnspacing=1.2,
        )
        if names:
            figure.legend(handles=names, loc="outside right upper")
        write_below(figure, below)
    return figure


def _level_styles(data: Sequence[Panel]) -> dict[str, dict[str, Any]]:
    """Returns a dotted line's style for each diagnostic condition, by title without the video setting."""
    titles = dict.fromkeys(replace(row, video="").title for panel in data for row, _ in panel.levels)
    return {title: {"color": BASELINE, "lw": 1.1, "ls": (0, (1, 1 + 1.5 * i))} for i, title in enumerate(titles)}


def _handles(data: Sequence[Panel], rows: Sequence[Row], main: str | None) -> list[Line2D]:
    """Returns the legend's lines for the main family's k, all thetas, the front and the baseline."""
    ks = sorted({row.k for row in rows if row.family == main}, key=lambda k: k or 0)
    thetas = sorted({row.theta for row in rows}, key=lambda theta: theta or 0)
    out = [Line2D([], [], color=colour_of(k, ks), lw=2, label=f"k = {k}") for k in ks if k is not None]
    for theta in thetas:
        if theta is not None:
            out.append(Line2D([], [], color=GREY, marker=marker_of(theta, thetas), ls="", ms=6, label=f"θ = {theta:g}"))
    if any(panel.column.better for panel in data):
        out.append(Line2D([], [], color=FRONT, lw=6, label="Pareto front"))
    if any(panel.baseline for panel in data):
        out.append(Line2D([], [], color=BASELINE, marker="*", ls="", ms=10, label="Original"))
    return out


def _draw(ax: Axes, panel: Panel, look: Mapping[str, Look], main: str | None) -> None:
    """Draws the Pareto front of all conditions, a line per series, the conditions and the baseline."""
    if front := sorted(point.at for point in panel.points if point.best):
        ax.plot(*zip(*front, strict=True), color=FRONT, lw=7, solid_capstyle="round", solid_joinstyle="round", zorder=1)
    series: dict[tuple[str, int | None, str], list[Point]] = {}
    for point in panel.points:
        own = look[point.row.slug]
        series.setdefault(own.series, []).append(point)
        own.draw(ax, *point.at, xerr=around(point.speedup), yerr=around(point.metric))
        if point.row.family == main and point.row.other:
            text = fill(point.row.other, LABEL_LETTERS)
            ax.annotate(text, point.at, (4, 4), textcoords="offset points", fontsize=6.5, color=GREY, zorder=5)
    for points in series.values():
        at = sorted((point.row.theta or 0, *point.at) for point in points)
        ax.plot(*list(zip(*at, strict=True))[1:], color=look[points[0].row.slug].colour, lw=1.2, zorder=3)
    if panel.baseline and panel.baseline.value is not None:
        ax.errorbar(1, panel.baseline.value, yerr=around(panel.baseline), color=BASELINE, alpha=0.35, lw=1)
        ax.plot(1, panel.baseline.value, "*", color=BASELINE, ms=11, markeredgecolor="white", zorder=4)
    arrow = {1: ": higher is better", -1: ": lower is better", 0: ""}[panel.column.better]
    title = f"{panel.column.title}{arrow}" + (f"\n{panel.video}" if panel.video else "")
    ax.set(xlabel="speed-up (×)", ylabel=panel.title, title=title)


def around(value: Interval) -> list[list[float]] | None:
    """Returns the interval as distances below and above, for error bars, or None without an interval."""
    if value.value is None or value.low is None or value.high is None:
        return None
    return [[max(value.value - value.low, 0.0)], [max(value.high - value.value, 0.0)]]
