"""Draws frames of videos beside each other: one condition and the baseline, or the paper's Fig. 3 and 4."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np

from analysis.columns import EMBEDDED
from analysis.conditions import Line
from analysis.figures.style import FACTOR_COLOURS, FACTOR_NAMES, GREY, RC
from analysis.load import Row, StudyError
from bench.drawing import Axes, Figure, Rectangle, settings
from bench.facts import facts_of
from metrics.video_file import VideoFile, read

LABEL_LETTERS = 16  # along a frame's height in `comparison`


def master(row: Row) -> VideoFile:
    """Returns the sample's video. Raises StudyError if the sweep did not keep the master, or it is damaged."""
    try:
        return read(row.folder / "master.mkv")
    except FileNotFoundError as error:
        raise StudyError(f"{error}: a sweep keeps it with keep=all, the default; run it again so") from None
    except ValueError as error:
        study = row.folder.parents[1]
        raise StudyError(f"{error}; this moves the sample away: python -m bench.store verify {study}") from None


def comparison(baseline: Row, sample: Row, columns: int = 9) -> Figure:
    """Draws the baseline above the sample, at the same times, and the sample's schedule and similarity below."""
    videos = [master(row).frames for row in (baseline, sample)]
    record = sample.record
    count = len(videos[0])
    shown = np.linspace(0, count - 1, columns).round().astype(int)
    titles, schedule = ("baseline", _titled(record)), record["schedule"]
    kept = set(schedule["kept_frames"]) if schedule else set(range(count))
    with settings(RC):
        figure = Figure((1.3 * columns, 5.0 if schedule else 3.6), layout="constrained")
        heights = (1.3, 1.3, 1.1) if schedule else (1.3, 1.3)
        cells = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        for row, (video, title) in enumerate(zip(videos, titles, strict=True)):
            for column, t in enumerate(shown):
                axes = figure.add_subplot(cells[row, column])
                axes.imshow(video[t])
                axes.set(xticks=[], yticks=[])
                if column == 0:
                    axes.set_ylabel(title)
                if row == 0:
                    axes.set_title(f"frame {t}", fontsize=9)
                elif t not in kept:
                    axes.set_xlabel("interpolated", fontsize=7, color=GREY)
        if schedule:
            _schedule(figure, figure.add_subplot(cells[2, :]), record, count)
        figure.suptitle(
            f'"{record["identity"]["spec"]["prompt"]}"   tokens {record["token_ratio"]:.2f}'
            f"{_speedup(baseline, sample)}",
            fontsize=10,
        )
    return figure


def _titled(record: dict[str, Any]) -> str:
    """Returns the method with its k and theta, and a further line for each other setting. Wraps long lines."""
    facts, method = facts_of(record), record["method"]
    own = [f"{sign}={method[name]}" for name, sign in (("k", "k"), ("theta", "θ")) if method.get(name) is not None]
    others = [part for part in facts.settings if part not in (f"k{method.get('k')}", f"theta{method.get('theta')}")]
    return "\n".join(fill(part, LABEL_LETTERS) for part in (" ".join([facts.title, *own]), *others))


def _schedule(figure: Figure, axes: Axes, record: dict[str, Any], count: int) -> None:
    """Draws the schedule of `count` frames, and the preview's similarity and the threshold if the record has them."""
    axes.grid(False)
    for start, length, factor in record["schedule"]["segments"]:
        axes.axvspan(start - 0.5, start + length - 0.5, color=FACTOR_COLOURS[factor], lw=0)
    axes.vlines(sorted(record["schedule"]["kept_frames"]), 0, 0.08, color="black", lw=1)
    if record["similarity"]:
        lag1 = record["similarity"]["lag1"]
        axes.plot(np.arange(len(lag1)) + 0.5, lag1, color="#b03a2e", lw=1.5)
        axes.set_ylabel("SSIM, lag 1")
    if record["method"].get("theta") is not None:
        axes.axhline(record["method"]["theta"], color="#b03a2e", ls=":", lw=1)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(0, 1.02), xlabel="frame (ticks: kept)")
    patches = [Rectangle((0, 0), 1, 1, color=c) for c in FACTOR_COLOURS.values()]
    figure.legend(patches, list(FACTOR_NAMES.values()), ncols=3, loc="outside lower center")


def _speedup(baseline: Row, sample: Row) -> str:
    """Returns the title's text. It is empty if only one of the samples was timed in isolated runs."""
    alike = baseline.record.get("timing", "shared") == sample.record.get("timing", "shared")
    return f", speed-up {baseline.record['latency_s'] / sample.record['latency_s']:.2f}" if alike else ""


def caption(scores: dict[str, float]) -> list[str]:
    """Returns the lines below a video: its scores against the baseline, if it has any."""
    shown = (("psnr", "PSNR {:.1f} dB"), ("ssim", "SSIM {:.2f}"), ("lpips", "LPIPS {:.3f}"))
    out = [text.format(scores[name]) for name, text in shown if name in scores]
    if "lpips" not in scores and "lpips_embedded" in scores:
        out.append(f"LPIPS{EMBEDDED} {scores['lpips_embedded']:.4f}")
    return out


def grid(shown: Sequence[tuple[Line, Row]]) -> Figure:
    """Draws a column per condition with start, middle and end of the video, and its scores against the baseline."""
    with settings(RC):
        figure = Figure((1.5 * len(shown) + 0.5, 5.9), layout="constrained")
        axes = figure.subplots(3, len(shown), squeeze=False)
        judged = False
        for column, (line, row) in enumerate(shown):
            video = master(row).frames
            for i, (t, where) in enumerate(((0, "start"), (len(video) // 2, "middle"), (len(video) - 1, "end"))):
                axes[i, column].imshow(video[t])
                axes[i, column].set(xticks=[], yticks=[])
                if column == 0:
                    axes[i, column].set_ylabel(f"{where}\n(frame {t})")
            axes[0, column].set_title("\n".join((line.name, *line.settings)), fontsize=8)
            text = caption(row.scores)
            judged |= any(EMBEDDED in score for score in text)
            axes[2, column].set_xlabel("\n".join(text), fontsize=7.5)
        figure.suptitle(f'"{shown[0][1].record["identity"]["spec"]["prompt"]}"', fontsize=10)
        if judged:
            figure.supxlabel(JUDGED, fontsize=7.5, color=GREY)
    return figure


JUDGED = f"{EMBEDDED} seen by the small judge trained on the embedded world: compare within this figure only"
