"""Read a study's records and scores as they lie on disk; no model code, no torch."""

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

SCHEMA, SCORES = 1, 2  # of record.json and scores.json
FRAMES = {"all": "value", "kept": "kept", "interpolated": "interpolated"}  # the name of their score in scores.json
# Lists of numbers, most of the files' bytes. A quote within a JSON string has a backslash before it, so neither can
# match inside one.
_PER_FRAME = re.compile(rb'"per_frame":\s*\[[^\]]*\]')
_FRAME_LISTS = re.compile(rb'"(lag[123]|kept_frames|kept_latents)":\s*\[[^\]]*\]')
# What tables need of a record, and reading little keeps 100,000 of them in memory.
LIGHT = (
    "schema", "status", "slug", "model_name", "method", "prompt_id", "seed_index", "prompt_dimensions", "identity",
    "environment", "timed_on", "token_ratio", "latency_s", "notes", "shared_stages", "timing",
)  # fmt: skip
MORE = ("schedule", "seconds", "layers", "checkpoint")  # what figures and projected costs need of all samples, too
# what many samples share
COMMON = (
    "method", "environment", "timed_on", "notes", "shared_stages", "prompt_dimensions", "layers", "checkpoint",
)  # fmt: skip
_AT_ONCE = 2000  # samples from which on reading them in several processes is worth their start


class StudyError(ValueError):
    """The folder cannot be reported on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sample: its record, its scores by name (null ones left out; an infinite one is `math.inf`) and their ids."""

    folder: Path
    record: dict[str, Any]
    scores: dict[str, float]
    reasons: dict[str, str]
    ids: dict[str, str]

    @property
    def sample_id(self) -> tuple[str, int]:
        """What conditions are compared on: prompt and seed."""
        return self.record["prompt_id"], self.record["seed_index"]

    @property
    def is_probe(self) -> bool:
        """Whether it is of layer errors, with no video."""
        return self.record["method"]["name"] == "ropeproxy"


def load(
    study: Path, frames: str = "all", light: bool = False, also: tuple[str, ...] = (), made_by: str = "table1"
) -> list[Row]:
    """Every sample of `study`, failed ones included, layer errors not. Raises StudyError if it holds none.

    `frames` are those that the scores are of: all, or those kept by the sample's schedule, or those interpolated.
    `light` records hold only what `LIGHT` names, settings that samples have in common being one object, and what `also`
    names, its lists of frames left empty: `whole` reads a record again. `made_by` is the experiment that makes such a
    study, for the error.
    """
    if frames not in FRAMES:
        raise StudyError(f"frames must be one of {', '.join(FRAMES)}, got {frames!r}")
    if not study.is_dir():
        raise StudyError(f"{study} is no folder; a study is made by: python -m bench.sweep +exp={made_by}")
    samples = _samples(study, FRAMES[frames], light, also)
    if not samples:
        raise StudyError(f"{study} holds no samples; a study is made by: python -m bench.sweep +exp={made_by}")
    rows = [row for row in samples if not row.is_probe]
    if not rows:
        raise StudyError(
            f"{study} holds layer errors of +exp=rope_proxy and no videos; they are read by: "
            f"python -m analysis.rope_sensitivity SENSITIVITY_STUDY --proxy {study}"
        )
    return rows


def whole(row: Row) -> Row:
    """A sample with all of its record, of a light one."""
    found = _sample(str(row.folder), "value", False)
    if found is None:
        raise StudyError(f"{row.folder} has gone while the study was read; run the command again")
    return found


def planned(study: Path) -> frozenset[str]:
    """The places of the samples that the study's sweeps wanted, as they noted; empty for one without such a note."""
    file = study / "plan.json"
    try:
        return frozenset(json.loads(file.read_text(encoding="utf-8"))["samples"]) if file.is_file() else frozenset()
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{file} is damaged ({error!r}); the study's sweep writes it anew") from None


def load_probes(study: Path) -> list[Row]:
    """Every sample of layer errors in `study`, failed ones included. Raises StudyError if it holds none."""
    rows = [row for row in _samples(study, "value") if row.is_probe] if study.is_dir() else []
    if not rows:
        raise StudyError(f"{study} holds no layer errors; they are made by: python -m bench.sweep +exp=rope_proxy")
    return rows


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
    """Within the block nobody looks for cycles, nor ever among what was made in it: there are none in what is read.

    Looking through millions of objects again and again takes seconds.
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
    """Where samples may lie: two levels down, nothing hidden."""
    found = []
    with os.scandir(study) as conditions:
        for condition in conditions:
            if condition.is_dir() and not condition.name.startswith("."):
                with os.scandir(condition.path) as samples:
                    found += [s.path for s in samples if not s.name.startswith(".")]
    return sorted(found)


class _Sharing:
    """Gives equal settings as one object."""

    def __init__(self) -> None:
        self.known: dict[bytes, Any] = {}

    def one(self, value: Any) -> Any:
        return self.known.setdefault(marshal.dumps(value, 2), value)

    def within(self, row: Row, one: Callable[[Any], Any]) -> Row:
        """The row with those of its parts that samples have in common given by `one`."""
        record, identity = row.record, row.record["identity"]
        common = {name: one(record[name]) for name in COMMON if name in record}
        kept = {name: one(v) if name == "model" else v for name, v in identity.items() if name != "method"}
        return Row(row.folder, record | common | {"identity": kept}, row.scores, one(row.reasons), one(row.ids))

    def among(self, rows: list[Row]) -> list[Row]:
        """The rows of one worker, who has shared among them: each of their common objects is looked at once."""
        seen: dict[int, Any] = {}  # by identity, which lasts as long as `rows` hold them

        def one(value: Any) -> Any:
            if id(value) not in seen:
                seen[id(value)] = self.one(value)
            return seen[id(value)]

        return [self.within(row, one) for row in rows]


def _read(folders: Sequence[str], part: str, light: bool, also: tuple[str, ...] = ()) -> list[Row]:
    """The samples in `folders`; a worker's share."""
    rows, share = [], _Sharing()
    for folder in folders:
        if row := _sample(folder, part, light, also):
            rows.append(share.within(row, share.one) if light else row)
    return rows


def _sample(folder: str, part: str, light: bool, also: tuple[str, ...] = ()) -> Row | None:
    """One sample; None where there is no record."""
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
        return Row(Path(folder), record, {}, {}, {})
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
    return Row(Path(folder), record, values, without, {name: stored[name]["id"] for name in values})


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
