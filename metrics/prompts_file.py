"""Each video's prompt, by name, from a file: a JSON object, or lines of a name, a tab and the prompt."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from metrics.pairs import some

FORM = "a JSON object {NAME: PROMPT} or lines of NAME<tab>PROMPT"


def utf8(file: Path) -> str:
    """The text of a file. Raises FileNotFoundError, or ValueError naming the first line that is not UTF-8."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{file}, line {line}: expected UTF-8, got the byte 0x{data[error.start]:02x}; save the file as UTF-8"
        ) from error


def read_prompts(file: Path) -> dict[str, tuple[str, int]]:
    """Of each name its prompt and the line that it is on.

    Raises ValueError naming file and line for what is neither form, a name that is there twice, or an empty prompt.
    """
    text = utf8(file)
    entries = _of_object(file, text) if text.lstrip().startswith(("{", "[")) else _of_lines(file, text)
    found: dict[str, tuple[str, int]] = {}
    for name, prompt, line in entries:
        if name in found:
            raise ValueError(f"{file}, line {line}: {name} has a prompt on line {found[name][1]} already")
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"{file}, line {line}: expected a prompt for {name}, got {json.dumps(prompt)}")
        found[name] = prompt, line
    if not found:
        raise ValueError(f"{file} holds no prompt; expected {FORM}")
    return found


def prompts_for(file: Path, names: Sequence[str]) -> dict[str, str]:
    """The prompt of each of the videos `names`. Raises ValueError for one without, or a prompt of no video."""
    found = read_prompts(file)
    for name, (_, line) in found.items():
        if name not in names:
            raise ValueError(f"{file}, line {line}: there is no video {name}; there are {some(sorted(names))}")
    if without := [name for name in names if name not in found]:
        raise ValueError(f"{file} has no prompt for {some(without)}")
    return {name: prompt for name, (prompt, _) in found.items()}


def _of_lines(file: Path, text: str) -> Iterator[tuple[str, str, int]]:
    for i, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        name, tab, prompt = line.rstrip("\r").partition("\t")
        if not tab or not name.strip():
            raise ValueError(f"{file}, line {i}: expected NAME<tab>PROMPT, got {line.strip()[:60]!r}")
        yield name.strip(), prompt.strip(), i


def _of_object(file: Path, text: str) -> Iterable[tuple[str, Any, int]]:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}, line {error.lineno}: no JSON: {error.msg} (column {error.colno})") from error
    if not isinstance(whole, dict):
        raise ValueError(f"{file}, line 1: expected {FORM}, got a JSON list")
    return _members(text)


def _members(text: str) -> Iterator[tuple[str, Any, int]]:
    """Name, value and line of each member of the JSON object `text`, which json does not tell; doubles, too."""
    decoder, at = json.JSONDecoder(), text.index("{") + 1
    while text[at := _skipped(text, at, " \t\r\n,")] != "}":
        line = text.count("\n", 0, at) + 1
        name, at = decoder.raw_decode(text, at)
        value, at = decoder.raw_decode(text, _skipped(text, at, " \t\r\n:"))
        yield name, value, line


def _skipped(text: str, at: int, what: str) -> int:
    while text[at] in what:
        at += 1
    return at
