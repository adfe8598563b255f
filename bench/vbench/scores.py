"""Turns VBench's results into scores of a study's samples, stored with the scores of this project's metrics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bench.store.claims import claimed
from bench.store.record import Record
from bench.store.scores import NOTHING, scores_of, write_scores
from bench.store.study import Store
from bench.vbench.layout import MODES, Video, manifest_in, read_manifest
from bench.vbench.results import DimensionResult, parts
from metrics.base import VIDEO_QUALITY, About

VERSION = 1  # of the way from a result file to a score; it is in the scores' ids
FILTERED, FILTERED_BY_LONG = "filtered_videos", "temporal_filtered_cilps"  # folders that VBench's static filters write
_FROZEN = ("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness")
_WITHOUT = {
    "color": "; it leaves out videos in which it does not see the object",
    "temporal_flickering": "; its static filter leaves out videos that move",
}


@dataclass(frozen=True)
class Imported:
    """One dimension of one condition: the official score, the values of samples, and how many samples have none."""

    condition: str
    dimension: str
    score: float
    values: Mapping[str, float]
    without: int

    @property
    def mean(self) -> float:
        return sum(self.values.values()) / len(self.values)


@dataclass(frozen=True)
class Exports:
    """The videos that a study has exported, by name. Finds the sample of a path in VBench's results.

    condition: the condition of paths that name none. static: the paths of videos that VBench's static filter renamed.
    """

    study: Path
    videos: Mapping[str, Video]
    condition: str | None = None
    static: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def conditions(self) -> list[str]:
        return sorted({video.condition for video in self.videos.values()})

    def video_at(self, path: str) -> Video:
        """Returns the exported video that VBench scored at `path`, on any machine.

        Raises ValueError for any other path.
        """
        *folders, name = parts(path)
        if folders[-1:] == [FILTERED] and folders[-2:-1] != [FILTERED_BY_LONG]:
            if name not in self.static:
                raise ValueError(
                    f"{path} was renamed by VBench's static filter; name its filtered_static_video.json with "
                    "--static-filter"
                )
            *folders, name = parts(self.static[name])
        named = [folder for folder in folders if folder in self.conditions]
        condition = named[-1] if named else self.condition
        if condition is None:
            raise ValueError(
                f"{path} names no condition of the export ({', '.join(self.conditions)}); import the results of each "
                "condition alone, with --condition NAME"
            )
        if (video := self.videos.get(f"{condition}/{name}")) is None:
            raise ValueError(f"{path} is no video of the export: there is no {condition}/{name}")
        return video

    def samples(self, condition: str) -> dict[str, Record]:
        """Returns the records of a condition's exported samples, by place.

        Raises ValueError if a sample is gone or is another one by now.
        """
        out, store = {}, Store(self.study)
        for video in self.videos.values():
            if video.condition == condition:
                record = store.recorded(store.at(video.sample))
                if record is None or record.key != video.key:
                    raise ValueError(f"{video.sample} is no longer the sample that was exported; export it again into "
                                     "a new folder and score it there")  # fmt: skip
                out[video.sample] = record
        return out


def exports_of(study: Path, condition: str | None = None, static: Mapping[str, str] | None = None) -> Exports:
    """Returns the videos of all exports of a study. Raises ValueError without one, or for an unknown condition."""
    videos = {name: v for mode in MODES for name, v in read_manifest(manifest_in(study, mode)).items()}
    if not videos:
        raise ValueError(f"{study} has no export; make one first: python -m bench.export vbench {study} DIR")
    exports = Exports(study, videos, condition, static or {})
    if condition is not None and condition not in exports.conditions:
        raise ValueError(f"no condition {condition} was exported; there are {', '.join(exports.conditions)}")
    return exports


def import_results(results: Iterable[DimensionResult], exports: Exports, version: str) -> list[Imported]:
    """Stores the results as scores, `vbench_DIMENSION`. `version` is VBench's, for the scores' ids.

    All results are checked before the first score is stored. A sample that VBench did not score gets a score without a
    value, with the reason, unless it has one from another result. Raises ValueError for results that do not fit the
    study.
    """
    scores: dict[str, dict[str, Any]] = {}
    samples_of, out = cache(exports.samples), []
    for result in results:
        condition, values = _of_samples(result, exports)
        records = samples_of(condition)
        lacking = [
            sample for sample, record in records.items()
            if sample not in values
            and (not record.prompt_dimensions or result.dimension in record.prompt_dimensions)
        ]  # fmt: skip
        for sample in (*values, *lacking):
            _add(scores.setdefault(sample, {}), result, version, sample, values.get(sample))
        out.append(Imported(condition, result.dimension, result.score, values, len(lacking)))
    _store(exports.study, scores)
    return out


def _add(own: dict[str, Any], result: DimensionResult, version: str, sample: str, value: float | None) -> None:
    """Adds a sample's score to its `own` scores. Raises ValueError if another result has another value."""
    name = f"vbench_{result.dimension}"
    before = own.get(name)
    if before is None or before["value"] is None:
        own[name] = _score(result, name, version, value)
    elif value not in (None, before["value"]):
        raise ValueError(
            f"{sample} has two values of {result.dimension}: {before['value']} and {value} in {result.source}; give "
            "one of the result files"
        )


def _of_samples(result: DimensionResult, exports: Exports) -> tuple[str, dict[str, float]]:
    """Returns the condition of a result, and the value of each sample: of clips the mean."""
    if not result.values:
        raise ValueError(f"{result.source}: {result.dimension} has no video")
    found: dict[str, list[float]] = {}
    conditions: set[str] = set()
    for path, value in result.values:
        video = exports.video_at(path)
        found.setdefault(video.sample, []).append(value)
        conditions.add(video.condition)
        if not result.is_long and len(found[video.sample]) > 1:
            raise ValueError(f"{result.source}: {result.dimension} has {path} twice")
    if len(conditions) > 1:
        raise ValueError(
            f"{result.source}: {result.dimension} is over several conditions ({', '.join(sorted(conditions))}), so its "
            "score belongs to none; score each condition's folder alone"
        )
    return conditions.pop(), {sample: sum(own) / len(own) for sample, own in found.items()}


def _score(result: DimensionResult, name: str, version: str, value: float | None) -> dict[str, Any]:
    """Returns a score as `bench.work.scoring.score` stores it. Its `extra` has the condition's official score."""
    kind = "vbench-long" if result.is_long else "vbench"
    reason = f"VBench has no value of this video{_WITHOUT.get(result.dimension, '')}" if value is None else None
    return {"id": f"{name}-v{VERSION}-{kind}-{version}", "reference_sha256": None} | NOTHING | {
        "value": value, "reason": reason, "extra": {"overall": result.score}, "about": _about(result.dimension).stored()
    }  # fmt: skip


def _about(dimension: str) -> About:
    """Returns how tables show a dimension."""
    return About(
        f"vbench_{dimension}", f"VBench {dimension.replace('_', ' ')}", "", 4, 1, VIDEO_QUALITY,
        shown_with="motion" if dimension in _FROZEN else "", dimension=dimension,
    )  # fmt: skip


def _store(study: Path, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds the scores to those of each sample. A score without a value replaces no value of the same id."""
    store = Store(study)
    for sample, own in scores.items():
        place = store.at(sample)
        with claimed(study, place.claim, timeout_s=-1):
            stored = scores_of(place)
            for name, made in own.items():
                before = stored.get(name)
                if made["value"] is not None or not before or before["value"] is None or before["id"] != made["id"]:
                    stored[name] = made
            write_scores(place, stored)
