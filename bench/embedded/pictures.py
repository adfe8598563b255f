"""Draws the embedded world and generated videos: `python -m bench.embedded.pictures` draws docs/world.png."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.drawing import Figure, settings
from bench.embedded.degrade import Video
from bench.embedded.world import SPEEDS, Attributes, render
from vgdfr_commands.start import run

DOCS = Path(__file__).parents[2] / "docs"


def grid(videos: Sequence[tuple[str, Video]], moments: Sequence[int], columns: int, file: Path) -> None:
    """Writes a PNG with the frames `moments` of each captioned video side by side, and `columns` videos per row."""
    rows = -(-len(videos) // columns)
    with settings({"font.family": "DejaVu Sans", "svg.hashsalt": "vgdfr"}):
        figure = Figure(figsize=(0.95 * len(moments) * columns + 0.2 * columns, 1.45 * rows), dpi=110)
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis in axes:
            axis.axis("off")
        for axis, (caption, video) in zip(axes, videos, strict=False):
            gap = np.full((video.shape[1], 3, 3), 255, np.uint8)
            parts = [part for t in moments for part in (gap, video[t])][1:]
            axis.imshow(np.concatenate(parts, axis=1), interpolation="nearest")
            axis.set_title("\n".join(textwrap.wrap(caption, 15 * len(moments))), fontsize=7, loc="left", pad=3)
        figure.tight_layout(pad=0.4)
        figure.savefig(file, metadata={"Software": None})


def world_examples() -> list[tuple[str, Video]]:
    """Returns examples with every colour, shape, background, direction and speed, one speed per row."""
    directions = ("left", "right", "up", "down")
    colours = ("red", "green", "blue", "yellow", "purple", "white")
    backgrounds = ("grass", "sand", "water", "clay", "night sky")
    shapes = ("circle", "square", "triangle", "cross")
    examples = []
    for row, speed in enumerate(SPEEDS):
        for column in range(4):
            i = 4 * row + column
            direction = None if speed == "still" else directions[(column + row) % 4]
            attributes = Attributes(colours[i % 6], shapes[column], backgrounds[(row + column) % 5], speed, direction)
            examples.append((attributes.caption, render(attributes, seed=i).frames))
    return examples


def command() -> None:
    grid(world_examples(), (0, 4, 8, 60, 64), 4, DOCS / "world.png")


if __name__ == "__main__":
    run(command)
