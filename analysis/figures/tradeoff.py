"""Draws the trade-off of speed-up against LPIPS, PSNR and CLIPSIM, with intervals and the Pareto front.

The main family, such as VGDFR in a study of Table 1, has a line per k and a marker per theta. Any other family has
colours of its own and hollow markers. If it has thetas it has a line per k, and else one line through its conditions. A
legend on the right names these lines or conditions.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from analysis.columns import EMBEDDED, Column
from analysis.conditions import Line, columns
from analysis.figures.style import (
    BASELINE,
    FAMILY_COLOURS,
    FAMILY_MARKERS,
    GREY,
    RC,
    colour_of,
    marker_of,
)
from analysis.figures.videos import JUDGED
from analysis.load import StudyError
from analysis.statistics import MIN_PROMPTS, Interval
from bench.drawing import Axes, Figure, Line2D, settings

METRICS = ("lpips", "psnr", "clipsim")
UNITS = {"psnr": " (dB)"}


@dataclass(frozen=True)
class Point:
    """A condition: its speed-up over the baseline and the metric's mean. It is `best` if it is on the Pareto front.

    `other` are the settings beyond k and theta. In the main family no line joins a point with such settings, and the
    settings are its label. `title` is the condition's title.
    """

    title: str
    family: str
    k: int | None
    theta: float | None
    other: str
    speedup: Interval
    metric: Interval
    best: bool


@dataclass(frozen=True)
class Panel:
    """The conditions under one metric, and the value of the baseline if it has one.

    `infinite` are the titles of the conditions that have only infinite values. The panel does not draw them.
    """

    title: str
    better: int
    points: tuple[Point, ...]
    baseline: Interval | None
    infinite: tuple[str, ...] = ()


def pareto(points: Sequence[tuple[float, float]], better: int) -> list[bool]:
    """Returns which points no other point dominates: is as good in both and better in one. Higher x are better."""
    signed = [(x, better * y) for x, y in points]
    return [not any(a >= x and b >= y and (a, b) != (x, y) for a, b in signed) for x, y in signed]


def panels(table: Sequence[Line]) -> list[Panel]:
    """Returns a panel per metric with the methods' conditions of the first video setting.

    Means and speed-ups are those of the table. Raises StudyError for fewer than two conditions, or without scores.
    """
    baselines = {line.video: line for line in table if line.is_reference}
    video = next(iter(baselines))
    of_video = [line for line in table if line.video == video and line.rows]
    ranked = [line for line in of_video if line.ranked]
    if len(ranked) < 2:
        raise StudyError("a trade-off needs at least two finished conditions beside the baseline; this study has fewer")
    shown = {name: c for c in columns(list(table)) for name in METRICS if c.name.removesuffix("_embedded") == name}
    out = []
    for name in METRICS:
        column: Column | None = shown.get(name)
        if column is None:
            continue
        pairs = [
            (line, line.means["speedup"], line.means[column.name])
            for line in ranked
            if line.means["speedup"].value is not None and line.means[column.name].value is not None
        ]
        means = [(line.title, line.means[column.name]) for line in ranked]
        infinite = tuple(title for title, mean in means if mean.value is None and mean.infinite)
        if not pairs and not infinite:
            continue
        best = pareto([(s.value or 0, m.value or 0) for _, s, m in pairs], column.better)
        points = [
            Point(line.title, line.facts.family, line.k, line.theta, line.other, s, m, b)
            for (line, s, m), b in zip(pairs, best, strict=True)
        ]
        own = baselines[video].means[column.name]
        title = column.title + UNITS.get(name, "")
        out.append(Panel(title, column.better, tuple(points), own if own.value is not None else None, infinite))
    if out and not any(panel.points for panel in out):
        raise StudyError("every condition is identical to the baseline (infinite PSNR), so there is nothing to draw")
    if not out:
        raise StudyError("no sample is scored for LPIPS, PSNR or CLIPSIM; score the study: python -m bench.score STUDY")
    return out


def tradeoff(data: Sequence[Panel], banner: str | None = None) -> Figure:
    """Draws a panel per metric with 95 % intervals and the Pareto front. See this module for lines and markers.

    `banner` is a warning that is printed below the panels.
    """
    every = [p for panel in data for p in panel.points]
    main = main_family(every)
    ks = sorted({p.k for p in every if p.family == main}, key=lambda k: k or 0)
    thetas = sorted({p.theta for p in every}, key=lambda t: t or 0)
    looks = _looks([p for p in every if p.family != main], ks, thetas)
    labels = {look.label: look for look in looks.values()}
    with settings(RC):
        width = max((len(line) for label in labels for line in label.split("\n")), default=-LEGEND_MARGIN)
        size = 3.7 * len(data) + (width + LEGEND_MARGIN) / LEGEND_LETTERS_PER_INCH, max(3.9, 0.9 + 0.22 * _rows(labels))
        figure = Figure(size, layout="constrained")
        axes = figure.subplots(1, len(data), squeeze=False)
        for ax, panel in zip(axes[0], data, strict=True):
            _draw(ax, panel, main, ks, thetas)
            _draw_others(ax, panel, looks)
        handles = [Line2D([], [], color=colour_of(k, ks), lw=2, label=f"k = {k}") for k in ks]
        handles += [
            Line2D([], [], color=GREY, marker=marker_of(t, thetas), ls="", ms=6, label=f"θ = {t:g}")
            for t in thetas
            if t is not None
        ]
        handles.append(Line2D([], [], color=FRONT, lw=6, label="Pareto front"))
        if any(panel.baseline for panel in data):
            handles.append(Line2D([], [], color=BASELINE, marker="*", ls="", ms=10, label="Original"))
        figure.legend(
            handles=handles,
            loc="outside upper left" if labels else "outside upper center",  # the other legend is on the right
            ncols=min(len(handles), 4 * len(data) - 2),
            columnspacing=1.2,
        )
        if labels:
            figure.legend(handles=[look.handle for look in labels.values()], loc="outside right upper")
        values = [value for p in every for value in (p.speedup, p.metric)]
        judged = any(EMBEDDED in panel.title for panel in data)
        lines = [*note(values, judged, banner).split("\n"), *_not_drawn(data)]
        width = int(NOTE_LETTERS_PER_INCH * figure.get_figwidth())
        figure.supxlabel("\n".join(fill(line, width) for line in lines), fontsize=7.5, color=GREY)
    return figure


def _not_drawn(data: Sequence[Panel]) -> list[str]:
    """Returns a line for each metric under which conditions are infinite, with their number and titles."""
    return [
        f"{len(panel.infinite)} at infinite {panel.title.split(' (')[0]}, not drawn: {'; '.join(panel.infinite)}"
        for panel in data
        if panel.infinite
    ]


FRONT = "#fde68a"
NOTE_LETTERS_PER_INCH = 17  # of the small print
# of the legend on the right; the margin is in letters
LEGEND_LETTERS, LEGEND_LETTERS_PER_INCH, LEGEND_MARGIN = 30, 13, 9


def main_family(points: Sequence[Point]) -> str | None:
    """Returns the first family with k and theta, or else with k, or else None."""
    both = [p.family for p in points if p.k is not None and p.theta is not None]
    return next(iter([*both, *(p.family for p in points if p.k is not None)]), None)


@dataclass(frozen=True)
class Look:
    """The look of a condition outside the main family. A line joins a `series`. The legend has each `label` once."""

    series: tuple[str, int | None]
    colour: str
    marker: str
    label: str

    @property
    def style(self) -> dict[str, Any]:
        return {
            "color": self.colour, "marker": self.marker, "ms": 6.5, "markerfacecolor": "white", "markeredgewidth": 1.4
        }  # fmt: skip

    @property
    def handle(self) -> Line2D:
        return Line2D([], [], lw=1.2, label=self.label, **self.style)


def _looks(points: Sequence[Point], ks: list[int | None], thetas: list[float | None]) -> dict[str, Look]:
    """Returns looks by condition title. A family with thetas has a label per k, any other family one per condition."""
    with_theta = {p.family for p in points if p.theta is not None}
    series = {p.title: (p.family, p.k if p.family in with_theta else None) for p in points}
    taken = {colour_of(k, ks) for k in ks}
    colours = [colour for colour in FAMILY_COLOURS if colour not in taken]
    order, place, out = list(dict.fromkeys(series.values())), Counter(), {}
    for p in {p.title: p for p in points}.values():
        own = series[p.title]
        label, marker = p.title, FAMILY_MARKERS[place[own] % len(FAMILY_MARKERS)]
        if p.family in with_theta and not p.other:
            label, marker = p.family if p.k is None else f"{p.family}, k = {p.k}", marker_of(p.theta, thetas)
        place[own] += 1
        out[p.title] = Look(own, colours[order.index(own) % len(colours)], marker, fill(label, LEGEND_LETTERS))
    return out


def _rows(labels: Iterable[str]) -> int:
    return sum(label.count("\n") + 1 for label in labels)


def _draw_others(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
    """Draws the conditions outside the main family. Lines join a series in the order of speed-up."""
    series: dict[tuple[str, int | None], list[Point]] = {}
    for p in sorted(panel.points, key=lambda p: p.speedup.value or 0):
        if p.title in looks:
            series.setdefault(looks[p.title].series, []).append(p)
    for points in series.values():
        at = [(p.speedup.value or 0, p.metric.value or 0) for p in points]
        ax.plot(*zip(*at, strict=True), color=looks[points[0].title].colour, lw=1.2, zorder=3)
        for p, (x, y) in zip(points, at, strict=True):
            look = looks[p.title]
            ax.errorbar(
                x, y, xerr=around(p.speedup), yerr=around(p.metric), color=look.colour, alpha=0.35, lw=1, zorder=2
            )
            ax.plot(x, y, ls="", zorder=4, **look.style)


def note(values: Sequence[Interval], judged: bool, banner: str | None) -> str:
    """Returns the text below a figure of means: the banner, the number of samples and the meaning of the bars."""
    counts = sorted({value.n for value in values if value.n})
    over = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    bars = (
        f"bars: 95 % bootstrap intervals over prompts, where there are {MIN_PROMPTS} or more; of few somewhat too short"
    )
    said = f"Means of {over} samples; {bars}"
    return "\n".join(part for part in (banner, said, JUDGED if judged else None) if part)


def _draw(ax: Axes, panel: Panel, main: str | None, ks: list[int | None], thetas: list[float | None]) -> None:
    """Draws the Pareto front of all conditions, the main family's conditions and the baseline."""
    front = sorted((p.speedup.value or 0, p.metric.value or 0) for p in panel.points if p.best)
    ax.plot(
        [x for x, _ in front],
        [y for _, y in front],
        color=FRONT,
        lw=7,
        solid_capstyle="round",
        solid_joinstyle="round",
        zorder=1,
    )
    for k in ks:
        points = sorted((p for p in panel.points if p.family == main and p.k == k), key=lambda p: p.theta or 0)
        colour = colour_of(k, ks)
        joined = [p for p in points if not p.other]
        ax.plot(
            [p.speedup.value or 0 for p in joined], [p.metric.value or 0 for p in joined], color=colour, lw=1.2,
            zorder=3,
        )  # fmt: skip
        for p in points:
            ax.errorbar(
                p.speedup.value or 0, p.metric.value or 0, xerr=around(p.speedup), yerr=around(p.metric), color=colour,
                alpha=0.35, lw=1, zorder=2,
            )  # fmt: skip
            ax.plot(
                p.speedup.value or 0, p.metric.value or 0, marker_of(p.theta, thetas), color=colour, ms=6.5,
                markeredgecolor="white", markeredgewidth=0.8, zorder=4,
            )  # fmt: skip
            if p.other:
                at = (p.speedup.value or 0, p.metric.value or 0)
                ax.annotate(p.other, at, (4, 4), textcoords="offset points", fontsize=6.5, color=GREY, zorder=5)
    if panel.baseline and panel.baseline.value is not None:
        ax.errorbar(1, panel.baseline.value, yerr=around(panel.baseline), color=BASELINE, alpha=0.35, lw=1)
        ax.plot(1, panel.baseline.value, "*", color=BASELINE, ms=11, markeredgecolor="white", zorder=4)
    arrow = {1: "higher is better", -1: "lower is better", 0: ""}[panel.better]
    ax.set(xlabel="speed-up (×)", ylabel=panel.title, title=f"{panel.title.split(' (')[0]}: {arrow}")


def around(value: Interval) -> list[list[float]] | None:
    """Returns the interval as distances below and above, for error bars, or None without an interval."""
    if value.value is None or value.low is None or value.high is None:
        return None
    return [[max(value.value - value.low, 0.0)], [max(value.high - value.value, 0.0)]]
