"""Draws the divergence over steps: `python -m analysis.divergence divergence.json`.

The file is of bench.divergence. A line per condition shows how near its clean estimates are to the baseline's, as the
PSNR in dB by the baseline's step, with a band of the 95 % t interval over prompts. Dotted lines stand where latents
change their length. The grey line shows how near the baseline's own estimates are to its final video. The results are
divergence.png, divergence.svg, divergence.pdf and divergence.csv next to the file, or in --out DIR.
"""

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd

from analysis.figures.caption import wrapped, write_below
from analysis.figures.style import FAMILY_COLOURS, GREY, K_COLOURS, LEGEND_LETTERS, RC, save
from analysis.output import csv_of, write
from analysis.statistics import CONFIDENCE, MIN_PROMPTS, Interval, interval
from bench.drawing import Axes, Figure, MaxNLocator, settings
from bench.store.divergence import Compared, Curve, Divergence, read
from vgdfr_commands.start import called, run

COLOURS = (*K_COLOURS.values(), *FAMILY_COLOURS)
HIGHEST = 60.0  # dB; the eye sees no difference long before
BASELINE = "Original, to its final video"


@dataclass(frozen=True)
class Line:
    """A line of the figure: its label, and the mean over samples at each step of the baseline that has values.

    changes: the numbers of baseline steps after which a sample's latent changes its length.
    equal: the number of samples with an infinite PSNR at the line's last step. The mean there leaves them out.
    """

    label: str
    values: Mapping[int, Interval]
    changes: frozenset[float]

    @property
    def equal(self) -> int:
        return self.values[max(self.values)].infinite


def lines(measured: Divergence) -> list[Line]:
    """Returns a line per condition, and the baseline's line at the end. Raises ValueError for a file of no sample."""
    if not measured.samples:
        raise ValueError("the file holds no sample; let bench.divergence finish a prompt")
    index = pd.MultiIndex.from_tuples([(s.prompt, s.seed) for s in measured.samples], names=["prompt", "seed"])
    own = {label: [s.curves[slug] for s in measured.samples] for slug, label in labels_of(measured.conditions).items()}
    named = own | {BASELINE: [s.baseline for s in measured.samples]}
    return [_line(label, curves, index, measured.num_steps) for label, curves in named.items()]


def _line(label: str, curves: Sequence[Curve], index: pd.MultiIndex, num_steps: int) -> Line:
    table = pd.DataFrame([dict(zip(curve.steps, curve.psnr, strict=True)) for curve in curves], index=index)
    values = {int(step): interval(table[step]) for step in sorted(table.columns)}
    changes = (change for curve in curves for change in changes_of(curve.latent_frames, num_steps))
    return Line(label, values, frozenset(changes))


def changes_of(latent_frames: Sequence[int], num_steps: int) -> list[float]:
    """Returns the numbers of steps after which the number of latent frames changes.

    They count the baseline's `num_steps`: half of a trajectory's own steps are half of the baseline's.
    """
    pairs = enumerate(pairwise(latent_frames), 1)
    return [done * num_steps / len(latent_frames) for done, (before, after) in pairs if before != after]


def labels_of(conditions: Sequence[Compared]) -> dict[str, str]:
    """Returns the label of each condition by its slug: its family and the settings that not all conditions share."""
    shared, out = shared_settings(conditions), {}
    for each in conditions:
        own = [_readable(word) for word in each.settings if word not in shared]
        out[each.slug] = f"{each.family} ({', '.join(own)})" if own else each.family
    return out


def shared_settings(conditions: Sequence[Compared]) -> list[str]:
    """Returns the settings that all of several conditions share, and none for a single condition."""
    first, *others = conditions
    return [word for word in first.settings if others and all(word in each.settings for each in others)]


def _readable(word: str) -> str:
    """Returns a setting for people: k=5 and θ=0.5 for the words k5 and theta0.5."""
    return re.sub(r"^theta(?=[\d.])", "θ=", re.sub(r"^k(?=\d)", "k=", word))


def notes(measured: Divergence, drawn: Sequence[Line]) -> list[str]:
    """Returns the text below the figure."""
    prompts, count = len({sample.prompt for sample in measured.samples}), len(measured.samples)
    said = [
        f"Model {measured.origin['model']}, {count} samples of {prompts} prompts. After each step the clean estimate "
        "is decoded and compared with the baseline's at the same noise level. The baseline's frames are merged by the "
        "schedule first, so merging itself costs nothing here. Where a trajectory has other noise levels, the "
        "baseline's nearest one counts."
    ]
    if prompts >= MIN_PROMPTS:
        said.append(f"Bands: {100 * CONFIDENCE:.0f} % t intervals over prompts.")
    else:
        said.append(f"No bands: intervals need {MIN_PROMPTS} prompts.")
    said.append(
        f"Infinite values, where all pixels are equal, are in no mean. Values above {HIGHEST:g} dB lie beyond the axis."
    )
    if shared := shared_settings(measured.conditions):
        said.append(f"All conditions: {', '.join(map(_readable, shared))}.")
    if equal := [f"{line.label}: {line.equal}" for line in drawn if line.equal and line.label != BASELINE]:
        said.append(f"Samples that end equal to the baseline: {'; '.join(equal)}.")
    return said


def draw(measured: Divergence) -> Figure:
    """Returns the figure."""
    drawn, width = lines(measured), 8.4
    with settings(RC):
        figure = Figure((width, 4.4), layout="constrained")
        ax = figure.subplots()
        *conditions, baseline = drawn
        for i, line in enumerate(conditions):
            _draw(ax, line, COLOURS[i % len(COLOURS)], ("-", "-.", ":")[i // len(COLOURS) % 3])
        _draw(ax, baseline, GREY, "--")
        _mark(ax, {change for line in drawn for change in line.changes})
        ax.set(xlabel=f"step of the baseline (of {measured.num_steps})", ylabel="PSNR of the clean estimate (dB)",
               title="Divergence from the baseline: higher is nearer", xlim=(0.5, measured.num_steps + 0.5),
               ylim=_limits(drawn))  # fmt: skip
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside right upper")
        write_below(figure, wrapped(notes(measured, drawn), width))
    return figure


def _limits(drawn: Iterable[Line]) -> tuple[float, float]:
    """Returns the ends of the axis: all lines with their bands, but nothing above HIGHEST."""
    values = [end for line in drawn for value in line.values.values() for end in value[:3] if end is not None]
    return min(values, default=0.0) - 1, min(max(values, default=HIGHEST) + 1, HIGHEST)


def _draw(ax: Axes, line: Line, colour: str, style: str) -> None:
    """Draws the means as a line, and their intervals as a band. Steps without a finite value are left out."""
    at = np.array(list(line.values))
    value, low, high = (np.array([each[i] for each in line.values.values()], float) for i in range(3))
    ax.plot(at, value, style, color=colour, marker="o", ms=2.5, label=fill(line.label, LEGEND_LETTERS), zorder=3)
    ax.fill_between(at, low, high, color=colour, alpha=0.18, lw=0, zorder=2)


def _mark(ax: Axes, changes: Iterable[float]) -> None:
    """Marks where latents change their length, between the step before and the step after."""
    for i, change in enumerate(sorted(changes)):
        label = None if i else "a latent changes its length"
        ax.axvline(change + 0.5, color=GREY, ls=(0, (1, 2)), lw=0.9, zorder=1, label=label)


def table(measured: Divergence) -> str:
    """Returns the CSV file: a row per line and step."""
    return csv_of(
        {"line": line.label, "step": step, **value._asdict()}
        for line in lines(measured)
        for step, value in line.values.items()
    )


def command() -> int:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("analysis.divergence")),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a file of bench.divergence")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write (default: the file's)")
    given = parser.parse_args()
    measured, folder = read(given.file), given.out or given.file.parent
    for file in [*save(draw(measured), folder, "divergence"), write(folder / "divergence.csv", table(measured))]:
        print(file)
    return 0


if __name__ == "__main__":
    run(command)
