"""The default path as a newcomer runs it: the shipped model, the smoke experiment, the table, the figure."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.figures import conditions_of
from analysis.figures import main as draw
from analysis.load import StudyError, load


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "bench.sweep", "+exp=smoke", f"root={root}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "16 made, 0 found, 0 failed of 16 samples" in result.stdout
    return root / "smoke"


def test_the_report_has_the_papers_rows(study: Path) -> None:
    command = [sys.executable, "-m", "analysis.table1", str(study)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.count("| VGDFR (k=") == 15 and "| Original" in printed
    rows = list(csv.DictReader((study / "report" / "table1.csv").read_text().splitlines()))
    settings = [(row["k"], row["theta"]) for row in rows]
    assert settings[0] == ("", "")
    assert settings[1:] == [(str(k), f"0.{t}") for k in (5, 10, 15) for t in (5, 6, 7, 8, 9)]
    for row in rows:
        assert row["n"] == "1" and 0 < float(row["token_ratio"]) <= 1 and float(row["latency_s"]) > 0
    ratios = [float(row["token_ratio"]) for row in rows[1:6]]
    assert ratios == sorted(ratios), "a higher theta merges less"


def test_the_comparison_is_drawn(study: Path) -> None:
    assert draw(study, "00-still", 5, 0.7).stat().st_size > 10_000


def test_every_condition_is_drawn_in_the_tables_order(study: Path) -> None:
    titled = conditions_of(load(study), "00-still")
    assert len(titled) == 16 and titled[0][0] == "Original" and titled[-1][0] == "VGDFR (k=15, θ=0.9)"
    assert titled[-1][1].record["slug"] == "vgdfr-k15-theta0.9"
    assert draw(study, "00-still", 5, 0.7, all_conditions=True).stat().st_size > 10_000
    with pytest.raises(StudyError, match="no sample of prompt nothing; prompts: 00-still"):
        conditions_of(load(study), "nothing")
