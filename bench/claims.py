"""Several workers over one folder: who makes what, and what a worker was at when it died."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:  # it brings torch, which a tracker's process does without
    from bench.record import Record

LOCKS = ".locks"
DIED = "the process ended while it made this sample"


@contextmanager
def claimed(study: Path, name: str, timeout_s: float = 0) -> Iterator[bool]:
    """Whether this process alone has `name` of the study within the block; False where another one has it.

    Waits for `timeout_s` (-1: for ever). The system frees a claim when its process ends, however it ends.
    """
    (study / LOCKS).mkdir(parents=True, exist_ok=True)
    lock = FileLock(study / LOCKS / name)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def at_work(study: Path, place: str, failure: "Record") -> Iterator[None]:
    """Within the block a note says what this process makes; `failure` is the record if it dies of it."""
    note = note_of(study, os.getpid())
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"place": place, "record": json.loads(failure.to_json())}))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def note_of(study: Path, pid: int) -> Path:
    """Where the process `pid` notes what it is at."""
    return study / LOCKS / f"at-work-{pid}.json"


def left_by(study: Path, pid: int) -> "tuple[str, Record] | None":
    """The sample that a process which is gone was at, and the record of its failure; None if it was at none."""
    from bench.record import Record

    note = note_of(study, pid)
    try:
        left = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):  # none, or not even the note was finished
        return None
    return left["place"], Record.from_json(json.dumps(left["record"]))
