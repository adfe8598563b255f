"""Kills workers while they load, make, score and store. The study must continue to the same samples."""

from pathlib import Path

from forking import HERE
from perf.kills import AIMS
from processes import run


def test_a_study_whose_workers_were_killed_at_each_stage_equals_an_undisturbed_one(tmp_path: Path) -> None:
    """`python tests/perf/kills.py --kills 30` does the same more often, with four workers."""
    done = run("perf.kills", f"--kills={len(AIMS)}", "--workers=2", before=HERE, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(AIMS)} kills ({', '.join(f'1 while {aim}' for aim in AIMS)})" in done.stdout, done.stdout
