"""Score stored samples: read masters once, compute what is missing, keep it beside the record."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from bench.store import MASTER, SCORES, write_text
from bench.video_file import read
from metrics import METRICS

SCHEMA = 1
# Columns of Table 1 that no metric here computes yet, and why; a table shows a dash and this.
NOT_AVAILABLE = {
    name: f"{name} is not part of the pixel tier, which needs no judge network"
    for name in ("clip_temp", "clipsim", "vqa", "lpips")
}

_NO_REFERENCE = "there is no finished baseline sample to compare with"


def score(folder: Path, reference: Path | None, names: Sequence[str]) -> dict[str, Any]:
    """The scores of the sample in `folder`, computing those of `names` that are missing or of an older version.

    `reference` is the baseline sample's folder; None where there is none, and then metrics that compare are left null
    with the reason. Each score is {id, value, reason, per_frame, extra}; an infinite value is the string "inf".
    """
    file = folder / SCORES
    stored: dict[str, Any] = json.loads(file.read_text())["scores"] if file.is_file() else {}
    missing = [name for name in names if _stale(stored.get(name), name, reference)]
    if missing:
        videos = [read(path / MASTER) if path else None for path in (folder, reference)]
        stored |= {name: _one(name, *videos) for name in missing}
        write_text(file, json.dumps({"schema": SCHEMA, "scores": stored}, indent=1, allow_nan=False))
    return stored


def check(names: Sequence[str]) -> None:
    """Raise ValueError for a name that is no metric."""
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {', '.join(METRICS)}")


def _stale(stored: dict[str, Any] | None, name: str, reference: Path | None) -> bool:
    if stored is None or stored["id"] != METRICS[name].id:
        return True
    return stored["reason"] == _NO_REFERENCE and reference is not None


Source = tuple[UInt8[np.ndarray, "t h w 3"], float]


def _one(name: str, video: Source | None, reference: Source | None) -> dict[str, Any]:
    metric = METRICS[name]
    empty = {"id": metric.id, "value": None, "reason": None, "per_frame": None, "extra": {}}
    assert video is not None
    if metric.needs_reference and reference is None:
        return empty | {"reason": _NO_REFERENCE}
    try:
        if reference is not None and video[1] != reference[1]:
            raise ValueError(f"videos of equal frame rate are needed, got {video[1]} and {reference[1]} fps")
        result = metric(video[0], reference[0] if reference else None)
    except ValueError as error:
        return empty | {"reason": str(error)}
    per_frame = None if result.per_frame is None else [_json(v) for v in result.per_frame]
    return empty | {"value": _json(result.value), "per_frame": per_frame, "extra": result.extra}


def _json(value: float) -> float | str:
    value = float(value)
    return value if math.isfinite(value) else str(value)
