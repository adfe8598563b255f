"""Gives all figures one look, and writes files that have the same bytes each time."""

import io
from pathlib import Path
from typing import Any

from analysis.output import write
from bench.drawing import Figure, settings

# Okabe and Ito's colours, which colour-blind readers can distinguish. Each k has the same colour in every figure.
K_COLOURS = {5: "#0072B2", 10: "#D55E00", 15: "#009E73"}
MORE_COLOURS = ("#CC79A7", "#E69F00", "#56B4E9", "#000000")
THETA_MARKERS = {0.5: "o", 0.6: "s", 0.7: "^", 0.8: "D", 0.9: "v"}
MORE_MARKERS = ("P", "X", "*", "<", ">")
# Families beside the main one have a colour per series and a marker per condition. Their markers are hollow.
FAMILY_COLOURS = (MORE_COLOURS[0], MORE_COLOURS[1], MORE_COLOURS[2], "#882255", "#999933", "#332288", "#661100")
FAMILY_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "<", ">")
# one colour per merge factor
FACTOR_COLOURS = {1: "#c9ced6", 2: "#7fb3d5", 4: "#1f618d"}
FACTOR_NAMES = {1: "kept", 2: "2 merged into 1", 4: "4 merged into 1"}
GREY, BASELINE = "#6b7280", "#111827"
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


def colour_of(k: int | None, every: list[int | None]) -> str:
    """Returns the colour of `k`. The paper's values have fixed colours, other values get the next ones in order."""
    if k in K_COLOURS:
        return K_COLOURS[k]
    others = [each for each in every if each not in K_COLOURS]
    return MORE_COLOURS[others.index(k) % len(MORE_COLOURS)]


def marker_of(theta: float | None, every: list[float | None]) -> str:
    """Returns the marker of `theta`. The paper's values have fixed markers, other values get the next ones in order."""
    if theta in THETA_MARKERS:
        return THETA_MARKERS[theta]
    others = [each for each in every if each not in THETA_MARKERS]
    return MORE_MARKERS[others.index(theta) % len(MORE_MARKERS)]


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
