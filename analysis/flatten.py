"""Flattens a sample's record and scores into one row of the index: numbers, truth values and texts."""

import hashlib
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from bench.store.facts import facts_of

RECORD_SCHEMA, SCORES_SCHEMA = 1, 2
# Fields of a record that are not columns: they are long, or `_of_record` derives columns from them.
_NO_COLUMNS = frozenset((
    "schema", "method", "identity", "environment", "timed_on", "schedule", "similarity", "data", "layer_errors",
    "files", "dropped", "warmups", "repeats", "noise_sha256", "frames_sha256", "error", "prompt_id", "seed_index",
    "title", "role", "family", "settings", "makes_video", "model_name", "timing", "run", "timed", "unpooled", "machine",
))  # fmt: skip
TEXTS = (
    "sample", "unreadable", "prompt", "status", "key", "slug", "model", "method", "title", "role", "family", "settings",
    "prompt_text", "model_identity", "device", "run", "schedule", "notes", "error", "timing", "dit_passes",
    "accelerated", "layers", "shared_stages", "prompt_dimensions", "spec", "counts", "timed_s", "made_run", "made_with",
    "isolated_run",
)  # fmt: skip

NUMBERS = (
    "latency_s", "token_ratio", "passes", "generator_version", "elapsed_s", "isolated_s", "unpooled_s",
    "unpooled_cpu_s", "other_busy_cores", "dit_flops", "peak_bytes",
)  # fmt: skip
# Lists of values per frame are most of the bytes. A quote within a JSON text has a backslash before it, so that the
# pattern cannot match inside a text.
_PER_FRAME = re.compile(rb'"per_frame":\s*\[[^\]]*\]')
# Columns that a reader computes. An unknown field of the same name gets "record." before it.
_COMPUTED = frozenset((
    "sample", "unreadable", "prompt", "seed", "model", "prompt_text", "model_identity", "device", "spec", "run",
    "stamp", "changed_ns", "read_ns", "study", "folder", "condition", "content", "video", "reference_latency_s",
    "no_speedup", "speedup", "dit_work", "generator_version", "counts", "timed_s", "made_run", "made_with",
    "made_otherwise", "elapsed_s", "isolated_s", "unpooled_s", "unpooled_cpu_s", "other_busy_cores", "clock",
    "no_latency", "bound", "isolated_run", "check_s", "peak_gib", "skipped",
    "fault",
))  # fmt: skip


def row_of(study: Path, sample: str) -> dict[str, Any] | None:
    """Returns the row of one sample, with the reason in `unreadable` for a damaged file, or None if it has gone."""
    record_file, scores_file = f"{study}/{sample}/record.json", f"{study}/{sample}/scores.json"
    verify = f"this moves the sample away: python -m bench.store verify {study}"
    score = f"this writes it again: python -m bench.score {study}"
    found: dict[str, Any] = {"unreadable": None}
    for file, remedy, columns_of in ((record_file, verify, _of_record), (scores_file, score, _of_scores)):
        try:
            if (document := _parsed(file)) is not None:
                found |= columns_of(document)
            elif file == record_file:  # a sweep replaces the sample at this moment
                return None
        except _Unreadable as error:
            return found | {"unreadable": f"{as_text(file)}: {error}".replace("{study}", as_text(str(study)))}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return found | {"unreadable": f"{as_text(file)} is damaged ({error!r}); {as_text(remedy)}"}
    return found


def as_text(name: str) -> str:
    """Returns a file's name as valid Unicode in any locale, bytes that are not UTF-8 written as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class _Unreadable(ValueError):
    """A file is of another schema or holds a wrong value. The message says what to do; "{study}" in it is the study."""


def _parsed(file: str) -> dict[str, Any] | None:
    """Returns the file's JSON object, or None if there is no file. Raises ValueError for any other content."""
    try:
        with open(file, "rb", buffering=0) as opened:
            content = opened.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        document = orjson.loads(_PER_FRAME.sub(b'"per_frame":null', content))
    except orjson.JSONDecodeError:
        document = _valid(json.loads(content))  # names of files may hold half characters, which orjson refuses
    if not isinstance(document, dict):
        raise TypeError("no object")
    return document


def _valid(value: Any) -> Any:
    """Returns JSON's value with texts that are valid Unicode."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_valid(v) for v in value]
    return {_valid(k): _valid(v) for k, v in value.items()} if isinstance(value, dict) else value


def _of_record(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record's columns."""
    if record.get("schema") != RECORD_SCHEMA:
        raise _Unreadable(f"expected a record of schema {RECORD_SCHEMA}, got {record.get('schema')}")
    identity, method, facts = record["identity"], record["method"], facts_of(record)
    spec, kind = identity["spec"], identity["model"].get("device_type")
    error = [line.strip() for line in (record.get("error") or "").splitlines() if line.strip()]
    row = {
        "prompt": record["prompt_id"],
        "seed": record["seed_index"],
        "prompt_text": spec.get("prompt"),
        "model": record.get("model_name"),
        "generator_version": identity["generator_version"],
        "method": method["name"],
        "title": facts.title,
        "role": facts.role,
        "family": facts.family,
        "settings": ", ".join(facts.settings),
        "makes_video": facts.makes_video,
        "schedule": _digest(orjson.dumps(record["schedule"]["segments"])) if record.get("schedule") else None,
        "error": error[-1] if error else None,
        **_of_times(record),
        **_of_settings(
            orjson.dumps({n: v for n, v in method.items() if n != "name"}),
            orjson.dumps({n: v for n, v in spec.items() if n not in ("prompt", "seed")}),
            orjson.dumps(identity["model"], option=orjson.OPT_SORT_KEYS),
        ),
        **_of_machine(kind, orjson.dumps(record.get("timed_on") or record.get("environment") or {})),
        "made_with": made_with(kind, record.get("environment") or {}),
    }
    for name, value in record.items():
        if name in _NO_COLUMNS:
            continue
        name = f"record.{name}" if name in _COMPUTED else name
        if isinstance(value, dict) and name not in TEXTS:
            for key, part in value.items():
                row[f"{name}.{key}"] = _scalar(part)
        else:
            row[name] = _scalar(value)
    if wrong := [name for name in NUMBERS if not isinstance(row.get(name, 0), (int, float, type(None)))]:
        raise TypeError(f"{wrong[0]} must be a number, got {row[wrong[0]]!r}")
    return row


def _of_times(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the columns of a sample's times: raw seconds, and its work for `analysis.prices`."""
    timed, unpooled, mode = record.get("timed") or {}, record.get("unpooled") or {}, record.get("timing", "shared")
    machine, runs_alone = record.get("machine") or {}, record.get("repeats") or [{}]
    counted = record.get("latency_s") is not None
    counts, seconds = {kind: int(each[0]) for kind, each in timed.items()}, {k: each[1:] for k, each in timed.items()}
    own = [sum(v[i] or 0.0 for v in unpooled.values()) for i in (0, 1)]
    is_older = record.get("run") is None
    if is_older and counted:
        counts, own = _work_of_older(record)
    has_work = counted and bool(counts)
    raw_s = sum(each[0] for each in seconds.values()) + own[0]
    return {
        "timing": mode if is_older else "pooled",
        "made_run": record.get("run"),
        "counts": orjson.dumps(counts, option=orjson.OPT_SORT_KEYS).decode() if has_work else None,
        "timed_s": orjson.dumps(seconds).decode() if has_work else None,
        "unpooled_s": own[0],
        "unpooled_cpu_s": own[1],
        "elapsed_s": record.get("latency_s") if is_older or not counted else raw_s,
        "isolated_s": record.get("latency_s") if mode == "isolated" else None,
        "isolated_run": runs_alone[0].get("run") if mode == "isolated" else None,
        "other_busy_cores": machine.get("other_busy_cores"),
    }


def _work_of_older(record: dict[str, Any]) -> tuple[dict[str, int], list[float]]:
    """Returns the counts of DiT passes in a record of an earlier version, and its seconds of all other work.

    Such a sample can be a baseline for the samples of a new run, which times full passes again.
    """
    if not record.get("dit_passes") or record.get("accelerated"):
        return {}, [0.0, 0.0]
    outside = {*record.get("outside_latency", ()), "denoise_full", "denoise_compressed"}
    other_s = sum(s for stage, s in record.get("seconds", {}).items() if stage not in outside)
    from vgdfr.passes import kinds_of_rows  # only older records need it, and tables are quick without vgdfr

    return kinds_of_rows(record["dit_passes"]), [other_s, other_s]


@lru_cache(maxsize=1024)  # the samples of a condition share them
def _of_settings(method: bytes, spec: bytes, model: bytes) -> dict[str, Any]:
    """Returns the columns method.NAME, video.NAME, and as JSON `spec` and `model_identity`, without the device."""
    identity = {name: value for name, value in orjson.loads(model).items() if name != "device_type"}
    settings = {f"method.{name}": _scalar(value) for name, value in orjson.loads(method).items()}
    video = {f"video.{name}": _scalar(value) for name, value in orjson.loads(spec).items()}
    texts = {"spec": spec.decode(), "model_identity": orjson.dumps(identity).decode()}
    return settings | video | texts


@lru_cache(maxsize=1024)
def _of_machine(kind: str | None, environment: bytes) -> dict[str, str]:
    """Returns the columns device and run.

    device: kind and name.
    run: a digest of all that a latency depends on apart from the sample: machine, threads, packages and code. It stands
        for the run of an older record, which names none.
    """
    own = orjson.loads(environment)
    device = " ".join(p for p in (kind, own.get("cpu" if kind == "cpu" else "gpu")) if p) or "unknown"
    code = own.get("code_sha256") or own.get("commit")
    rest = {name: value for name, value in own.items() if name not in ("command", "commit", "code_sha256")}
    return {"device": device, "run": _digest(orjson.dumps([kind, code, rest], option=orjson.OPT_SORT_KEYS))}


def made_with(kind: str | None, environment: dict[str, Any]) -> str:
    """Returns what changes the last bits of pixels, as JSON: device, threads of a CPU, and packages."""
    told = {"device": environment.get("cpu" if kind == "cpu" else "gpu")}
    told |= {"threads": environment.get("threads")} if kind == "cpu" else {}
    return orjson.dumps(told | (environment.get("packages") or {}), option=orjson.OPT_SORT_KEYS).decode()


def _scalar(value: Any) -> Any:
    """Returns a list of texts as lines, and any other list or mapping as JSON text."""
    if not isinstance(value, (list, dict)):
        return value
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return "\n".join(value) or None
    return orjson.dumps(value).decode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _of_scores(document: dict[str, Any]) -> dict[str, Any]:
    """Returns the columns of scores.json: NAME, NAME.kept, NAME.interpolated, NAME.id and so on for each metric."""
    if document.get("schema") != SCORES_SCHEMA:
        raise _Unreadable(
            f"expected scores of schema {SCORES_SCHEMA}, got {document.get('schema')}; score the study again: "
            "python -m bench.score {study} --metrics embedded (or paper, pixel)"
        )
    row: dict[str, Any] = {}
    for name, score in document["scores"].items():
        row[f"{name}.id"] = score["id"]
        for column, part in ((name, "value"), (f"{name}.kept", "kept"), (f"{name}.interpolated", "interpolated")):
            value = score.get(part)
            row[column] = number = None if value is None else float(value)
            if number is not None and number != number:
                raise _Unreadable(f"{column} is no number; remove the file and score the study again")
        if score["value"] is None:
            row[f"{name}.reason"] = score["reason"]
        extra = score.get("extra")
        if extra and extra.get("truncated"):
            row[f"{name}.truncated"] = int(extra.get("context_length", 0))
        if extra and "overall" in extra:  # another tool's score of all videos of the condition
            row[f"{name}.overall"] = float(extra["overall"])
        if "about" in score:  # a metric from outside this project; its module may be missing by now
            row[f"{name}.about"] = orjson.dumps(score["about"]).decode()
    return row
