"""Reads each video's prompt by the video's name, from a file in any form that `metrics.prompt_entries` reads."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from metrics.pairs import SUFFIXES, abbreviated
from metrics.prompt_entries import Entry, entries

FORM = (
    "a JSON object {NAME: PROMPT}, lines of NAME<tab>PROMPT, or JSON, JSONL, CSV or TSV with the fields name and prompt"
)


def read_prompts(file: Path) -> dict[str, tuple[str, int]]:
    """Returns for each name its prompt and the prompt's line.

    Raises FileNotFoundError, or ValueError that names file and line for another form, a repeated name or an empty
    prompt.
    """
    return {name: (entry.prompt, entry.line) for name, entry in _by_name(file).items()}


def prompts_for(file: Path, names: Sequence[str]) -> dict[str, str]:
    """Returns the prompt of each of the videos `names`. The file may name a video with its suffix (`a.mp4`).

    Raises ValueError for a video without a prompt, for a prompt without a video, and as `read_prompts` does.
    """
    known = {unicodedata.normalize("NFC", name): name for name in names}
    found: dict[str, tuple[str, int]] = {}
    for given, (prompt, line) in read_prompts(file).items():
        name = known.get(unicodedata.normalize("NFC", given)) or known.get(_without_suffix(given))
        if name is None:
            raise ValueError(f"{file}, line {line}: there is no video {given}; there are {abbreviated(sorted(names))}")
        if name in found:
            raise ValueError(f"{file}, line {line}: {name} already has a prompt on line {found[name][1]}")
        found[name] = prompt, line
    if without := [name for name in names if name not in found]:
        raise ValueError(f"{file} has no prompt for {abbreviated(without)}")
    return {name: prompt for name, (prompt, _) in found.items()}


def unused_fields(file: Path) -> list[str]:
    """Returns the names of fields in the file that hold neither a prompt nor a video's name."""
    return list(dict.fromkeys(field for entry in _by_name(file).values() for field in entry.others))


def _by_name(file: Path) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries(file, named=True):
        name = str(entry.name)
        if name in found:
            raise ValueError(f"{file}, line {entry.line}: {name} already has a prompt on line {found[name].line}")
        found[name] = entry
    if not found:
        raise ValueError(f"{file} holds no prompt; expected {FORM}")
    return found


def _without_suffix(name: str) -> str:
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    return path.with_suffix("").as_posix() if path.suffix.lower() in SUFFIXES else ""
