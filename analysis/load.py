"""Reads a study's records and scores from disk. Imports no model code and no torch."""

import gc
import json
import marshal
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.facts import facts_of, makes_video

SCHEMA, SCORES = 1, 2  # of record.json and scores.json
FRAMES = {"all": "value", "kept": "kept", "interpolated": "interpolated"}  # the name of each one's value in scores.json
# Lists of numbers are most of the files' bytes. A quote within a JSON string has a backslash before it, so neither
# pattern can match inside a string.
_PER_FRAME = re.compile(rb'"per_frame":\s*\[[^\]]*\]')
_FRAME_LISTS = re.compile(rb'"(lag[123]|kept_frames|kept_latents)":\s*\[[^\]]*\]')
# The fields of a record that tables need. Reading no more lets 100,000 records fit into memory.
LIGHT = (
    "schema", "status", "slug", "model_name", "method", "prompt_id", "seed_index", "prompt_dimensions", "identity",
    "environment", "timed_on", "token_ratio", "latency_s", "notes", "shared_stages", "timing",
    "title", "role", "family", "settings", "makes_video",
)  # fmt: skip
# fields that figures and projected costs need in addition
MORE = ("schedule", "seconds", "layers", "checkpoint", "dit_passes", "accelerated")
# fields that many samples share
COMMON = (
    "method", "environment", "timed_on", "notes", "shared_stages", "prompt_dimensions", "layers", "checkpoint",
    "title", "role", "family", "settings", "dit_passes",
)  # fmt: skip
_AT_ONCE = 2000  # from so many samples on, several processes are faster than one


class StudyError(ValueError):
    """The study cannot be reported on. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sample: the record, and by name the scores, the reasons for null scores, and the metrics' ids.

    `scores` leaves out null scores. An infinite score is `math.inf`. `truncated` names the scores that compare with the
    beginning of the prompt alone, with the number of tokens that the metric reads, 0 if it was not stored.
    """

    folder: Path
    record: dict[str, Any]
    scores: dict[str, float]
    reasons: dict[str, str]
    ids: dict[str, str]
    truncated: dict[str, int]

    @property
    def sample_id(self) -> tuple[str, int]:
        """Prompt and seed, on which conditions are compared."""
        return self.record["prompt_id"], self.record["seed_index"]

    @property
    def is_probe(self) -> bool:
        """Whether the sample is of a method that makes no video and measures something else."""
        return not makes_video(self.record)


def load(
    study: Path, frames: str = "all", light: bool = False, also: tuple[str, ...] = (), made_by: str = "table1"
) -> list[Row]:
    """Returns every sample with a video, failed samples included. See `load_both`."""
    return load_both(study, frames, light, also, made_by)[0]


def load_both(
    study: Path, frames: str = "all", light: bool = False, also: tuple[str, ...] = (), made_by: str = "table1"
) -> tuple[list[Row], list[Row]]:
    """Returns every sample with a video and every probe (`Row.is_probe`), failed samples included.

    Raises StudyError if there is no sample with a video.

    frames: the frames that the scores are over: "all", "kept" (by the sample's schedule) or "interpolated".
    light: records hold only the fields of `LIGHT` and `also`, their lists of frames are empty, and their identity lacks
        the method. Equal settings of samples are one object. `whole` reads a record again.
    made_by: the experiment that makes such a study, for the error message.
    """
    if frames not in FRAMES:
        raise StudyError(f"frames must be one of {', '.join(FRAMES)}, got {frames!r}")
    if not study.is_dir():
        raise StudyError(f"{study} is no folder; a study is made by: python -m bench.sweep +exp={made_by}")
    samples = _samples(study, FRAMES[frames], light, also)
    if not samples:
        raise StudyError(f"{study} holds no samples; a study is made by: python -m bench.sweep +exp={made_by}")
    rows, probes = [row for row in samples if not row.is_probe], [row for row in samples if row.is_probe]
    if not rows:
        titles = ", ".join(sorted({facts_of(row.record).title for row in samples}))
        raise StudyError(
            f"{study} holds measurements of {titles} and no videos; those of +exp=rope_proxy are read by: "
            f"python -m analysis.rope_sensitivity SENSITIVITY_STUDY --proxy {study}"
        )
    return rows, probes


def whole(row: Row) -> Row:
    """Returns the light `row` with its whole record. Raises StudyError if the sample has gone."""
    found = _sample(str(row.folder), "value", False)
    if found is None:
        raise StudyError(f"{row.folder} has gone while the study was read; run the command again")
    return found


def planned(study: Path) -> frozenset[str]:
    """Returns the places of the samples that the study's sweeps planned, empty for a study without a plan."""
    file = study / "plan.json"
    try:
        return frozenset(json.loads(file.read_text(encoding="utf-8"))["samples"]) if file.is_file() else frozenset()
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{file} is damaged ({error!r}); the study's sweep writes it anew") from None


def load_probes(study: Path) -> list[Row]:
    """Returns every sample of a method that makes no video, failed samples included, or raises StudyError for none."""
    rows = [row for row in _samples(study, "value") if row.is_probe] if study.is_dir() else []
    if not rows:
        raise no_probes(study)
    return rows


def no_probes(study: Path) -> StudyError:
    return StudyError(f"{study} holds no layer errors; they are made by: python -m bench.sweep +exp=rope_proxy")


def _samples(study: Path, part: str, light: bool = False, also: tuple[str, ...] = ()) -> list[Row]:
    folders = _folders(study)
    workers = min(os.cpu_count() or 1, len(folders) // _AT_ONCE) if light else 1
    if workers <= 1:
        return _read(folders, part, light, also)
    parts = [folders[i : i + _AT_ONCE] for i in range(0, len(folders), _AT_ONCE)]
    rows, share = [], _Sharing()
    with _no_collection(), ProcessPoolExecutor(workers) as pool:
        for some in pool.map(partial(_read, part=part, light=True, also=also), parts):
            rows += share.among(some)
    return rows


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turns the garbage collector off in the block, and freezes the objects made in it: JSON has no reference cycles.

    Repeated collections over millions of objects would take seconds.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


def _folders(study: Path) -> list[str]:
    """Returns the folders that may hold samples: two levels down and not hidden."""
    found = []
    with os.scandir(study) as conditions:
        for condition in conditions:
            if condition.is_dir() and not condition.name.startswith("."):
                with os.scandir(condition.path) as samples:
                    found += [s.path for s in samples if not s.name.startswith(".")]
    return sorted(found)


class _Sharing:
    """Replaces equal settings by one object."""

    def __init__(self) -> None:
        self.known: dict[bytes, Any] = {}

    def one(self, value: Any) -> Any:
        return self.known.setdefault(marshal.dumps(value, 2), value)

    def within(self, row: Row, one: Callable[[Any], Any]) -> Row:
        """Returns a light row. `one` replaces the parts that samples share, and the identity loses the method."""
        record, identity = row.record, row.record["identity"]
        common = {name: one(record[name]) for name in COMMON if name in record}
        kept = {name: one(v) if name == "model" else v for name, v in identity.items() if name != "method"}
        record = record | common | {"identity": kept}
        return Row(row.folder, record, row.scores, one(row.reasons), one(row.ids), one(row.truncated))

    def among(self, rows: list[Row]) -> list[Row]:
        """Returns the rows of one worker. The worker has already shared objects, so that each is looked at once."""
        seen: dict[int, Any] = {}  # by object id, which is valid while `rows` hold the objects

        def one(value: Any) -> Any:
            if id(value) not in seen:
                seen[id(value)] = self.one(value)
            return seen[id(value)]

        return [self.within(row, one) for row in rows]


def _read(folders: Sequence[str], part: str, light: bool, also: tuple[str, ...] = ()) -> list[Row]:
    """Returns the samples in `folders`, a worker's share of the study."""
    rows, share = [], _Sharing()
    for folder in folders:
        if row := _sample(folder, part, light, also):
            rows.append(share.within(row, share.one) if light else row)
    return rows


def _sample(folder: str, part: str, light: bool, also: tuple[str, ...] = ()) -> Row | None:
    """Returns the sample in `folder`, or None if there is no record. Raises StudyError for a damaged file."""
    file = f"{folder}/record.json"
    if (data := _bytes(file)) is None:
        return None
    if light:
        data = _FRAME_LISTS.sub(rb'"\1": []', data)
    record = _parsed(data, file, "moves the sample away: python -m bench.store verify")
    if record.get("schema") != SCHEMA:
        raise StudyError(f"{file}: expected a record of schema {SCHEMA}, got {record.get('schema')}")
    if light:
        record = {name: record[name] for name in (*LIGHT, *also) if name in record}
    file = f"{folder}/scores.json"
    data = _bytes(file)
    if data is None:
        return Row(Path(folder), record, {}, {}, {}, {})
    document = _parsed(_PER_FRAME.sub(b'"per_frame": null', data), file, "writes it anew: python -m bench.score")
    if document.get("schema") != SCORES:
        raise StudyError(
            f"{file}: expected scores of schema {SCORES}, got {document.get('schema')}; score the study again: "
            f"python -m bench.score {Path(file).parents[2]} --metrics embedded (or paper, pixel)"
        )
    stored = document["scores"]
    values = {name: float(s[part]) for name, s in stored.items() if s.get(part) is not None}
    if wrong := [name for name, value in values.items() if math.isnan(value)]:
        raise StudyError(f"{file}: {', '.join(wrong)} is no number; remove the file and score the study again")
    without = {name: s["reason"] for name, s in stored.items() if s["value"] is None}
    extra = {name: stored[name].get("extra") or {} for name in values}
    truncated = {name: int(e.get("context_length", 0)) for name, e in extra.items() if e.get("truncated")}
    return Row(Path(folder), record, values, without, {name: stored[name]["id"] for name in values}, truncated)


def _bytes(file: str) -> bytes | None:
    try:
        with open(file, "rb", buffering=0) as opened:
            return opened.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parsed(data: bytes, file: str, remedy: str) -> dict[str, Any]:
    try:
        document, damage = json.loads(data), "no object"
    except ValueError as error:
        document, damage = None, str(error)
    if not isinstance(document, dict):
        raise StudyError(f"{file} is damaged ({damage}); this {remedy} {Path(file).parents[2]}")
    return document
