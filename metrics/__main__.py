"""Score videos: `python -m metrics REFERENCE GENERATED`, two files, or two folders paired by name.

Prints a table; --json or --csv print every value instead, --per-frame those of each frame too. Reading a lossy file is
said: what the encoder changed is scored along. --profile adds PSNR, SSIM and LPIPS as another project computes them. A
metric whose weights are not there is a dash, and what to do is said. docs/metrics.md describes each metric.
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

from metrics import METRICS, PROFILES, Metric, named
from metrics.base import jsonable
from metrics.pairs import Pair, pairs
from metrics.video_file import read

DEFAULT = ("psnr", "psnr_frame_mean", "ssim", "cosine", "flicker", "motion", "motion_flow")
PROMPTS_FORM = "a JSON object or lines of NAME<tab>PROMPT"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("generated", type=Path)
    parser.add_argument(
        "--metrics", default=",".join(DEFAULT), help=f"of {', '.join(METRICS)}, pyiqa:NAME (default: %(default)s)"
    )
    parser.add_argument("--profile", choices=PROFILES, help="add the metrics as this project computes them")
    parser.add_argument("--prompts", type=Path, help=f"each video's prompt, by name: {PROMPTS_FORM}")
    parser.add_argument("--per-frame", action="store_true", help="with --json: each frame's value")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--csv", action="store_true")
    return parser.parse_args(arguments)


def prompts_of(file: Path | None) -> dict[str, str]:
    """Prompt by name. Raises ValueError for a file that is neither form."""
    if file is None:
        return {}
    text = file.read_text(encoding="utf-8")
    if text.lstrip().startswith("{"):
        prompts = json.loads(text)
        if not all(isinstance(prompt, str) for prompt in prompts.values()):
            raise ValueError(f"{file} must hold a text for each name")
        return prompts
    rows = [line.split("\t", 1) for line in text.splitlines() if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise ValueError(f"{file} must be {PROMPTS_FORM}")
    return dict(rows)  # type: ignore[arg-type]  # two each, as was just seen


def score(pair: Pair, metrics: list[Metric], prompt: str | None, per_frame: bool) -> dict[str, Any]:
    """Every metric of one pair, each file decoded once. Raises ValueError naming the pair where it does not fit."""
    reference, generated = read(pair.reference), read(pair.generated)
    same_rate = math.isclose(reference.fps, generated.fps, rel_tol=1e-5)  # containers round rates such as 60000/1001
    if reference.frames.shape != generated.frames.shape or not same_rate:
        shapes = [f"{list(v.frames.shape[:3])} at {v.fps:.7g} fps" for v in (reference, generated)]
        raise ValueError(f"{pair.name}: videos must be of equal length, size and fps, got {' and '.join(shapes)}")
    values: dict[str, Any] = {"name": pair.name, "lossless": reference.lossless and generated.lossless}
    extra, reasons, frames = {}, {}, {}
    for metric in metrics:
        result = metric.attempt(generated.frames, reference.frames, prompt)
        if isinstance(result, str):
            values[metric.name], reasons[metric.name] = None, result
            continue
        values[metric.name], extra[metric.name] = result.value, result.extra
        if per_frame and result.per_frame is not None:
            frames[metric.name] = [jsonable(float(v)) for v in result.per_frame]
    return values | {"extra": extra, "reasons": reasons} | ({"per_frame": frames} if per_frame else {})


def table(rows: list[dict[str, Any]], metrics: list[Metric]) -> str:
    """For people; a mean under several rows, over the finite values."""
    header = ["video", *(f"{m.name}{f' ({m.unit})' if m.unit else ''}" for m in metrics)]
    body = [[row["name"], *("-" if (v := row[m.name]) is None else f"{v:.4f}" for m in metrics)] for row in rows]
    if len(rows) > 1:
        finite = [[v for row in rows if (v := row[m.name]) is not None and math.isfinite(v)] for m in metrics]
        means = [f"{math.fsum(values) / len(values):.4f}" if values else "-" for values in finite]
        body.append(["mean of finite values", *means])
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
    lines = ["  ".join(t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
             for row in [header, *body]]  # fmt: skip
    if lossy := [row["name"] for row in rows if not row["lossless"]]:
        lines.append(f"lossy input: {', '.join(lossy)}; what the encoder changed is scored along")
    for metric in metrics:
        of_videos: dict[str, list[str]] = {}
        for row in rows:
            if reason := row["reasons"].get(metric.name):
                of_videos.setdefault(reason, []).append(row["name"])
        for reason, names in of_videos.items():
            where = "" if len(names) == len(rows) else f" of {', '.join(names)}"
            lines.append(f"no {metric.name}{where}: {reason}")
    return "\n".join(lines)


def main(arguments: argparse.Namespace) -> str:
    """What to print. Raises ValueError or OSError for bad input, as far as it can before anything is computed."""
    metrics, prompts = named(arguments.metrics.split(",")), prompts_of(arguments.prompts)
    metrics += [m for m in PROFILES.get(arguments.profile, ()) if m not in metrics]
    if all(metric.missing for metric in metrics):
        raise ValueError("; ".join(f"{m.name} needs {m.missing.name}: {m.missing.how}" for m in metrics if m.missing))
    found = pairs(arguments.reference, arguments.generated)
    without = [pair.name for pair in found if pair.name not in prompts]
    if any(metric.needs_prompt for metric in metrics) and without:
        raise ValueError(f"no prompt for {', '.join(without[:5])}; --prompts takes {PROMPTS_FORM}")
    if arguments.per_frame and not arguments.json:
        raise ValueError("--per-frame goes with --json")
    rows = [score(pair, metrics, prompts.get(pair.name), arguments.per_frame) for pair in found]
    if arguments.json:
        safe = [row | {m.name: jsonable(row[m.name]) for m in metrics} for row in rows]
        return json.dumps({"metrics": {m.name: m.id for m in metrics}, "videos": safe}, indent=1, allow_nan=False)
    if arguments.csv:
        columns = ["name", "lossless", *(m.name for m in metrics)]
        writer = csv.DictWriter(lines := _Lines(), columns, lineterminator="", extrasaction="ignore")
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
