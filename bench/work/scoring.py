"""Scores stored samples: reads each master once, computes missing scores and stores them with the sample."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from bench.plan.condition import Condition
from bench.store.claims import claimed
from bench.store.facts import makes_video
from bench.store.place import MASTER, Place
from bench.store.record import Record
from bench.store.scores import NOTHING, scores_of, write_scores
from bench.store.study import Store
from bench.work import rebuild
from bench.work.latest import Latest
from metrics import Metric, named
from metrics.base import Score, jsonable
from metrics.third_party import is_dotted_path
from metrics.video_file import VideoFile

_NO_REFERENCE = "there is no finished baseline sample to compare with"

Parts = dict[str, float | str | None]  # "kept" and "interpolated"


@dataclass(frozen=True, slots=True)
class Stored:
    """A finished sample: its place and its record."""

    place: Place
    record: Record


@dataclass(frozen=True, slots=True)
class Master:
    """A master to read: the sample's place, the master's sha256, and the names of the files that are kept.

    A dropped master is made again with the model and method of `condition`. With None they are those of the record.
    """

    place: Place
    digest: str
    kept: frozenset[str]
    condition: Condition | None


def _master(place: Place, record: Record | None, condition: Condition | None) -> Master:
    if record is None:
        return Master(place, "", frozenset(), condition)
    return Master(place, record.sha256_of(MASTER) or "", frozenset(record.files), condition)


def score(
    place: Place,
    prompt: str,
    reference: Stored | None,
    names: Sequence[str],
    condition: Condition | None = None,
) -> dict[str, Any]:
    """Returns the scores `names` of the sample at `place`. Computes and stores scores that are missing or out of date.

    `prompt` is the sample's prompt. `reference` is the baseline sample. With None, metrics that compare with a baseline
    are null, with the reason. A baseline has no such scores.

    A score is {id, reference_sha256, value, reason, per_frame, extra, kept, interpolated}. It is out of date if the
    metric's id or the reference's master has changed, or if it is null. `kept` is the value over the kept frames, or
    over the steps between two kept frames. `interpolated` is the value over the other frames or steps. Both are null
    where there are none. An infinite value is the string "inf". A score of a metric from outside this project also has
    `about`, how tables show it, so that reports need not import a user's code.

    A dropped master is made again from the latents, by the sample's `condition` or by the record. Without latents the
    score is null, with the reason.
    """
    with claimed(place.study, place.claim, timeout_s=-1):
        record = Store(place.study).recorded(place)
        compared = record is None or record.reference_key is not None
        # a sample without a reference, such as a baseline, has no difference metrics
        metrics = {metric.name: metric for metric in named(names) if compared or not metric.needs_reference}
        stored = scores_of(place)
        changed = _compute_missing(stored, metrics, _master(place, record, condition), record, prompt, reference)
        if _add_titles(stored, metrics) or changed:
            write_scores(place, stored)
        return {name: stored[name] for name in metrics}


def _compute_missing(
    stored: dict[str, Any],
    metrics: dict[str, Metric],
    master: Master,
    record: Record | None,
    prompt: str,
    reference: Stored | None,
) -> bool:
    """Computes the scores that `stored` lacks or has out of date, into `stored`. Returns whether there were any."""
    current = {name: _current(metric, reference and reference.record) for name, metric in metrics.items()}
    missing = [name for name in metrics if _out_of_date(stored.get(name), current[name])]
    # `_read` holds two videos: the sample first, then its baseline, which is reused for the next sample
    known: dict[str, Score | str] = {
        name: found for name in missing
        if (found := _known(metrics[name], reference) or _of_equal_frames.get(_asked(record, current[name], prompt)))
    }  # fmt: skip
    to_read = [metrics[name] for name in missing if name not in known]
    video = _read(master) if to_read else ""
    baseline: VideoFile | str | None = None
    if reference and any(metric.needs_reference for metric in to_read):
        condition = master.condition and master.condition.baseline
        baseline = _read(_master(reference.place, reference.record, condition))
    kept = _kept(record)
    for name in missing:
        found = known.get(name) or _one(metrics[name], current[name]["id"], prompt, video, baseline)
        if isinstance(found, Score):
            _of_equal_frames.put(_asked(record, current[name], prompt), found)
        result = found if isinstance(found, str) else _fields(metrics[name], found, kept)
        stored[name] = current[name] | NOTHING | (result if isinstance(result, dict) else {"reason": result})
    return bool(missing)


_of_equal_frames = Latest[Score](512)  # results of some kilobytes each; conditions with equal frames share them


def _asked(record: Record | None, current: Mapping[str, Any], prompt: str) -> tuple[Any, ...] | None:
    """Returns everything that decides a metric's result, or None if the record does not identify its frames."""
    if record is None or record.frames_sha256 is None or record.dropped:
        return None
    return record.frames_sha256, record.identity["spec"]["fps"], current["id"], current["reference_sha256"], prompt


def _add_titles(stored: dict[str, Any], metrics: dict[str, Metric]) -> bool:
    """Adds `about`, how tables show it, to scores of metrics from outside. Returns whether any has changed."""
    told = {name: metric.about.stored() for name, metric in metrics.items() if is_dotted_path(name)}
    changed = [name for name, about in told.items() if stored[name].get("about") != about]
    for name in changed:
        stored[name]["about"] = told[name]
    return bool(changed)


@lru_cache(maxsize=2)  # a sample's and its baseline's
def _read(master: Master) -> VideoFile | str:
    """Returns the master's video, or the reason if it was dropped and cannot be made again.

    The cache decodes a baseline once for the samples that follow each other.
    """
    try:
        return rebuild.stored_video(master.place, master.digest, master.condition)
    except rebuild.Gone as error:
        return str(error)


def _kept(record: Record | None) -> Bool[np.ndarray, " t"] | None:
    """Returns for each frame whether it was kept, not interpolated. Returns None for a sample without a schedule."""
    if record is None or record.schedule is None:
        return None
    kept = np.zeros(sum(length for _, length, _ in record.schedule["segments"]), bool)
    kept[list(record.schedule["kept_frames"])] = True
    return kept


def parts(metric: Metric, per_frame: Float[np.ndarray, " n"] | None, kept: Bool[np.ndarray, " t"] | None) -> Parts:
    """Returns the metric over the kept frames and over the interpolated frames, as `score` stores them.

    A metric may have a value per step between frames. A step counts as kept if both of its frames were kept.
    """
    if per_frame is None or kept is None or metric.pool is None:
        return {"kept": None, "interpolated": None}
    of_kept = kept if len(per_frame) == len(kept) else kept[:-1] & kept[1:]
    sides = {"kept": per_frame[of_kept], "interpolated": per_frame[~of_kept]}
    return {side: jsonable(float(metric.pool(values))) if len(values) else None for side, values in sides.items()}


def to_come(place: Place, reference: Record, names: Sequence[str]) -> list[Metric]:
    """Returns the metrics that can be computed here and that the sample at `place` lacks or has out of date."""
    stored = scores_of(place)
    return [m for m in named(names) if not m.missing and _out_of_date(stored.get(m.name), _current(m, reference))]


def _current(metric: Metric, reference: Record | None) -> dict[str, Any]:
    """Returns the metric's id and the reference's hash that a score must have to be up to date."""
    digest = reference.sha256_of(MASTER) if reference and metric.needs_reference else None
    return {"id": metric.id, "reference_sha256": digest}


def _out_of_date(score: dict[str, Any] | None, current: dict[str, Any]) -> bool:
    """Whether the score must be computed. A score without a value is tried again, since the reason may be gone."""
    return score is None or score["value"] is None or any(score.get(k) != v for k, v in current.items())


def _known(metric: Metric, reference: Stored | None) -> str | None:
    """Returns the reason for a null score if it is known before a video is read, else None."""
    if metric.missing:
        return f"{metric.missing.name} is not there; {metric.missing.how}"
    return _NO_REFERENCE if metric.needs_reference and reference is None else None


def _one(metric: Metric, id: str, prompt: str, video: VideoFile | str, baseline: VideoFile | str | None) -> Score | str:
    """Returns a metric's result, or the reason for no value. A str for a video is the reason why it is missing."""
    reference = baseline if metric.needs_reference else None
    if isinstance(video, str) or isinstance(reference, str):
        return video if isinstance(video, str) else str(reference)
    if reference is not None and video.fps != reference.fps:
        return f"videos of equal frame rate are needed, got {video.fps} and {reference.fps} fps"
    result = metric.attempt(id, video.frames, reference.frames if reference else None, prompt)
    difference = max(video.difference, reference.difference if reference else 0)
    if isinstance(result, str) or not difference:
        return result
    return replace(result, extra=result.extra | {"frames_difference": float(difference)})


def _fields(metric: Metric, result: Score, kept: Bool[np.ndarray, " t"] | None) -> dict[str, Any] | str:
    """Returns a score's fields for a result, or the reason for no value."""
    values = {
        "value": jsonable(result.value),
        "per_frame": None if result.per_frame is None else [jsonable(float(v)) for v in result.per_frame],
        "extra": {k: jsonable(v) for k, v in result.extra.items()},
    }
    try:
        return values | parts(metric, result.per_frame, kept)
    except Exception as error:  # of a pool from outside
        return f"pool of {metric.name} failed: {type(error).__name__}: {error}"


def finished(study: Path) -> dict[str, Stored]:
    """Returns every finished sample with a video, by key. Raises ValueError if there are none."""
    store, found = Store(study), {}
    # sorted by prompt, so that a baseline is decoded once
    for place in sorted(store.places(), key=lambda place: (place.folder.name, place.name)):
        record = store.recorded(place)  # None for a sample that is being replaced
        if record is not None and record.status == "done" and makes_video(vars(record)):
            found[record.key] = Stored(place, record)
    if not found:
        raise ValueError(
            f"{study} holds no finished sample with a video; a study is made by: python -m bench.sweep +exp=table1 "
            "(layer errors of +exp=rope_proxy have none; they are read by: python -m analysis.rope_sensitivity)"
        )
    return found


def score_study(study: Path, names: Sequence[str]) -> dict[str, Counter[str]]:
    """Scores every finished sample. Returns for each metric the reasons for null scores, with their counts.

    Concurrent processes start at different samples, so they rarely wait for each other.
    """
    samples = finished(study)
    order = list(samples.values())
    first = os.getpid() % len(order)
    without: dict[str, Counter[str]] = {name: Counter() for name in names}
    for sample in order[first:] + order[:first]:
        record = sample.record
        try:
            reference = samples.get(record.reference_key or "")
            scores = score(sample.place, record.identity["spec"]["prompt"], reference, names)
        except (OSError, ValueError) as error:  # a damaged file: the other samples go on
            scores = dict.fromkeys(names, {"value": None, "reason": f"{type(error).__name__}: {error}"})
        for name, value in scores.items():
            if value["value"] is None:
                without[name][value["reason"]] += 1
    return without
