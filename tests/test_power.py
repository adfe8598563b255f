"""How many prompts separate two conditions: against published tables, simulation, and stored studies."""

from pathlib import Path

import numpy as np
import pytest
from processes import run
from scipy import stats
from test_table1 import write

from analysis import Study, StudyError
from analysis.differences import deviation
from analysis.power import MOST, asked_of, power_report, prompts_needed
from analysis.statistics import MIN_PROMPTS
from analysis.table import table_of

VALUES = np.random.default_rng(3).normal(30, 2, size=(3, 8))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study of 8 prompts with three VGDFR rows. The last two have equal videos."""
    for i in range(8):
        write(tmp_path, "baseline", f"p{i}", 10.0 + i % 3, {})
        for theta, psnr in (("0.5", VALUES[0, i]), ("0.7", VALUES[1, i]), ("0.9", VALUES[1, i])):
            write(tmp_path, f"vgdfr-k5-theta{theta}", f"p{i}", 5.0 + VALUES[2, i] / 10, {"psnr": psnr})
    return tmp_path


@pytest.mark.parametrize(("effect", "prompts"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_numbers_are_those_of_published_tables(effect: float, prompts: int) -> None:
    """Cohen's effect sizes for the paired t test at 5 % two-sided with power 0.8 (G*Power 3 prints the same)."""
    assert prompts_needed(3.0, 3.0 * effect) == prompts


def test_the_test_has_that_power_in_simulation() -> None:
    count = prompts_needed(2.0, 1.0)
    draws = np.random.default_rng(4).normal(1.0, 2.0, size=(4000, count))
    assert (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.02)


def test_a_clear_difference_needs_as_many_prompts_as_an_interval_and_a_tiny_one_is_out_of_reach() -> None:
    assert prompts_needed(0.001, 1.0) == MIN_PROMPTS == prompts_needed(0.0, 1.0)
    assert prompts_needed(1000.0, 1.0) == MOST + 1


def test_the_spread_is_of_paired_differences(study: Path) -> None:
    made = power_report(Study(study), {"psnr": [0.5]}, ("vgdfr-k5-theta0.5", "vgdfr-k5-theta0.7"))
    spread = float(np.std(VALUES[0] - VALUES[1], ddof=1))
    (line,) = made.sheets[0].rows
    assert [cell.text for cell in line][:3] == ["PSNR", "0.5", f"{spread:.3g}"]
    assert line[4].text == line[5].text == str(prompts_needed(spread, 0.5)) and line[6].text == "1"
    assert made.stem == "statistics-power-vgdfr-k5-theta0.5-against-vgdfr-k5-theta0.7-psnr"


def test_all_pairs_of_methods_and_usual_differences(study: Path) -> None:
    rows = power_report(Study(study)).sheets[0].rows
    psnr = [[cell.text for cell in row] for row in rows if row[0].text == "PSNR"]
    assert [row[1] for row in psnr] == ["0.25", "0.5", "1"]
    assert {row[6] for row in psnr} == {"2"}, "rows of equal values are not a pair"
    assert not any(row[0].text in ("Latency (s)", "Speedup") for row in rows), "all rows have equal latencies"
    assert not any(row[0].text == "Tokens" for row in rows), "no direction is better"


def test_a_speedups_spread_is_of_the_ratio_of_latencies(study: Path) -> None:
    for i in range(8):
        write(study, "vgdfr-k10-theta0.5", f"p{i}", 4.0 + i / 10, {"psnr": 1.0})
    table = table_of(Study(study))
    a, b = (next(row for row in table.rows if row.slug == f"vgdfr-k{k}-theta0.5") for k in (5, 10))
    over, under = (row.values("latency_s").to_numpy() for row in (b, a))
    residuals = over - over.sum() / under.sum() * under
    column = next(c for c in table.columns() if c.name == "speedup")
    assert deviation(a, b, column) == pytest.approx(residuals.std(ddof=1) / under.mean())


def test_wrong_questions_are_refused(study: Path) -> None:
    assert asked_of(["psnr=0.5", "psnr=1", "ssim=0.01"]) == {"psnr": [0.5, 1.0], "ssim": [0.01]}
    for text in ("psnr", "psnr=", "psnr=x", "psnr=0", "psnr=-1", "psnr=inf", "=1"):
        with pytest.raises(StudyError, match=f"such as psnr=0.5; got '{text}'"):
            asked_of([text])
    with pytest.raises(StudyError, match="no condition nothing; there are baseline"):
        power_report(Study(study), pair=("nothing", "baseline"))
    with pytest.raises(StudyError, match="no column nothing"):
        power_report(Study(study), {"nothing": [1.0]})
    with pytest.raises(StudyError, match=f"no two conditions have {MIN_PROMPTS} common prompts in a column"):
        power_report(Study(study), {"psnr": [1.0]}, ("baseline", "vgdfr-k5-theta0.5"))


def test_the_command(study: Path) -> None:
    command = ["analysis.statistics", str(study), "--power", "psnr=0.5"]
    made = run(*command)
    assert made.returncode == 0 and "## Prompts needed" in made.stdout
    assert {f.name for f in (study / "report").iterdir()} == {
        "statistics-power-psnr.md", "statistics-power-psnr.csv"
    }  # fmt: skip
    wrong = run(*command, "--by", "speed")
    assert wrong.returncode == 2 and "--power takes no --by" in wrong.stderr
