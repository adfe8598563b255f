"""Hashes of files."""

import hashlib
from functools import cache
from pathlib import Path


def sha256(file: Path) -> str:
    """Of the file's bytes, as hexadecimal digits."""
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@cache
def sha256_of_weights(file: Path) -> str:
    """`sha256`, once per process: weights do not change while a sweep runs."""
    return sha256(file)
