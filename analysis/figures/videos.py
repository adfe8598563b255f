"""Chooses samples of a prompt and draws frames of their videos: a comparison, or the paper's Fig. 3 and 4."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import columns
from analysis.figures.caption import JUDGED, write_below
from analysis.figures.style import FACTOR_COLOURS, GREY, RC, factor_legend
from analysis.study import StudyError, record_in
from analysis.table import Row, Table
from bench.drawing import Axes, Figure, settings
from metrics.video_file import VideoFile, read

LABEL_LETTERS = 16  # along a frame's height in `comparison`
Shown = tuple[Row, pd.Series]  # a condition and one of its samples


def samples_of(row: Row, prompt: str) -> pd.DataFrame:
    """Returns the row's finished samples of a prompt, indexed by seed."""
    return row.samples[row.samples.index.get_level_values("prompt") == prompt].droplevel("prompt")


def of_one_seed(rows: Sequence[Row], prompt: str) -> list[Shown]:
    """Returns each row's sample of the first seed that all rows share. Raises StudyError without such a seed."""
    samples = [samples_of(row, prompt) for row in rows]
    if not (common := set.intersection(*(set(own.index) for own in samples))):
        titles = ", ".join(row.title for row in rows)
        raise StudyError(f"no seed of prompt {prompt} is finished under all of {titles}")
    return [(row, own.loc[min(common)]) for row, own in zip(rows, samples, strict=True)]


def conditions_of(table: Table, prompt: str, k: int | None = None, theta: float | None = None) -> list[Shown]:
    """Returns a sample of `prompt` for each condition that has the prompt, in the table's order.

    With `k` or `theta` only references and the conditions with these values are shown. All samples are of the first
    seed that these conditions share. Raises StudyError if there is no such seed or no such condition.
    """
    rows = _rows_of(table, prompt)
    chosen = [row for row in rows if row.is_reference or (k in (None, row.k) and theta in (None, row.theta))]
    if not any(not row.is_reference for row in chosen) and (k, theta) != (None, None):
        asked = " and ".join(f"{name}={value}" for name, value in (("k", k), ("theta", theta)) if value is not None)
        there = dict.fromkeys(f"k={row.k} theta={row.theta}" for row in rows if row.k is not None)
        raise StudyError(
            f"no condition of prompt {prompt} has {asked}; there are {', '.join(there) or 'none with a k'}"
        )
    return of_one_seed(chosen, prompt)


def _rows_of(table: Table, prompt: str) -> list[Row]:
    if made := [row for row in table.rows if len(samples_of(row, prompt))]:
        return made
    planned = {own for row in table.rows for part in (row.samples, row.failed) for own, _ in part.index}
    if prompt in planned:
        raise StudyError(f"prompt {prompt} has no finished sample; run the sweep again")
    raise StudyError(f"no sample of prompt {prompt}; prompts: {', '.join(sorted(planned))}")


def papers_columns(table: Table, prompt: str, thetas: int = 3) -> list[Shown]:
    """Returns the columns of the paper's Fig. 3: the reference, and the first, middle and last theta of each k.

    A family without k or theta has its first, middle and last setting. Only the reference and methods are shown, under
    the first video setting and the first seed that all share. Raises StudyError for fewer than two columns.
    """
    made = _rows_of(table, prompt)
    made = [row for row in made if row.video == made[0].video]
    chosen = [row for row in made if row.is_reference]
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for row in (row for row in made if row.ranked):
        groups.setdefault((row.family, row.k), []).append(row)
    for alike in groups.values():
        places = {round(i * (len(alike) - 1) / max(thetas - 1, 1)) for i in range(thetas)}
        chosen += [alike[i] for i in sorted(places)]
    if len(chosen) < 2:
        raise StudyError("a qualitative grid needs a baseline and another method's samples; run the sweep of Table 1")
    return of_one_seed(chosen, prompt)


def telling_prompt(table: Table) -> str:
    """Returns the prompt with the largest range of token ratios between conditions, the first of equals.

    In a study without schedules, returns the first prompt that any method has finished, or raises StudyError.
    """
    ratios = table.samples["token_ratio"][table.samples["schedule"].notna()].groupby("prompt")
    if len(ratios):
        return str((ratios.max() - ratios.min()).idxmax())
    finished = [prompt for row in table.rows if row.ranked for prompt, _ in row.samples.index]
    if not finished:
        raise StudyError("no method but the reference has a finished sample; run the sweep again")
    return min(finished)


def find(table: Table, prompt: str, k: int | None = None, theta: float | None = None) -> tuple[Shown, Shown]:
    """Returns the finished samples of `prompt` under the reference and under one condition with `k` and `theta`.

    By default it is the lowest k and its middle theta, or the first method if none has thetas. A method is preferred to
    an ablation or diagnostic, and a condition without other settings to one with them. Both samples are of the first
    video setting and seed that has both. Raises StudyError that lists the prompts and conditions of the study, if there
    is not exactly one such condition.
    """
    pairs = {row: own for row in table.rows if not row.is_reference and (own := table.reference(row.video))}
    there = [
        row for row, own in pairs.items() if samples_of(row, prompt).index.isin(samples_of(own, prompt).index).any()
    ]
    by_theta = [row for row in there if row.ranked and row.theta is not None]
    if k is None and theta is None and not by_theta:
        found = [row for row in there if row.ranked][:1]
    else:
        k = min((row.k or 0 for row in by_theta), default=0) if k is None else k
        thetas = sorted({row.theta or 0.0 for row in by_theta if row.k == k}) or [0.0]
        theta = thetas[len(thetas) // 2] if theta is None else theta
        found = [row for row in there if (row.k, row.theta) == (k, theta)]
        found = [row for row in found if row.ranked] or found
        found = [row for row in found if not row.other] or found
    if len(slugs := {row.slug for row in found}) != 1:
        finished = ", ".join(row.title for row in _rows_of(table, prompt))
        prompts = ", ".join(table.samples.index.unique("prompt").sort_values())
        raise StudyError(
            f"expected one condition with a baseline for prompt {prompt}, k={k}, theta={theta}, found {len(slugs)}; "
            f"prompts: {prompts}; finished for this prompt: {finished}"
        )
    baseline, shown = of_one_seed([pairs[found[0]], found[0]], prompt)
    return baseline, shown


def alike(table: Table, shown: Row, prompt: str) -> list[Row]:
    """Returns the other methods with the k and theta of the row that `find` chose and a sample of `prompt`.

    Ablations and diagnostics are left out. There are none for a row without k or without theta.
    """
    if shown.k is None or shown.theta is None:
        return []
    setting = (shown.video, shown.k, shown.theta)
    others = [row for row in table.rows if row is not shown and row.ranked]
    return [row for row in others if (row.video, row.k, row.theta) == setting and len(samples_of(row, prompt))]


def master(sample: pd.Series) -> VideoFile:
    """Returns the sample's video. Raises StudyError if the sweep did not keep the master, or it is damaged."""
    folder = Path(sample["folder"])
    try:
        return read(folder / "master.mkv")
    except FileNotFoundError as error:
        raise StudyError(f"{error}: a sweep keeps it with keep=all, the default; run it again so") from None
    except ValueError as error:
        study = folder.parents[1]
        raise StudyError(f"{error}; this moves the sample away: python -m bench.store verify {study}") from None


def comparison(baseline: Shown, shown: Shown, across: int = 9) -> Figure:
    """Draws the baseline above the sample, at the same times, and the sample's schedule and similarity below."""
    videos = [master(sample).frames for _, sample in (baseline, shown)]
    (row, sample), record = shown, record_in(shown[1]["folder"])
    count, schedule = len(videos[0]), record["schedule"]
    times = np.linspace(0, count - 1, across).round().astype(int)
    kept = set(schedule["kept_frames"]) if schedule else set(range(count))
    with settings(RC):
        figure = Figure((1.3 * across, 5.0 if schedule else 3.6), layout="constrained")
        heights = (1.3, 1.3, 1.1) if schedule else (1.3, 1.3)
        cells = figure.add_gridspec(len(heights), across, height_ratios=heights)
        for y, (video, title) in enumerate(zip(videos, ("baseline", _label(row)), strict=True)):
            for x, t in enumerate(times):
                axes = figure.add_subplot(cells[y, x])
                axes.imshow(video[t])
                axes.set(xticks=[], yticks=[])
                if x == 0:
                    axes.set_ylabel(title)
                if y == 0:
                    axes.set_title(f"frame {t}", fontsize=9)
                elif t not in kept:
                    axes.set_xlabel("interpolated", fontsize=7, color=GREY)
        if schedule:
            placed = "placement" in record["method"]  # theta then says how many latent frames are kept, and not which
            _schedule(figure, figure.add_subplot(cells[2, :]), record, None if placed else row.theta, count)
        speedup = f", speed-up {sample['speedup']:.2f}" if pd.notna(sample["speedup"]) else ""
        tokens = f"   tokens {sample['token_ratio']:.2f}" if pd.notna(sample["token_ratio"]) else ""
        title = f'"{sample["prompt_text"]}"{tokens}{speedup}'
        figure.suptitle(title, fontsize=10)
    return figure


def _label(row: Row) -> str:
    """Returns the method with its k and theta, and a further line for each other setting. Wraps long lines."""

    def wrapped(part: str) -> str:
        return fill(part if len(part) <= LABEL_LETTERS else part.replace("=", "= ", 1), LABEL_LETTERS)

    own = [part for part in row.settings if part.startswith(("k=", "θ="))]
    parts = (" ".join([row.name, *own]), *(part for part in row.settings if part not in own))
    return "\n".join(map(wrapped, parts))


def _schedule(figure: Figure, axes: Axes, record: dict[str, Any], theta: float | None, count: int) -> None:
    """Draws the schedule of `count` frames, and the preview's similarity and the threshold if there are any."""
    axes.grid(False)
    for start, length, factor in record["schedule"]["segments"]:
        axes.axvspan(start - 0.5, start + length - 0.5, color=FACTOR_COLOURS[factor], lw=0)
    axes.vlines(sorted(record["schedule"]["kept_frames"]), 0, 0.08, color="black", lw=1)
    if record["similarity"]:
        lag1 = record["similarity"]["lag1"]
        axes.plot(np.arange(len(lag1)) + 0.5, lag1, color="#b03a2e", lw=1.5)
        axes.set_ylabel("SSIM, lag 1")
    if theta is not None:
        axes.axhline(theta, color="#b03a2e", ls=":", lw=1)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(0, 1.02), xlabel="frame (ticks: kept)")
    figure.legend(handles=factor_legend(record["schedule"]["segments"]), ncols=4, loc="outside lower center")


def grid(shown: Sequence[Shown]) -> Figure:
    """Draws a column per condition with start, middle and end of the video, and its scores against the baseline."""
    with settings(RC):
        figure = Figure((1.5 * len(shown) + 0.5, 5.9), layout="constrained")
        axes = figure.subplots(3, len(shown), squeeze=False)
        judged = False
        for x, (row, sample) in enumerate(shown):
            video = master(sample).frames
            for y, (t, name) in enumerate(((0, "start"), (len(video) // 2, "middle"), (len(video) - 1, "end"))):
                axes[y, x].imshow(video[t])
                axes[y, x].set(xticks=[], yticks=[])
                if x == 0:
                    axes[y, x].set_ylabel(f"{name}\n(frame {t})")
            axes[0, x].set_title("\n".join((row.name, *row.settings)), fontsize=8)
            scored = [c for c in columns(row.samples, ("psnr", "ssim", "lpips")) if pd.notna(sample.get(c.name))]
            text = "\n".join(f"{c.title} {sample[c.name]:.{c.digits}f} {c.unit}".strip() for c in scored)
            axes[2, x].set_xlabel(text, fontsize=7.5)
            judged |= any(c.embedded for c in scored)
        figure.suptitle(f'"{shown[0][1]["prompt_text"]}"', fontsize=10)
        if judged:
            write_below(figure, [JUDGED])
    return figure
