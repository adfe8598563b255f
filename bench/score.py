"""Scores stored samples: reads each master once, computes missing scores and stores them beside the record.

`python -m bench.score runs/STUDY --metrics embedded` scores the samples of a study that lack scores. It generates no
samples. --metrics takes groups of conf/metrics, names, and dotted paths of metrics of your own, separated by commas. A
study of the embedded model does not need it. Several such processes may run at once, also during a sweep.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from bench import keep
from bench.claims import claimed
from bench.condition import Condition
from bench.facts import makes_video
from bench.record import Record
from bench.store import MASTER, SCORES, Store
from metrics import Metric, named
from metrics.base import jsonable
from metrics.groups import OWN, groups, names_of
from metrics.outside import is_dotted_path
from metrics.video_file import VideoFile, read
from vgdfr.files import sha256, whole
from vgdfr_commands.start import run
from vgdfr_commands.threads import use_threads

SCHEMA = 2
NOTHING: dict[str, Any] = {
    "value": None, "reason": None, "per_frame": None, "extra": {}, "kept": None, "interpolated": None
}  # fmt: skip  # a score without a value
_NO_REFERENCE = "there is no finished baseline sample to compare with"


Reference = tuple[Path, Record]
Parts = dict[str, float | str | None]  # "kept" and "interpolated"


@dataclass(frozen=True)
class Master:
    """A master to read: the sample's folder, the master's sha256, and the names of the files that are kept.

    A dropped master is made again with the model and method of `condition`. With None they are those of the record.
    """

    folder: Path
    digest: str
    kept: frozenset[str]
    condition: Condition | None


def _master(folder: Path, record: Record | None, condition: Condition | None) -> Master:
    if record is None:
        return Master(folder, "", frozenset(), condition)
    return Master(folder, record.sha256_of(MASTER) or "", frozenset(record.files), condition)


def score(
    folder: Path,
    prompt: str,
    reference: Reference | None,
    names: Sequence[str],
    condition: Condition | None = None,
) -> dict[str, Any]:
    """Returns the scores `names` of the sample in `folder`. Computes and stores scores that are missing or out of date.

    `prompt` is the sample's prompt. `reference` is the folder and record of the baseline sample. With None, metrics
    that compare with a baseline are null, with the reason. A baseline has no such scores.

    A score is {id, reference_sha256, value, reason, per_frame, extra, kept, interpolated}. It is out of date if the
    metric's id or the reference's master has changed, or if it is null. `kept` is the value over the kept frames, or
    over the steps between two kept frames. `interpolated` is the value over the other frames or steps. Both are null
    where there are none. An infinite value is the string "inf". A score of a metric from outside this project also has
    `about`, how tables show it, so that reports need not import a user's code.

    A dropped master is made again from the latents, by the sample's `condition` or by the record. Without latents the
    score is null, with the reason.
    """
    with claimed(folder.parent.parent, f"{folder.parent.name}--{folder.name}", timeout_s=-1):
        return _score(folder, prompt, reference, names, condition)


def _score(
    folder: Path, prompt: str, reference: Reference | None, names: Sequence[str], condition: Condition | None
) -> dict[str, Any]:
    file, record = folder / SCORES, Store(folder.parent).recorded(folder.name)
    compared = record is None or record.reference_key is not None
    # a sample without a reference, such as a baseline, has no difference metrics
    metrics = {metric.name: metric for metric in named(names) if compared or not metric.needs_reference}
    stored, current = _stored(file), {n: _current(m, reference and reference[1]) for n, m in metrics.items()}
    missing = [name for name in metrics if _out_of_date(stored.get(name), current[name])]
    if missing:
        # `_read` holds two videos: the sample first, then its baseline, which is reused for the next sample
        known = {name: why for name in missing if (why := _known(metrics[name], reference))}
        to_read = [metrics[name] for name in missing if name not in known]
        own = _read(_master(folder, record, condition)) if to_read else ""
        baseline = condition and condition.baseline
        beside = _read(_master(*reference, baseline)) if reference and any(m.needs_reference for m in to_read) else None
        kept = _kept(record)
        for name in missing:
            result = known.get(name) or _one(metrics[name], current[name]["id"], prompt, kept, own, beside)
            stored[name] = current[name] | NOTHING | (result if isinstance(result, dict) else {"reason": result})
    told = {name: metrics[name].about.stored() for name in metrics if is_dotted_path(name)}
    changed = [name for name, about in told.items() if stored[name].get("about") != about]
    for name in changed:
        stored[name]["about"] = told[name]
    if missing or changed:
        with whole(file) as partial_file:
            partial_file.write_text(
                json.dumps({"schema": SCHEMA, "scores": stored}, indent=1, allow_nan=False), encoding="utf-8"
            )
    return {name: stored[name] for name in metrics}


@lru_cache(maxsize=2)  # a sample's and its baseline's
def _read(master: Master) -> VideoFile | str:
    """Returns the master's video, or the reason if it was dropped and cannot be made again.

    The cache decodes a baseline once for the samples that follow each other. Raises ValueError for a file with another
    sha256, because a file with a flipped bit may decode without an error.
    """
    file = master.folder / MASTER
    if not file.is_file():
        record = Store(master.folder.parent).recorded(master.folder.name)
        if record is not None and MASTER in record.dropped:
            try:
                frames, difference = keep.rebuilt(master.folder, record, master.condition)
            except keep.Gone as error:
                return str(error)
            frames.flags.writeable = False
            return VideoFile(frames, float(record.identity["spec"]["fps"]), lossless=True, difference=difference)
    if master.digest and sha256(file) != master.digest:
        study = file.parents[2]
        raise ValueError(f"{file} is not what was written; move it away: python -m bench.store verify {study}")
    return read(file)


def _kept(record: Record | None) -> Bool[np.ndarray, " t"] | None:
    """Returns for each frame whether the schedule kept it, or None for a sample without a schedule."""
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


def to_come(folder: Path, reference: Record, names: Sequence[str]) -> list[Metric]:
    """Returns the metrics that can be computed here and that the sample in `folder` lacks or has out of date."""
    stored = _stored(folder / SCORES)
    return [m for m in named(names) if not m.missing and _out_of_date(stored.get(m.name), _current(m, reference))]


def _stored(file: Path) -> dict[str, Any]:
    """Returns the scores in `file`. A damaged file, or one of another schema, counts as empty and is computed again."""
    try:
        document = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        return {}
    return document["scores"] if document.get("schema") == SCHEMA else {}


def _current(metric: Metric, reference: Record | None) -> dict[str, Any]:
    """Returns the metric's id and the reference's hash that a score must have to be up to date."""
    digest = reference.sha256_of(MASTER) if reference and metric.needs_reference else None
    return {"id": metric.id, "reference_sha256": digest}


def _out_of_date(score: dict[str, Any] | None, current: dict[str, Any]) -> bool:
    """Whether the score must be computed. A score without a value is tried again, since the reason may be gone."""
    return score is None or score["value"] is None or any(score.get(k) != v for k, v in current.items())


def _known(metric: Metric, reference: Reference | None) -> str | None:
    """Returns the reason for a null score if it is known before a video is read, else None."""
    if metric.missing:
        return f"{metric.missing.name} is not there; {metric.missing.how}"
    return _NO_REFERENCE if metric.needs_reference and reference is None else None


def _one(
    metric: Metric,
    id: str,
    prompt: str,
    kept: Bool[np.ndarray, " t"] | None,
    video: VideoFile | str,
    beside: VideoFile | str | None,
) -> dict[str, Any] | str:
    """Returns a score's fields, or the reason for no value. A str for a video is the reason why it is missing."""
    reference = beside if metric.needs_reference else None
    if isinstance(video, str) or isinstance(reference, str):
        return video if isinstance(video, str) else str(reference)
    if reference is not None and video.fps != reference.fps:
        return f"videos of equal frame rate are needed, got {video.fps} and {reference.fps} fps"
    result = metric.attempt(id, video.frames, reference.frames if reference else None, prompt)
    if isinstance(result, str):
        return result
    per_frame = None if result.per_frame is None else [jsonable(float(v)) for v in result.per_frame]
    difference = max(video.difference, reference.difference if reference else 0)
    extra = result.extra | ({"frames_difference": float(difference)} if difference else {})
    values = {
        "value": jsonable(result.value),
        "per_frame": per_frame,
        "extra": {k: jsonable(v) for k, v in extra.items()},
    }
    try:
        return values | parts(metric, result.per_frame, kept)
    except Exception as error:  # of a pool from outside
        return f"pool of {metric.name} failed: {type(error).__name__}: {error}"


def finished(study: Path) -> dict[str, tuple[Path, Record]]:
    """Returns folder and record of every finished sample with a video, by key. Raises ValueError if there are none."""
    store, found = Store(study), {}
    for file in sorted(study.glob("[!.]*/[!.]*/record.json"), key=lambda file: (file.parent.name, file)):
        # sorted by prompt, so that a baseline is decoded once. A sample that is being replaced has no record
        record = store.recorded(str(file.parent.relative_to(study)))
        if record is not None and record.status == "done" and makes_video(vars(record)):
            found[record.key] = file.parent, record
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
    order = list(samples)
    first = os.getpid() % len(order)
    without: dict[str, Counter[str]] = {name: Counter() for name in names}
    for key in order[first:] + order[:first]:
        folder, record = samples[key]
        try:
            scores = score(folder, record.identity["spec"]["prompt"], samples.get(record.reference_key or ""), names)
        except (OSError, ValueError) as error:  # a damaged file: the other samples go on
            scores = dict.fromkeys(names, {"value": None, "reason": f"{type(error).__name__}: {error}"})
        for name, value in scores.items():
            if value["value"] is None:
                without[name][value["reason"]] += 1
    return without


def default_metrics(study: Path) -> str:
    """Returns the group "embedded" for a study of the embedded model, or raises ValueError for any other study."""
    models = sorted({record.model_name for _, record in finished(study).values()})
    if models != ["embedded"]:
        raise ValueError(
            "say which metrics, such as --metrics paper: the default, embedded, looks through the small judge of the "
            f"embedded model's world, and {study} is of {' and '.join(models)}"
        )
    return "embedded"


def main(study: Path, metrics: str | None) -> int:
    """Scores a study and prints the results. Returns the exit status, 1 if any score is null."""
    if study.is_dir():
        try:
            Store(study).require_writable()
        except OSError as error:  # locks are files in the study, too
            raise ValueError(f"scores are stored in the study, and {error.strerror}") from error
    names = names_of(default_metrics(study) if metrics is None else metrics)
    without = score_study(study, names)
    print(f"{study}: {len(finished(study))} samples scored for {', '.join(n for n in names if not without[n])}")
    for name, reasons in without.items():
        for reason, count in reasons.items():
            print(f"{name}: no value for {count} samples: {reason}")
    return int(any(without.values()))


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    said = f"groups ({', '.join(groups())}), names or {OWN}, separated by commas"
    parser.add_argument("--metrics", help=f"{said}; default: embedded, for the embedded model only")
    parser.add_argument("--threads", type=int, default=1, help="of the metrics' networks on the CPU (default: 1)")
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    return main(arguments.study, arguments.metrics)


if __name__ == "__main__":
    run(command)
