"""Draws a sample's similarities and the resulting schedules (the paper's Fig. 1 and 2, as data)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.conditions import Line
from analysis.figures.choose import of_one_seed
from analysis.figures.style import FACTOR_COLOURS, FACTOR_NAMES, GREY, RC
from analysis.load import StudyError, whole
from bench.drawing import Figure, Patch, settings


@dataclass(frozen=True)
class Schedule:
    """One condition's schedule: segments as (start, length, factor), kept frames, and the share of tokens kept."""

    theta: float
    segments: tuple[tuple[int, int, int], ...]
    kept_frames: tuple[int, ...]
    token_ratio: float


@dataclass(frozen=True)
class Timeline:
    """A prompt's preview after k steps: similarities at lags 1 to 3, and a schedule for each theta."""

    prompt: str
    k: int
    num_frames: int
    lags: tuple[tuple[float, ...], ...]
    schedules: tuple[Schedule, ...]


def timeline_of(table: Sequence[Line], prompt: str, k: int | None = None) -> Timeline:
    """Returns the timeline of a prompt at `k` (by default the lowest).

    It is of the first family with schedules by threshold, the first video setting, and the first seed that all of its
    thetas share. Raises StudyError if there are no such samples, or they record no similarities.
    """
    of_prompt = [
        line
        for line in table
        if line.ranked and line.k is not None and line.theta is not None
        if any(row.record["prompt_id"] == prompt and row.record["schedule"] for row in line.rows)
    ]
    if not of_prompt:
        raise StudyError(f"prompt {prompt} has no sample with a schedule by threshold; a timeline shows those")
    of_prompt = [line for line in of_prompt if line.facts.family == of_prompt[0].facts.family]
    k = min(line.k or 0 for line in of_prompt) if k is None else k
    of_k: dict[float, Line] = {}
    for line in of_prompt:
        if line.k == k and line.theta is not None and line.video == of_prompt[0].video:
            of_k.setdefault(line.theta, line)
    if not of_k:
        there = ", ".join(sorted({str(line.k) for line in of_prompt}))
        raise StudyError(f"prompt {prompt} has no sample with k={k}; there is k = {there}")
    records = [whole(row).record for _, row in of_one_seed(list(of_k.values()), prompt)]
    schedules = [
        Schedule(
            theta,
            tuple((start, length, factor) for start, length, factor in record["schedule"]["segments"]),
            tuple(record["schedule"]["kept_frames"]),
            record["token_ratio"],
        )
        for theta, record in zip(of_k, records, strict=True)
    ]
    spec, similarity = records[0]["identity"]["spec"], records[0]["similarity"]
    if not similarity:
        raise StudyError(f"{of_prompt[0].name} records no similarities of the preview; a timeline shows those")
    lags = tuple(tuple(similarity[f"lag{i}"]) for i in (1, 2, 3))
    ordered = tuple(sorted(schedules, key=lambda schedule: schedule.theta))
    return Timeline(spec["prompt"], k, spec["num_frames"], lags, ordered)


def timeline(data: Timeline) -> Figure:
    """Draws the similarities and, below them, a bar per theta with its kept frames ticked and its share of tokens."""
    rows = len(data.schedules)
    with settings(RC):
        figure = Figure((8.4, 2.9 + 0.36 * rows), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.1, 0.36 * rows + 0.25))
        for lag, (values, colour, width) in enumerate(
            zip(data.lags, ("#b03a2e", "#d98880", "#e6b0aa"), (1.8, 1.2, 1.0), strict=True), 1
        ):
            label = f"{lag} frame{'s' if lag > 1 else ''} apart"
            top.plot(np.arange(len(values)) + lag / 2, values, color=colour, lw=width, label=label)
        for schedule in data.schedules:
            top.axhline(schedule.theta, color=GREY, ls=(0, (1, 2)), lw=0.9)
        lowest = min(min(map(min, data.lags)), min(s.theta for s in data.schedules))
        top.set(ylabel="SSIM of the preview", ylim=(max(lowest - 0.06, -0.02), 1.02))
        top.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
        thetas = top.secondary_yaxis("right")
        thetas.set_yticks([s.theta for s in data.schedules], [f"θ={s.theta:g}" for s in data.schedules])
        thetas.tick_params(length=0, labelsize=7.5, labelcolor=GREY)
        thetas.spines["right"].set_visible(False)
        top.grid(False)
        for y, schedule in enumerate(data.schedules):
            for start, length, factor in schedule.segments:
                bottom.barh(
                    y, length, 0.72, left=start - 0.5, color=FACTOR_COLOURS[factor], edgecolor="white", linewidth=0.8
                )
            bottom.vlines(schedule.kept_frames, y + 0.16, y + 0.36, color="black", lw=0.9)
            bottom.annotate(
                f"{schedule.token_ratio:.0%} of tokens", (1.01, y), xycoords=("axes fraction", "data"), va="center",
                fontsize=8,
            )  # fmt: skip
        bottom.set(
            yticks=range(rows), yticklabels=[f"θ={s.theta:g}" for s in data.schedules], ylim=(rows - 0.5, -0.5),
            xlim=(-0.5, data.num_frames - 0.5), xlabel="frame (ticks: kept, or stands for those merged with it)",
        )  # fmt: skip
        bottom.grid(False)
        bottom.spines["left"].set_visible(False)
        bottom.tick_params(axis="y", length=0)
        patches = [Patch(color=colour, label=FACTOR_NAMES[factor]) for factor, colour in FACTOR_COLOURS.items()]
        figure.legend(handles=patches, loc="outside lower center", ncols=3)
        figure.suptitle(f'"{data.prompt}"   preview after k={data.k} steps', fontsize=10)
    return figure
