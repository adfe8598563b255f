"""Results that the literature prints, shown in a table of their own, never among the rows of a study."""

import csv
from functools import cache
from pathlib import Path

from analysis.render import Sheet, plain
from analysis.table import Table

FILE = Path(__file__).parent / "literature.csv"
NUMBERS = {"speedup": "Speedup", "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "vbench": "VBench"}
# By the name of a model in conf/model: the backbone of the literature, and why its numbers do not compare with ours.
# Any other model has no such table.
BACKBONES = {
    "hunyuan_video": (
        "HunyuanVideo",
        "The sources differ from this study, and from each other, in prompts, video sizes, GPUs and code. Read them as "
        "anchors: a method that is far from them here may be set up wrongly.",
    ),
    "embedded": (
        "HunyuanVideo",
        "These numbers do not compare with this study. They are of HunyuanVideo 13B and real prompts. The embedded "
        "model makes 64 x 64 pixels of a small world, needs fewer than its 50 steps, and has other layers to skip.",
    ),
}


@cache
def rows() -> tuple[dict[str, str], ...]:
    """Returns the rows of the file as text, with the digits that the sources print."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def literature_sheet(table: Table) -> Sheet | None:
    """Returns the literature's rows on the study's model, or None for a model, or several, without any."""
    models = set(table.samples["model"].dropna())
    found = BACKBONES.get(models.pop()) if len(models) == 1 else None
    if found is None:
        return None
    backbone, caution = found
    body = [
        plain(row["method"], row["setting"] or "–", *(row[name] or "–" for name in NUMBERS), row["source"])
        for row in rows()
        if row["backbone"] == backbone
    ]
    return Sheet(
        title=f"The literature on {backbone}",
        header=("Method", "Setting", *NUMBERS.values(), "Source"),
        rows=tuple(body),
        notes=(f"{caution} The sources print no intervals and no counts of skipped work.",),
    )
