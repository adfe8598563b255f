"""The cache folder, hashes of files, and files that are there whole or not at all."""

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pooch

REMEMBERED_BYTES = 2**26  # from this size on, a hash is worth a note in the cache folder


def cache_folder() -> Path:
    """Where downloads and prompt embeddings lie: `$VGDFR_CACHE`, else the system's place for caches."""
    return Path(os.environ.get("VGDFR_CACHE") or pooch.os_cache("vgdfr"))


def without_cache(error: OSError) -> None:
    """Warn, once per process and folder, that the cache folder cannot be written, and go on without it."""
    _warn_without_cache(cache_folder(), error.strerror or str(error))


@cache
def _warn_without_cache(folder: Path, reason: str) -> None:
    _log.warning(
        "no cache: %s cannot be written: %s. Every run computes prompt embeddings and hashes of weights again; "
        "VGDFR_CACHE=FOLDER names another place",
        folder,
        reason,
    )


_log = logging.getLogger(__name__)


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to; it takes `file`'s place when the block ends, and is gone if it raises."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{uuid.uuid4().hex}{file.suffix}")
    try:
        yield partial
        with partial.open("rb") as f:
            os.fsync(f.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def readable(file: Path) -> bool:
    """Whether there is a file that this user may read. Unlike `is_file`, False in a folder that may not be searched."""
    return os.access(file, os.R_OK)


def sha256(file: Path) -> str:
    """Of the file's bytes, as hexadecimal digits."""
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def safetensors_bytes(file: Path) -> int:
    """How long a safetensors file is by its own header: 8 bytes of the header's length, the header, the tensors.

    At least what is needed to know, where not even the header is whole.
    """
    with file.open("rb") as f:
        head = 8 + int.from_bytes(f.read(8), "little")
        try:
            tensors = json.loads(f.read(head - 8)) if file.stat().st_size >= head else {}
        except ValueError as error:
            raise ValueError(f"{file} is no safetensors file: {error}") from error
    return head + max((t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"), default=0)


@cache
def sha256_of_weights(file: Path) -> str:
    """`sha256`, once per process: weights do not change while a sweep runs.

    Of a large file it is also noted in the cache folder, by place, inode, size and times of change, so that a model of
    tens of gigabytes is read for its hash once, not at every start. Where the cache folder cannot be written, a warning
    says so and the hash is computed at every start.
    """
    file = file.resolve()
    state = file.stat()
    if state.st_size < REMEMBERED_BYTES:
        return sha256(file)
    note = cache_folder() / "sha256" / f"{hashlib.sha256(os.fsencode(file)).hexdigest()}.json"
    seen = {
        "file": str(file),
        "bytes": state.st_size,
        "times_ns": [state.st_mtime_ns, state.st_ctime_ns],
        "inode": state.st_ino,
    }
    if readable(note):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if {name: noted.get(name) for name in seen} == seen:
            return noted["sha256"]
    digest = sha256(file)
    try:
        with whole(note) as partial:
            partial.write_text(json.dumps(seen | {"sha256": digest}), encoding="utf-8")
    except OSError as error:
        without_cache(error)
    return digest


def sha256_of_folder(folder: Path, parts: tuple[str, ...] = ("",)) -> str:
    """One hash over the weight, configuration and tokenizer files in `parts` of a checkpoint, by name and content."""
    total = hashlib.sha256()
    for file in sorted({file for part in parts for file in (folder / part).rglob("*")}):
        if file.suffix in (".safetensors", ".json", ".model", ".txt"):
            total.update(f"{file.relative_to(folder).as_posix()} {sha256_of_weights(file)}\n".encode())
    return total.hexdigest()
