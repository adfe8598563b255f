"""The files of a report: where a command writes them, and what it says if it cannot."""

import argparse
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class CannotWrite(OSError):
    """A report's folder cannot be written. The message names the folder, the reason and --out."""


def add_out(parser: argparse.ArgumentParser, default: str = "report") -> None:
    """Adds --out, which every command that writes a report has."""
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where to write (default: {default} in the study)")


def study_name(study: Path) -> str:
    """Returns the study's name for people: valid Unicode in any locale, bytes that are not UTF-8 written as \\xNN."""
    return os.fsencode(study.resolve().name).decode("utf-8", "backslashreplace")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Makes `folder` if it is not there. An OSError within the block becomes CannotWrite."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotWrite(f"{folder} cannot be written: {reason}; choose another folder with --out DIR") from error


def write(file: Path, content: str | bytes) -> Path:
    """Writes a file whole or not at all, text as UTF-8 with one line break at its end. Raises CannotWrite."""
    if isinstance(content, str):
        content = (content.rstrip("\n") + "\n").encode("utf-8", "backslashreplace")
    partial = file.with_name(f".{uuid.uuid4().hex}.partial")
    with writing(file.parent):
        try:
            partial.write_bytes(content)
            return partial.replace(file)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def write_and_print(files: Mapping[str, str | bytes], text: str, study: Path, out: Path | None) -> None:
    """Writes `files` into `out`, or into report/ of the study if that is None, and prints `text` in any case.

    A study that cannot be written, such as one on somebody else's disk, still has its report printed: stderr says what
    was not written. Raises CannotWrite if the user has chosen `out`.
    """
    refused = None
    try:
        for name, content in files.items():
            write((out or study / "report") / name, content)
    except CannotWrite as error:
        refused = error
    print(text)
    if refused is not None and out is not None:
        raise refused
    if refused is not None:
        print(f"not written: {', '.join(files)}. {refused}", file=sys.stderr)
