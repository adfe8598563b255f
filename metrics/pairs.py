"""Which video is compared with which: two files, the files of equal names in two folders, or two conditions' samples.

What a study holds is known here by its names alone: `<condition>/<prompt>-s<seed>-<key>/{master.mkv, record.json}`.
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
SHOWN = 5  # names of a message, and how many more there are


@dataclass(frozen=True, slots=True)
class Pair:
    """A generated video and its reference, under the name they share: in one line, and composed (Unicode's NFC)."""

    name: str
    reference: Path
    generated: Path


def pairs(reference: Path, generated: Path) -> list[Pair]:
    """One pair of two files; of two folders every video, by its path within the folder without the suffix.

    A sample's folder in a study stands for its master, and is named by prompt and seed, `<prompt>-s<seed>`: two
    conditions are paired so. Where a condition has several videos of these, their length and size follow; where a
    folder has several files of one name, their suffixes do. What is hidden (a name that begins with a dot) is left
    out. Links to folders are followed.
    Raises ValueError for a file beside a folder, a folder without videos, a name that only one side has, or twice, and
    a sample whose master was not kept: its preview is no substitute.
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
    references, others = (_once_each(folder, v) for folder, v in zip((reference, generated), found, strict=True))
    for folder, own, beside, partners in (
        (reference, references, generated, others), (generated, others, reference, references),
    ):  # fmt: skip
        if alone := sorted(own.keys() - partners.keys()):
            failed = [f"{name} (its sample there has no master)" if name in _failed(beside) else name for name in alone]
            raise ValueError(f"{folder} has videos that {beside} has not: {some(failed)}")
    return [Pair(name, references[name], others[name]) for name in sorted(references)]


def prompt_of(pair: Pair) -> str | None:
    """What the records of a study's samples say that they show; None where there is no record.

    Raises ValueError for a damaged record, or two of different prompts.
    """
    said = [_spec(file).get("prompt") for file in (pair.reference, pair.generated)]
    if None not in said and said[0] != said[1]:
        raise ValueError(f"{pair.name}: the samples are of different prompts: {said[0]!r} and {said[1]!r}")
    return said[1] or said[0]


def require_whole(file: Path) -> None:
    """Raise ValueError for a sample's file that is not the one its record has the hash of.

    Another whole video may stand in its place.
    """
    expected = _record(file).get("files", {}).get(file.name)
    if expected is not None:
        with file.open("rb") as f:
            if hashlib.file_digest(f, "sha256").hexdigest() != expected:
                raise ValueError(f"{file} is not what was written; {_look_after(file)}")


def printable(text: str) -> str:
    r"""The text in one line that any UTF-8 output takes.

    Control characters and line breaks become escapes, and so do bytes of a file name that are not UTF-8 (`\xe9`), which
    Python keeps as surrogates.
    """
    return "".join(_escaped(c) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _videos(folder: Path) -> list[tuple[str, Path]]:
    """Every video with its name, in the order of the paths."""
    found, not_kept = [], []
    for file in sorted(_files(folder)):
        path = file.relative_to(folder)
        if sample := _sample(file):  # its preview is never listed
            if file.name == MASTER:
                found.append((_name((path.parent.parent / sample).as_posix()), file))
            elif file.name == RECORD and not file.with_name(MASTER).is_file():
                not_kept += [str(file.parent)] if MASTER in _record(file).get("dropped", {}) else []
        elif file.suffix.lower() in SUFFIXES:
            found.append((_name(path.with_suffix("").as_posix()), file))
    if not_kept:
        raise ValueError(
            f"{some(not_kept)}: the master was not kept; bring it back with keep=all, or score with: "
            "python -m bench.score"
        )
    if not found:
        raise ValueError(f"{folder} holds no video ({', '.join(sorted(SUFFIXES))})")
    return found


def _files(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Every file that is not hidden. A link to a folder that it lies in is not followed: it would never end."""
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


def _once_each(folder: Path, videos: list[tuple[str, Path]]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for name, file in videos:
        if name in by_name:
            two = [path.relative_to(folder).as_posix() for path in (by_name[name], file)]
            raise ValueError(f"{folder} has two videos named {name}: {' and '.join(two)}; name one of each")
        by_name[name] = file
    return by_name


def _sample(file: Path) -> str | None:
    """`<prompt>-s<seed>` of a file in the folder of a study's sample; None elsewhere."""
    match = SAMPLE.fullmatch(file.absolute().parent.name)
    return match[1] if match and any(file.with_name(name).is_file() for name in (MASTER, RECORD)) else None


def _failed(folder: Path) -> set[str]:
    """Names of a folder's samples that have a record and no master, such as failed ones."""
    files = (path for path in _files(folder) if path.name == RECORD and not path.with_name(MASTER).exists())
    matches = [(path, SAMPLE.fullmatch(path.name)) for path in (file.parent for file in files)]
    return {_name((path.relative_to(folder).parent / match[1]).as_posix()) for path, match in matches if match}


def _record(file: Path) -> dict[str, Any]:
    """The record beside a sample's master; empty where there is none. Raises ValueError for a damaged one."""
    beside = file.with_name(RECORD)
    if _sample(file) is None or not beside.is_file():
        return {}
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
        _ = record["identity"]["spec"], record["files"].get(MASTER)
        return record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{beside} is damaged ({type(error).__name__}: {error}); {_look_after(file)}") from error


def _spec(file: Path) -> dict[str, Any]:
    return _record(file).get("identity", {}).get("spec", {})


def _extent(file: Path) -> str:
    spec = _spec(file)
    return f"-{spec['num_frames']}x{spec['height']}x{spec['width']}" if spec else ""


def _look_after(file: Path) -> str:
    return f"move it away: python -m bench.store verify {file.absolute().parents[2]}"
