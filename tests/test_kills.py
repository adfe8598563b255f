"""Kills workers while they load, make, score and store. The study must continue to the same samples."""

from pathlib import Path

from perf.kills import AIMS, kill_and_compare


def test_a_study_whose_workers_were_killed_at_each_stage_equals_an_undisturbed_one(tmp_path: Path) -> None:
    """`python tests/perf/kills.py --kills 30` does the same more often, with four workers."""
    assert kill_and_compare(tmp_path, len(AIMS), workers=2) == dict.fromkeys(AIMS, 1)
