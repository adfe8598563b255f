"""Draws each layer's preference for Global-RoPE, for analysis.rope_sensitivity."""

import math
from collections.abc import Callable, Iterable

import numpy as np

from analysis.figures.style import RC
from analysis.rope_sensitivity_data import Layer, Sensitivity, agreement
from analysis.statistics import MIN_PROMPTS, Interval
from bench.drawing import Axes, Figure, Line2D, Rectangle, settings

# Okabe and Ito's palette, told apart by colour-blind eyes and, by lightness, in grey
GLOBAL_ALONE, LOCAL_ALONE, INK = "#0072B2", "#E69F00", "#222222"


def scale_of(full: Sensitivity) -> tuple[float, str]:
    """A factor that makes the values readable, and how it is written in a unit: (1000, "10⁻³")."""
    largest = max(abs(of.value or 0) for layer in full.layers for of in (layer.global_alone, layer.local_alone))
    if not 0 < largest < 0.1:
        return 1.0, ""
    thousands = max(1, round(-math.log10(largest) / 3))
    return 1000.0**thousands, {1: "10⁻³", 2: "10⁻⁶"}.get(thousands, f"10^-{3 * thousands}")


# inches; a solver's layout would differ in the last bits from run to run, and with it the files
LEFT, TOP, BOTTOM, HEIGHT, ROW_GAP, BLOCK_GAP = 1.1, 0.65, 1.15, 2.1, 0.85, 0.15


def draw(full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> Figure:
    """Bars per layer, dual and single blocks apart; with a proxy, its bars below, and the ranks of both beside."""
    studies, measured = [full, *([proxy] if proxy else [])], full.measured
    blocks = {"dual-stream": range(measured.dual), "single-stream": range(measured.dual, len(full.layers))}
    blocks = {title: numbers for title, numbers in blocks.items() if numbers}
    bars = max(4.6, 0.24 * len(full.layers))
    width = LEFT + bars + (4.1 if proxy else 0.15)
    height = TOP + BOTTOM + HEIGHT * len(studies) + ROW_GAP * (len(studies) - 1)
    with settings(RC):
        figure = Figure((width, height))

        def axes(left: float, bottom: float, wide: float, high: float, sharey: Axes | None = None) -> Axes:
            return figure.add_axes((left / width, bottom / height, wide / width, high / height), sharey=sharey)

        # room for the title of a few layers
        shares = [max(len(numbers), len(full.layers) / 5) for numbers in blocks.values()]
        widths = [share / sum(shares) * (bars - BLOCK_GAP * (len(shares) - 1)) for share in shares]
        for row, study in enumerate(studies):
            bottom, left, first = height - TOP - HEIGHT * (row + 1) - ROW_GAP * row, LEFT, None
            for (title, numbers), wide in zip(blocks.items(), widths, strict=True):
                axis = axes(left, bottom, wide, HEIGHT, first)
                _bars(axis, [study.layers[n] for n in numbers], scale_of(study)[0])
                _lists(axis, numbers, chosen, measured.paper)
                axis.set_xlabel("layer")
                if row == 0:
                    axis.set_title(title, fontsize=9, pad=26)
                axis.tick_params(labelleft=first is None)
                left, first = left + wide + BLOCK_GAP, first or axis
            assert first is not None
            first.set_ylabel(_label(study))
        handles = [
            Rectangle((0, 0), 1, 1, color=GLOBAL_ALONE), Rectangle((0, 0), 1, 1, color=LOCAL_ALONE),
            *(Line2D([], [], **mark) for mark in (RECOMMENDED, PAPER)),
        ]  # fmt: skip
        names = ["turned global alone: gain", "turned local alone: loss", "recommended", "paper's list"]
        figure.legend(
            handles, names, loc="lower center", bbox_to_anchor=((LEFT + bars / 2) / width, 0.04 / height),
            ncols=4 if bars > 7 else 2, frameon=False, fontsize=8, handlelength=1.2, columnspacing=1.2,
            title=_prompts(studies), title_fontsize=8,
        )  # fmt: skip
        if proxy:
            side = 3.1
            _ranks(axes(width - side - 0.15, (height - side) / 2 + 0.1, side, side), full, proxy, chosen)
    return figure


def _prompts(studies: list[Sensitivity]) -> str:
    counts = [f"{s.prompts} prompts" + (f" ({s.measured.title})" if len(studies) > 1 else "") for s in studies]
    what = "mean and 95 % interval" if studies[0].prompts >= MIN_PROMPTS else "mean, too few for an interval,"
    return f"{what} over {', '.join(counts)}"


RECOMMENDED = {"marker": "v", "color": INK, "ls": "", "ms": 6}
PAPER = {"marker": "D", "mfc": "none", "mec": INK, "ls": "", "ms": 4.5}


def _bars(axis: Axes, layers: list[Layer], factor: float) -> None:
    at = np.array([layer.number for layer in layers])
    sides: tuple[tuple[float, str, Callable[[Layer], Interval]], ...] = (
        (-0.2, GLOBAL_ALONE, lambda layer: layer.global_alone), (0.2, LOCAL_ALONE, lambda layer: layer.local_alone),
    )  # fmt: skip
    for offset, colour, of in sides:
        intervals = [of(layer) for layer in layers]
        values = np.array([i.value for i in intervals], float) * factor
        axis.bar(at + offset, values, 0.4, color=colour, zorder=2)
        ends = np.array([[i.value if b is None else b for b in (i.low, i.high)] for i in intervals], float).T * factor
        axis.errorbar(at + offset, values, np.abs(ends - values), fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5,
                      zorder=3)  # fmt: skip
    axis.axhline(0, color=INK, lw=0.8, zorder=4)
    axis.set(xlim=(at[0] - 0.6, at[-1] + 0.6))
    axis.set_xticks(at if len(at) <= 24 else at[at % 5 == 0])
    axis.grid(axis="y", color="#dddddd", lw=0.6, zorder=0)
    axis.set_axisbelow(True)


def _lists(axis: Axes, layers: Iterable[int], chosen: tuple[int, ...], paper: tuple[int, ...]) -> None:
    for numbers, height, mark in ((chosen, 1.1, RECOMMENDED), (paper, 1.04, PAPER)):
        at = [layer for layer in layers if layer in numbers]
        axis.plot(at, [height] * len(at), transform=axis.get_xaxis_transform(), clip_on=False, **mark)


def _label(study: Sensitivity) -> str:
    unit = " ".join(part for part in (scale_of(study)[1], study.measured.unit) if part)
    return f"{study.measured.title}{f' ({unit})' if unit else ''}\n← local   preferred   global →"


def _ranks(axis: Axes, full: Sensitivity, proxy: Sensitivity, chosen: tuple[int, ...]) -> None:
    """Both orders of the layers against each other: on the diagonal where they agree."""
    rho, p, n = agreement(full, proxy, lambda layer: layer.preference)
    ranks = [{layer.number: rank for rank, layer in enumerate(study.ranked, 1)} for study in (proxy, full)]
    axis.plot([1, n], [1, n], color="#999999", lw=0.8, ls=":", zorder=1)
    small = n > 24
    for layer in full.layers:
        x, y = (rank[layer.number] for rank in ranks)
        fill = INK if layer.number in chosen else "white"
        axis.plot(x, y, "o" if layer.dual else "s", mfc=fill, mec=INK, ms=4 if small else 6, zorder=3)
        axis.annotate(str(layer.number), (x, y), (4, 3), textcoords="offset points", fontsize=6 if small else 7.5)
    axis.margins(0.09)
    axis.invert_xaxis()
    axis.invert_yaxis()
    ticks = [1, *range(10, n + 1, 10)] if small else range(1, n + 1)
    axis.set(xlabel="rank by the proxy (1: prefers global most)", xticks=ticks, yticks=ticks,
             ylabel=f"rank by {full.measured.title}")  # fmt: skip
    said = "no ranks" if rho is None else f"Spearman ρ = {rho:.2f}".replace("-", "−") + f", p = {p:.2g}"
    axis.set_title(f"{said}, n = {n} layers", fontsize=9)
    handles = [Line2D([], [], ls="", marker=m, mfc=f, mec=INK, ms=5.5) for m, f in (("o", "w"), ("s", "w"), ("o", INK))]
    axis.legend(handles, ["dual-stream", "single-stream", "recommended"], loc="upper center", ncols=3, frameon=False,
                bbox_to_anchor=(0.5, -0.13), fontsize=8, handletextpad=0.2, columnspacing=1)  # fmt: skip
