"""The cache folder and hashes of files."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import platformdirs

from vgdfr_commands.atomic import atomic_file

HASHED = (".safetensors", ".json", ".model", ".txt")  # weights, configurations and tokenizers
REMEMBERED_BYTES = 2**26  # the cache folder keeps the hashes of files from this size on


def cache_folder() -> Path:
    """Returns the folder of downloads and prompt embeddings: `$VGDFR_CACHE`, or the system's cache folder."""
    return Path(os.environ.get("VGDFR_CACHE") or platformdirs.user_cache_dir("vgdfr"))


def warn_no_cache(error: OSError) -> None:
    """Warns, once per process, folder and reason, that the cache folder cannot be written."""
    _warn_unwritable(cache_folder(), error.strerror or str(error))


@cache
def _warn_unwritable(folder: Path, reason: str) -> None:
    _log.warning(
        "no cache: %s cannot be written: %s. Every run computes prompt embeddings and hashes of weights again; "
        "VGDFR_CACHE=FOLDER names another place",
        folder,
        reason,
    )


_log = logging.getLogger(__name__)


def readable(file: Path) -> bool:
    """Returns whether this user may read the file; False also in a folder that this user may not search."""
    return os.access(file, os.R_OK)


def sha256(file: Path) -> str:
    """Returns the sha256 of the file's bytes as hexadecimal digits."""
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def safetensors_bytes(file: Path) -> int:
    """Returns the size of a safetensors file according to its header: length field (8 bytes), header and tensors.

    If the header itself is cut short, the size without the tensors is returned. Raises ValueError if the header is
    not JSON.
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
    """Returns `sha256(file)`, computed once per process, since weights do not change while a sweep runs.

    The hash of a large file is also kept in the cache folder, with its path, inode, size and times of change. A model
    of tens of gigabytes is therefore hashed once, not at every start. If the cache folder cannot be written, a warning
    says so and every start computes the hash.
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
        with atomic_file(note) as partial:
            partial.write_text(json.dumps(seen | {"sha256": digest}), encoding="utf-8")
    except OSError as error:
        warn_no_cache(error)
    return digest


def sha256_of_folder(folder: Path, parts: tuple[str, ...] = ("",)) -> str:
    """Returns one hash over names and contents of weight, configuration and tokenizer files in `parts` of a folder."""
    files = sorted({file for part in parts for file in (folder / part).rglob("*")})
    return sha256_of_digests(
        {file.relative_to(folder).as_posix(): sha256_of_weights(file) for file in files if file.suffix in HASHED}
    )


def sha256_of_digests(digests: Mapping[str, str]) -> str:
    """Returns one hash over the names of files and the sha256 of each, in the given order."""
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in digests.items()).encode()).hexdigest()
