"""Draws a sample's similarities and the resulting schedules (the paper's Fig. 1 and 2, as data)."""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.caption import not_shown, wrapped, write_below
from analysis.figures.style import FACTOR_COLOURS, GREY, LEGEND_LETTERS, RC, factor_legend
from analysis.figures.videos import samples_of
from analysis.study import StudyError, record_in
from analysis.table import Row, Table
from bench.drawing import Axes, Figure, settings

LAGS = ("lag1", "lag2", "lag3")


@dataclass(frozen=True)
class Timeline:
    """The records of a prompt's samples with a schedule, by condition, and the similarities in the preview at `k`.

    by_theta: the conditions that differ in theta alone. These thetas are of the similarities.
    similarity: lag1 to lag3, and nothing if no method records them.
    left_out: lines that name the conditions that are not drawn.
    """

    k: int | None
    records: Mapping[Row, dict[str, Any]]
    by_theta: tuple[Row, ...]
    similarity: Mapping[str, list[float]]
    left_out: tuple[str, ...]


def timeline_of(table: Table, prompt: str, k: int | None = None) -> Timeline:
    """Returns the schedules of the methods at `k` (by default the lowest) or without k, those by threshold first.

    They are of the first video setting, and of the seed that most of these conditions have. The similarities are of the
    first method that records any. Raises StudyError if the prompt has no sample with a schedule, or none of that k.
    """
    made = {row: samples_of(row, prompt).dropna(subset="schedule") for row in table.rows if row.ranked}
    made = {row: own for row, own in made.items() if len(own)}
    if not made:
        raise StudyError(f"prompt {prompt} has no sample with a schedule; a timeline shows those")
    ks = {row.k for row in made if row.k is not None}
    if k is not None and k not in ks:
        raise StudyError(f"prompt {prompt} has no sample with k={k}; there is k = {', '.join(sorted(map(str, ks)))}")
    k = min(ks, default=None) if k is None else k
    video = next(row.video for row in made if row.k in (k, None))
    made = {row: own for row, own in made.items() if row.k in (k, None) and row.video == video}
    seed = pd.concat(list(made.values())).index.to_series().mode()[0]
    rows = sorted(
        (row for row in made if seed in made[row].index), key=lambda row: row.theta is None or row.other != ""
    )
    records = {row: record_in(str(made[row].loc[seed, "folder"])) for row in rows}
    measured = [(row.family, record["similarity"]) for row, record in records.items() if record["similarity"]]
    family, similarity = measured[0] if measured else (rows[0].family, {})
    by_theta = tuple(row for row in rows if row.family == family and row.theta is not None and not row.other)
    left_out = not_shown(table, rows, k, f"without a schedule for this prompt and seed {seed}, not drawn")
    return Timeline(k, records, by_theta, similarity, tuple(left_out))


def timeline(data: Timeline) -> Figure:
    """Draws the similarities and, below them, a bar per condition with its kept frames ticked and its tokens."""
    spec = next(iter(data.records.values()))["identity"]["spec"]
    row_height = max(0.36, 0.17 * max(_label(row, data).count("\n") + 1 for row in data.records))
    heights = [*([2.1] if data.similarity else []), row_height * len(data.records) + 0.25]
    with settings(RC):
        figure = Figure((8.4, 0.55 + sum(heights)), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        if data.similarity:
            _similarities(axes[0], data)
        _schedules(axes[-1], data, spec["num_frames"])
        factors = factor_legend(part for record in data.records.values() for part in record["schedule"]["segments"])
        axes[-1].legend(handles=factors, loc="upper center", bbox_to_anchor=(0.5, -0.45 / heights[-1]), ncols=4)
        preview = f"   preview after k={data.k} steps" if data.k is not None and data.similarity else ""
        figure.suptitle(f'"{spec["prompt"]}"{preview}', fontsize=10)
        write_below(figure, wrapped(data.left_out, 8.4))
    return figure


def _similarities(ax: Axes, data: Timeline) -> None:
    """Draws the similarities of frames up to 3 apart, and the thresholds."""
    there = [(lag, np.array(data.similarity[name])) for lag, name in enumerate(LAGS, 1) if name in data.similarity]
    for lag, values in there:
        colour, width = (("#b03a2e", 1.8), ("#d98880", 1.2), ("#e6b0aa", 1.0))[lag - 1]
        label = f"{lag} frame{'s' if lag > 1 else ''} apart"
        ax.plot(np.arange(len(values)) + lag / 2, values, color=colour, lw=width, label=label)
    thetas = [row.theta or 0.0 for row in data.by_theta]
    for theta in thetas:
        ax.axhline(theta, color=GREY, ls=(0, (1, 2)), lw=0.9)
    lowest = min([*(values.min() for _, values in there), *thetas])
    ax.set(ylabel="SSIM of the preview", ylim=(max(lowest - 0.06, -0.02), 1.02))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
    right = ax.secondary_yaxis("right")
    right.set_yticks(thetas, [f"θ={theta:g}" for theta in thetas])
    right.tick_params(length=0, labelsize=7.5, labelcolor=GREY)
    right.spines["right"].set_visible(False)
    ax.grid(False)


def _label(row: Row, data: Timeline) -> str:
    return f"θ={row.theta:g}" if row in data.by_theta else fill(row.title, LEGEND_LETTERS)


def _schedules(ax: Axes, data: Timeline, num_frames: int) -> None:
    labels = []
    for y, (row, record) in enumerate(data.records.items()):
        labels.append(_label(row, data))
        for start, length, factor in record["schedule"]["segments"]:
            colour = FACTOR_COLOURS[factor]
            ax.barh(y, length, 0.72, left=start - 0.5, color=colour, edgecolor="white", linewidth=0.8)
        ax.vlines(record["schedule"]["kept_frames"], y + 0.16, y + 0.36, color="black", lw=0.9)
        share = "" if record["token_ratio"] is None else f"{record['token_ratio']:.0%} of tokens"
        ax.annotate(share, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    ax.set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.5, -0.5))
    ax.set(xlim=(-0.5, num_frames - 0.5), xlabel="frame (ticks: kept, or stands for those merged with it)")
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
