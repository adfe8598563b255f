"""Reads the prompts of a file. Its suffix or its first characters determine its form.

The rule: `.csv` and `.tsv` are tables whose header names a prompt column, `.jsonl` and `.ndjson` are one JSON
value per line, and `.json` is JSON. Any other file is JSON, too, if it begins like JSON (with `["`, `[{` or `{"`) and
either parses or was plainly meant to parse (`["a", `, `{"a":`). Every other file is plain text with one entry per line,
whatever commas, tabs or brackets it contains.
"""

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.json_reading import (
    BEGINS_AS_JSON,
    JSON_LINES,
    elements,
    equal_keys_refused,
    is_json,
    is_meant_as_json,
    members,
    parsed,
    refuse_equal,
)  # fmt: skip

# A prompt, or a video's name, is in the first of these fields, or else in the only one that the file has.
PROMPT_FIELDS = ("prompt", "text", "caption", "prompt_en")
NAME_FIELDS = ("name", "video", "file", "filename", "path")
TABLES = {".csv": ",;\t", ".tsv": "\t"}  # the delimiters that a table may have
BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip
CHARACTER_NAMES = {
    "\n": "a line break", "\0": "NUL", "\x1a": "Ctrl-Z", "\x1b": "ESC", "\v": "vertical tab", "\f": "form feed",
    "\x85": "next line", "\u2028": "line separator", "\u2029": "paragraph separator", "\ufeff": "byte order mark",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A prompt, the line that it begins on, the video's name if the file has names, and the names of other fields."""

    prompt: str
    line: int
    name: str | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Unchecked:
    """An entry as the file has it: prompt and name may be any JSON value."""

    prompt: Any
    line: int
    name: Any = None
    others: tuple[str, ...] = ()


def utf8(file: Path) -> str:
    """Returns the text of a file. Every line end (CRLF or CR) becomes a line feed.

    Raises FileNotFoundError. Raises ValueError that names the encoding of another byte order mark, or the first line
    that is not UTF-8.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    data = file.read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"{file}: expected UTF-8, got {encoding} (by its byte order mark); save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{file}, line {line}: expected UTF-8, got the byte 0x{data[error.start]:02x}; save the file as UTF-8"
        ) from error


def entries(file: Path, named: bool) -> list[Entry]:
    """Returns the entries of `file` in order. If `named`, each entry must have a video's name.

    Blank lines are left out. So are lines that begin with `#` in a text file without names. Raises FileNotFoundError.
    Raises ValueError that names file and line for another form, and for a prompt that is no text, is blank, or holds a
    control character other than a tab.
    """
    text, suffix = utf8(file), file.suffix.lower()
    if suffix in TABLES:
        found = _of_table(file, text, named)
    elif suffix in JSON_LINES:
        found = _of_json_lines(file, text, named)
    elif suffix == ".json" or is_meant_as_json(text):
        found = _of_json(file, text, named)
    else:
        found = _of_named_lines(file, text) if named else _of_lines(text)
    return [_checked(file, entry, named) for entry in found]


def _checked(file: Path, entry: _Unchecked, named: bool) -> Entry:
    """Returns the entry with prompt and name stripped. Raises ValueError unless both are texts, see `entries`."""
    prompt, name, where = entry.prompt, entry.name, f"{file}, line {entry.line}"
    if named and not (isinstance(name, str) and name.strip()):
        raise ValueError(f"{where}: expected a video's name, got {json.dumps(name)}")
    if not isinstance(prompt, str) or not prompt.strip():
        video = f" for {name}" if name else ""
        got = json.dumps(prompt.strip() if isinstance(prompt, str) else prompt)
        raise ValueError(f"{where}: expected a prompt{video}, got {got}")
    prompt = prompt.strip(" \t\n")
    for character in prompt:
        kind = unicodedata.category(character)
        if (kind in ("Cc", "Cs", "Zl", "Zp") and character != "\t") or character == "\ufeff":
            called = CHARACTER_NAMES.get(character) or (
                "half a surrogate pair" if kind == "Cs" else "a control character"
            )
            raise ValueError(
                f"{where}: expected a prompt of printable characters, got U+{ord(character):04X} ({called}) in "
                f"{prompt[:60]!r}; remove it"
            )
    return Entry(prompt.strip(), entry.line, name.strip() if named else None, entry.others)


def _of_lines(text: str) -> Iterator[_Unchecked]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield _Unchecked(line, number)


def _of_named_lines(file: Path, text: str) -> Iterator[_Unchecked]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        name, *prompt = line.split("\t")
        if len(prompt) != 1 or not name.strip():
            got = f"{len(prompt) + 1} columns in " if len(prompt) > 1 else ""
            raise ValueError(f"{file}, line {number}: expected NAME<tab>PROMPT, got {got}{line.strip()[:60]!r}")
        yield _Unchecked(prompt[0], number, name.strip())


def _of_table(file: Path, text: str, named: bool) -> Iterator[_Unchecked]:
    """Yields the rows of a table below its header. A `.tsv` of named prompts may be lines of NAME<tab>PROMPT instead.

    The first of these lines is a header only if one column is called like a name and the other like a prompt. The line
    `v1<tab>text` is no header.
    """
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "").replace('"', "")
    delimiters = TABLES[file.suffix.lower()]
    fitting = [d for d in delimiters if any(_is(cell, PROMPT_FIELDS) for cell in first.split(d))]
    if named and delimiters == "\t":
        cells = first.split("\t")
        if not fitting or (len(cells) == 2 and not any(_is(cell, NAME_FIELDS) for cell in cells)):
            yield from _of_named_lines(file, text)
            return
    header: list[str] | None = None
    rows = csv.reader((f"{line}\n" for line in lines), delimiter=fitting[0] if fitting else delimiters[0],
                      skipinitialspace=True, strict=True)  # fmt: skip
    prompt = name = ""
    for number, row in _numbered(file, rows):
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [cell.strip() for cell in row]
            prompt, name = _fields(file, number, header, named, "a header with a column")
        elif len(row) != len(header):
            raise ValueError(
                f"{file}, line {number}: expected {len(header)} columns, as in the header, got {len(row)}; put a "
                "prompt that contains the delimiter in double quotes"
            )
        else:
            yield _entry(number, dict(zip(header, row, strict=True)), prompt, name)


def _numbered(file: Path, rows: Any) -> Iterator[tuple[int, list[str]]]:
    """Yields each row of the csv reader `rows` with the line that it begins on."""
    while True:
        number = rows.line_num + 1
        try:
            yield number, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"{file}, line {number}: this is not CSV: {error}; a field in double quotes ends with a double quote, "
                "and a quote within the field is doubled"
            ) from error


def _of_json_lines(file: Path, text: str, named: bool) -> Iterator[_Unchecked]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _of_value(file, number, parsed(file, line, number, equal_keys_refused), named)


def _of_json(file: Path, text: str, named: bool) -> Iterable[_Unchecked]:
    lines = text.strip().split("\n")
    if len(lines) > 1 and BEGINS_AS_JSON.match(text) and all(is_json(line) for line in lines[:2] if line.strip()):
        return _of_json_lines(file, text, named)
    whole = parsed(file, text)
    if isinstance(whole, list):
        return (_of_value(file, line, value, named) for value, line in elements(file, text))
    if isinstance(whole, dict):
        fields = list(members(file, text))
        is_entry = any(_is(field, PROMPT_FIELDS) for field in whole)  # a single entry, as on a line of JSONL
        is_entry = is_entry and (not named or any(_is(field, NAME_FIELDS) for field in whole))
        if is_entry or not named:  # the caller refuses a repeated name and says its lines
            refuse_equal(file, fields)
        if is_entry:
            return [_of_value(file, 1, whole, named)]
        if named or all(isinstance(value, str) for value in whole.values()):
            return (_Unchecked(prompt, line, name, () if named else ("names",)) for name, prompt, line in fields)
    raise ValueError(
        f"{file}, line 1: expected a JSON list of prompts, or of objects with a field {_either(PROMPT_FIELDS)}, got "
        + (f"an object with the fields {', '.join(whole)}" if isinstance(whole, dict) else f"the value {text[:60]}")
    )


def _of_value(file: Path, line: int, value: Any, named: bool) -> _Unchecked:
    """Returns the entry of one JSON value, which is a prompt or an object with a field for the prompt."""
    if isinstance(value, dict):
        return _entry(line, value, *_fields(file, line, list(value), named, "an object with a field"))
    if not named and isinstance(value, str):
        return _Unchecked(value, line)
    wanted = f"an object with a field {_either(PROMPT_FIELDS)}"
    wanted = f"{wanted}, and a field {_either(NAME_FIELDS)}" if named else f"a prompt, or {wanted}"
    raise ValueError(f"{file}, line {line}: expected {wanted}, got {json.dumps(value)[:60]}")


def _fields(file: Path, line: int, present: Sequence[str], named: bool, holder: str) -> tuple[str, str]:
    """Returns the fields of prompt and name among the fields `present`, with the empty text for no name.

    `holder` says in messages where the field should be.
    """
    prompt = _field(f"{file}, line {line}", present, PROMPT_FIELDS, holder)
    return prompt, _field(f"{file}, line {line}", present, NAME_FIELDS, holder) if named else ""


def _field(where: str, present: Sequence[str], wanted: Sequence[str], holder: str) -> str:
    found = [field for field in present if _is(field, wanted)]
    first = [field for field in found if _is(field, wanted[:1])]
    if len(chosen := first or found) == 1:
        return chosen[0]
    got = ", ".join(repr(field[:40]) for field in (chosen or present)) or "none"
    either = f"{wanted[0]}, or only one of {', '.join(wanted[1:])}" if chosen else _either(wanted)
    raise ValueError(f"{where}: expected {holder} named {either}; got {got}")


def _entry(line: int, fields: dict[str, Any], prompt: str, name: str) -> _Unchecked:
    others = tuple(field for field in fields if field and field not in (prompt, name))
    return _Unchecked(fields[prompt], line, fields[name] if name else None, others)


def _is(field: str, wanted: Sequence[str]) -> bool:
    return field.strip().lower() in wanted


def _either(fields: Sequence[str]) -> str:
    return f"{', '.join(fields[:-1])} or {fields[-1]}"
