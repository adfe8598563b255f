"""Which video is compared with which: two files, or the files of equal names in two folders."""

from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {
    ".mkv", ".mp4", ".avi", ".mov", ".webm", ".m4v", ".gif", ".y4m", ".nut", ".ts", ".mpg", ".mpeg", ".apng", ".flv",
    ".wmv", ".ogv", ".3gp", ".webp",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """A generated video and its reference, under the name they share."""

    name: str
    reference: Path
    generated: Path


def pairs(reference: Path, generated: Path) -> list[Pair]:
    """One pair of two files; of two folders every video, by its path within the folder without the suffix.

    Raises ValueError for a file beside a folder, a folder without videos, a name that only one side has, or twice.
    """
    for path in (reference, generated):
        if not path.exists():
            raise ValueError(f"there is nothing at {path}")
    if reference.is_file() and generated.is_file():
        return [Pair(generated.stem, reference, generated)]
    if reference.is_file() or generated.is_file():
        raise ValueError(f"expected two files or two folders, got {reference} and {generated}")
    references, others = _videos(reference), _videos(generated)
    for folder, own, beside, partners in (
        (reference, references, generated, others), (generated, others, reference, references),
    ):  # fmt: skip
        if alone := sorted(own.keys() - partners.keys()):
            more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
            raise ValueError(f"{folder} has videos that {beside} has not: {', '.join(alone[:5])}{more}")
    return [Pair(name, references[name], others[name]) for name in sorted(references)]


def _videos(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in SUFFIXES:
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise ValueError(f"{folder} has two videos named {name}: {found[name].name} and {file.name}")
            found[name] = file
    if not found:
        raise ValueError(f"{folder} holds no video ({', '.join(sorted(SUFFIXES))})")
    return found
