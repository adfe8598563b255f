"""Figures from a study, drawn into report/ in its folder.

`python -m analysis.figures runs/table1 --prompt 03-accelerating --k 5 --theta 0.7` draws a few frames of the baseline
and of VGDFR under each other, and the schedule with the preview's similarity under them;
`python -m analysis.figures runs/ablation --prompt 03-accelerating --grid` the start, middle and end of the prompt's
video under every condition of the study (the paper's Fig. 3 and 4).
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from analysis.conditions import lines
from analysis.load import Row, StudyError, load
from metrics.video_file import read

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
    videos = [read(row.folder / "master.mkv").frames for row in (baseline, sample)]
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
        f"speed-up {baseline.record['latency_s'] / record['latency_s']:.2f}",
        fontsize=10,
    )
    return figure


def conditions_of(rows: list[Row], prompt: str) -> list[tuple[str, Row]]:
    """The finished sample of `prompt` under each condition, with the condition's title, in the table's order.

    Raises StudyError where there is none, or several of a condition.
    """
    here = [r for r in rows if r.record["prompt_id"] == prompt]
    if not here:
        prompts = ", ".join(sorted({r.record["prompt_id"] for r in rows}))
        raise StudyError(f"no sample of prompt {prompt}; prompts: {prompts}")
    made = [line for line in lines(here) if line.rows]
    if any(len(line.rows) > 1 for line in made):
        raise StudyError(f"prompt {prompt} was made with several seeds; a grid shows one video a condition")
    return [(line.title, line.rows[0]) for line in made]


def grid(titled: list[tuple[str, Row]]) -> plt.Figure:
    """A column per condition: first, middle and last frame; under them PSNR and SSIM to the baseline."""
    figure, axes = plt.subplots(
        3, len(titled), figsize=(1.5 * len(titled) + 0.4, 5.6), layout="constrained", squeeze=False
    )
    for column, (title, row) in enumerate(titled):
        video = read(row.folder / "master.mkv").frames
        for i, t in enumerate((0, len(video) // 2, len(video) - 1)):
            axes[i, column].imshow(video[t])
            axes[i, column].set(xticks=[], yticks=[])
            if column == 0:
                axes[i, column].set_ylabel(f"frame {t}")
        axes[0, column].set_title(title.replace(" (", "\n(").replace(", ", ",\n"), fontsize=7)
        scores = [f"{n.upper()} {row.scores[n]:.{d}f}" for n, d in (("psnr", 1), ("ssim", 2)) if n in row.scores]
        axes[2, column].set_xlabel("\n".join(scores), fontsize=7)
    figure.suptitle(f'"{titled[0][1].record["identity"]["spec"]["prompt"]}"', fontsize=10)
    return figure


def main(study: Path, prompt: str, k: int, theta: float, all_conditions: bool = False) -> Path:
    """Draw the comparison, or the grid of all conditions, and write it; returns the PNG's path."""
    if all_conditions:
        figure, name = grid(conditions_of(load(study), prompt)), f"grid-{prompt}.png"
    else:
        figure, name = comparison(*find(load(study), prompt, k, theta)), f"comparison-{prompt}-k{k}-theta{theta}.png"
    file = study / "report" / name
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--prompt", required=True, help="a prompt's id, such as 03-accelerating")
    parser.add_argument("--grid", action="store_true", help="every condition, instead of one beside the baseline")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--theta", type=float, default=0.7)
    arguments = parser.parse_args()
    try:
        print(main(arguments.study, arguments.prompt, arguments.k, arguments.theta, arguments.grid))
    except StudyError as error:
        sys.exit(f"error: {error}")
