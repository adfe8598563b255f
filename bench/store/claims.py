"""Claims and notes of the workers that share a study: who makes which unit, and what a dead worker was making."""

import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.store.record import Record

LOCKS = ".locks"
LAUNCH_BEGAN = "VGDFR_LAUNCH_BEGAN"  # an environment variable of a launch's workers: the time when the launch began
HOST = socket.gethostname()  # the number of a process is unique on its own machine only
DIED = "the process ended while it made this sample"
_NOTE = re.compile(r"at-(work|unit)-.*\.json")
_REMOVED = (errno.ENOENT, errno.ESTALE)  # the second: on NFS, removed by another machine
_POLL_S = 0.05


@contextmanager
def claimed(study: Path, name: str, timeout_s: float = 0) -> Iterator[bool]:
    """Yields True if this process alone has `name` of the study within the block, False if another process has it.

    Waits up to `timeout_s`, or for ever if that is -1. The system frees a claim when its process ends, for any reason.
    A claim is a lock file. Its holder removes the file; the file of a killed holder stays until the next claim of that
    name, or until `remove_unheld`.
    """
    file, until = study / LOCKS / name, time.monotonic() + timeout_s
    file.parent.mkdir(parents=True, exist_ok=True)
    while (descriptor := _lock(file)) is None:
        if timeout_s >= 0 and time.monotonic() >= until:
            yield False
            return
        time.sleep(_POLL_S)
    try:
        yield True
    finally:
        _release(file, descriptor)


def _lock(file: Path, flags: int = os.O_CREAT) -> int | None:
    """Creates and locks the file. Returns its descriptor, or None if another process holds the lock.

    Without O_CREAT in `flags` it locks only a file that is there, and raises FileNotFoundError if there is none.
    """
    while True:
        descriptor = os.open(file, os.O_RDWR | flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file after this process opened it. A lock on it then excludes nobody.
            if (held := os.fstat(descriptor)).st_nlink and os.path.samestat(held, os.stat(file)):
                return descriptor
        except (BlockingIOError, PermissionError):  # some file systems answer with the second
            os.close(descriptor)
            return None
        except OSError as error:
            if error.errno not in _REMOVED:
                os.close(descriptor)
                raise
        os.close(descriptor)


def _release(file: Path, descriptor: int) -> None:
    """Removes the file while it is locked, so that nobody can remove the file of a later holder. Then unlocks it."""
    with suppress(OSError):  # a file that stays does no harm
        file.unlink()
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may still have the descriptor
    os.close(descriptor)


def remove_unheld(study: Path, really: bool) -> list[Path]:
    """Removes lock files that no process holds: those of killed processes and of earlier versions. Returns the files.

    Removes nothing unless `really`.
    """
    unheld = []
    for file in sorted((study / LOCKS).glob("*")):
        descriptor = None
        with suppress(PermissionError, FileNotFoundError):  # another user's file, or its holder has just removed it
            descriptor = None if _NOTE.fullmatch(file.name) else _lock(file, flags=0)
        if descriptor is None:
            continue
        unheld.append(file)
        if really:
            _release(file, descriptor)
        else:
            os.close(descriptor)
    return unheld


@contextmanager
def at_unit(study: Path, unit: str, made: int) -> Iterator[None]:
    """Within the block a note tells which unit this process works on, and how many samples it has made before."""
    with _noted(unit_note_of(study, os.getpid()), {"unit": unit, "made": made}):
        yield


@contextmanager
def at_work(study: Path, place: str, failure: Record) -> Iterator[None]:
    """Within the block a note tells which sample this process makes. If it dies, the record becomes `failure`."""
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
    """Returns the file in which the process `pid` of this machine notes the sample that it makes."""
    return study / LOCKS / f"at-work-{HOST}-{pid}.json"


def unit_note_of(study: Path, pid: int) -> Path:
    """Returns the file in which the process `pid` of this machine notes the unit that it works on."""
    return study / LOCKS / f"at-unit-{HOST}-{pid}.json"


def left_by(study: Path, pid: int) -> tuple[str, Record] | None:
    """Returns the place of the sample that a dead process was making, and the record of its failure.

    Returns None if the process was making none.
    """
    left = _left(note_of(study, pid))
    return None if left is None else (left["place"], Record.from_json(json.dumps(left["record"])))


def unit_left_by(study: Path, pid: int) -> tuple[str, int] | None:
    """Returns the unit that a dead process worked on, and how many samples the process had made before.

    Returns None if the process worked on no unit.
    """
    left = _left(unit_note_of(study, pid))
    return None if left is None else (left["unit"], left["made"])


def _left(note: Path) -> dict[str, Any] | None:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # no note, or one half written
        return None


def skip_file(began: str) -> str:
    """Returns the name of the claim that a launch holds while it runs. Its file lists the units to pass over."""
    return f"skip-{began}"


def skip(study: Path, unit: str, began: str) -> None:
    """Makes the workers of the launch that began at `began` pass over `unit` from now on, because a worker died there.

    The launch holds the claim `skip_file`.
    """
    with (study / LOCKS / skip_file(began)).open("a", encoding="utf-8") as file:
        file.write(f"{unit}\n")


def skipped(study: Path, began: str | None) -> set[str]:
    """Returns the units that workers of the launch pass over. Returns an empty set if there is no launch (None)."""
    file = study / LOCKS / skip_file(began or "")
    return set(file.read_text(encoding="utf-8").splitlines()) if began and file.is_file() else set()
