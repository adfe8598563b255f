"""Frames of videos beside each other: one condition against the baseline, or the paper's Fig. 3 and 4."""

from collections.abc import Sequence

import numpy as np

from analysis.columns import EMBEDDED
from analysis.figures.style import FACTOR_COLOURS, FACTOR_NAMES, GREY, RC
from analysis.load import Row, StudyError
from bench.drawing import Figure, Rectangle, settings
from metrics.video_file import VideoFile, read


def master(row: Row) -> VideoFile:
    """The sample's video. Raises StudyError where the sweep did not keep it, or it is not whole."""
    try:
        return read(row.folder / "master.mkv")
    except FileNotFoundError as error:
        raise StudyError(f"{error}: a sweep keeps it with keep=all, the default; run it again so") from None
    except ValueError as error:
        study = row.folder.parents[1]
        raise StudyError(f"{error}; this moves the sample away: python -m bench.store verify {study}") from None


def comparison(baseline: Row, sample: Row, columns: int = 9) -> Figure:
    """Baseline above, VGDFR below, at the same times; the schedule and the similarity at lag 1 under them."""
    videos = [master(row).frames for row in (baseline, sample)]
    record = sample.record
    count = len(videos[0])
    shown = np.linspace(0, count - 1, columns).round().astype(int)
    titles = ("baseline", f"VGDFR k={record['method']['k']} θ={record['method']['theta']}")
    kept = set(record["schedule"]["kept_frames"])
    with settings(RC):
        figure = Figure((1.3 * columns, 5.0), layout="constrained")
        cells = figure.add_gridspec(3, columns, height_ratios=(1.3, 1.3, 1.1))
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
        axes = figure.add_subplot(cells[2, :])
        axes.grid(False)
        for start, length, factor in record["schedule"]["segments"]:
            axes.axvspan(start - 0.5, start + length - 0.5, color=FACTOR_COLOURS[factor], lw=0)
        axes.vlines(sorted(kept), 0, 0.08, color="black", lw=1)
        lag1 = record["similarity"]["lag1"]
        axes.plot(np.arange(len(lag1)) + 0.5, lag1, color="#b03a2e", lw=1.5)
        axes.axhline(record["method"]["theta"], color="#b03a2e", ls=":", lw=1)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(0, 1.02), xlabel="frame (ticks: kept)", ylabel="SSIM, lag 1")
        patches = [Rectangle((0, 0), 1, 1, color=c) for c in FACTOR_COLOURS.values()]
        figure.legend(patches, list(FACTOR_NAMES.values()), ncols=3, loc="outside lower center")
        figure.suptitle(
            f'"{record["identity"]["spec"]["prompt"]}"   tokens {record["token_ratio"]:.2f}'
            f"{_speedup(baseline, sample)}",
            fontsize=10,
        )
    return figure


def _speedup(baseline: Row, sample: Row) -> str:
    """What the title says of it: nothing where one ran alone and the other shared its work."""
    alike = baseline.record.get("timing", "shared") == sample.record.get("timing", "shared")
    return f", speed-up {baseline.record['latency_s'] / sample.record['latency_s']:.2f}" if alike else ""


def caption(scores: dict[str, float]) -> list[str]:
    """What stands under a video: its difference to the baseline, where it was scored for it."""
    shown = (("psnr", "PSNR {:.1f} dB"), ("ssim", "SSIM {:.2f}"), ("lpips", "LPIPS {:.3f}"))
    out = [text.format(scores[name]) for name, text in shown if name in scores]
    if "lpips" not in scores and "lpips_embedded" in scores:
        out.append(f"LPIPS{EMBEDDED} {scores['lpips_embedded']:.4f}")
    return out


def grid(titled: Sequence[tuple[str, Row]]) -> Figure:
    """A column per condition: start, middle and end; under them the differences to the baseline."""
    with settings(RC):
        figure = Figure((1.5 * len(titled) + 0.5, 5.9), layout="constrained")
        axes = figure.subplots(3, len(titled), squeeze=False)
        judged = False
        for column, (title, row) in enumerate(titled):
            video = master(row).frames
            for i, (t, where) in enumerate(((0, "start"), (len(video) // 2, "middle"), (len(video) - 1, "end"))):
                axes[i, column].imshow(video[t])
                axes[i, column].set(xticks=[], yticks=[])
                if column == 0:
                    axes[i, column].set_ylabel(f"{where}\n(frame {t})")
            # the name, then one setting a line
            axes[0, column].set_title(title.replace(" (", "\n").replace(", ", "\n").removesuffix(")"), fontsize=8)
            text = caption(row.scores)
            judged |= any(EMBEDDED in line for line in text)
            axes[2, column].set_xlabel("\n".join(text), fontsize=7.5)
        figure.suptitle(f'"{titled[0][1].record["identity"]["spec"]["prompt"]}"', fontsize=10)
        if judged:
            figure.supxlabel(JUDGED, fontsize=7.5, color=GREY)
    return figure


JUDGED = f"{EMBEDDED} seen by the small judge trained on the embedded world: compare within this figure only"
