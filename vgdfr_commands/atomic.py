"""Atomic writes: a reader finds the old file or the complete new one, also if the writer is killed."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(file: Path, within: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path in the folder of `file`, which is made if needed. The block writes to that path.

    If readers of that folder would take any file for theirs, `within` names another folder for the temporary path, on
    the same file system. When the block ends, the temporary file is synchronised to the disk and replaces `file`. If
    the block or the replacement raises, the temporary file is removed and `file` stays as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = (within or file.parent) / f".{uuid.uuid4().hex}{file.suffix}"
    try:
        yield partial
        with partial.open("rb") as f:
            os.fsync(f.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
