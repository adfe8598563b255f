"""Stores results on disk in a folder per sample. A folder is either complete or absent. Imports no torch."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

from bench.store.claims import claimed
from bench.store.facts import makes_video
from bench.store.place import LATENTS, RECORD, Place
from bench.store.record import Record
from vgdfr.files import sha256
from vgdfr_commands.atomic import atomic_file

PLAN = "plan.json"
PARTIAL, QUARANTINE = ".partial-", ".quarantine"

Write = Callable[[Path], None]  # writes a sample's files into the folder that it gets


def is_full(error: BaseException) -> bool:
    """Whether the disk or the user's quota is full, so that no other sample could be stored, either."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Store:
    """The samples of one study, below `folder`. A sample is written elsewhere, synced, then renamed into place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def at(self, name: str) -> Place:
        """Returns the place of the sample `name` of this study, whether or not the sample exists."""
        return Place(self.folder, name)

    def places(self) -> list[Place]:
        """Returns the places of all samples that have a record, finished or failed, sorted by name."""
        files = sorted(self.folder.glob(f"[!.]*/[!.]*/{RECORD}"))
        return [self.at(str(file.parent.relative_to(self.folder))) for file in files]

    def get(self, place: Place, key: str) -> Record | None:
        """Returns the record at `place` if its sample is finished and intact and has this `key`, else None."""
        record = self.recorded(place)
        if record is None or record.status != "done" or record.key != key:
            return None
        intact = all(
            place.file(name).is_file() and sha256(place.file(name)) == digest for name, digest in record.files.items()
        )
        there = record.files or not makes_video(vars(record))  # a sample without a video has no files
        return record if intact and there else None

    def recorded(self, place: Place) -> Record | None:
        """Returns the record at `place`, finished or failed, or None if it is missing, damaged or of another schema."""
        try:
            return self.read(place)
        except (ValueError, TypeError, FileNotFoundError):  # the last: the sample is being replaced
            return None

    @staticmethod
    def read(place: Place) -> Record | None:
        """Returns the record at `place`, or None if there is none. Raises ValueError for a damaged record."""
        file = place.file(RECORD)
        return Record.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None

    def require_writable(self, place: Place | None = None) -> None:
        """Makes the study's folder, or the parent folder of the sample at `place`.

        Raises OSError that names the folder if it cannot be written.
        """
        folder = self.folder if place is None else place.folder.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            kind = "the study's folder" if place is None else "a folder of samples"
            raise OSError(error.errno, f"{kind} cannot be written ({error.strerror}): {folder}") from error

    def require_space(self, num_bytes: int) -> None:
        """Raises OSError if the disk lacks room for twice `num_bytes`, the largest size of a sample's files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        needed, free = 2 * num_bytes, shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(f"{self.folder} has {free / 1e6:.1f} MB left, and a sample may need {needed / 1e6:.1f} MB; "
                          "make room, then the same command continues")  # fmt: skip

    def put(self, place: Place, record: Record, write: Write | None = None) -> Record:
        """Stores a sample with the files that `write` writes. Returns the record with the files' hashes.

        A failed sample that was at `place` is replaced. Any other goes into quarantine.
        """
        with self.replacing(place) as new:
            if write is not None:
                write(new.folder)
            record = replace(record, files=_hashes(new.folder))
            new.file(RECORD).write_text(record.to_json(), encoding="utf-8")
        return record

    @contextmanager
    def replacing(self, place: Place) -> Iterator[Place]:
        """Yields a new, empty place that becomes `place` once the block ends. If the block raises, it is removed.

        A failed sample that was at `place` is removed. Any other goes into quarantine.
        """
        with self._partial(place) as new:
            yield new
            for file in new.folder.iterdir():
                _sync(file)
            _sync(new.folder)
            if place.folder.exists():  # `get` refused a finished sample: keep it for inspection
                before = self.recorded(place)
                if before is None or before.status == "done":
                    self.quarantine(place)
                else:
                    shutil.rmtree(place.folder)
            new.folder.rename(place.folder)
            _sync(place.folder.parent)

    @contextmanager
    def _partial(self, place: Place) -> Iterator[Place]:
        """Yields a new, hidden place next to `place`. Removes the new place after the block, unless it was renamed."""
        new = self.at(f"{place.condition}/{PARTIAL}{uuid.uuid4().hex}")
        place.folder.parent.mkdir(parents=True, exist_ok=True)
        new.folder.mkdir()
        try:
            yield new
        finally:
            shutil.rmtree(new.folder, ignore_errors=True)

    def plan(self, names: Iterable[str]) -> None:
        """Adds the names of a sweep's samples to the study's plan, so that reports can tell which are missing."""
        with claimed(self.folder, PLAN, timeout_s=-1):
            with atomic_file(self.folder / PLAN) as partial:
                wanted = {"samples": sorted({*self.planned(), *names})}
                partial.write_text(json.dumps(wanted, indent=1), encoding="utf-8")

    def planned(self) -> list[str]:
        """Returns the names of the samples in the study's plan. A missing or damaged plan is empty."""
        try:
            return json.loads((self.folder / PLAN).read_text(encoding="utf-8"))["samples"]
        except (FileNotFoundError, ValueError, KeyError):
            return []

    def update(self, place: Place, record: Record) -> Record:
        """Replaces the record of the sample at `place` atomically."""
        with atomic_file(place.file(RECORD)) as partial:
            partial.write_text(record.to_json(), encoding="utf-8")
        return record

    def drop(self, place: Place, record: Record, names: Iterable[str]) -> Record:
        """Removes the files `names` of a finished sample. The record lists their hashes as dropped."""
        going = {name: record.files[name] for name in names if name in record.files}
        if going:
            files = {name: digest for name, digest in record.files.items() if name not in going}
            # the record is written first, so that every file that it lists exists
            record = self.update(place, replace(record, files=files, dropped=record.dropped | going))
        for name in record.dropped:
            place.file(name).unlink(missing_ok=True)
        return record

    def restore(self, place: Place, record: Record, write: Write) -> Record:
        """Adds dropped files of a sample, which `write` writes again. Returns the record that lists them as kept.

        Raises ValueError if the latents are not those recorded. The bytes of a master may differ, because another
        version of the library may write it. The caller compares its frames.
        """
        with self._partial(place) as new:
            write(new.folder)
            written = _hashes(new.folder)
            if LATENTS in written and written[LATENTS] != record.sha256_of(LATENTS):
                raise ValueError(f"its {LATENTS} made again are not those recorded: sha256 {written[LATENTS][:12]}")
            for name in written:
                _sync(new.file(name))
                new.file(name).replace(place.file(name))
        dropped = {name: digest for name, digest in record.dropped.items() if name not in written}
        return self.update(place, replace(record, files=record.files | written, dropped=dropped))

    def quarantine(self, place: Place) -> Place:
        """Moves the sample at `place` into quarantine. Returns its new place."""
        out_of_the_way = self.at(f"{QUARANTINE}/{place.name}-{uuid.uuid4().hex[:8]}")
        out_of_the_way.folder.parent.mkdir(parents=True, exist_ok=True)
        place.folder.rename(out_of_the_way.folder)
        return out_of_the_way


def _hashes(folder: Path) -> dict[str, str]:
    """Returns the sha256 of each file in `folder` by name."""
    return {file.name: sha256(file) for file in sorted(folder.iterdir())}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
