"""Gives all figures one look, and writes files that have the same bytes each time."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Any

from analysis.output import write
from analysis.table import Row, main_family
from bench.drawing import Axes, Figure, Line2D, Patch, settings

# Okabe and Ito's colours, which colour-blind readers can distinguish. Each k has the same colour in every figure.
K_COLOURS = {5: "#0072B2", 10: "#D55E00", 15: "#009E73"}
MORE_COLOURS = ("#CC79A7", "#E69F00", "#56B4E9", "#000000")
THETA_MARKERS = {0.5: "o", 0.6: "s", 0.7: "^", 0.8: "D", 0.9: "v"}
MORE_MARKERS = ("P", "X", "*", "<", ">")
# All families but the main one have a colour per series and a hollow marker per condition.
FAMILY_COLOURS = (*MORE_COLOURS[:3], "#882255", "#999933", "#332288", "#661100")
FAMILY_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "<", ">")
MARKERS_PER_LAP = 4  # so two series of one colour differ up to so many conditions
# one colour per merge factor
FACTOR_COLOURS = {1: "#c9ced6", 2: "#7fb3d5", 4: "#1f618d", 8: "#9b7bd0"}
GREY, BASELINE = "#6b7280", "#111827"
LEGEND_LETTERS = 30  # in a line of a legend
# metadata that differ from run to run are left out
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 160, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}
RC: dict[str, Any] = {
    "svg.hashsalt": "vgdfr", "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8, "axes.axisbelow": True, "axes.edgecolor": "#9ca3af", "legend.frameon": False,
    "legend.fontsize": 8.5, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "lines.linewidth": 1.6,
    "figure.facecolor": "white", "pdf.fonttype": 42,
}  # fmt: skip


def colour_of(k: int | None, every: Sequence[int | None]) -> str:
    """Returns the colour of `k`. The paper's values have fixed colours, other values get the next ones in order."""
    if k in K_COLOURS:
        return K_COLOURS[k]
    others = [each for each in every if each not in K_COLOURS]
    return MORE_COLOURS[others.index(k) % len(MORE_COLOURS)]


def marker_of(theta: float | None, every: Sequence[float | None]) -> str:
    """Returns the marker of `theta`. The paper's values have fixed markers, other values get the next ones in order."""
    if theta in THETA_MARKERS:
        return THETA_MARKERS[theta]
    others = [each for each in every if each not in THETA_MARKERS]
    return MORE_MARKERS[others.index(theta) % len(MORE_MARKERS)]


def factor_legend(segments: Iterable[Sequence[int]]) -> list[Patch]:
    """Returns a legend's handle per merge factor: the paper's, and others of the `segments` (start, length, factor)."""
    shown = {1, 2, 4} | {factor for *_, factor in segments}
    names = {factor: "kept" if factor == 1 else f"{factor} merged into 1" for factor in sorted(shown)}
    return [Patch(color=FACTOR_COLOURS[factor], label=name) for factor, name in names.items()]


@dataclass(frozen=True)
class Look:
    """How a condition is drawn. A line joins the conditions of a `series`. A legend has each `label` once."""

    series: tuple[str, int | None, str]
    colour: str
    marker: str
    label: str
    hollow: bool

    @property
    def style(self) -> dict[str, Any]:
        """Keywords for a marker. A hollow marker is as large as a filled one within its white edge."""
        edge = {"ms": 6.3, "mfc": "white", "mew": 1.5} if self.hollow else {"ms": 8.4, "mec": "white", "mew": 0.8}
        return {"color": self.colour, "marker": self.marker, **edge}

    def handle(self, lw: float = 1.2) -> Line2D:
        return Line2D([], [], lw=lw, label=self.label, **self.style)

    def draw(self, ax: Axes, x: float, y: float, **bars: Any) -> None:
        """Draws a marker with error bars `xerr` and `yerr`."""
        ax.errorbar(x, y, color=self.colour, alpha=0.35, lw=1, zorder=2, **bars)
        ax.plot(x, y, ls="", zorder=4, **self.style)


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """Returns looks by slug, so that a condition looks alike under all video settings.

    The main family has a colour per k and a marker per theta, and a line joins only those with the same other settings.
    Another family has hollow markers, and a label per k if it has thetas, or else one per condition.
    """
    main = main_family(rows)
    ks = sorted({row.k for row in rows if row.family == main}, key=lambda k: k or 0)
    thetas = sorted({row.theta for row in rows}, key=lambda theta: theta or 0)
    with_theta = {row.family for row in rows if row.theta is not None}
    taken = {colour_of(k, ks) for k in ks}
    colours = [colour for colour in FAMILY_COLOURS if colour not in taken]
    others, place, out = [], Counter(), {}
    for row in {row.slug: row for row in rows}.values():
        by_theta = row.family in with_theta and not row.other
        marker, label = marker_of(row.theta, thetas), fill(replace(row, video="").title, LEGEND_LETTERS)
        if row.family == main:
            out[row.slug] = Look((row.family, row.k, row.other), colour_of(row.k, ks), marker, label, False)
            continue
        series = (row.family, row.k if row.family in with_theta else None, "")
        others += [series] if series not in others else []
        if by_theta:
            label = fill(row.family if row.k is None else f"{row.family}, k = {row.k}", LEGEND_LETTERS)
        else:
            lap = others.index(series) // len(colours)  # a series that shares its colour begins at another marker
            marker = FAMILY_MARKERS[(place[series] + MARKERS_PER_LAP * lap) % len(FAMILY_MARKERS)]
        place[series] += 1
        out[row.slug] = Look(series, colours[others.index(series) % len(colours)], marker, label, True)
    return out


def encoded(figure: Figure) -> dict[str, bytes]:
    """Returns the figure's bytes by suffix (png, svg, pdf). Equal data give equal bytes."""
    files = {}
    with settings(RC):
        for suffix, how in FORMATS.items():
            content = io.BytesIO()
            figure.savefig(content, format=suffix, **how)
            files[suffix] = content.getvalue()
    return files


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes the figure as PNG, SVG and PDF, each file atomically. Returns the paths, the PNG's first."""
    return [write(folder / f"{name}.{suffix}", content) for suffix, content in encoded(figure).items()]
