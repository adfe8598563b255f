"""Read a study's records and scores as they lie on disk; no model code, no torch."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA, SCORES = 1, 2  # of record.json and scores.json
FRAMES = {"all": "value", "kept": "kept", "interpolated": "interpolated"}  # the name of their score in scores.json


class StudyError(ValueError):
    """The folder cannot be reported on; the message says why and what to do."""


@dataclass(frozen=True)
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


def load(study: Path, frames: str = "all") -> list[Row]:
    """Every sample of `study`, failed ones included, layer errors not. Raises StudyError if it holds none.

    `frames` are those that the scores are of: all, or those kept by the sample's schedule, or those interpolated.
    """
    if frames not in FRAMES:
        raise StudyError(f"frames must be one of {', '.join(FRAMES)}, got {frames!r}")
    if not study.is_dir():
        raise StudyError(f"{study} is no folder; a study is made by: python -m bench.sweep +exp=table1")
    samples = _samples(study, FRAMES[frames])
    rows = [row for row in samples if not row.is_probe]
    if samples and not rows:
        raise StudyError(
            f"{study} holds layer errors of +exp=rope_proxy and no videos; they are read by: "
            f"python -m analysis.rope_sensitivity SENSITIVITY_STUDY --proxy {study}"
        )
    if not rows:
        raise StudyError(f"{study} holds no samples; a study is made by: python -m bench.sweep +exp=table1")
    return rows


def load_probes(study: Path) -> list[Row]:
    """Every sample of layer errors in `study`, failed ones included. Raises StudyError if it holds none."""
    rows = [row for row in _samples(study, "value") if row.is_probe] if study.is_dir() else []
    if not rows:
        raise StudyError(f"{study} holds no layer errors; they are made by: python -m bench.sweep +exp=rope_proxy")
    return rows


def _samples(study: Path, part: str) -> list[Row]:
    files = sorted(study.glob("*/*/record.json"))
    return [_row(file, part) for file in files if not file.parent.name.startswith(".")]


def _row(file: Path, part: str) -> Row:
    record = _json_of(file, "moves the sample away: python -m bench.store verify")
    if record.get("schema") != SCHEMA:
        raise StudyError(f"{file}: expected a record of schema {SCHEMA}, got {record.get('schema')}")
    scores_file = file.with_name("scores.json")
    document: dict[str, Any] = {"schema": SCORES, "scores": {}}
    if scores_file.is_file():
        document = _json_of(scores_file, "writes it anew: python -m bench.score")
    if document.get("schema") != SCORES:
        raise StudyError(
            f"{scores_file}: expected scores of schema {SCORES}, got {document.get('schema')}; score the study again: "
            f"python -m bench.score {file.parents[2]} --metrics embedded (or paper, pixel)"
        )
    stored = document["scores"]
    values = {name: float(s[part]) for name, s in stored.items() if s.get(part) is not None}
    if wrong := [name for name, value in values.items() if math.isnan(value)]:
        raise StudyError(f"{scores_file}: {', '.join(wrong)} is no number; remove the file and score the study again")
    without = {name: s["reason"] for name, s in stored.items() if s["value"] is None}
    return Row(file.parent, record, values, without, {name: stored[name]["id"] for name in values})


def _json_of(file: Path, remedy: str) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise StudyError(f"{file} is damaged ({error}); this {remedy} {file.parents[2]}") from None
