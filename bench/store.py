"""The tree of results on disk: a folder per sample, complete or not there.

`python -m bench.store ls|verify|gc runs/STUDY` tells what a study holds, checks every file against its hash and puts
what is damaged into quarantine (the sweep's command makes it anew), and removes what interrupted workers left.
"""

import argparse
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from jaxtyping import UInt8
from safetensors.torch import save_file
from torch import Tensor

from bench.claims import claimed
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
    """Whether the disk has no room, or the user no more of it: then no other sample could be stored, either."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Store:
    """One study's samples below `folder`. A sample is written beside its place, synced, then renamed into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, place: str, key: str) -> Record | None:
        """The finished, intact sample at `place`; None if it is missing, failed, of another key, or damaged."""
        record = self.recorded(place)
        if record is None or record.status != "done" or record.key != key:
            return None
        intact = all(
            (self.folder / place / name).is_file() and sha256(self.folder / place / name) == digest
            for name, digest in record.files.items()
        )
        there = record.files or record.layer_errors is not None  # layer errors have no file of their own
        return record if intact and there else None

    def recorded(self, place: str) -> Record | None:
        """The record at `place`, finished or failed; None if there is none, or one of another schema, or damaged."""
        try:
            return self.read(self.folder / place)
        except (ValueError, TypeError, FileNotFoundError):  # gone between two looks: it is being replaced
            return None

    def require_writable(self, place: str = "") -> None:
        """Makes the study's folder, or the one that the sample at `place` goes to.

        Raises OSError that names the folder where nothing can be written there.
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
        """Raise OSError where the disk has no room for a sample's master and latents at their largest, twice over."""
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = 2 * (spec.num_frames * spec.height * spec.width * 3 + latents_bytes)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(f"{self.folder} has {free / 1e6:.1f} MB left, and a sample may need {needed / 1e6:.1f} MB; "
                          "make room, then the same command continues")  # fmt: skip

    @staticmethod
    def read(folder: Path) -> Record | None:
        """The record in `folder`, finished or failed; None if there is none."""
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
        """Store a sample, replacing a failed one, a damaged one going into quarantine; the record with its hashes."""
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f"{PARTIAL}{uuid.uuid4().hex}"
        partial.mkdir()
        try:
            if frames is not None:
                write_master(partial / MASTER, frames, fps)
                write_preview(partial / PREVIEW, frames, fps)
            if latents is not None:
                save_file(latents, partial / LATENTS)
            record = replace(record, files={file.name: sha256(file) for file in sorted(partial.iterdir())})
            (partial / RECORD).write_text(record.to_json(), encoding="utf-8")
            for file in partial.iterdir():
                _sync(file)
            _sync(partial)
            if target.exists():  # a failed sample goes; a finished one is damaged, and kept to be looked at
                before = self.recorded(place)
                if before is None or before.status == "done":
                    self.quarantine(place)
                else:
                    shutil.rmtree(target)
            partial.rename(target)
            _sync(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return record

    def plan(self, places: Iterable[str]) -> None:
        """Note what a sweep wants of this study, beside what others wanted: a report says what is missing."""
        with claimed(self.folder, PLAN, timeout_s=-1):
            file = self.folder / PLAN
            try:
                before = json.loads(file.read_text(encoding="utf-8"))["samples"]
            except (FileNotFoundError, ValueError, KeyError):  # none, or damaged
                before = []
            with whole(file) as partial:
                partial.write_text(json.dumps({"samples": sorted({*before, *places})}, indent=1), encoding="utf-8")

    def update(self, place: str, record: Record) -> Record:
        """Replace the record of the sample at `place`, whole or not at all."""
        with whole(self.folder / place / RECORD) as partial:
            partial.write_text(record.to_json(), encoding="utf-8")
        return record

    def drop(self, place: str, record: Record, names: Iterable[str]) -> Record:
        """Remove those files of a finished sample; the record goes on saying what they were."""
        going = {name: record.files[name] for name in names if name in record.files}
        if going:
            files = {name: digest for name, digest in record.files.items() if name not in going}
            # the record first: what it still names is always there
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
        """Put back what was dropped of a sample, given its frames and latents. Raises ValueError if they are others.

        The master's own bytes may be others, written by another version of the library: its frames decide. A
        `difference` other than 0 says that its frames are others by that many levels, which the caller tolerates; the
        record is then of the new frames.
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
        """Move the sample at `place` out of the way; where it is now."""
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
    """Print what was asked for; the exit status: 1 if something was damaged. Raises ValueError for no study."""
    from bench import upkeep  # which builds on this module

    if arguments.what == "ls":
        print(upkeep.ls(arguments.study))
        return 0
    if arguments.what == "verify":
        count, damaged = upkeep.verify(arguments.study)
        print("\n".join([*damaged, f"{count} samples checked, {len(damaged)} damaged"]))
        return int(bool(damaged))
    if not arguments.study.is_dir():
        raise ValueError(f"there is no study at {arguments.study}")
    gone = upkeep.gc(arguments.study, arguments.quarantined, not arguments.dry_run)
    print("\n".join([*gone, f"{len(gone)} {'would be ' if arguments.dry_run else ''}removed"]))
    return 0


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ls", "verify", "gc"])
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--dry-run", action="store_true", help="gc: only say what would go")
    parser.add_argument("--quarantined", action="store_true", help="gc: damaged samples, too")
    return main(parser.parse_args())


if __name__ == "__main__":
    run(command)
