"""Pairs videos with their references: two files, files of equal names in two folders, or samples of two conditions.

This module knows a study by its file names alone: `<condition>/<prompt>-s<seed>-<key>/{master.mkv, record.json}`.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = {
    ".mkv", ".mp4", ".avi", ".mov", ".webm", ".m4v", ".gif", ".y4m", ".nut", ".ts", ".mpg", ".mpeg", ".apng", ".flv",
    ".wmv", ".ogv", ".3gp",
}  # fmt: skip
SAMPLE = re.compile(r"(.+-s\d+)-[0-9a-f]{8}")
MASTER, RECORD = "master.mkv", "record.json"
SHOWN = 5  # names that a message lists before it counts the rest


@dataclass(frozen=True, slots=True)
class Pair:
    """A generated video and its reference, with their common name in one line and in Unicode's composed form (NFC)."""

    name: str
    reference: Path
    generated: Path


def pairs(reference: Path, generated: Path) -> list[Pair]:
    """Returns the pair of two files, or the pairs of all videos in two folders, sorted by name.

    In folders, a video's name is its path within the folder without the suffix. The name of a sample in a study is
    `<prompt>-s<seed>`, which pairs the masters of two conditions. If a condition has several videos of a prompt and
    seed, their length and size are added to the name. If a folder has several files of a name, their suffixes are
    added. Hidden files and folders (with names that begin with a dot) are left out. Links to folders are followed.

    Raises ValueError for a file and a folder, for a folder without videos, for a name that only one folder has or that
    a folder has twice, and for a sample that lacks its master, because a preview is no substitute.
    """
    for path in (reference, generated):
        if not path.exists():
            raise ValueError(f"there is nothing at {path}")
    if reference.is_file() and generated.is_file():
        return [Pair(_name(_sample(generated) or generated.stem), reference, generated)]
    if reference.is_file() or generated.is_file():
        raise ValueError(f"expected two files or two folders, got {reference} and {generated}")
    found = [_videos(folder) for folder in (reference, generated)]
    if twice := {name for videos in found for name, count in Counter(name for name, _ in videos).items() if count > 1}:
        found = [
            [(f"{name}{_extent(file) or (file.suffix if name in twice else '')}", file) for name, file in videos]
            for videos in found
        ]
    references, others = (_by_unique_name(folder, v) for folder, v in zip((reference, generated), found, strict=True))
    for folder, videos, other, partners in (
        (reference, references, generated, others), (generated, others, reference, references),
    ):  # fmt: skip
        if alone := sorted(videos.keys() - partners.keys()):
            failed = [f"{name} (its sample there has no master)" if name in _failed(other) else name for name in alone]
            raise ValueError(f"{folder} has videos that {other} does not have: {abbreviated(failed)}")
    return [Pair(name, references[name], others[name]) for name in sorted(references)]


def prompt_of(pair: Pair) -> str | None:
    """Returns the prompt in the records of a pair of samples, or None without a record.

    Raises ValueError for a damaged record, and for samples of different prompts.
    """
    prompts = [_spec(file).get("prompt") for file in (pair.reference, pair.generated)]
    if None not in prompts and prompts[0] != prompts[1]:
        raise ValueError(f"{pair.name}: the samples have different prompts: {prompts[0]!r} and {prompts[1]!r}")
    return prompts[1] or prompts[0]


def require_whole(file: Path) -> None:
    """Raises ValueError for a sample's file if its sha256 is not the one in the sample's record.

    The file may be another complete video, which nothing else would show.
    """
    expected = _record(file).get("files", {}).get(file.name)
    if expected is not None:
        with file.open("rb") as f:
            if hashlib.file_digest(f, "sha256").hexdigest() != expected:
                raise ValueError(f"{file} is not what was written; {_how_to_remove(file)}")


def printable(text: str) -> str:
    r"""Returns the text as one line that any UTF-8 output accepts.

    Control characters and line breaks become escapes. So do bytes of a file name that are not UTF-8 (`\xe9`), which
    Python stores as surrogates.
    """
    return "".join(_escaped(c) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()


def abbreviated(names: list[str]) -> str:
    """Returns the first names of the list, and the number of the others."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _videos(folder: Path) -> list[tuple[str, Path]]:
    """Returns every video with its name, sorted by path."""
    found, not_kept = [], []
    for file in sorted(_files(folder)):
        path = file.relative_to(folder)
        if sample := _sample(file):  # a sample's preview is never listed
            if file.name == MASTER:
                found.append((_name((path.parent.parent / sample).as_posix()), file))
            elif file.name == RECORD and not file.with_name(MASTER).is_file():
                not_kept += [str(file.parent)] if MASTER in _record(file).get("dropped", {}) else []
        elif file.suffix.lower() in SUFFIXES:
            found.append((_name(path.with_suffix("").as_posix()), file))
    if not_kept:
        raise ValueError(
            f"{abbreviated(not_kept)}: the master was not kept; bring it back with keep=all, or score with: "
            "python -m bench.score"
        )
    if not found:
        raise ValueError(f"{folder} holds no video ({', '.join(sorted(SUFFIXES))})")
    return found


def _files(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Yields every file that is not hidden. Links to a folder that contains them are not followed: they never end."""
    status = folder.stat()
    above = (*above, (status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if not path.is_dir():
                yield path
            elif (path.stat().st_dev, path.stat().st_ino) not in above:
                yield from _files(path, above)


def _name(text: str) -> str:
    return printable(unicodedata.normalize("NFC", text))


def _by_unique_name(folder: Path, videos: list[tuple[str, Path]]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for name, file in videos:
        if name in by_name:
            two = [path.relative_to(folder).as_posix() for path in (by_name[name], file)]
            raise ValueError(f"{folder} has two videos named {name}: {' and '.join(two)}; name one of each")
        by_name[name] = file
    return by_name


def _sample(file: Path) -> str | None:
    """Returns `<prompt>-s<seed>` for a file in the folder of a study's sample, or None for any other file."""
    match = SAMPLE.fullmatch(file.absolute().parent.name)
    return match[1] if match and any(file.with_name(name).is_file() for name in (MASTER, RECORD)) else None


def _failed(folder: Path) -> set[str]:
    """Returns the names of a folder's samples that have a record and no master, such as failed samples."""
    files = (path for path in _files(folder) if path.name == RECORD and not path.with_name(MASTER).exists())
    matches = [(path, SAMPLE.fullmatch(path.name)) for path in (file.parent for file in files)]
    return {_name((path.relative_to(folder).parent / match[1]).as_posix()) for path, match in matches if match}


def _record(file: Path) -> dict[str, Any]:
    """Returns the record of a sample's file, or {} for any other file. Raises ValueError for a damaged record."""
    path = file.with_name(RECORD)
    if _sample(file) is None or not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _ = record["identity"]["spec"], record["files"].get(MASTER)
        return record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); {_how_to_remove(file)}") from error


def _spec(file: Path) -> dict[str, Any]:
    return _record(file).get("identity", {}).get("spec", {})


def _extent(file: Path) -> str:
    spec = _spec(file)
    return f"-{spec['num_frames']}x{spec['height']}x{spec['width']}" if spec else ""


def _how_to_remove(file: Path) -> str:
    return f"move it away: python -m bench.store verify {file.absolute().parents[2]}"
