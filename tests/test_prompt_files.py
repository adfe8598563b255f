"""Files of prompts, bench's and those of `python -m metrics --prompts`: what is read, and what is said of mistakes."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.prompts import Prompts
from metrics.prompts_file import prompts_for, read_prompts

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\ta dog\nb a cat\n", "line 2: expected NAME<tab>PROMPT, got 'b a cat'"),
        ("a\ta dog\n\nb\t \n", 'line 3: expected a prompt for b, got ""'),
        ("a\ta dog\nb\ta cat\na\ta cow\n", "line 3: a has a prompt on line 1 already"),
        ("a\ta dog\nc\ta cow\nb\ta cat", "line 2: there is no video c; there are a, b"),
        ("a\ta dog\n", " has no prompt for b"),
        ("\n \n", " holds no prompt; expected a JSON object"),
        (b"a\ta dog\nb\tcaf\xe9\n", "line 2: expected UTF-8, got the byte 0xe9; save the file as UTF-8"),
        ('{"a": "a dog",\n "b" "a cat"}', r"line 2: no JSON: Expecting ':' delimiter \(column 6\)"),
        ('{"a": "a dog",\n "b": "a cat",\n\n "a": "a cow"}', "line 4: a has a prompt on line 1 already"),
        ('{"a": "a dog",\n "b":\n 7}', "line 2: expected a prompt for b, got 7"),
        ('{"a": "a dog", "b": "a cat",\n "c": "x"}', "line 2: there is no video c; there are a, b"),
        ('{"a": "a dog"}', " has no prompt for b"),
        ('["a dog", "a cat"]', "line 1: expected a JSON object .*, got a JSON list"),
        ("{}", " holds no prompt; expected"),
    ],
)
def test_mistakes_are_named_with_file_and_line(content: str | bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    comma = ", " if message.startswith("line") else ""
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}{comma}{message}"):
        prompts_for(file, ["a", "b"])


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing.txt"):
        prompts_for(tmp_path / "nothing.txt", ["a"])


@given(st.dictionaries(NAMES, NAMES, min_size=1, max_size=5), st.sampled_from([None, 1]))
def test_both_forms_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, prompts: dict[str, str], indent: int
) -> None:
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "p.json").write_text(json.dumps(prompts, indent=indent), encoding="utf-8-sig")
    found = read_prompts(folder / "p.json")
    assert {name: prompt for name, (prompt, _) in found.items()} == prompts
    assert [line for _, line in found.values()] == [1 if indent is None else 2 + i for i in range(len(prompts))]
    if not next(iter(prompts)).startswith(("{", "[")):
        (folder / "p.txt").write_bytes("".join(f"{n}\t{p}\r\n" for n, p in prompts.items()).encode())
        assert prompts_for(folder / "p.txt", list(prompts)) == prompts


def test_a_studys_prompts_leave_out_blank_lines_and_those_with_a_hash(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("\ufeff# two animals\n\n a dog\r\n  # a cow\na cat #2\n", encoding="utf-8")
    assert [prompt.text for prompt in Prompts(str(file)).load()] == ["a dog", "a cat #2"]
    file.write_text("# nothing\n\n")
    with pytest.raises(ValueError, match="no prompt in .*p.txt: expected one a line; lines that begin with # are left"):
        Prompts(str(file)).load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a dog\na cat\n\n a dog \n", r"line 4: the prompt of line 1 again, 'a dog'; .*prompts.seeds=\[0,1\]"),
        (b"a dog\ncaf\xe9\n", "line 2: expected UTF-8, got the byte 0xe9"),
    ],
)
def test_mistakes_in_a_studys_prompts_are_named_with_their_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"p.txt, {message}"):
        Prompts(str(file)).load()
