"""What a pass on a shortened latent costs: the measured time against the tokens, beside the FLOP model's curve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.conditions import Line
from analysis.figures.style import GREY, RC, colour_of
from analysis.load import StudyError
from bench.drawing import Figure, settings


@dataclass(frozen=True)
class Costs:
    """Samples as (k, token ratio, time of a compressed step over that of a full one, measured), and the curve."""

    model: str
    samples: tuple[tuple[int, float, float], ...]
    curve: tuple[tuple[float, float], ...]


def costs_of(table: Sequence[Line]) -> Costs:
    """Every finished sample that was compressed; of one video setting, as the FLOP model's curve is of one."""
    from analysis.projection import FlopsOfStudy, projections  # counts by PyTorch, which no other figure needs

    counts = FlopsOfStudy()
    video = next(line.video for line in table if line.method == "baseline")
    found = [p for line, ps in projections(table, counts) for p in ps if line.video == video and line.ranked]
    samples = [
        (p.row.record["method"]["k"], p.kept_latents / p.num_latents, p.measured_cost_ratio)
        for p in found
        if p.measured_cost_ratio is not None
    ]
    if not samples:
        raise StudyError("no finished sample was compressed, so there is no cost of a shortened pass to show")
    record = found[0].row.record
    flops = counts.of(record)
    lengths = np.linspace(1, flops.num_latents, 100)
    curve = tuple((float(n / flops.num_latents), flops.cost_ratio(float(n))) for n in lengths)
    return Costs(record["model_name"], tuple(samples), curve)


def medians(samples: Sequence[tuple[int, float, float]]) -> list[tuple[float, float]]:
    """The median cost at each token ratio."""
    ratios = sorted({ratio for _, ratio, _ in samples})
    return [(ratio, float(np.median([cost for _, r, cost in samples if r == ratio]))) for ratio in ratios]


def tokens(data: Costs) -> Figure:
    """Samples coloured by k, their medians, the FLOP model, and the diagonal of a cost that is linear in tokens."""
    ks = sorted({k for k, _, _ in data.samples})
    with settings(RC):
        figure = Figure((7.2, 4.2), layout="constrained")
        ax = figure.subplots()
        ax.plot((0, 1), (0, 1), color=GREY, ls=(0, (2, 3)), lw=1, label="linear in tokens")
        ax.plot(*zip(*data.curve, strict=True), color="#111827", lw=2, label=f"FLOP model of {data.model}")
        for i, k in enumerate(ks):
            xs, ys = zip(*((ratio, cost) for each, ratio, cost in data.samples if each == k), strict=True)
            shifted = np.array(xs) + 0.008 * (i - (len(ks) - 1) / 2)
            ax.plot(
                shifted, ys, "o", color=colour_of(k, list(ks)), ms=4.5, alpha=0.55, mew=0, label=f"samples, k = {k}"
            )
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
