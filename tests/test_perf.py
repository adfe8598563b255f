"""The benchmark of scoring runs, and both of its ways give equal values. Tests do not judge its times."""

from pathlib import Path

from perf.metrics_speed import compare, report
from perf.report_speed import COMMANDS, synthetic

from analysis import Study, cost, table1
from analysis import compare as differences


def test_both_ways_score_alike() -> None:
    result = compare(1, 17, 32, 48)
    for row in result["metrics"].values():
        assert row["largest_difference"] < 1e-5 and row["ours_s"] > 0 and row["plain_s"] > 0
    assert set(result["peak_bytes_by_frames"]) == {17, 34} and result["pair_bytes"] == 2 * 17 * 32 * 48 * 3
    text = report(result)
    assert "1 videos of 17 x 32 x 48" in text and "| psnr+ssim+flicker+cosine |" in text and "Peak memory" in text


def test_the_synthetic_study_is_one_that_all_timed_reports_take(tmp_path: Path) -> None:
    synthetic(tmp_path, 96)
    study = Study(tmp_path)
    assert {name for name, *_ in COMMANDS} == {"table1", "statistics", "cost"}
    assert len(table1.report(study, intervals=True, beside_paper=True).sheets[0].rows) == 32
    assert differences.report(study, by="dimension").sheets and cost.report(study).sheets
