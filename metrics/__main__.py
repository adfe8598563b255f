"""Score videos: `python -m metrics REFERENCE GENERATED`, two files, or two folders paired by name.

Prints a table; --json or --csv print every value instead, --per-frame those of each frame too. Reading a lossy file is
said: what the encoder changed is scored along.
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

from metrics import METRICS, Metric
from metrics.pairs import Pair, pairs
from metrics.video_file import read

DEFAULT = ("psnr", "psnr_frame_mean", "ssim", "cosine", "flicker", "motion", "motion_flow")
UNITS_OF_PROMPTS = "a JSON object or lines of NAME<tab>PROMPT"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("generated", type=Path)
    parser.add_argument("--metrics", default=",".join(DEFAULT), help=f"of {', '.join(METRICS)} (default: %(default)s)")
    parser.add_argument("--prompts", type=Path, help=f"each video's prompt, by name: {UNITS_OF_PROMPTS}")
    parser.add_argument("--per-frame", action="store_true", help="with --json: each frame's value")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--csv", action="store_true")
    return parser.parse_args(arguments)


def chosen(names: str) -> list[Metric]:
    """The metrics named. Raises ValueError for an unknown one, or one whose weights are not there."""
    unknown = [name for name in names.split(",") if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {', '.join(METRICS)}")
    metrics = [METRICS[name] for name in names.split(",")]
    for metric in metrics:
        if metric.missing:
            w = metric.missing
            raise ValueError(f"{metric.name} needs {w.name} at {w.file}; get it from {w.url}")
    return metrics


def prompts_of(file: Path | None) -> dict[str, str]:
    """Prompt by name. Raises ValueError for a file that is neither form."""
    if file is None:
        return {}
    text = file.read_text(encoding="utf-8")
    if text.lstrip().startswith("{"):
        return json.loads(text)
    rows = [line.split("\t", 1) for line in text.splitlines() if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise ValueError(f"{file} must be {UNITS_OF_PROMPTS}")
    return dict(rows)  # type: ignore[arg-type]  # two each, as was just seen


def score(pair: Pair, metrics: list[Metric], prompt: str | None, per_frame: bool) -> dict[str, Any]:
    """Every metric of one pair, each file decoded once. Raises ValueError naming the pair where it does not fit."""
    reference, generated = read(pair.reference), read(pair.generated)
    if reference.frames.shape != generated.frames.shape or reference.fps != generated.fps:
        shapes = [f"{list(v.frames.shape[:3])} at {v.fps:g} fps" for v in (reference, generated)]
        raise ValueError(f"{pair.name}: videos must be of equal length, size and fps, got {' and '.join(shapes)}")
    values: dict[str, Any] = {"name": pair.name, "lossless": reference.lossless and generated.lossless}
    for metric in metrics:
        result = metric(generated.frames, reference.frames, prompt)
        values[metric.name] = result.value
        if per_frame and result.per_frame is not None:
            values[f"{metric.name}_per_frame"] = [float(v) for v in result.per_frame]
    return values


def table(rows: list[dict[str, Any]], metrics: list[Metric]) -> str:
    """For people; a mean under several rows, over the finite values."""
    header = ["video", *(f"{m.name}{f' ({m.unit})' if m.unit else ''}" for m in metrics)]
    body = [[row["name"], *(f"{row[m.name]:.4f}" for m in metrics)] for row in rows]
    if len(rows) > 1:
        finite = {m.name: [row[m.name] for row in rows if math.isfinite(row[m.name])] for m in metrics}
        means = [f"{math.fsum(v) / len(v):.4f}" if (v := finite[m.name]) else "-" for m in metrics]
        body.append(["mean of finite values", *means])
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
    lines = ["  ".join(t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
             for row in [header, *body]]  # fmt: skip
    if lossy := [row["name"] for row in rows if not row["lossless"]]:
        lines.append(f"lossy input: {', '.join(lossy)}; what the encoder changed is scored along")
    return "\n".join(lines)


def main(arguments: argparse.Namespace) -> str:
    """What to print. Raises ValueError or OSError for bad input, as far as it can before anything is computed."""
    metrics, prompts = chosen(arguments.metrics), prompts_of(arguments.prompts)
    found = pairs(arguments.reference, arguments.generated)
    without = [pair.name for pair in found if pair.name not in prompts]
    if any(metric.needs_prompt for metric in metrics) and without:
        raise ValueError(f"no prompt for {', '.join(without[:5])}; --prompts takes {UNITS_OF_PROMPTS}")
    if arguments.per_frame and not arguments.json:
        raise ValueError("--per-frame goes with --json")
    rows = [score(pair, metrics, prompts.get(pair.name), arguments.per_frame) for pair in found]
    if arguments.json:
        safe = [{k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()} for r in rows]
        return json.dumps({"metrics": {m.name: m.id for m in metrics}, "videos": safe}, indent=1)
    if arguments.csv:
        writer = csv.DictWriter(lines := _Lines(), ["name", "lossless", *(m.name for m in metrics)], lineterminator="")
        writer.writeheader()
        writer.writerows(rows)
        return "\n".join(lines)
    return table(rows, metrics)


class _Lines(list[str]):
    """What csv writes to."""

    write = list[str].append


if __name__ == "__main__":
    try:
        print(main(parse()))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
