"""Figures from a study: `python -m analysis.figures runs/table1 --prompt 03-accelerating --k 5 --theta 0.7`.

Draws a few frames of the baseline and of VGDFR under each other, and the schedule with the preview's similarity under
them, into report/ in the study's folder.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from analysis.load import Row, StudyError, load
from bench.video_file import read

# one colour per merge factor: kept as it is, two into one, four into one
FACTOR_COLOURS = {1: "#c9ced6", 2: "#7fb3d5", 4: "#1f618d"}


def find(rows: list[Row], prompt: str, k: int, theta: float) -> tuple[Row, Row]:
    """The finished baseline and VGDFR samples of `prompt`. Raises StudyError naming what there is instead."""
    here = [r for r in rows if r.record["status"] == "done" and r.record["prompt_id"] == prompt]
    baselines = {r.sample_id: r for r in here if r.record["method"]["name"] == "baseline"}
    pairs = [
        (baselines[r.sample_id], r)
        for r in here
        if (r.record["method"].get("k"), r.record["method"].get("theta")) == (k, theta) and r.sample_id in baselines
    ]
    if len({r.record["slug"] for _, r in pairs}) != 1:
        prompts = ", ".join(sorted({r.record["prompt_id"] for r in rows}))
        slugs = ", ".join(sorted({r.record["slug"] for r in here})) or "nothing"
        raise StudyError(
            f"expected one condition with a baseline for prompt {prompt}, k={k}, theta={theta}, "
            f"found {len(pairs)}; prompts: {prompts}; finished of it: {slugs}"
        )
    return pairs[0]


def comparison(baseline: Row, sample: Row, columns: int = 9) -> plt.Figure:
    """Baseline above, VGDFR below, at the same times; the schedule and the similarity at lag 1 under them."""
    videos = [read(row.folder / "master.mkv")[0] for row in (baseline, sample)]
    record = sample.record
    count = len(videos[0])
    shown = np.linspace(0, count - 1, columns).round().astype(int)
    figure = plt.figure(figsize=(1.3 * columns, 4.6), layout="constrained")
    grid = figure.add_gridspec(3, columns, height_ratios=(1.3, 1.3, 1.1))
    titles = ("baseline", f"VGDFR k={record['method']['k']} θ={record['method']['theta']}")
    kept = set(record["schedule"]["kept_frames"])
    for row, (video, title) in enumerate(zip(videos, titles, strict=True)):
        for column, t in enumerate(shown):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(video[t])
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(title)
            if row == 0:
                axes.set_title(f"frame {t}", fontsize=9)
            elif t not in kept:
                axes.set_xlabel("interpolated", fontsize=7)
    axes = figure.add_subplot(grid[2, :])
    for start, length, factor in record["schedule"]["segments"]:
        axes.axvspan(start - 0.5, start + length - 0.5, color=FACTOR_COLOURS[factor], lw=0)
    axes.vlines(sorted(kept), 0, 0.08, color="black", lw=1)
    lag1 = record["similarity"]["lag1"]
    axes.plot(np.arange(len(lag1)) + 0.5, lag1, color="#b03a2e", lw=1.5)
    axes.axhline(record["method"]["theta"], color="#b03a2e", ls=":", lw=1)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(0, 1.02), xlabel="frame (ticks: kept)", ylabel="SSIM, lag 1")
    patches = [plt.Rectangle((0, 0), 1, 1, color=c) for c in FACTOR_COLOURS.values()]
    axes.legend(patches, ["kept", "2 merged into 1", "4 merged into 1"], ncols=3, fontsize=8, loc="lower right")
    figure.suptitle(
        f'"{record["identity"]["spec"]["prompt"]}"   tokens {record["token_ratio"]:.2f}, '
        f"denoising {baseline.record['latency_s'] / record['latency_s']:.2f}x faster",
        fontsize=10,
    )
    return figure


def main(study: Path, prompt: str, k: int, theta: float) -> Path:
    """Draw the comparison and write it; returns the PNG's path."""
    figure = comparison(*find(load(study), prompt, k, theta))
    file = study / "report" / f"comparison-{prompt}-k{k}-theta{theta}.png"
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--prompt", required=True, help="a prompt's id, such as 03-accelerating")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--theta", type=float, default=0.7)
    arguments = parser.parse_args()
    try:
        print(main(arguments.study, arguments.prompt, arguments.k, arguments.theta))
    except StudyError as error:
        sys.exit(f"error: {error}")
