"""No part of a path is a protocol, a pattern or another line, in reading, writing and pairing."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import scene

from metrics.__main__ import main, parse
from metrics.pairs import pairs, printable
from metrics.video_file import read
from vgdfr.video_file import write_master, write_preview

NOT_UTF8 = os.fsdecode(b"caf\xe9.mkv")
NAMES = [
    "take:1.mkv", "run:1/master.mkv", "2026-11-25T20:52/x.mkv", "http://x.mkv", "file:x.mkv", "100%.mkv",
    "frame%03d.mkv", "a#1.mkv", "-x.mkv", "two\nlines.mkv", "cafe\u0301.mkv", "a b?c=d&e.mkv", "[1]*.mkv", NOT_UTF8,
]  # fmt: skip


def said(*arguments: Any, status: int = 0) -> str:
    printed: list[str] = []
    assert main(parse([str(a) for a in arguments]), printed.append) == status
    return printed[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_relative_path_of_any_name_is_written_and_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_master(tmp_path / "plain.mkv", scene(3), 12)
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_master(file, scene(3), 12)
    assert file.read_bytes() == (tmp_path / "plain.mkv").read_bytes()
    assert np.array_equal(read(file).frames, scene(3))
    write_preview(file.with_suffix(".mp4"), scene(3), 12)
    assert read(file.with_suffix(".mp4")).frames.shape == (3, 48, 64, 3)
    assert "inf" in said("plain.mkv", f"./{name}", "--metrics", "psnr").splitlines()[1]


def test_files_of_one_name_are_told_by_their_suffixes(tmp_path: Path) -> None:
    for folder in ("ref", "gen"):
        (tmp_path / folder).mkdir()
        for name in ("x.mkv", "x.avi", "y.mkv" if folder == "ref" else "y.avi"):
            write_master(tmp_path / folder / name, scene(3), 12)
    found = pairs(tmp_path / "ref", tmp_path / "gen")
    assert [pair.name for pair in found] == ["x.avi", "x.mkv", "y"]
    assert all(pair.reference.suffix == pair.generated.suffix for pair in found[:2])


def test_names_composed_and_decomposed_are_paired(tmp_path: Path) -> None:
    for folder, name in (("nfc", "caf\u00e9"), ("nfd", "cafe\u0301")):
        (tmp_path / folder / name).mkdir(parents=True)
        write_master(tmp_path / folder / name / f"{name}.mkv", scene(3), 12)
    (pair,) = pairs(tmp_path / "nfc", tmp_path / "nfd")
    assert pair.name == "caf\u00e9/caf\u00e9" and pair.generated.is_file() and pair.reference.is_file()
    write_master(tmp_path / "nfd" / "cafe\u0301" / "caf\u00e9.mkv", scene(3), 12)
    with pytest.raises(ValueError, match="nfd has two videos named café/café.mkv: .* and .*; name one"):
        pairs(tmp_path / "nfc", tmp_path / "nfd")


def test_a_name_is_one_line_that_utf_8_can_write(tmp_path: Path) -> None:
    for folder in ("ref", "gen"):
        (tmp_path / folder).mkdir()
        for name in ("two\nlines.mkv", "tab\t.mkv", NOT_UTF8):
            write_master(tmp_path / folder / name, scene(3), 12)
    assert said(tmp_path / "ref" / NOT_UTF8, tmp_path / "gen" / NOT_UTF8, "--metrics", "psnr").encode("utf-8")
    (tmp_path / "gen" / "two\nlines.mkv").write_bytes(b"no video")
    folders = tmp_path / "ref", tmp_path / "gen"
    table = said(*folders, "--metrics", "psnr", status=1)
    assert [line.split()[0] for line in table.splitlines()[1:4]] == [r"caf\xe9", r"tab\t", r"two\nlines"]
    error = f"{tmp_path}/gen/two\\nlines.mkv cannot be read as a video"
    assert rf"two\nlines could not be scored: {error}" in table
    videos = json.loads(said(*folders, "--metrics", "psnr", "--json", status=1))["videos"]
    rows = list(csv.DictReader(said(*folders, "--metrics", "psnr", "--csv", status=1).splitlines()))
    assert [v["name"] for v in videos] == [r["name"] for r in rows] == [r"caf\xe9", r"tab\t", r"two\nlines"]
    assert printable("a\u2028b\x1b[31m") == r"a\u2028b\x1b[31m" and printable("日本語 – ü") == "日本語 – ü"


def test_linked_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    for folder in ("ref", "gen", "elsewhere"):
        (tmp_path / folder).mkdir()
    write_master(tmp_path / "elsewhere" / "a.mkv", scene(3), 12)
    (tmp_path / "ref" / "b").mkdir()
    write_master(tmp_path / "ref" / "b" / "a.mkv", scene(3), 12)
    (tmp_path / "gen" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "gen")
    (tmp_path / "elsewhere" / "self").symlink_to(".")
    (tmp_path / "elsewhere" / "itself").symlink_to("itself")
    (tmp_path / "elsewhere" / "nowhere").symlink_to("gone")
    assert [pair.name for pair in pairs(tmp_path / "ref", tmp_path / "gen")] == ["b/a"]


def test_a_folder_named_like_a_video_is_a_folder(tmp_path: Path) -> None:
    for folder in ("ref", "gen"):
        (tmp_path / folder / "take.mkv").mkdir(parents=True)
        write_master(tmp_path / folder / "take.mkv" / "a.mkv", scene(3), 12)
    assert [pair.name for pair in pairs(tmp_path / "ref", tmp_path / "gen")] == ["take.mkv/a"]
