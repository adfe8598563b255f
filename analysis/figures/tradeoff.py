"""What quality costs: speed-up against LPIPS, PSNR and CLIPSIM, with intervals and the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from analysis.columns import EMBEDDED, Column
from analysis.conditions import Line, columns
from analysis.figures.style import BASELINE, GREY, RC, colour_of, marker_of
from analysis.figures.videos import JUDGED
from analysis.load import StudyError
from analysis.statistics import MIN_PROMPTS, Interval
from bench.drawing import Axes, Figure, Line2D, settings

METRICS = ("lpips", "psnr", "clipsim")
UNITS = {"psnr": " (dB)"}


@dataclass(frozen=True)
class Point:
    """A condition: its speed-up over the baseline, and the metric's mean; `best` if no other is better in both.

    `other` are its settings beyond k and theta; such a point stands alone and is labelled by them.
    """

    k: int | None
    theta: float | None
    other: str
    speedup: Interval
    metric: Interval
    best: bool


@dataclass(frozen=True)
class Panel:
    """A metric's conditions, and the baseline's own value where it has one."""

    title: str
    better: int
    points: tuple[Point, ...]
    baseline: Interval | None


def pareto(points: Sequence[tuple[float, float]], better: int) -> list[bool]:
    """Which points no other dominates: none is at least as good in both and better in one; x is better when higher."""
    signed = [(x, better * y) for x, y in points]
    return [not any(a >= x and b >= y and (a, b) != (x, y) for a, b in signed) for x, y in signed]


def panels(table: Sequence[Line]) -> list[Panel]:
    """One per metric of the study; VGDFR's conditions of one video setting, ablations and other methods left out.

    Means and speed-ups are those of the table.
    """
    baselines = {line.video: line for line in table if line.method == "baseline"}
    video = next(iter(baselines))
    of_video = [line for line in table if line.video == video and line.rows]
    ranked = [line for line in of_video if line.method == "vgdfr" and not line.ablation]
    if len(ranked) < 2:
        raise StudyError("a trade-off needs at least two settings of VGDFR; this study has fewer")
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
        if not pairs:
            continue
        best = pareto([(s.value or 0, m.value or 0) for _, s, m in pairs], column.better)
        points = [
            Point(line.k, line.theta, line.other or "uniform" * line.uniform, s, m, b)
            for (line, s, m), b in zip(pairs, best, strict=True)
        ]
        own = baselines[video].means[column.name]
        title = column.title + UNITS.get(name, "")
        out.append(Panel(title, column.better, tuple(points), own if own.value is not None else None))
    if not out:
        raise StudyError("no sample is scored for LPIPS, PSNR or CLIPSIM; score the study: python -m bench.score STUDY")
    return out


def tradeoff(data: Sequence[Panel], banner: str | None = None) -> Figure:
    """A panel per metric: a line per k, a marker per theta, 95 % intervals; the Pareto front behind them.

    `banner` is what must not be overlooked.
    """
    ks = sorted({p.k for panel in data for p in panel.points}, key=lambda k: k or 0)
    thetas = sorted({p.theta for panel in data for p in panel.points}, key=lambda t: t or 0)
    with settings(RC):
        figure = Figure((3.7 * len(data), 3.9), layout="constrained")
        axes = figure.subplots(1, len(data), squeeze=False)
        for ax, panel in zip(axes[0], data, strict=True):
            _draw(ax, panel, ks, thetas)
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
            handles=handles, loc="outside upper center", ncols=min(len(handles), 4 * len(data) - 2), columnspacing=1.2
        )
        values = [value for panel in data for p in panel.points for value in (p.speedup, p.metric)]
        judged = any(EMBEDDED in panel.title for panel in data)
        lines = note(values, judged, banner).split("\n")
        width = int(NOTE_LETTERS_PER_INCH * figure.get_figwidth())
        figure.supxlabel("\n".join(fill(line, width) for line in lines), fontsize=7.5, color=GREY)
    return figure


FRONT = "#fde68a"
NOTE_LETTERS_PER_INCH = 17  # of the small print


def note(values: Sequence[Interval], judged: bool, banner: str | None) -> str:
    """What stands under a figure of means: how many samples they are of, and what the bars are."""
    counts = sorted({value.n for value in values if value.n})
    over = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    bars = (
        f"bars: 95 % bootstrap intervals over prompts, where there are {MIN_PROMPTS} or more; of few somewhat too short"
    )
    said = f"Means of {over} samples; {bars}"
    return "\n".join(part for part in (banner, said, JUDGED if judged else None) if part)


def _draw(ax: Axes, panel: Panel, ks: list[int | None], thetas: list[float | None]) -> None:
    front = sorted((p.speedup.value or 0, p.metric.value or 0) for p in panel.points if p.best)
    ax.plot(*zip(*front, strict=True), color=FRONT, lw=7, solid_capstyle="round", solid_joinstyle="round", zorder=1)
    for k in ks:
        points = sorted((p for p in panel.points if p.k == k), key=lambda p: p.theta or 0)
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
    """The interval as matplotlib's error bars want it: distances below and above."""
    if value.value is None or value.low is None or value.high is None:
        return None
    return [[max(value.value - value.low, 0.0)], [max(value.high - value.value, 0.0)]]
