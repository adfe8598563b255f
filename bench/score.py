"""Score stored samples: read masters once, compute what is missing, keep it beside the record.

`python -m bench.score runs/STUDY --metrics embedded` scores what a study has stored and not yet scored, generating
nothing. --metrics takes a group of conf/metrics, or names. It may run several times at once, also beside a sweep.
"""

import argparse
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Bool, Float

from bench.claims import claimed
from bench.record import Record
from bench.store import MASTER, SCORES, Store, write_text
from metrics import Metric, named
from metrics.video_file import VideoFile, read
from metrics.weights import Weights
from vgdfr.assets import Asset, download

SCHEMA = 2
CONF = Path(__file__).parent.parent / "conf"
_NO_REFERENCE = "there is no finished baseline sample to compare with"


Reference = tuple[Path, Record]
Parts = dict[str, float | str | None]  # "kept" and "interpolated"


def score(folder: Path, prompt: str, reference: Reference | None, names: Sequence[str]) -> dict[str, Any]:
    """The scores of the sample in `folder`, computing those of `names` that are missing or out of date.

    `prompt` is what the sample was made for. `reference` is the baseline sample's folder and record; None where there
    is none, and then metrics that compare are left null with the reason. Each score is {id, reference_sha256, value,
    reason, per_frame, extra, kept, interpolated}; it is out of date when the metric's id or the reference's master has
    changed. `kept` and `interpolated` are its value over those frames alone, or over the steps between two kept frames
    and the others; null where there are none. An infinite value is the string "inf".
    """
    with claimed(folder.parent.parent, f"{folder.parent.name}--{folder.name}", timeout_s=-1):
        return _score(folder, prompt, reference, names)


def _score(folder: Path, prompt: str, reference: Reference | None, names: Sequence[str]) -> dict[str, Any]:
    file = folder / SCORES
    document = json.loads(file.read_text()) if file.is_file() else {}
    stored: dict[str, Any] = document["scores"] if document.get("schema") == SCHEMA else {}
    digest = reference[1].files[MASTER] if reference else None
    metrics = {metric.name: metric for metric in named(names)}
    current = {
        name: {"id": metric.id, "reference_sha256": digest if metric.needs_reference else None}
        for name, metric in metrics.items()
    }
    missing = [n for n in names if n not in stored or any(stored[n].get(k) != v for k, v in current[n].items())]
    if missing:
        videos = [read(path / MASTER) if path else None for path in (folder, reference and reference[0])]
        kept = _kept(folder)
        stored |= {name: current[name] | _one(metrics[name], prompt, kept, *videos) for name in missing}
        write_text(file, json.dumps({"schema": SCHEMA, "scores": stored}, indent=1, allow_nan=False))
    return stored


def _kept(folder: Path) -> Bool[np.ndarray, " t"] | None:
    """For each frame of the sample whether it was kept by its schedule; None where it had none."""
    record = Store.read(folder)
    if record is None or record.schedule is None:
        return None
    kept = np.zeros(sum(length for _, length, _ in record.schedule["segments"]), bool)
    kept[list(record.schedule["kept_frames"])] = True
    return kept


def parts(metric: Metric, per_frame: Float[np.ndarray, " n"] | None, kept: Bool[np.ndarray, " t"] | None) -> Parts:
    """The metric over the kept and over the interpolated frames, as `score` stores them.

    Values of steps between frames (one less than frames) are of kept ones where both ends were kept.
    """
    if per_frame is None or kept is None:
        return {"kept": None, "interpolated": None}
    of_kept = kept if len(per_frame) == len(kept) else kept[:-1] & kept[1:]
    sides = {"kept": per_frame[of_kept], "interpolated": per_frame[~of_kept]}
    return {side: _json(metric.pool(values)) if len(values) else None for side, values in sides.items()}


def _one(
    metric: Metric,
    prompt: str,
    kept: Bool[np.ndarray, " t"] | None,
    video: VideoFile | None,
    reference: VideoFile | None,
) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "value": None, "reason": None, "per_frame": None, "extra": {}, "kept": None, "interpolated": None
    }  # fmt: skip
    if metric.missing:
        return empty | {"reason": f"{metric.missing.name} is not there; {metric.missing.how}"}
    assert video is not None
    if metric.needs_reference and reference is None:
        return empty | {"reason": _NO_REFERENCE}
    try:
        if reference is not None and video.fps != reference.fps:
            raise ValueError(f"videos of equal frame rate are needed, got {video.fps} and {reference.fps} fps")
        result = metric(video.frames, reference.frames if reference else None, prompt)
    except Exception as error:  # a metric's failure is its null and reason; the others go on
        return empty | {"reason": f"{type(error).__name__}: {error}"}
    per_frame = None if result.per_frame is None else [_json(v) for v in result.per_frame]
    both = parts(metric, result.per_frame, kept)
    return empty | {"value": _json(result.value), "per_frame": per_frame, "extra": result.extra} | both


def missing(names: Sequence[str]) -> list[Asset]:
    """Weights to download before all of `names` can be computed. Raises ValueError for an unknown name."""
    weights = {w.url: w for metric in named(names) if isinstance(w := metric.missing, Weights)}
    return [
        Asset(w.name, w.url, w.num_bytes, partial(_fetch, w.url, w.file, w.num_bytes, w.sha256))
        for w in weights.values()
    ]


def _fetch(url: str, file: Path, num_bytes: int, digest: str) -> Path:
    download(url, file, num_bytes, digest)
    return file


def _json(value: float) -> float | str:
    value = float(value)
    return value if math.isfinite(value) else str(value)


def finished(study: Path) -> dict[str, tuple[Path, Record]]:
    """Folder and record of every finished sample of a study, by key. Raises ValueError where there is none."""
    records = ((file.parent, Record.from_json(file.read_text())) for file in sorted(study.glob("*/[!.]*/record.json")))
    found = {record.key: (folder, record) for folder, record in records if record.status == "done"}
    if not found:
        raise ValueError(f"{study} holds no finished sample; a study is made by: python -m bench.sweep +exp=table1")
    return found


def score_study(study: Path, names: Sequence[str]) -> dict[str, Counter[str]]:
    """Score every finished sample; per metric, the reasons for having no value of it, and how often each.

    Processes over one study begin at different samples and wait for each other at none for long.
    """
    samples = finished(study)
    order = list(samples)
    first = os.getpid() % len(order)
    without: dict[str, Counter[str]] = {name: Counter() for name in names}
    for key in order[first:] + order[:first]:
        folder, record = samples[key]
        # a baseline has nothing to differ from
        asked = [m.name for m in named(names) if record.reference_key or not m.needs_reference]
        scores = score(folder, record.identity["spec"]["prompt"], samples.get(record.reference_key or ""), asked)
        for name in asked:
            if scores[name]["value"] is None:
                without[name][scores[name]["reason"]] += 1
    return without


def names_of(text: str) -> list[str]:
    """The metrics of a group in conf/metrics, or those named, comma between. Raises ValueError for an unknown one."""
    group = CONF / "metrics" / f"{text}.yaml"
    names = yaml.safe_load(group.read_text())["names"] if group.is_file() else text.split(",")
    named(names)
    return names


def main(study: Path, metrics: str) -> int:
    """Score a study and say what came of it; the exit status: 1 if a metric failed somewhere."""
    names = names_of(metrics)
    without = score_study(study, names)
    print(f"{study}: {len(finished(study))} samples scored for {', '.join(n for n in names if not without[n])}")
    for name, reasons in without.items():
        for reason, count in reasons.items():
            print(f"{name}: no value for {count} samples: {reason}")
    return int(any(without.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--metrics", default="embedded", help="a group (embedded, paper, pixel) or names")
    arguments = parser.parse_args()
    try:
        sys.exit(main(arguments.study, arguments.metrics))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
