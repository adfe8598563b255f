"""Checks the prompt files of a sweep and of `python -m metrics --prompts`: their forms, and messages for mistakes."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.prompts import Prompts, id_of
from metrics.prompts_file import prompts_for, read_prompts, unused_fields

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\ta dog\nb a cat\n", "line 2: expected NAME<tab>PROMPT, got 'b a cat'"),
        ("a\ta dog\n\nb\t \n", 'line 3: expected a prompt for b, got ""'),
        ("a\ta dog\nb\ta cat\na\ta cow\n", "line 3: a already has a prompt on line 1"),
        ("a\ta dog\nc\ta cow\nb\ta cat", "line 2: there is no video c; there are a, b"),
        ("a\ta dog\n", " has no prompt for b"),
        ("\n \n", " holds no prompt; expected a JSON object"),
        (b"a\ta dog\nb\tcaf\xe9\n", "line 2: expected UTF-8, got the byte 0xe9; save the file as UTF-8"),
        ('{"a": "a dog",\n "b" "a cat"}', r"line 2: this is not JSON: Expecting ':' delimiter \(column 6\)"),
        ('{"a": "a dog",\n "b": "a cat",\n\n "a": "a cow"}', "line 4: a already has a prompt on line 1"),
        ('{"a": "a dog",\n "b":\n 7}', "line 2: expected a prompt for b, got 7"),
        ('{"a": "a dog", "b": "a cat",\n "c": "x"}', "line 2: there is no video c; there are a, b"),
        ('{"a": "a dog"}', " has no prompt for b"),
        (
            '["a dog", "a cat"]',
            r"line 1: expected an object with a field prompt, .* and a field name, .*, got \"a dog\"",
        ),
        (
            '[{"name": "a", "prompt": "a dog"},\n {"prompt": "a cat", "id": 3}]',
            "line 2: expected an object with a field named name, video, file, filename or path; got 'prompt', 'id'",
        ),
        ('[{"name": null, "prompt": "a dog"}]', "line 1: expected a video's name, got null"),
        ("a\ta dog\t17\n", "line 1: expected NAME<tab>PROMPT, got 3 columns in 'a.ta dog.t17'"),
        (b"\xff\xfea\0\t\0b\0", ": expected UTF-8, got UTF-16 .by its byte order mark.; save the file as UTF-8"),
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


PROMPTS = [
    "a red circle over grass",
    "a blue, still square over sand",
    "# a tag, an \u201cumlaut\u201d: \u00fc",
    "a 'quoted' one",
]
OBJECTS = [{"id": i, "Prompt": prompt, "dimension": "x"} for i, prompt in enumerate(PROMPTS)]


def table(rows: list[list[str]], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


FORMS = {
    "strings.json": json.dumps(PROMPTS),
    "lines.json": json.dumps(PROMPTS, indent=1, ensure_ascii=False),
    "objects.json": json.dumps(OBJECTS, indent=1),
    "names.json": json.dumps({f"video {i}": prompt for i, prompt in enumerate(PROMPTS)}),
    "text": "\n " + json.dumps(PROMPTS),
    "caption.json": json.dumps([{"caption": prompt} for prompt in PROMPTS]),
    "english.json": json.dumps([{"prompt_en": prompt, "dimension": ["a"]} for prompt in PROMPTS]),
    "objects.jsonl": "\n".join(json.dumps(each) for each in OBJECTS),
    "strings.ndjson": "\n\n".join(json.dumps(each) for each in PROMPTS) + "\n",
    "lines-of.json": "\n".join(json.dumps(each) for each in OBJECTS) + "\n",
    "one.csv": table([["prompt"], *([prompt] for prompt in PROMPTS)], ","),
    "more.csv": table([["id", "Prompt", ""], *([str(i), prompt, ""] for i, prompt in enumerate(PROMPTS))], ","),
    "semicolons.CSV": table([["id", "text"], *([str(i), prompt] for i, prompt in enumerate(PROMPTS))], ";"),
    "more.tsv": table([["prompt", "text"], *([prompt, "x"] for prompt in PROMPTS)], "\t"),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_studys_prompts_are_read_by_the_form_of_their_file_and_keep_their_ids(
    name: str, ends: str, tmp_path: Path
) -> None:
    text = FORMS[name].replace("\r\n", "\n").replace("\n", ends)
    (tmp_path / name).write_bytes(text.encode("utf-8-sig"))
    found = Prompts(str(tmp_path / name)).load()
    assert [(prompt.id, prompt.text) for prompt in found] == [(id_of(text), text) for text in PROMPTS]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_text_file_is_one_prompt_a_line_whatever_it_contains(ends: str, tmp_path: Path) -> None:
    prompts = ["prompt,id", "a dog, running, over sand", "a\tcat", "[wide shot] a cow", "{a} horse", '"a pig"', "a;b"]
    (tmp_path / "p.txt").write_bytes(ends.join(["# seven", *prompts, "", ""]).encode())
    assert [prompt.text for prompt in Prompts(str(tmp_path / "p.txt")).load()] == prompts
    (tmp_path / "p.txt").write_text(prompts[3])
    assert [prompt.text for prompt in Prompts(str(tmp_path / "p.txt")).load()] == prompts[3:4]


def test_names_of_a_table_or_of_objects_are_those_of_videos(tmp_path: Path) -> None:
    rows = [("deep/a.mp4", "a red circle"), ("caf\u00e9", "a dog, a cat")]
    forms = {
        "p.csv": 'file,prompt,score\ndeep/a.mp4,a red circle,1\n\ncafe\u0301,"a dog, a cat",2\n',
        "p.tsv": "video\ttext\ndeep/a.mp4\ta red circle\ncaf\u00e9\ta dog, a cat\n",
        "lines.tsv": "deep/a\ta red circle\r\ncaf\u00e9\ta dog, a cat\r\n",
        "p.json": json.dumps([{"name": name, "prompt": prompt, "score": 1} for name, prompt in rows]),
        "p.jsonl": "\n".join(json.dumps({"video": name, "prompt": prompt}) for name, prompt in rows),
        "p.txt": "deep/a\ta red circle\rcaf\u00e9\ta dog, a cat\r",
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        expected = {"deep/a": "a red circle", "caf\u00e9": "a dog, a cat"}
        assert prompts_for(tmp_path / name, ["deep/a", "caf\u00e9"]) == expected, name
    assert unused_fields(tmp_path / "p.csv") == unused_fields(tmp_path / "p.json") == ["score"]
    assert unused_fields(tmp_path / "p.tsv") == []
    (tmp_path / "p.csv").write_text("name,prompt\na,x\na.mp4,y\n")
    with pytest.raises(ValueError, match="line 3: a already has a prompt on line 2"):
        prompts_for(tmp_path / "p.csv", ["a"])


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
        (b"a dog\ra cat\r\ra dog\r", "line 4: the prompt of line 1 again"),
        (b"a dog\rcaf\xe9\r", "line 2: expected UTF-8, got the byte 0xe9"),
        ("a dog\n".encode("utf-16"), "expected UTF-8, got UTF-16 .by its byte order mark.; save the file as UTF-8"),
        (b"\xfe\xff\0a", "expected UTF-8, got UTF-16"),
        ("a dog\n".encode("utf-32"), "expected UTF-8, got UTF-32"),
        ("a dog\n".encode("utf-16-le"), r"line 1: expected a prompt of printable characters, got U\+0000 .NUL."),
        (b"a dog\na\x1b[1m cat\n", r"line 2: .* got U\+001B .ESC. in 'a.*; remove it"),
        (b"a dog\va cat\n", r"line 1: .* got U\+000B .vertical tab."),
        (b"# \x1b\na dog\f\n", r"line 2: .* got U\+000C .form feed."),
        ("a dog\u0085a cat\n".encode(), r"line 1: .* got U\+0085 .next line."),
        ("a dog\n\na\u2028cat".encode(), r"line 3: .* got U\+2028 .line separator."),
        ("a dog\n\ufeffa cat".encode(), r"line 2: .* got U\+FEFF .byte order mark."),
        (b"a dog\n\x1a", r"line 2: .* got U\+001A .Ctrl-Z."),
    ],
)
def test_mistakes_in_a_studys_prompts_are_named_with_their_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"p.txt[,:] {message}"):
        Prompts(str(file)).load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", '["a dog",\n "a\\ncat"]', r"line 2: .* got U\+000A .a line break. in 'a.ncat'"),
        ("p.json", '["a dog",\n\n "a \\ud800 cat"]', r"line 3: .* got U\+D800 .half a surrogate pair."),
        ("p.json", '["a dog",\n 7]', "line 2: expected a prompt, or an object with a field prompt, .*, got 7"),
        ("p.json", '["a dog",\n ""]', 'line 2: expected a prompt, got ""'),
        ("p.json", '["a dog"\n "a cat"]', "line 2: this is not JSON: Expecting ',' delimiter"),
        ("p.json", '{"videos": ["a dog"]}', "line 1: expected a JSON list .*, got an object with the fields videos"),
        ("p.json", '"a dog"', "line 1: expected a JSON list .*, got the value \"a dog\""),
        ("p.txt", '[{"id": 3}]', "line 1: expected an object with a field named prompt, .*; got 'id'"),
        ("p.json", '[{"text": "a", "caption": "b"}]', "named prompt, or only one of text, .*; got 'text', 'caption'"),
        ("p.jsonl", '{"prompt": "a dog"}\n\n{"prompt": "a cat"', "line 3: this is not JSON: Expecting ',' delimiter"),
        ("p.jsonl", '{"prompt": "a dog"}\n{"prompt": "a dog", "id": 2}', "line 2: the prompt of line 1 again"),
        ("p.jsonl", '{"prompt": "a dog", "seed": 3}', r"line 1: expected no field seed: .*prompts.seeds=\[0,1\]"),
        ("p.csv", "a dog, asleep\na cat, asleep\n", "1: expected a header with a column .*; got 'a dog', 'asleep'"),
        ("p.csv", "id,prompt\n\n1,a dog, running\n", "line 3: expected 2 columns, as in the header, got 3; .*quotes"),
        ("p.csv", 'prompt\n"a dog\na cat"\n', r"line 2: .* got U\+000A .a line break. in 'a dog"),
        ("p.csv", 'prompt\na dog\n"a cat\n', "line 3: this is not CSV: unexpected end of data"),
        ("p.csv", "prompt,seed\na dog,4\n", "line 2: expected no field seed"),
        ("p.csv", "id,prompt\n1,\n", 'line 2: expected a prompt, got ""'),
        ("p.tsv", "a\ta dog\nb\ta cat\n", "line 1: expected a header with a column named prompt, .*; got 'a', 'a dog'"),
    ],
)  # fmt: skip
def test_mistakes_in_other_forms_of_it_are_named_too(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}, .*{message}"):
        Prompts(str(tmp_path / name)).load()


@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.csv", "p.tsv"])
def test_a_file_without_prompts_says_what_was_expected(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text({"p.json": "[]", "p.jsonl": "\n"}.get(name, "prompt\n"))
    with pytest.raises(ValueError, match="no prompt in .*: expected one a line.*or a JSON list, JSONL"):
        Prompts(str(tmp_path / name)).load()


@pytest.mark.parametrize("name", ["p.txt", "p.prompts", "p"])
@pytest.mark.parametrize("first", ["[ ] a dog", '["x"] he', '{"x"} y', "['x'] he", '["a", "b"] he', '{"a": 1} he'])
def test_a_text_that_begins_with_brackets_is_text(name: str, first: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(f"{first}\na cat\n")
    assert [prompt.text for prompt in Prompts(str(tmp_path / name)).load()] == [first, "a cat"]


def test_a_mistake_in_json_without_its_suffix_names_the_way_to_have_it_read_as_text(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    for text in ('["a dog", a cat]', '["a dog"\n"a cat"]', '{"prompt": "a dog"}\n{"prompt"}', '[{"prompt": }]'):
        file.write_text(text)
        with pytest.raises(
            ValueError, match="this is not JSON: .*to have it read as text, begin it with a line such as # prom"
        ):
            Prompts(str(file)).load()
        file.write_text(f"# prompts\n{text}")
        assert [prompt.text for prompt in Prompts(str(file)).load()] == text.split("\n")


@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.txt"])
@pytest.mark.parametrize("fields", [("name", "prompt"), ("video", "text", "score")])
def test_one_object_with_name_and_prompt_is_one_entry_in_any_form(
    name: str, fields: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(json.dumps(dict(zip(fields, ("v1", "a dog", "3"), strict=False))))
    assert prompts_for(tmp_path / name, ["v1"]) == {"v1": "a dog"}
    assert unused_fields(tmp_path / name) == list(fields[2:])


@pytest.mark.parametrize("name", ["p.json", "p.jsonl"])
@pytest.mark.parametrize("begins", ["[", '{"a":', '["a", ['])
def test_json_that_is_nested_too_deeply_is_refused_in_a_line(name: str, begins: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(begins * 100_000)
    for read in (read_prompts, lambda file: Prompts(str(file)).load()):
        with pytest.raises(ValueError, match=r"line 1: the JSON is nested too deeply; expected a list of prompts"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", '[{"prompt": "a dog"},\n {"prompt": "a cat",\n "prompt": "b"}]', "line 2: .*'prompt' 2 times"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": "b", "id": 1, "id": 2}', "line 2: .*'id' 2 times"),
        ("p.json", '{"prompt": "a dog",\n "prompt": "a cat"}', "line 2: .*'prompt' as on line 1"),
        ("p.json", '{"a": "a dog",\n\n "a": "a cat"}', "line 3: .*'a' as on line 1"),
        ("p.json", '[{"prompt": "a", "more": {"x": 1, "x": 1}}]', "line 1: .*'x' 2 times"),
    ],
)
def test_equal_keys_of_one_object_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}, {message}"):
        Prompts(str(tmp_path / name)).load()


@pytest.mark.parametrize("word", ["text", "Prompt", "caption"])
def test_a_tsv_without_a_header_may_begin_with_a_prompt_that_is_called_as_a_field(word: str, tmp_path: Path) -> None:
    file = tmp_path / "p.tsv"
    file.write_text(f"v1\t{word}\nv2\ta dog\n")
    assert prompts_for(file, ["v1", "v2"]) == {"v1": word, "v2": "a dog"}
    file.write_text(f"file\t{word}\nv1\ta cat\n")
    assert prompts_for(file, ["v1"]) == {"v1": "a cat"}
    file.write_text(f"{word}\tid\tscore\na cat\tv1\t3\n")
    with pytest.raises(ValueError, match="line 1: expected a header with a column named name, .*; got"):
        prompts_for(file, ["v1"])
