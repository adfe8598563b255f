"""Reads JSON with the line of each value, refuses equal keys, and distinguishes JSON from plain text."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

JSON_LINES = (".jsonl", ".ndjson")
BEGINS_AS_JSON = re.compile(r"""\s*(\[\s*["'{\]]|\{\s*["'}])""")
# Text that begins like this is JSON even if it contains a mistake further on. `["x"] he` and `{"x"} y` are plain text.
_TEXT = r"""("([^"\\\n]|\\.)*"|'([^'\\\n]|\\.)*')"""
PLAINLY_JSON = re.compile(rf"""\s*(\{{\s*{_TEXT}\s*:|\[\s*{_TEXT}\s*(["',]|\n|$)|\[\s*\{{\s*({_TEXT}\s*:|\}}))""")


def is_meant_as_json(text: str) -> bool:
    """Returns whether the text of a file without a telling suffix is JSON, or JSON with a mistake in it."""
    if not BEGINS_AS_JSON.match(text):
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        follows = text[error.pos :].partition("\n")[0] if error.msg == "Extra data" else ""
        same_line = "\n" not in text[: error.pos].lstrip() and bool(follows) and follows[0] not in "[{\"',"
        return bool(PLAINLY_JSON.match(text)) and not same_line  # `["a", "b"] he` is plain text
    except (RecursionError, ValueError):
        return True
    return True


def is_json(line: str) -> bool:
    """Returns whether the line is a complete JSON object or string."""
    try:
        return isinstance(json.loads(line), dict | str)
    except (RecursionError, ValueError):
        return False


def parsed(file: Path, text: str, line: int = 1, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Returns the JSON value of `text`, which begins on `line` of `file`. `pairs` makes its objects (default: dicts).

    Raises ValueError that names file and line for text that is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        where, advice = f"{file}, line {line + error.lineno - 1}", ""
        if file.suffix.lower() not in (".json", *JSON_LINES):
            advice = (
                "; the file begins as JSON does: to have it read as text, begin it with a line such as # prompts, or "
                "name it .tsv if its lines are NAME<tab>PROMPT"
            )
        raise ValueError(f"{where}: this is not JSON: {error.msg} (column {error.colno}){advice}") from error
    except RecursionError as error:
        raise ValueError(
            f"{file}, line {line}: the JSON is nested too deeply; expected a list of prompts or objects"
        ) from error
    except ValueError as error:  # equal keys, or a number with thousands of digits
        raise ValueError(f"{file}, line {line}: {error}") from error


def equal_keys_refused(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the object of `pairs`. Raises ValueError for a repeated key; json would silently keep the last value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"expected each field of an object once, got {twice!r} {keys.count(twice)} times")
    return found


def refuse_equal(file: Path, members: Sequence[tuple[str, Any, int]]) -> None:
    """Raises ValueError that names both lines if a key of a JSON object is repeated."""
    lines: dict[str, int] = {}
    for name, _, line in members:
        if name in lines:
            raise ValueError(
                f"{file}, line {line}: expected each field of an object once, got {name!r} as on line {lines[name]}"
            )
        lines[name] = line


def elements(file: Path, text: str) -> Iterator[tuple[Any, int]]:
    """Yields the value and the line of each element of the JSON list `text`, because json does not report lines."""
    at, line = _skipped(text, text.index("[") + 1, 0, 1)
    while text[at] != "]":
        value, end = _decoded(file, text, at, line)
        yield value, line
        at, line = _skipped(text, end, at, line)


def members(file: Path, text: str) -> Iterator[tuple[str, Any, int]]:
    """Yields the name, value and line of each member of the JSON object `text`, also of members with equal names."""
    at, line = _skipped(text, text.index("{") + 1, 0, 1)
    while text[at] != "}":
        name, end = _decoded(file, text, at, line)
        value, end = _decoded(file, text, _skipped(text, end, at, line)[0], line)
        yield name, value, line
        at, line = _skipped(text, end, at, line)


def _decoded(file: Path, text: str, at: int, line: int) -> tuple[Any, int]:
    """Returns the JSON value that begins at position `at`, on `line`, and the position where it ends."""
    try:
        return json.JSONDecoder(object_pairs_hook=equal_keys_refused).raw_decode(text, at)
    except ValueError as error:
        raise ValueError(f"{file}, line {line}: {error}") from error


def _skipped(text: str, at: int, since: int, line: int) -> tuple[int, int]:
    """Returns the position at or after `at` where the next JSON value begins or the list ends, and its line.

    The position `since` is on `line`.
    """
    while text[at] in " \t\n,:":
        at += 1
    return at, line + text.count("\n", since, at)
