"""Reads a study's conditions for a tracker, from the records and scores on disk. Imports no torch."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.facts import facts_of

RECORD_SCHEMA, SCORES_SCHEMA = 1, 2  # equal to those of bench.record and bench.score, which import torch
FIXED = ("prompt_id", "seed_index", "status", "prompt", "latency_s", "token_ratio")  # the first columns of the table
LAST = ("preview", "notes", "error", "key")


@dataclass(frozen=True)
class Sample:
    """One sample, finished or failed. A score is a number, possibly infinite, or None with an entry in `reasons`."""

    folder: Path
    record: dict[str, Any]
    scores: dict[str, float | None]
    reasons: dict[str, str]

    @property
    def done(self) -> bool:
        return self.record["status"] == "done"

    @property
    def content(self) -> dict[str, Any]:
        """The identity of the sample's condition: everything that decides the pixels, except prompt and seed."""
        identity = self.record["identity"]
        spec = {name: value for name, value in identity["spec"].items() if name not in ("prompt", "seed")}
        return identity | {"spec": spec}

    @property
    def preview(self) -> Path | None:
        """The video for browsers, or None if the sample has none."""
        files = [self.folder / name for name in self.record.get("files", {}) if name.endswith(".mp4")]
        return next((file for file in files if file.is_file()), None)


@dataclass(frozen=True)
class TrackedCondition:
    """The samples of one condition. `name` is unique within the study."""

    name: str
    samples: tuple[Sample, ...]

    @cached_property
    def done(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.done]

    def config(self, study: str) -> dict[str, Any]:
        """Returns the fields for filters and groups: the condition, its model, video settings and provenance."""
        record, content = self.samples[0].record, self.samples[0].content
        return {
            "study": study,
            "condition": self.name,
            "slug": record["slug"],
            "method": record["method"],
            "model": {"name": record["model_name"]} | content["model"],
            "video": content["spec"],
            "generator_version": content["generator_version"],
            "provenance": provenance(self.samples),
        }

    def summary(self, baseline_s: dict[str, float]) -> dict[str, float | int]:
        """Returns the means over finished samples, and the number of samples.

        `baseline_s` is the latency of each baseline, by key. An infinite score is left out of the mean and counted as
        <name>_infinite. A column without finite values has no mean.
        """
        out: dict[str, float | int] = {"n": len(self.done), "n_failed": len(self.samples) - len(self.done)}
        columns = {name: [s.scores.get(name) for s in self.done] for name in score_names([self])}
        columns |= {name: [s.record.get(name) for s in self.done] for name in ("latency_s", "token_ratio", "passes")}
        for name, values in columns.items():
            there = [v for v in values if v is not None and not math.isnan(v)]
            finite = [v for v in there if math.isfinite(v)]
            if finite:
                out[name] = math.fsum(finite) / len(finite)
            if len(finite) < len(there):
                out[f"{name}_infinite"] = len(there) - len(finite)
        # the paper's speed-up: a ratio of mean latencies over common samples
        pairs = [(baseline_s.get(s.record["reference_key"]), s.record["latency_s"]) for s in self.done]
        common = [(base, own) for base, own in pairs if base is not None and own]
        if common:
            out["speedup"] = math.fsum(base for base, _ in common) / math.fsum(own for _, own in common)
        peaks = [peak for s in self.done if (peak := s.record.get("peak_bytes"))]
        return out | ({"peak_bytes": max(peaks)} if peaks else {})

    def table(self, study: Path, scores: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
        """Returns the columns and a row per sample, failed samples included. The preview is a path within the study.

        A score without a finite value is None, and the notes tell the reason.
        """
        rows = []
        for sample in sorted(self.samples, key=lambda s: (s.record["prompt_id"], s.record["seed_index"])):
            record = sample.record
            values = {name: sample.scores.get(name) for name in scores}
            odd = [f"{name}: {v}" for name, v in values.items() if v is not None and not math.isfinite(v)]
            notes = [*record.get("notes", ()), *odd, *(f"{n}: {why}" for n, why in sample.reasons.items())]
            first = [record["identity"]["spec"]["prompt"] if n == "prompt" else record.get(n) for n in FIXED]
            preview = str(sample.preview.relative_to(study)) if sample.preview else None
            error = (record.get("error") or "").strip().splitlines()
            last = [preview, "; ".join(notes) or None, error[-1] if error else None, record["key"]]
            rows.append([*first, *(_finite(v) for v in values.values()), *last])
        return [*FIXED, *scores, *LAST], rows


def read(study: Path) -> tuple[list[TrackedCondition], list[str]]:
    """Returns the study's conditions, the reference first, and messages for the samples that cannot be read.

    Raises ValueError if there is no sample. While a sweep is running, it returns the samples stored so far.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    unreadable = []
    for file in sorted(study.glob("[!.]*/[!.]*/record.json")):
        try:
            sample = _sample(file)
            groups[json.dumps([sample.record["slug"], sample.content], sort_keys=True)].append(sample)
        except FileNotFoundError:  # the sample is being replaced
            continue
        except (ValueError, KeyError, TypeError) as error:
            unreadable.append(f"{file.parent.relative_to(study)}: {type(error).__name__}: {error}")
    if not groups and not unreadable:
        raise ValueError(f"{study} holds no sample; a study is made by: python -m bench.sweep +exp=table1")
    by_slug: dict[str, list[list[Sample]]] = defaultdict(list)
    for samples in groups.values():
        by_slug[samples[0].record["slug"]].append(samples)
    ordered = sorted(by_slug.items(), key=lambda item: (not _is_reference(item[1]), item[0]))
    return [c for slug, same in ordered for c in _named(slug, same)], unreadable


def _is_reference(groups: list[list[Sample]]) -> bool:
    return facts_of(groups[0][0].record).role == "reference"


def _named(slug: str, groups: list[list[Sample]]) -> list[TrackedCondition]:
    """Returns the conditions of one slug. If there are several, their names hold the settings in which they differ."""
    flat = [dict(_flat(samples[0].content)) for samples in groups]
    names = sorted({n for each in flat for n in each if len({json.dumps(f.get(n)) for f in flat}) > 1})
    return [
        TrackedCondition(
            " ".join([slug, *(f"{n.rpartition('.')[2]}={_short(own.get(n))}" for n in names)]), (*samples,)
        )
        for own, samples in zip(flat, groups, strict=True)
    ]


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _short(value: Any) -> str:
    return value[:8] if isinstance(value, str) and len(value) == 64 else str(value)  # a sha256


def _sample(file: Path) -> Sample:
    record = json.loads(file.read_text(encoding="utf-8"))
    if record["schema"] != RECORD_SCHEMA:
        raise ValueError(f"expected a record of schema {RECORD_SCHEMA}, got {record['schema']}")
    scores: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    try:
        document = json.loads(file.with_name("scores.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # not scored yet
        document = {"schema": SCORES_SCHEMA, "scores": {}}
    except ValueError as error:
        document, reasons["scores"] = {"schema": SCORES_SCHEMA, "scores": {}}, f"scores.json is damaged ({error})"
    if document["schema"] != SCORES_SCHEMA:
        reasons["scores"] = f"expected scores of schema {SCORES_SCHEMA}, got {document['schema']}"
        document = {"scores": {}}
    for name, score in document["scores"].items():
        scores[name] = None if score["value"] is None else float(score["value"])
        if score["value"] is None:
            reasons[name] = score["reason"]
    return Sample(file.parent, record, scores, reasons)


def score_names(conditions: Iterable[TrackedCondition]) -> list[str]:
    """Returns the names of all scores that any sample has, null scores included."""
    return sorted({name for c in conditions for s in c.samples for name in s.scores})


def latencies(conditions: Iterable[TrackedCondition]) -> dict[str, float]:
    """Returns the latency of every finished sample that has one, by the sample's key."""
    return {s.record["key"]: s.record["latency_s"] for c in conditions for s in c.done if s.record["latency_s"]}


def provenance(samples: Iterable[Sample]) -> dict[str, Any]:
    """Returns code, versions, machine and weights. An entry in which samples differ is a list of the values."""
    seen: dict[str, dict[str, Any]] = defaultdict(dict)
    for sample in samples:
        weights = {"weights_sha256": sample.record["identity"]["model"].get("weights_sha256")}
        for name, value in (sample.record["environment"] | weights).items():
            seen[name][json.dumps(value, sort_keys=True)] = value
    return {n: next(iter(v.values())) if len(v) == 1 else [v[k] for k in sorted(v)] for n, v in seen.items()}


def run_id(study: str, what: Any) -> str:
    """Returns an id of the study's name and `what`. It is the same on every machine and every day."""
    return hashlib.sha256(json.dumps([study, what], sort_keys=True).encode()).hexdigest()[:16]


def newest_ns(study: Path) -> tuple[int, int]:
    """Returns the number of records and score files, and the time of the newest in ns, 0 if there is none."""
    times = []
    for file in (*study.glob("[!.]*/[!.]*/record.json"), *study.glob("[!.]*/[!.]*/scores.json")):
        try:
            times.append(file.stat().st_mtime_ns)
        except FileNotFoundError:
            continue
    return len(times), max(times, default=0)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
