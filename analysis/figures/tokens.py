"""Draws the measured time of a pass on a shortened latent against its tokens, with the FLOP model's curve."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.figures.caption import not_shown, wrapped, write_below
from analysis.figures.style import GREY, RC, colour_of
from analysis.study import StudyError
from analysis.table import Table
from bench.drawing import Figure, settings

WITHOUT = "without timed passes on a shortened latent, not drawn"


@dataclass(frozen=True)
class Costs:
    """The measured costs of samples, and the FLOP model's curve as (token ratio, cost).

    samples: (k, token ratio, time of a compressed step over the time of a full step); k may be None.
    left_out: lines that name the conditions without such samples.
    """

    model: str
    samples: tuple[tuple[int | None, float, float], ...]
    curve: tuple[tuple[float, float], ...]
    left_out: tuple[str, ...]


def costs_of(table: Table) -> Costs:
    """Returns the costs of the methods' compressed samples that were timed like their baselines.

    All samples are of the first video setting that has any, because the FLOP model's curve is of one setting. Raises
    StudyError if there are none.
    """
    from analysis.cost import projections  # imports PyTorch

    rows = {row.condition: row for row in table.rows if row.ranked}
    found = projections(table)
    found = found[found["measured_cost_ratio"].notna() & found["condition"].isin(rows)]
    if found.empty:
        raise StudyError("no finished sample was compressed, so there is no cost of a shortened pass to show")
    first = found.iloc[0]
    found, flops = found[found["video"] == first["video"]], first["flops"]
    ratios = found["kept_latents"] / found["num_latents"]
    ks = [rows[condition].k for condition in found["condition"]]
    lengths = np.linspace(1, flops.num_latents, 100)
    curve = tuple((float(n / flops.num_latents), flops.cost_ratio(float(n))) for n in lengths)
    left_out = not_shown(table, [rows[condition] for condition in found["condition"].unique()], None, WITHOUT)
    samples = tuple(zip(ks, ratios, found["measured_cost_ratio"], strict=True))
    return Costs(first["model"], samples, curve, tuple(left_out))


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
            ax.plot(shifted, ys, "o", color=colour_of(k, ks), ms=4.5, alpha=0.55, mew=0, label=label)
        middle = pd.DataFrame(data.samples).groupby(1)[2].median()
        ax.plot(middle.index, middle, "_", color="#111827", ms=16, mew=2.5, label="median of the samples")
        # a few samples timed on a busy machine must not squeeze the rest into a corner
        highest = max(1.05, 1.1 * middle.max())
        beyond = sum(cost > highest for _, _, cost in data.samples)
        ax.set(xlim=(0, 1.02), ylim=(0, highest))
        ax.set(xlabel="share of tokens kept", ylabel="time of a pass / time of a full pass")
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.9)
        if beyond:
            ax.set_title(f"{beyond} of {len(data.samples)} samples lie above", fontsize=8, color=GREY, loc="right")
        write_below(figure, wrapped(data.left_out, 7.2))
    return figure
