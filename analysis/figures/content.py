"""Draws which content profits: tokens, speed-up and difference by speed profile or VBench dimension."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from analysis.columns import EMBEDDED
from analysis.conditions import Line, columns
from analysis.content import content_of
from analysis.figures.style import GREY, RC, colour_of, marker_of
from analysis.figures.tradeoff import UNITS, around, note
from analysis.load import StudyError
from analysis.statistics import Interval, Key, interval, ratio_of_means
from bench.drawing import Figure, Line2D, MaxNLocator, settings

SHOWN = ("lpips", "psnr")


@dataclass(frozen=True)
class Bar:
    """The value of one kind of content under one theta."""

    content: str
    theta: float
    value: Interval


@dataclass(frozen=True)
class Panel:
    """The values of one quantity, by content and theta."""

    title: str
    bars: tuple[Bar, ...]


def panels(table: Sequence[Line], k: int | None = None) -> tuple[int, list[Panel]]:
    """Returns the k (by default the lowest) and a panel for tokens, speed-up and each difference metric with values.

    The panels show the conditions of `by_threshold`. Raises StudyError for fewer than two kinds of content, and for a k
    that the study does not have.
    """
    baseline = next(line for line in table if line.is_reference)
    ranked = by_threshold(table)
    contents: dict[str, set[str]] = defaultdict(set)
    for row in (row for line in ranked for row in line.rows):
        for each in content_of(row):
            contents[each].add(row.record["prompt_id"])
    if len(contents) < 2:
        raise StudyError("content is known of VBench's prompts and the embedded world's; this study has not two kinds")
    k = min(line.k or 0 for line in ranked) if k is None else k
    of_k = [line for line in ranked if line.k == k]
    if not of_k:
        raise StudyError(f"no finished sample with k={k}")
    shown = [c for name in SHOWN for c in columns(list(table)) if c.name.removesuffix("_embedded") == name]
    tokens, speedups = [], []
    scores: dict[str, list[Bar]] = {c.name: [] for c in shown}
    for content, prompts in sorted(contents.items()):
        for line in of_k:
            theta = line.theta or 0.0
            tokens.append(Bar(content, theta, _mean(line.values["token_ratio"], prompts)))
            own_s = {key: s for key, s in line.values["latency_s"].items() if key[0] in prompts}
            speedups.append(Bar(content, theta, ratio_of_means(baseline.values["latency_s"], own_s)))
            for c in shown:
                scores[c.name].append(Bar(content, theta, _mean(line.values[c.name], prompts)))
    out = [Panel("tokens kept", tuple(tokens)), Panel("speed-up (×)", tuple(speedups))]
    for c in shown:
        if any(bar.value.value is not None for bar in scores[c.name]):
            out.append(Panel(c.title + UNITS.get(c.name, ""), tuple(scores[c.name])))
    return k, out


def by_threshold(table: Sequence[Line]) -> list[Line]:
    """Returns the finished methods' conditions that differ in k and theta alone, of the first family that has any.

    Looks only at the first video setting. Raises StudyError if there are none.
    """
    video = next(line.video for line in table if line.is_reference)
    found = [line for line in table if line.ranked and line.video == video and line.rows and not line.other]
    found = [line for line in found if line.theta is not None and line.k is not None]
    if not found:
        raise StudyError("the study has no finished sample of a method by threshold alone, whose thetas are shown here")
    return [line for line in found if line.facts.family == found[0].facts.family]


def _mean(values: Mapping[Key, float], prompts: Set[str]) -> Interval:
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for (prompt, _), value in values.items():
        if prompt in prompts:
            by_prompt[prompt].append(value)
    return interval(by_prompt)


def content(k: int, data: Sequence[Panel], method: str, banner: str | None = None) -> Figure:
    """Draws a panel per quantity, with contents on a common axis, a marker per theta and 95 % intervals.

    `method` is the method's title.
    """
    names = list(dict.fromkeys(bar.content for panel in data for bar in panel.bars))
    thetas = sorted({bar.theta for panel in data for bar in panel.bars})
    colour = colour_of(k, [k])
    with settings(RC):
        figure = Figure((2.1 + 2.4 * len(data), 1.7 + 0.62 * len(names)), layout="constrained")
        axes = figure.subplots(1, len(data), sharey=True, squeeze=False)
        for ax, panel in zip(axes[0], data, strict=True):
            for bar in panel.bars:
                if bar.value.value is None:
                    continue
                place = thetas.index(bar.theta)
                y = names.index(bar.content) + 0.62 * ((place + 0.5) / len(thetas) - 0.5)
                ax.errorbar(bar.value.value, y, xerr=around(bar.value), color=colour, alpha=0.4, lw=1)
                ax.plot(
                    bar.value.value, y, marker_of(bar.theta, list(thetas)), color=colour, ms=5.5,
                    markeredgecolor="white", markeredgewidth=0.7,
                )  # fmt: skip
            for between in range(1, len(names)):
                ax.axhline(between - 0.5, color="#d1d5db", lw=0.8)
            ax.grid(axis="y", visible=False)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.set(xlabel=panel.title, yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
            ax.set_yticklabels([name.replace("_", " ") for name in names])
            ax.tick_params(axis="y", length=0)
        handles = [
            Line2D([], [], color=colour, marker=marker_of(t, list(thetas)), ls="", ms=6, label=f"θ = {t:g}")
            for t in thetas
        ]
        title = f"{method} with k = {k}, by content"
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), title=title)
        judged = any(EMBEDDED in panel.title for panel in data)
        values = [bar.value for panel in data for bar in panel.bars]
        figure.supxlabel(note(values, judged, banner), fontsize=7.5, color=GREY)
    return figure
