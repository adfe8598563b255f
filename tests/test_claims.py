"""Claims of several processes on one folder exclude each other, and leave no file behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.store.claims import LOCKS, claimed, note_of, remove_unheld, skip, skip_file, skipped

# Each process claims again and again without waiting, so that claims meet releases. A second holder cannot create
# `inside`, and ends its process with FileExistsError.
CLAIM_OFTEN = """
import os, sys
from pathlib import Path
from bench.store.claims import claimed
study, wanted, had, refused = Path(sys.argv[1]), int(sys.argv[2]), 0, 0
while had < wanted:
    with claimed(study, f"unit-{had % 2}") as mine:
        if not mine:
            refused += 1
            continue
        inside = study / f"inside-{had % 2}"
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        inside.unlink()
    had += 1
print(refused)
"""
HOLD = """
import os, sys
from pathlib import Path
from bench.store.claims import claimed
with claimed(Path(sys.argv[1]), sys.argv[2]) as mine:
    print(mine, flush=True)
    sys.stdin.read(1)
    os._exit(1)
"""


def processes(code: str, count: int, *arguments: str) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *arguments]
    return [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]


def test_four_processes_with_2000_claims_exclude_each_other_and_leave_no_file(tmp_path: Path) -> None:
    said = [process.communicate(timeout=300) for process in processes(CLAIM_OFTEN, 4, str(tmp_path), "500")]
    assert not [errors for _, errors in said if errors], said
    assert sum(int(output) for output, _ in said) > 0, "the processes never met"
    assert list((tmp_path / LOCKS).iterdir()) == []


def test_a_claim_waits_until_the_other_process_ends(tmp_path: Path) -> None:
    (holder,) = processes(HOLD, 1, str(tmp_path), "unit")
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    with claimed(tmp_path, "unit", timeout_s=0.2) as mine:
        assert not mine
    holder.communicate("x")
    assert (tmp_path / LOCKS / "unit").is_file(), "a process that is killed leaves its file"
    with claimed(tmp_path, "unit", timeout_s=-1) as mine:
        assert mine
        with claimed(tmp_path, "unit") as twice:
            assert not twice, "a claim excludes its own process, too"
    assert list((tmp_path / LOCKS).iterdir()) == []


def test_a_block_that_raises_frees_its_claim(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in the block"), claimed(tmp_path, "unit"):
        raise RuntimeError("in the block")
    assert list((tmp_path / LOCKS).iterdir()) == []


def test_only_lock_files_that_nobody_holds_are_removed(tmp_path: Path) -> None:
    locks = tmp_path / LOCKS
    (holder,) = processes(HOLD, 1, str(tmp_path), "held")
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    note = note_of(tmp_path, 1)
    for file in (locks / "at-the-sea-s0-01234567", locks / "skip-2026-11-24T10:00:00.000", note):
        file.touch()
    unheld = [locks / "at-the-sea-s0-01234567", locks / "skip-2026-11-24T10:00:00.000"]
    assert remove_unheld(tmp_path, really=False) == unheld and all(file.is_file() for file in unheld)
    assert remove_unheld(tmp_path, really=True) == unheld
    assert sorted(locks.iterdir()) == sorted([locks / "held", note])
    holder.communicate("x")


def test_units_to_pass_over_are_known_while_their_launch_runs(tmp_path: Path) -> None:
    with claimed(tmp_path, skip_file("now")):
        assert skipped(tmp_path, "now") == set()
        skip(tmp_path, "unit", "now")
        assert skipped(tmp_path, "now") == {"unit"}
        assert skipped(tmp_path, "before") == skipped(tmp_path, None) == set()
        assert remove_unheld(tmp_path, really=True) == []
    assert skipped(tmp_path, "now") == set()


def test_looking_for_files_that_no_process_holds_creates_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder may remove its file after `remove_unheld` has listed it."""
    (tmp_path / LOCKS).mkdir()
    gone = tmp_path / LOCKS / "gone"
    monkeypatch.setattr(Path, "glob", lambda *_: [gone])
    assert remove_unheld(tmp_path, really=False) == [] and not gone.exists()
