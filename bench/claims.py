"""Several workers over one folder: who makes what, and what a worker was at when it died."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:  # it brings torch, which a tracker's process does without
    from bench.record import Record

LOCKS = ".locks"
HOST = socket.gethostname()  # a process's number says something on its own machine only
SKIP = "skip-"  # and when the launch began: units that its workers pass over
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
def at_unit(study: Path, unit: str, made: int) -> Iterator[None]:
    """Within the block a note says which unit this process is at, and how many samples it made before."""
    with _noted(unit_note_of(study, os.getpid()), {"unit": unit, "made": made}):
        yield


@contextmanager
def at_work(study: Path, place: str, failure: "Record") -> Iterator[None]:
    """Within the block a note says what this process makes; `failure` is the record if it dies of it."""
    with _noted(note_of(study, os.getpid()), {"place": place, "record": json.loads(failure.to_json())}):
        yield


@contextmanager
def _noted(note: Path, content: dict[str, Any]) -> Iterator[None]:
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(content), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def note_of(study: Path, pid: int) -> Path:
    """Where the process `pid` of this machine notes which sample it makes."""
    return study / LOCKS / f"at-work-{HOST}-{pid}.json"


def unit_note_of(study: Path, pid: int) -> Path:
    """Where the process `pid` of this machine notes which unit it is at."""
    return study / LOCKS / f"at-unit-{HOST}-{pid}.json"


def left_by(study: Path, pid: int) -> "tuple[str, Record] | None":
    """The sample that a process which is gone was at, and the record of its failure; None if it was at none."""
    from bench.record import Record

    left = _left(note_of(study, pid))
    return None if left is None else (left["place"], Record.from_json(json.dumps(left["record"])))


def unit_left_by(study: Path, pid: int) -> tuple[str, int] | None:
    """The unit that a process which is gone was at, and how many samples it had made before; None if it was at none."""
    left = _left(unit_note_of(study, pid))
    return None if left is None else (left["unit"], left["made"])


def _left(note: Path) -> dict[str, Any] | None:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none, or not even the note was finished
        return None


def skip(study: Path, unit: str, began: str) -> None:
    """Have the workers of the launch that `began` then pass over `unit`, which one of them died at."""
    with (study / LOCKS / f"{SKIP}{began}").open("a", encoding="utf-8") as file:
        file.write(f"{unit}\n")


def skipped(study: Path, began: str | None) -> set[str]:
    """The units that workers of the launch that `began` then pass over; none where there is no launch."""
    file = study / LOCKS / f"{SKIP}{began}"
    return set(file.read_text(encoding="utf-8").splitlines()) if began and file.is_file() else set()
