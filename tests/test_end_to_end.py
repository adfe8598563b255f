"""Runs the default path of a newcomer: the shipped model, the smoke experiment, the table and the figure."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from processes import Finished, run, start
from studies import stored

from analysis.figures import Choices, draw_prompt
from analysis.figures.videos import conditions_of
from analysis.study import Study, StudyError
from analysis.table import table_of
from metrics.video_file import read


def succeeded(module: str, *arguments: str) -> Finished:
    done = run(module, *arguments)
    assert done.returncode == 0, done
    return done


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    result = succeeded("bench.sweep", "+exp=smoke", f"root={root}")
    assert "22 made, 0 found, 0 failed of 22 samples" in result.stdout
    return root / "smoke"


def test_the_report_has_the_papers_rows(study: Path) -> None:
    printed = succeeded("analysis.table1", str(study)).stdout
    assert printed.count("| VGDFR (k=") == 16 and "| Original" in printed, "15 rows of the paper, and uniform merging"
    rows = list(csv.DictReader((study / "report" / "table1.csv").read_text().splitlines()))
    settings = [(row["k"], row["theta"]) for row in rows]
    assert settings[0] == ("", "")
    assert settings[1:16] == [(str(k), f"0.{t}") for k in (5, 10, 15) for t in (5, 6, 7, 8, 9)]
    assert [row["method"] for row in rows[16:]] == [
        "Fewer steps (steps=8)", "Fewer steps (steps=11)", "VGDFR (schedule=uniform)", "Ceiling", "Ceiling",
        "Original again",
    ]  # fmt: skip
    assert settings[16:] == [("", ""), ("", ""), ("5", ""), ("5", "0.5"), ("15", "0.9"), ("", "")]
    assert all(row["n"] == "1" for row in rows)
    ceilings = [row for row in rows if row["method"] == "Ceiling"]
    for row in ceilings:
        assert row["latency_s"] == row["speedup"] == row["token_ratio"] == "" and float(row["psnr"]) > 0
    for row in (row for row in rows if row not in ceilings):
        assert 0 < float(row["token_ratio"]) <= 1 and float(row["latency_s"]) > 0
    assert "A ceiling is no generator" in printed and "DiT work is tokens times layers" in printed
    ratios = [float(row["token_ratio"]) for row in rows[1:6]]
    assert ratios == sorted(ratios), "a higher theta merges less"


def test_a_stored_study_is_scored_for_more_by_several_processes_and_generates_nothing(study: Path) -> None:
    masters = {file: file.stat().st_mtime_ns for file in study.glob("*/*/master.mkv")}
    before = {file: json.loads(file.read_text())["scores"] for file in study.glob("*/*/scores.json")}
    for file in before:
        file.unlink()
    command = ("bench.score", str(study), "--metrics")
    running = [
        start(*command, names)
        for names in ("pixel", "pixel", "clip_temp_embedded,clipsim_embedded,vqa_embedded,lpips_embedded")
    ]
    done = [process.wait() for process in running]
    assert [each.returncode for each in done] == [0, 0, 0]
    assert all("22 samples scored" in each.stdout for each in done)
    assert {file: json.loads(file.read_text())["scores"] for file in before} == before
    assert {file: file.stat().st_mtime_ns for file in masters} == masters
    more = run(*command, "lpips,psnr")
    assert more.returncode == 1 and "lpips: no value for 21 samples: torchvision AlexNet" in more.stdout
    assert "python -m bench.prefetch metrics=paper" in more.stdout and "scored for psnr\n" in more.stdout


def test_scores_of_another_version_or_without_a_value_are_computed_anew_and_mixed_ones_refused(study: Path) -> None:
    row = next(r for r in stored(study) if r.record["slug"] == "vgdfr-k5-theta0.5")
    file, before = row.folder / "scores.json", row.scores
    document = json.loads(file.read_text())
    document["scores"]["psnr"] |= {"id": "psnr-v0-uint8-rgb-no-weights", "value": 1.0}
    document["scores"]["ssim"] |= {"value": None, "reason": "out of memory, say"}
    file.write_text(json.dumps(document))
    with pytest.raises(StudyError, match="psnr was scored in 2 ways.* python -m bench.score STUDY --metrics psnr"):
        table_of(Study(study))
    succeeded("bench.score", str(study), "--metrics", "psnr,ssim")
    again = next(r for r in stored(study) if r.record["slug"] == "vgdfr-k5-theta0.5")
    assert (again.scores["psnr"], again.scores["ssim"]) == (before["psnr"], before["ssim"])
    file.write_text(json.dumps(document | {"schema": 1}))
    with pytest.raises(StudyError, match="expected scores of schema 2, got 1; score the study again"):
        _ = Study(study).samples
    succeeded("bench.score", str(study))
    assert next(r for r in stored(study) if r.record["slug"] == "vgdfr-k5-theta0.5").scores == before


def test_one_damaged_master_costs_its_own_scores_only(study: Path) -> None:
    folder = next(study.glob("vgdfr-k10-theta0.7/*"))
    whole, scores = (folder / "master.mkv").read_bytes(), (folder / "scores.json").read_text()
    (folder / "master.mkv").write_bytes(whole[:2000])
    (folder / "scores.json").unlink()
    done = run("bench.score", str(study), "--metrics", "psnr")
    assert done.returncode == 1 and "psnr: no value for 1 sample: " in done.stdout and "master.mkv" in done.stdout
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1  # the file still decodes without an error
    (folder / "master.mkv").write_bytes(flipped)
    done = run("bench.score", str(study), "--metrics", "psnr")
    assert done.returncode == 1 and "master.mkv is not what was written; move it away: python -m bench" in done.stdout
    (folder / "master.mkv").write_bytes(whole)
    (folder / "scores.json").write_text(scores)


def test_a_damaged_file_of_scores_is_named_and_written_anew(study: Path) -> None:
    file = next(study.glob("vgdfr-k10-theta0.7/*")) / "scores.json"
    before = file.read_text()
    file.write_text(before[:100])
    with pytest.raises(StudyError, match="scores.json is damaged .* writes it again: python -m bench.score "):
        _ = Study(study).samples
    succeeded("bench.score", str(study))
    again, whole_scores = json.loads(file.read_text())["scores"], json.loads(before)["scores"]
    assert again and all(whole_scores[name] == score for name, score in again.items())
    record = file.with_name("record.json")
    whole = record.read_text()
    record.write_text(whole[:100])
    with pytest.raises(StudyError, match="record.json is damaged .* python -m bench.store verify "):
        _ = Study(study).samples
    record.write_text(whole)


def test_frames_that_were_kept_and_interpolated_are_scored_apart(study: Path) -> None:
    """The test computes the values from the files. It averages errors, not decibels, for PSNR."""
    row = next(r for r in stored(study) if r.record["slug"] == "vgdfr-k5-theta0.5")
    baseline = next(r for r in stored(study) if r.record["slug"] == "baseline")
    a, b = (read(r.folder / "master.mkv").frames.astype(float) for r in (row, baseline))
    kept = np.isin(np.arange(len(a)), row.record["schedule"]["kept_frames"])
    assert kept.any() and not kept.all()
    mse, steps = np.square(a - b).mean((1, 2, 3)), 1 - np.abs(np.diff(a, axis=0)).mean((1, 2, 3)) / 255
    for part, frames, pairs in (("kept", kept, kept[:-1] & kept[1:]), ("interpolated", ~kept, ~(kept[:-1] & kept[1:]))):
        scores = Study(study).samples.loc["vgdfr-k5-theta0.5"].iloc[0].filter(like=f".{part}")
        assert scores[f"psnr.{part}"] == pytest.approx(10 * np.log10(255**2 / mse[frames].mean()))
        assert scores[f"flicker.{part}"] == pytest.approx(steps[pairs].mean())
    samples = Study(study).samples
    assert samples.loc["baseline"].filter(like=".kept").isna().to_numpy().all(), "a baseline has no schedule"
    printed = succeeded("analysis.table1", str(study), "--frames", "interpolated").stdout
    assert f"{samples['psnr.interpolated'].dropna().iloc[0]:.2f}" in printed and "interpolated frames" in printed
    assert (study / "report" / "table1-interpolated.md").read_text().strip() == printed.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "nowhere holds no finished sample"), (["nowhere", "--metrics", "beauty"], "unknown metric beauty")],
)
def test_scoring_what_is_not_there_is_refused(arguments: list[str], message: str) -> None:
    done = run("bench.score", *arguments)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
    assert not Path("nowhere").exists(), "a folder was made"


def test_the_comparison_is_drawn(study: Path, tmp_path: Path) -> None:
    chosen = Choices("00-still", 5, 0.7)
    file, note = draw_prompt(table_of(Study(study)), tmp_path, chosen)
    assert file.stat().st_size > 10_000 and note == "", "the ceiling with this k and theta is no method"


def test_every_condition_is_drawn_in_the_tables_order(study: Path, tmp_path: Path) -> None:
    table = table_of(Study(study))
    shown = conditions_of(table, "00-still")
    assert len(shown) == 22 and shown[0][0].title == "Original" and shown[15][0].title == "VGDFR (k=15, θ=0.9)"
    assert shown[15][0].slug == "vgdfr-k15-theta0.9" and shown[-1][0].title == "Original again"
    assert draw_prompt(table, tmp_path, Choices("00-still"), grid=True)[0].stat().st_size > 10_000
    one = [row.title for row, _ in conditions_of(table, "00-still", 15, 0.9)]
    assert one == ["Original", "VGDFR (k=15, θ=0.9)", "Ceiling (k=15, θ=0.9)"]
    with pytest.raises(StudyError, match="no sample of prompt nothing; prompts: 00-still"):
        conditions_of(table, "nothing")
    with pytest.raises(StudyError, match=r"no condition of prompt 00-still has k=7; there are k=5 theta=0.5, "):
        conditions_of(table, "00-still", 7)
