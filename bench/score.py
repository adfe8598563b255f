"""Score stored samples: read masters once, compute what is missing, keep it beside the record."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from bench.record import Record
from bench.store import MASTER, SCORES, write_text
from bench.video_file import read
from metrics import METRICS

SCHEMA = 1
_NO_REFERENCE = "there is no finished baseline sample to compare with"


Reference = tuple[Path, Record]


def score(folder: Path, prompt: str, reference: Reference | None, names: Sequence[str]) -> dict[str, Any]:
    """The scores of the sample in `folder`, computing those of `names` that are missing or out of date.

    `prompt` is what the sample was made for. `reference` is the baseline sample's folder and record; None where there
    is none, and then metrics that compare are left null with the reason. Each score is {id, reference_sha256, value,
    reason, per_frame, extra}; it is out of date when the metric's id or the reference's master has changed. An infinite
    value is the string "inf".
    """
    file = folder / SCORES
    stored: dict[str, Any] = json.loads(file.read_text())["scores"] if file.is_file() else {}
    digest = reference[1].files[MASTER] if reference else None
    current = {
        name: {"id": METRICS[name].id, "reference_sha256": digest if METRICS[name].needs_reference else None}
        for name in names
    }
    missing = [n for n in names if n not in stored or any(stored[n].get(k) != v for k, v in current[n].items())]
    if missing:
        videos = [read(path / MASTER) if path else None for path in (folder, reference and reference[0])]
        stored |= {name: current[name] | _one(name, prompt, *videos) for name in missing}
        write_text(file, json.dumps({"schema": SCHEMA, "scores": stored}, indent=1, allow_nan=False))
    return stored


def check(names: Sequence[str]) -> None:
    """Raise ValueError for a name that is no metric."""
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {', '.join(METRICS)}")


Source = tuple[UInt8[np.ndarray, "t h w 3"], float]


def _one(name: str, prompt: str, video: Source | None, reference: Source | None) -> dict[str, Any]:
    metric = METRICS[name]
    empty: dict[str, Any] = {"value": None, "reason": None, "per_frame": None, "extra": {}}
    assert video is not None
    if metric.needs_reference and reference is None:
        return empty | {"reason": _NO_REFERENCE}
    try:
        if reference is not None and video[1] != reference[1]:
            raise ValueError(f"videos of equal frame rate are needed, got {video[1]} and {reference[1]} fps")
        result = metric(video[0], reference[0] if reference else None, prompt)
    except Exception as error:  # a metric's failure is its null and reason; the others go on
        return empty | {"reason": f"{type(error).__name__}: {error}"}
    per_frame = None if result.per_frame is None else [_json(v) for v in result.per_frame]
    return empty | {"value": _json(result.value), "per_frame": per_frame, "extra": result.extra}


def _json(value: float) -> float | str:
    value = float(value)
    return value if math.isfinite(value) else str(value)
