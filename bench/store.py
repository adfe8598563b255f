"""The tree of results on disk: a folder per sample, complete or not there."""

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bench.record import Record
from vgdfr.files import sha256
from vgdfr.video_file import write_master, write_preview

RECORD, SCORES, MASTER, PREVIEW = "record.json", "scores.json", "master.mkv", "preview.mp4"


class Store:
    """One study's samples below `folder`. A sample is written beside its place, synced, then renamed into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, place: str, key: str) -> Record | None:
        """The finished, intact sample at `place`; None if it is missing, failed, of another key, or damaged."""
        try:
            record = self.read(self.folder / place)
        except (ValueError, TypeError):  # of another schema, or damaged
            return None
        if record is None or record.status != "done" or record.key != key:
            return None
        intact = all(
            (self.folder / place / name).is_file() and sha256(self.folder / place / name) == digest
            for name, digest in record.files.items()
        )
        return record if intact and record.files else None

    @staticmethod
    def read(folder: Path) -> Record | None:
        """The record in `folder`, finished or failed; None if there is none."""
        file = folder / RECORD
        return Record.from_json(file.read_text()) if file.is_file() else None

    def put(
        self, place: str, record: Record, frames: UInt8[np.ndarray, "t h w 3"] | None = None, fps: int = 1
    ) -> Record:
        """Store a sample, replacing a failed or damaged one; returns the record with its files' hashes."""
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f".partial-{uuid.uuid4().hex}"
        partial.mkdir()
        try:
            if frames is not None:
                write_master(partial / MASTER, frames, fps)
                write_preview(partial / PREVIEW, frames, fps)
                record = replace(record, files={name: sha256(partial / name) for name in (MASTER, PREVIEW)})
            (partial / RECORD).write_text(record.to_json())
            for file in partial.iterdir():
                _sync(file)
            _sync(partial)
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)
            _sync(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return record


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text)
    _sync(partial)
    partial.rename(file)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
