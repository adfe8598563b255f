"""`bench.store merge SOURCE INTO` copies verified samples whole, and loses nothing that INTO holds."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import AS_ANY_USER, run, start
from test_store import FRAMES, RECORD

from bench.plan.unit_name import unit_name
from bench.store import __main__ as command
from bench.store import merge
from bench.store.claims import claimed
from bench.store.place import MASTER, SCORES, Place
from bench.store.place import RECORD as RECORD_FILE
from bench.store.record import Record
from bench.store.study import Store
from bench.store.upkeep import verify
from bench.work.files import files_of
from vgdfr.files import sha256

SPEC = {"prompt": "a", "seed": 0, "num_frames": len(FRAMES)}
SCORED = '{"schema": 2, "scores": {"psnr": {"value": 30.0, "reference_sha256": "a"}}}'


def put(study: Path, place: str, frames: Any = FRAMES, **fields: Any) -> Path:
    """Stores a sample at `place`. Its prompt and its key are derived from the place."""
    identity = {"spec": SPEC, "model": {}}
    made = {"prompt_id": place, "key": place.ljust(64, "k"), "identity": identity} | fields
    store = Store(study)
    store.put(store.at(place), replace(RECORD, **made), files_of(frames, 12))
    return study / place


def recorded(study: Path, place: str) -> Record | None:
    return Store(study).recorded(Place(study, place))


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Returns the bytes and the time of change of every file except locks."""
    files = [file for file in folder.rglob("*") if file.is_file() and ".locks" not in file.parts]
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


class Merge:
    """Runs the command in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capsys = patch, capsys

    def __call__(self, *arguments: object) -> tuple[int, list[str]]:
        """Returns the exit status and the printed lines."""
        self.patch.setattr("sys.argv", ["bench.store", "merge", *map(str, arguments)])
        return command.command(), self.capsys.readouterr().out.splitlines()


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Merge:
    return Merge(monkeypatch, capsys)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Returns a study of two samples with videos, one of them scored, and a sample of layer errors without a video."""
    study = tmp_path / "source"
    (put(study, "baseline/p") / SCORES).write_text(SCORED)
    put(study, "vgdfr/p")
    put(study, "rope/p", None, makes_video=False, data={"error": 0.5})
    Store(study).plan(["baseline/p", "vgdfr/p", "vgdfr/q"])
    return study


def test_samples_scores_and_plan_are_copied_and_nothing_else(source: Path, tmp_path: Path, merged: Merge) -> None:
    for other in (
        "logs/a/log",
        "report/table1.md",
        "index.parquet",
        "vgdfr/p/.partial",
        "vgdfr/p/notes",
        ".hidden/a/b",
    ):
        (source / other).parent.mkdir(parents=True, exist_ok=True)
        (source / other).write_text("x")
    put(tmp_path / "into", "vgdfr/r")
    Store(tmp_path / "into").plan(["vgdfr/r"])
    status, said = merged(source, tmp_path / "into")
    assert (status, said[-1]) == (0, "3 copied") and said[0] == "baseline/p: copied"
    samples = ("baseline/p", "vgdfr/p", "rope/p")
    expected = {name: data for name, (data, _) in contents(source).items() if name.startswith(samples)}
    copied = contents(tmp_path / "into")
    assert {name: data for name, (data, _) in copied.items() if name.startswith(samples)} == {
        name: data for name, data in expected.items() if name not in ("vgdfr/p/.partial", "vgdfr/p/notes")
    }
    assert {name.partition("/")[0] for name in copied} == {"baseline", "vgdfr", "rope", "plan.json"}
    assert Store(tmp_path / "into").planned() == ["baseline/p", "vgdfr/p", "vgdfr/q", "vgdfr/r"]
    assert verify(tmp_path / "into") == (4, [])
    assert merged(source, tmp_path / "into") == (0, ["0 copied, 3 already there"])
    again = contents(tmp_path / "into")
    assert {n: c for n, c in again.items() if n != "plan.json"} == {n: c for n, c in copied.items() if n != "plan.json"}


def test_what_was_dropped_is_not_copied_and_the_rest_is_whole(source: Path, tmp_path: Path, merged: Merge) -> None:
    record = recorded(source, "vgdfr/p")
    assert record is not None
    Store(source).drop(Place(source, "vgdfr/p"), record, [MASTER])
    (source / "vgdfr/p" / MASTER).write_bytes(b"what an interrupted drop left")
    assert merged(source, tmp_path / "into")[0] == 0
    assert not (tmp_path / "into/vgdfr/p" / MASTER).exists()
    into = tmp_path / "into"
    assert Store(into).get(Place(into, "vgdfr/p"), record.key) == recorded(source, "vgdfr/p")


def break_it(folder: Path, damage: str) -> None:
    master, record = folder / MASTER, json.loads((folder / RECORD_FILE).read_text())
    data = bytearray(master.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        master.write_bytes(data)
    elif damage == "remove":
        master.unlink()
    elif damage == "schema":
        (folder / RECORD_FILE).write_text(json.dumps(record | {"schema": 99}))
    elif damage == "spec":
        (folder / RECORD_FILE).write_text(json.dumps(record | {"identity": {}}))
    elif damage == "frames":
        record["identity"]["spec"]["num_frames"] = 13
        (folder / RECORD_FILE).write_text(json.dumps(record))
    elif damage == "outside":
        (folder.parent / "x").write_text("x")
        digest = sha256(folder.parent / "x")
        (folder / RECORD_FILE).write_text(json.dumps(record | {"files": {"../x": digest}}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("flip", "master.mkv is not what was written"),
        ("remove", "master.mkv is not there"),
        ("schema", "record.json cannot be read"),
        ("spec", "KeyError: 'spec'"),
        ("frames", "master.mkv has 9 of 13 frames"),
        ("outside", "../x does not lie in the sample's folder"),
    ],
)
def test_a_damaged_sample_is_named_and_the_others_are_copied(
    source: Path, tmp_path: Path, merged: Merge, damage: str, said: str
) -> None:
    break_it(source / "vgdfr/p", damage)
    before = contents(source)
    status, lines = merged(source, tmp_path / "into")
    (line,) = (line for line in lines if line.startswith("vgdfr/p: not copied: "))
    assert (status, lines[-1]) == (1, "2 copied, 1 damaged") and said in line
    assert verify(tmp_path / "into") == (2, []) and not (tmp_path / "into/vgdfr/p").exists()
    assert contents(source) == before, "the source was changed"


def test_a_damaged_file_of_prices_is_named_and_the_samples_are_copied(
    source: Path, tmp_path: Path, merged: Merge
) -> None:
    (source / "timing").mkdir(exist_ok=True)
    (source / "timing" / "20260101-000000-0.json").write_text("{")
    status, lines = merged(source, tmp_path / "into")
    assert (status, lines[-1]) == (1, "3 copied")
    assert any("20260101-000000-0.json is damaged" in line for line in lines)
    assert not list((tmp_path / "into").glob("timing/*"))


def test_a_failed_sample_is_named_and_is_no_error(source: Path, tmp_path: Path, merged: Merge) -> None:
    put(source, "vgdfr/q", None, status="nan", error="values that are not finite")
    status, lines = merged(source, tmp_path / "into")
    assert (status, lines[-1]) == (0, "3 copied, 1 failed")
    assert "vgdfr/q: not copied: its status is nan" in lines and not (tmp_path / "into/vgdfr/q").exists()


def test_a_failed_sample_is_replaced_and_a_damaged_one_goes_into_quarantine(
    source: Path, tmp_path: Path, merged: Merge
) -> None:
    into = tmp_path / "into"
    put(into, "baseline/p", None, status="failed", error="it broke")
    break_it(put(into, "vgdfr/p"), "flip")
    status, lines = merged(source, into)
    assert (status, lines[-1]) == (0, "3 copied") and verify(into) == (3, [])
    assert f"vgdfr/p: copied; the damaged sample that was there is in {into}/.quarantine" in lines
    assert [folder.name[:2] for folder in (into / ".quarantine/vgdfr").iterdir()] == ["p-"]
    assert not (into / ".quarantine/baseline").exists()


def test_another_finished_sample_stays_and_is_named(source: Path, tmp_path: Path, merged: Merge) -> None:
    into = tmp_path / "into"
    put(into, "vgdfr/p", FRAMES[::-1], key="other" * 12)
    before = contents(into / "vgdfr")
    for dry in ([], ["--dry-run"]):
        status, lines = merged(source, into, *dry)
        said = "vgdfr/p: not copied: a finished sample of another key, otheroth, is there; move it away"
        assert status == 1 and said in lines and "1 another sample there" in lines[-1]
    assert contents(into / "vgdfr") == before


def test_a_prompt_that_a_sweep_has_in_hand_is_left_to_it(source: Path, tmp_path: Path, merged: Merge) -> None:
    into = tmp_path / "into"
    with claimed(into, unit_name("vgdfr/p", 0, {"spec": SPEC, "model": {}})) as mine:
        assert mine
        status, lines = merged(source, into)
        assert (status, lines[-1]) == (1, "2 copied, 1 in hand") and not (into / "vgdfr/p").exists()
        assert any(line.startswith("vgdfr/p: not copied: a sweep is at work on its prompt") for line in lines)
    assert merged(source, into) == (0, ["vgdfr/p: copied", "1 copied, 2 already there"])


def test_a_dry_run_says_what_would_be_copied_and_writes_nothing(source: Path, tmp_path: Path, merged: Merge) -> None:
    break_it(source / "vgdfr/p", "flip")
    status, lines = merged(source, "--dry-run", tmp_path / "into")
    assert status == 1 and not (tmp_path / "into").exists()
    assert lines == [
        "baseline/p: would be copied",
        "rope/p: would be copied",
        "vgdfr/p: not copied: master.mkv is not what was written",
        "2 would be copied, 1 damaged",
    ]
    put(tmp_path / "into", "baseline/p")
    before = contents(tmp_path / "into")
    assert merged(source, tmp_path / "into", "--dry-run")[1][-1] == "1 would be copied, 1 already there, 1 damaged"
    assert contents(tmp_path / "into") == before and not (tmp_path / "into/.locks").exists()


def test_a_sweep_that_drops_a_master_meanwhile_leaves_a_whole_sample_or_none(
    source: Path, tmp_path: Path, merged: Merge, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, copy, record = merge.judged, shutil.copyfile, recorded(source, "vgdfr/p")
    assert record is not None

    def dropped_before_it_is_judged(place: Place, judged: Record | None) -> list[str]:
        if place == Place(source, "vgdfr/p") and judged == record:
            Store(source).drop(Place(source, "vgdfr/p"), record, [MASTER])
        return judge(place, judged)

    def dropped_after_its_record_is_copied(file: Path, to: Path) -> None:
        copy(file, to)
        if file == source / "baseline/p" / RECORD_FILE:
            baseline = recorded(source, "baseline/p")
            assert baseline is not None
            Store(source).drop(Place(source, "baseline/p"), baseline, [MASTER])

    monkeypatch.setattr(merge, "judged", dropped_before_it_is_judged)
    monkeypatch.setattr(shutil, "copyfile", dropped_after_its_record_is_copied)
    status, lines = merged(source, tmp_path / "into")
    assert (status, lines[-1]) == (1, "2 copied, 1 damaged")
    assert lines[0].startswith("baseline/p: not copied: it changed while it was copied")
    assert not list((tmp_path / "into/baseline").iterdir()) and verify(tmp_path / "into") == (2, [])
    assert merged(source, tmp_path / "into")[0] == 0 and verify(tmp_path / "into") == (3, [])


KILLED_AT_FIFTH = """
import os, shutil, signal
copy, copied = shutil.copyfile, []
def copy_until_killed(*names):
    copied.append(names)
    if len(copied) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(*names)
shutil.copyfile = copy_until_killed
"""


def test_a_merge_that_is_killed_continues(source: Path, tmp_path: Path, merged: Merge) -> None:
    """The kill comes at the fifth file, which belongs to the second sample."""
    into = tmp_path / "into"
    assert run("bench.store", "merge", str(source), str(into), before=KILLED_AT_FIFTH).returncode == -9
    assert verify(into) == (1, []) and len(list(into.glob("*/.partial-*"))) == 1
    assert merged(source, into)[1][-1] == "2 copied, 1 already there" and verify(into) == (3, [])


def test_merges_side_by_side_copy_each_sample_once(source: Path, tmp_path: Path, merged: Merge) -> None:
    into = tmp_path / "into"
    other = shutil.copytree(source, tmp_path / "other")
    put(other, "vgdfr/q")
    both = [start("bench.store", "merge", str(study), str(into)) for study in (source, other)]
    done = [each.wait() for each in both]
    assert verify(into) == (4, []) and not list(into.glob("*/.partial-*"))
    assert not (into / ".quarantine").exists(), done
    for each in done:  # a merge says if the other merge holds a prompt
        assert each.returncode == 0 or "a sweep is at work on its prompt" in each.stdout, each


def test_a_read_only_source_is_copied_and_an_into_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    done = run("bench.store", "merge", str(source), str(tmp_path / "into"), before=AS_ANY_USER)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("3 copied\n")
    closed = tmp_path / "closed"
    (closed / "vgdfr").mkdir(parents=True)
    (closed / "vgdfr").chmod(0o555)
    done = run("bench.store", "merge", str(source), str(closed), before=AS_ANY_USER)
    assert done.returncode == 1 and done.stdout.endswith("2 copied, 1 not written\n"), done
    assert "vgdfr/p: not copied: [Errno 13] Permission denied" in done.stdout
    done = run("bench.store", "merge", str(source), str(closed / "vgdfr" / "new"), before=AS_ANY_USER)
    assert done.returncode == 1 and done.stderr.startswith("error: [Errno 13] the study's folder cannot be written")


FULL = r"error: \[Errno 28\] No space left on device: .*; make room, then the same command continues"


def test_a_full_disk_leaves_whole_samples_and_the_same_command_continues(
    source: Path, tmp_path: Path, merged: Merge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing to /dev/full stands for a full disk, because not every user may mount one. The error is real."""
    into, copy = tmp_path / "into", shutil.copyfile

    def full_at_a_master(file: Path, to: Path) -> object:
        return copy(file, "/dev/full" if file == source / "vgdfr/p" / MASTER else to)

    monkeypatch.setattr(shutil, "copyfile", full_at_a_master)
    with pytest.raises(OSError, match=FULL.removeprefix("error: ")):
        merged(source, into)
    assert verify(into) == (2, []) and not list((into / "vgdfr").iterdir())
    monkeypatch.undo()
    assert merged(source, into)[0] == 0 and verify(into) == (3, [])


def test_a_file_system_that_is_too_small_holds_whole_samples_only(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        done = run("bench.store", "merge", str(source), str(disk / "into"))
        assert done.returncode == 1 and "No space left on device" in done.stderr, done
        assert verify(disk / "into")[1] == [] and not list(disk.glob("into/*/.partial-*"))
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        assert run("bench.store", "merge", str(source), str(disk / "into")).returncode == 0
        assert verify(disk / "into") == (3, [])
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_what_cannot_be_merged_is_refused_before_anything_is_written(
    source: Path, tmp_path: Path, merged: Merge, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    for into in (source, source / ".." / "source", source / "vgdfr" / "new", tmp_path):
        with pytest.raises(ValueError, match="expected two studies, neither within the other, got"):
            merged(source, into)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(ValueError, match="expected two studies"):
        merged(source, tmp_path / "link")
    (tmp_path / "link").unlink()
    with pytest.raises(ValueError, match="there is no study at .*nowhere; name the study to copy from first"):
        merged(tmp_path / "nowhere", source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no sample; a study is made by"):
        merged(tmp_path / "empty", tmp_path / "into")
    os.rmdir(tmp_path / "empty")
    with pytest.raises(SystemExit):
        merged(source)
    assert "merge takes two studies, SOURCE and INTO" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
