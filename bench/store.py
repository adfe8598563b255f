"""Stores results on disk in a folder per sample. A folder is either complete or absent.

`python -m bench.store ls runs/STUDY` lists a study's samples. `verify` checks every file against its hash and moves
damaged samples into quarantine, so that the sweep's command makes them again. `gc` removes leftovers of interrupted
workers. `merge SOURCE INTO` copies the verified samples of the study SOURCE into the study INTO, see `bench.merge`.
"""

import argparse
import errno
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from jaxtyping import UInt8
from safetensors.torch import save_file
from torch import Tensor

from bench.claims import claimed
from bench.facts import makes_video
from bench.record import Record, sha256_of_frames
from vgdfr.files import sha256, whole
from vgdfr.video import VideoSpec
from vgdfr.video_file import write_master, write_preview
from vgdfr_commands.start import run

RECORD, SCORES, MASTER, PREVIEW = "record.json", "scores.json", "master.mkv", "preview.mp4"
LATENTS = "latents.safetensors"
PLAN = "plan.json"
PARTIAL, QUARANTINE = ".partial-", ".quarantine"


def is_full(error: BaseException) -> bool:
    """Whether the disk or the user's quota is full, so that no other sample could be stored, either."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Store:
    """The samples of one study, below `folder`. A sample is written elsewhere, synced, then renamed into place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, place: str, key: str) -> Record | None:
        """Returns the record at `place` if its sample is finished and intact and has this `key`, else None."""
        record = self.recorded(place)
        if record is None or record.status != "done" or record.key != key:
            return None
        intact = all(
            (self.folder / place / name).is_file() and sha256(self.folder / place / name) == digest
            for name, digest in record.files.items()
        )
        there = record.files or not makes_video(vars(record))  # a sample without a video has no files
        return record if intact and there else None

    def recorded(self, place: str) -> Record | None:
        """Returns the record at `place`, finished or failed, or None if it is missing, damaged or of another schema."""
        try:
            return self.read(self.folder / place)
        except (ValueError, TypeError, FileNotFoundError):  # the last: the sample is being replaced
            return None

    def require_writable(self, place: str = "") -> None:
        """Makes the study's folder, or the parent folder of the sample at `place`.

        Raises OSError that names the folder if it cannot be written.
        """
        folder = (self.folder / place).parent if place else self.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            what = "a folder of samples" if place else "the study's folder"
            raise OSError(error.errno, f"{what} cannot be written ({error.strerror}): {folder}") from error

    def require_space(self, spec: VideoSpec, latents_bytes: int = 0) -> None:
        """Raises OSError if the disk lacks room for twice the largest size of a sample's master and latents."""
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = 2 * (spec.num_frames * spec.height * spec.width * 3 + latents_bytes)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(f"{self.folder} has {free / 1e6:.1f} MB left, and a sample may need {needed / 1e6:.1f} MB; "
                          "make room, then the same command continues")  # fmt: skip

    @staticmethod
    def read(folder: Path) -> Record | None:
        """Returns the record in `folder`, or None if there is none. Raises ValueError for a damaged record."""
        file = folder / RECORD
        return Record.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None

    def put(
        self,
        place: str,
        record: Record,
        frames: UInt8[np.ndarray, "t h w 3"] | None = None,
        fps: int = 1,
        latents: dict[str, Tensor] | None = None,
    ) -> Record:
        """Stores a sample, replacing a failed one. Any other goes into quarantine. Returns the hashed record."""
        with self.replacing(place) as partial:
            if frames is not None:
                write_master(partial / MASTER, frames, fps)
                write_preview(partial / PREVIEW, frames, fps)
            if latents is not None:
                save_file(latents, partial / LATENTS)
            record = replace(record, files={file.name: sha256(file) for file in sorted(partial.iterdir())})
            (partial / RECORD).write_text(record.to_json(), encoding="utf-8")
        return record

    @contextmanager
    def replacing(self, place: str) -> Iterator[Path]:
        """Yields a new folder that is the sample at `place` once the block ends. If the block raises, it is removed.

        A failed sample that was at `place` is removed. Any other goes into quarantine.
        """
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f"{PARTIAL}{uuid.uuid4().hex}"
        partial.mkdir()
        try:
            yield partial
            for file in partial.iterdir():
                _sync(file)
            _sync(partial)
            if target.exists():  # `get` refused a finished sample: keep it for inspection
                before = self.recorded(place)
                if before is None or before.status == "done":
                    self.quarantine(place)
                else:
                    shutil.rmtree(target)
            partial.rename(target)
            _sync(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def plan(self, places: Iterable[str]) -> None:
        """Adds a sweep's samples to the study's plan, so that reports can tell which samples are missing."""
        with claimed(self.folder, PLAN, timeout_s=-1):
            with whole(self.folder / PLAN) as partial:
                wanted = {"samples": sorted({*self.planned(), *places})}
                partial.write_text(json.dumps(wanted, indent=1), encoding="utf-8")

    def planned(self) -> list[str]:
        """Returns the places in the study's plan, or an empty list if the plan is missing or damaged."""
        try:
            return json.loads((self.folder / PLAN).read_text(encoding="utf-8"))["samples"]
        except (FileNotFoundError, ValueError, KeyError):
            return []

    def update(self, place: str, record: Record) -> Record:
        """Replaces the record of the sample at `place` atomically."""
        with whole(self.folder / place / RECORD) as partial:
            partial.write_text(record.to_json(), encoding="utf-8")
        return record

    def drop(self, place: str, record: Record, names: Iterable[str]) -> Record:
        """Removes the files `names` of a finished sample. The record lists their hashes as dropped."""
        going = {name: record.files[name] for name in names if name in record.files}
        if going:
            files = {name: digest for name, digest in record.files.items() if name not in going}
            # the record is written first, so that every file that it lists exists
            record = self.update(place, replace(record, files=files, dropped=record.dropped | going))
        for name in record.dropped:
            (self.folder / place / name).unlink(missing_ok=True)
        return record

    def restore(
        self,
        place: str,
        record: Record,
        frames: UInt8[np.ndarray, "t h w 3"],
        fps: int,
        latents: dict[str, Tensor] | None = None,
        difference: int = 0,
    ) -> Record:
        """Writes a sample's dropped files again. Raises ValueError if frames or latents are not those recorded.

        The bytes of the master's file may differ, because another version of the library may write it. Only the frames
        are compared. A `difference` other than 0 means that the frames differ by so many levels and that the caller
        tolerates it. The record then holds the hash of the new frames.
        """
        folder, written = self.folder / place, {}
        digest = sha256_of_frames(frames)
        if difference:
            record = replace(record, frames_sha256=digest, restored_difference=difference)
        if digest != record.frames_sha256:
            raise ValueError(f"its frames are not those recorded: sha256 {digest[:12]}, {record.frames_sha256}")
        if latents is not None:
            with whole(folder / LATENTS) as partial:
                save_file(latents, partial)
                written[LATENTS] = sha256(partial)
                if written[LATENTS] != record.sha256_of(LATENTS):
                    raise ValueError(f"its {LATENTS} made again are not those recorded: sha256 {written[LATENTS][:12]}")
        with whole(folder / MASTER) as partial:
            write_master(partial, frames, fps)
            written[MASTER] = sha256(partial)
        dropped = {name: digest for name, digest in record.dropped.items() if name not in written}
        return self.update(place, replace(record, files=record.files | written, dropped=dropped))

    def quarantine(self, place: str) -> Path:
        """Moves the sample at `place` into quarantine. Returns its new folder."""
        out_of_the_way = self.folder / QUARANTINE / f"{place}-{uuid.uuid4().hex[:8]}"
        out_of_the_way.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / place).rename(out_of_the_way)
        return out_of_the_way


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: argparse.Namespace) -> int:
    """Runs the command. Returns the exit status, 1 if a sample was damaged. Raises ValueError if there is no study."""
    from bench import merge, upkeep  # here, because they import this module

    if arguments.what == "ls":
        print(upkeep.ls(arguments.study))
        return 0
    if arguments.what == "verify":
        count, damaged = upkeep.verify(arguments.study)
        print("\n".join([*damaged, f"{count} samples checked, {len(damaged)} damaged"]))
        return int(bool(damaged))
    if arguments.what == "merge":
        counts: Counter[str] = Counter()
        for outcome in merge.merge(arguments.study, arguments.into, not arguments.dry_run):
            counts[outcome.kind] += 1
            if outcome.said:
                print(f"{outcome.place}: {outcome.said}", flush=True)
        print(merge.summary(counts, arguments.dry_run))
        return int(any(counts[kind] for kind in merge.PROBLEMS))
    if not arguments.study.is_dir():
        raise ValueError(f"there is no study at {arguments.study}")
    gone = upkeep.gc(arguments.study, arguments.quarantined, not arguments.dry_run)
    print("\n".join([*gone, f"{len(gone)} {'would be ' if arguments.dry_run else ''}removed"]))
    return 0


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ls", "verify", "gc", "merge"])
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1; merge: the one to copy from")
    parser.add_argument("into", type=Path, nargs="?", help="merge: the study to copy into, which may be new")
    parser.add_argument("--dry-run", action="store_true", help="gc, merge: only say what would go or be copied")
    parser.add_argument("--quarantined", action="store_true", help="gc: damaged samples, too")
    arguments = parser.parse_intermixed_args()  # merge SOURCE --dry-run INTO, too
    if (arguments.what == "merge") != (arguments.into is not None):
        parser.error("merge takes two studies, SOURCE and INTO; ls, verify and gc take one")
    return main(arguments)


if __name__ == "__main__":
    run(command)
