"""Draws each layer's preference for Global-RoPE."""

import math
from typing import Any

import numpy as np

from analysis.figures.style import RC
from analysis.rope_sensitivity import Sensitivity, agreement
from analysis.statistics import MIN_PROMPTS
from bench.drawing import Axes, Figure, Line2D, Rectangle, settings

# Okabe and Ito's palette: colour-blind readers can distinguish its colours, and their lightness differs in grey.
GLOBAL_ALONE, LOCAL_ALONE, INK = "#0072B2", "#E69F00", "#222222"
RECOMMENDED: dict[str, Any] = {"marker": "v", "color": INK, "ls": "", "ms": 6}
SEPARATED: dict[str, Any] = {"marker": "*", "color": INK, "ls": "", "ms": 6.5}
PAPER: dict[str, Any] = {"marker": "D", "mfc": "none", "mec": INK, "ls": "", "ms": 4.5}
# Inches. A layout by matplotlib's solver would differ in the last bits from run to run, and so would the files.
LEFT, TOP, BOTTOM, HEIGHT, ROW_GAP, BLOCK_GAP = 1.1, 0.75, 1.3, 2.1, 0.95, 0.15


def scale_of(study: Sensitivity) -> tuple[float, str]:
    """Returns a factor that makes the study's values readable, and the unit of the product, such as (1000, "10⁻³")."""
    largest = max(study.effects[effect]["value"].abs().max() for effect in ("global_alone", "local_alone"))
    if not 0 < largest < 0.1:
        return 1.0, study.unit
    thousands = max(1, round(-math.log10(largest) / 3))
    power = {1: "10⁻³", 2: "10⁻⁶"}.get(thousands, f"10^-{3 * thousands}")
    return 1000.0**thousands, f"{power} {study.unit}".strip()


def draw(full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> Figure:
    """Returns bars per layer, dual-stream and single-stream blocks in axes of their own.

    With a proxy, its bars are in a row below, and an axis on the right compares the ranks of both.
    """
    studies, layers = [full, proxy] if proxy else [full], full.layers
    blocks = {"dual-stream": layers[: full.dual], "single-stream": layers[full.dual :]}
    blocks = {title: own for title, own in blocks.items() if own}
    bars = max(4.6, 0.24 * len(layers))
    width = LEFT + bars + (4.1 if proxy else 0.15)
    height = TOP + BOTTOM + HEIGHT * len(studies) + ROW_GAP * (len(studies) - 1)
    # a block of few layers has room for its title
    shares = [max(len(own), len(layers) / 5) for own in blocks.values()]
    widths = [share / sum(shares) * (bars - BLOCK_GAP * (len(shares) - 1)) for share in shares]
    with settings(RC):
        figure = Figure((width, height))

        def axes(left: float, bottom: float, wide: float, high: float, sharey: Axes | None = None) -> Axes:
            return figure.add_axes((left / width, bottom / height, wide / width, high / height), sharey=sharey)

        for row, study in enumerate(studies):
            bottom, left, first = height - TOP - HEIGHT * (row + 1) - ROW_GAP * row, LEFT, None
            for (title, own), wide in zip(blocks.items(), widths, strict=True):
                axis = axes(left, bottom, wide, HEIGHT, first)
                _bars(axis, study, own)
                lists = {1.04: (full.paper, PAPER), 1.1: (chosen, RECOMMENDED), 1.16: (study.separated, SEPARATED)}
                _lists(axis, own, lists)
                axis.set_title(title if row == 0 else "", fontsize=9, pad=32)
                axis.tick_params(labelleft=first is None)
                axis.set(xlabel="layer", ylabel=_label(study) if first is None else "")
                left, first = left + wide + BLOCK_GAP, first or axis
        anchor = ((LEFT + bars / 2) / width, 0.04 / height)
        _legend(figure, anchor, 5 if bars > 9 else 2, _prompts(studies))
        if proxy:
            side = 3.1
            _ranks(axes(width - side - 0.15, (height - side) / 2 + 0.1, side, side), full, proxy, chosen)
    return figure


def _legend(figure: Figure, anchor: tuple[float, float], columns: int, title: str) -> None:
    marks = {
        "turned global alone: gain": Rectangle((0, 0), 1, 1, color=GLOBAL_ALONE),
        "turned local alone: loss": Rectangle((0, 0), 1, 1, color=LOCAL_ALONE),
        "recommended": Line2D([], [], **RECOMMENDED), "paper's list": Line2D([], [], **PAPER),
        "separated from zero, corrected": Line2D([], [], **SEPARATED),
    }  # fmt: skip
    figure.legend(
        [*marks.values()], [*marks], loc="lower center", ncols=columns, frameon=False, fontsize=8,
        bbox_to_anchor=anchor, handlelength=1.2, columnspacing=1.2, title=title, title_fontsize=8,
    )  # fmt: skip


def _prompts(studies: list[Sensitivity]) -> str:
    counts = [f"{s.prompts} prompts" + (f" ({s.title})" if len(studies) > 1 else "") for s in studies]
    shown = "mean and 95 % interval" if studies[0].prompts >= MIN_PROMPTS else "mean, too few for an interval,"
    return f"{shown} over {', '.join(counts)}"


def _label(study: Sensitivity) -> str:
    unit = scale_of(study)[1]
    return f"{study.title}{f' ({unit})' if unit else ''}\n← local   preferred   global →"


def _bars(axis: Axes, study: Sensitivity, layers: range) -> None:
    at, (factor, _) = np.array(layers), scale_of(study)
    for offset, colour, effect in ((-0.2, GLOBAL_ALONE, "global_alone"), (0.2, LOCAL_ALONE, "local_alone")):
        means = study.effects[effect].loc[at]
        values = means["value"].to_numpy() * factor
        ends = [means[end].fillna(means["value"]).to_numpy() * factor for end in ("low", "high")]
        axis.bar(at + offset, values, 0.4, color=colour, zorder=2)
        axis.errorbar(at + offset, values, np.abs(np.array(ends) - values), fmt="none", ecolor=INK, elinewidth=0.8,
                      capsize=1.5, zorder=3)  # fmt: skip
    axis.axhline(0, color=INK, lw=0.8, zorder=4)
    axis.set(xlim=(at[0] - 0.6, at[-1] + 0.6), xticks=at if len(at) <= 24 else at[at % 5 == 0])
    axis.grid(axis="y", color="#dddddd", lw=0.6, zorder=0)
    axis.set_axisbelow(True)


def _lists(axis: Axes, layers: range, lists: dict[float, tuple[tuple[int, ...], dict[str, Any]]]) -> None:
    """Marks the layers of each list above the axis, at a height in its own coordinates."""
    for height, (numbers, mark) in lists.items():
        at = [layer for layer in layers if layer in numbers]
        axis.plot(at, [height] * len(at), transform=axis.get_xaxis_transform(), clip_on=False, **mark)


def _ranks(axis: Axes, full: Sensitivity, proxy: Sensitivity, chosen: tuple[int, ...]) -> None:
    """Plots the layers' ranks by the videos over those by the proxy. Layers on the diagonal have equal ranks."""
    rho, p, n = agreement(full, proxy, "preference")
    axis.plot([1, n], [1, n], color="#999999", lw=0.8, ls=":", zorder=1)
    small = n > 24
    for layer in full.layers:
        x, y = proxy.ranks[layer], full.ranks[layer]
        fill = INK if layer in chosen else "white"
        axis.plot(x, y, "o" if layer < full.dual else "s", mfc=fill, mec=INK, ms=4 if small else 6, zorder=3)
        axis.annotate(str(layer), (x, y), (4, 3), textcoords="offset points", fontsize=6 if small else 7.5)
    axis.margins(0.09)
    axis.invert_xaxis()
    axis.invert_yaxis()
    ticks = [1, *range(10, n + 1, 10)] if small else range(1, n + 1)
    axis.set(xlabel="rank by the proxy (1: prefers global most)", xticks=ticks, yticks=ticks,
             ylabel=f"rank by {full.title}")  # fmt: skip
    title = "no ranks" if rho is None else f"Spearman ρ = {rho:.2f}".replace("-", "−") + f", p = {p:.2g}"
    axis.set_title(f"{title}, n = {n} layers", fontsize=9)
    handles = [Line2D([], [], ls="", marker=m, mfc=f, mec=INK, ms=5.5) for m, f in (("o", "w"), ("s", "w"), ("o", INK))]
    axis.legend(handles, ["dual-stream", "single-stream", "recommended"], loc="upper center", ncols=3, frameon=False,
                bbox_to_anchor=(0.5, -0.13), fontsize=8, handletextpad=0.2, columnspacing=1)  # fmt: skip
