"""Draws the measured time of a pass on a shortened latent against its tokens, with the FLOP model's curve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.conditions import Line
from analysis.figures.style import GREY, RC, colour_of
from analysis.load import StudyError
from bench.drawing import Figure, settings


@dataclass(frozen=True)
class Costs:
    """The measured costs of samples, and the FLOP model's curve as (token ratio, cost).

    A sample is (k, token ratio, time of a compressed step over the time of a full step). `k` may be None.
    """

    model: str
    samples: tuple[tuple[int | None, float, float], ...]
    curve: tuple[tuple[float, float], ...]


def costs_of(table: Sequence[Line]) -> Costs:
    """Returns the costs of the methods' compressed samples that were timed like their baselines.

    All samples are of the first video setting, because the FLOP model's curve is of one setting. Raises StudyError if
    there are none.
    """
    from analysis.projection import FlopsOfStudy, projections  # imports PyTorch

    counts = FlopsOfStudy()
    video = next(line.video for line in table if line.is_reference)
    found = [(line.k, p) for line, ps in projections(table, counts) for p in ps if line.video == video and line.ranked]
    samples = [
        (k, p.kept_latents / p.num_latents, p.measured_cost_ratio)
        for k, p in found
        if p.measured_cost_ratio is not None
    ]
    if not samples:
        raise StudyError("no finished sample was compressed, so there is no cost of a shortened pass to show")
    record = found[0][1].row.record
    flops = counts.of(record)
    lengths = np.linspace(1, flops.num_latents, 100)
    curve = tuple((float(n / flops.num_latents), flops.cost_ratio(float(n))) for n in lengths)
    return Costs(record["model_name"], tuple(samples), curve)


def medians(samples: Sequence[tuple[int | None, float, float]]) -> list[tuple[float, float]]:
    """Returns (token ratio, median cost), sorted by ratio."""
    ratios = sorted({ratio for _, ratio, _ in samples})
    return [(ratio, float(np.median([cost for _, r, cost in samples if r == ratio]))) for ratio in ratios]


def tokens(data: Costs) -> Figure:
    """Draws samples coloured by k, their medians, the FLOP model, and a diagonal for costs linear in tokens."""
    ks = sorted({k for k, _, _ in data.samples}, key=lambda k: (k is None, k or 0))
    with settings(RC):
        figure = Figure((7.2, 4.2), layout="constrained")
        ax = figure.subplots()
        ax.plot((0, 1), (0, 1), color=GREY, ls=(0, (2, 3)), lw=1, label="linear in tokens")
        ax.plot(*zip(*data.curve, strict=True), color="#111827", lw=2, label=f"FLOP model of {data.model}")
        for i, k in enumerate(ks):
            xs, ys = zip(*((ratio, cost) for each, ratio, cost in data.samples if each == k), strict=True)
            shifted = np.array(xs) + 0.008 * (i - (len(ks) - 1) / 2)
            label = "samples without k" if k is None else f"samples, k = {k}"
            ax.plot(shifted, ys, "o", color=colour_of(k, list(ks)), ms=4.5, alpha=0.55, mew=0, label=label)
        middle = medians(data.samples)
        ax.plot(*zip(*middle, strict=True), "_", color="#111827", ms=16, mew=2.5, label="median of the samples")
        # a few samples timed on a busy machine must not squeeze the rest into a corner
        highest = max(1.05, 1.1 * max(cost for _, cost in middle))
        beyond = sum(cost > highest for _, _, cost in data.samples)
        ax.set(
            xlim=(0, 1.02),
            ylim=(0, highest),
            xlabel="share of tokens kept",
            ylabel="time of a pass / time of a full pass",
        )
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.9)
        if beyond:
            ax.set_title(f"{beyond} of {len(data.samples)} samples lie above", fontsize=8, color=GREY, loc="right")
    return figure
