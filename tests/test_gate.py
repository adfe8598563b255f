"""Bounds on rows: intervals decide, and whatever cannot be judged fails."""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from test_table1 import write

from analysis import Study, gate
from analysis.gate import Bound, Result

PROMPTS = "abcdef"
ROW, OTHER = "vgdfr-k5-theta0.5", "vgdfr-k10-theta0.5"
PSNR = [24.0, 25.0, 26.0, 27.0, 28.0, 29.0]
# mean 26.5, standard deviation 1.8708, t(5) = 2.5706: the half width is 2.5706 * 1.8708 / 6 ** 0.5
LOW, HIGH = 26.5 - 1.9633, 26.5 + 1.9633


def row(folder: Path, slug: str, psnr: list[Any], seconds: float = 5.0, **other: Any) -> None:
    for prompt, value in zip(PROMPTS, psnr, strict=False):
        write(folder, slug, prompt, seconds, {"psnr": value}, **other)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    row(folder, "baseline", [None] * 6, 10.0)
    row(folder, ROW, PSNR, 7.5)
    return folder


def judged(folder: Path, *bounds: Bound, **options: Any) -> Result:
    return gate.gate(Study(folder), bounds, **options)


def ran(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["gate", *map(str, arguments)])
    return gate.command()


def only_reason(result: Result) -> str:
    (verdict,) = result.verdicts
    assert result.failed and verdict.reason is not None
    return verdict.reason


@pytest.mark.parametrize(
    ("bound", "short_by"),
    [
        (Bound("min", "psnr", LOW - 0.01), None),
        (Bound("min", "psnr", LOW + 0.25), "the lower end is 0.25 below the bound"),
        (Bound("max", "psnr", HIGH + 0.01), None),
        (Bound("max", "psnr", HIGH - 0.25), "the upper end is 0.25 above the bound"),
    ],
    ids=str,
)
def test_the_whole_interval_must_be_on_the_right_side(study: Path, bound: Bound, short_by: str | None) -> None:
    result = judged(study, bound)
    assert result.failed == (short_by is not None) and result.verdicts[0].reason == short_by
    assert result.verdicts[0].margin == pytest.approx(0.01 if short_by is None else -0.25, abs=1e-3)


def test_the_mean_alone_counts_on_request(study: Path) -> None:
    assert not judged(study, Bound("min", "psnr", 26.5), by_mean=True).failed
    result = judged(study, Bound("min", "psnr", 27), by_mean=True)
    assert only_reason(result) == "the mean is 0.5 below the bound"


def test_a_speedup_must_clear_the_error_of_prices_as_marks_do(study: Path) -> None:
    """The speed-up is 4/3 in every prompt, so its interval has no width. 1.3 * 1.05 is more than that."""
    assert not judged(study, Bound("min", "speedup", 1.25)).failed
    assert "0.0317 short of 5% beyond the bound" in only_reason(judged(study, Bound("min", "speedup", 1.3)))
    assert "short of 5%" in only_reason(judged(study, Bound("max", "latency_s", 7.6)))
    assert not judged(study, Bound("max", "latency_s", 7.9)).failed
    assert not judged(study, Bound("min", "speedup", 1.3), by_mean=True).failed
    assert not judged(study, Bound("max", "psnr", 28.6)).failed, "no price here"


def test_only_methods_are_checked_unless_a_row_is_named(study: Path) -> None:
    row(study, OTHER, [v + 1 for v in PSNR])
    row(study, "baselinererun", [10.0] * 6)
    row(study, "vgdfr-k15-theta0.5", [10.0] * 6, title="VGDFR", role="ablation", family="x", settings=["k15"],
        makes_video=True)  # fmt: skip
    result = judged(study, Bound("min", "psnr", 24))
    assert [v.row.slug for v in result.verdicts] == [ROW, OTHER] and not result.failed
    (line,) = result.lines
    assert line == "holds  --min psnr=24  in 2 rows, closest in VGDFR (k=5, θ=0.5): psnr 26.50 [24.54, 28.46] (n=6)"
    for name in ("baselinererun", "Original again"):
        assert "14 below" in only_reason(judged(study, Bound("min", "psnr", 24), conditions=[name]))


def test_every_failure_has_its_line_and_its_margin(study: Path) -> None:
    row(study, OTHER, [v - 10 for v in PSNR])
    result = judged(study, Bound("min", "psnr", 20), Bound("min", "speedup", 1.2))
    assert result.lines == [
        "FAILS  --min psnr=20  VGDFR (k=10, θ=0.5): psnr 16.50 [14.54, 18.46] (n=6): "
        "the lower end is 5.46 below the bound",
        "holds  --min speedup=1.2  in 2 rows, closest in VGDFR (k=5, θ=0.5): speedup 1.33 [1.33, 1.33] (n=6)",
    ]


def test_identical_videos_exceed_every_psnr(study: Path) -> None:
    row(study, OTHER, ["inf"] * 6)
    named = {"conditions": [OTHER]}
    result = judged(study, Bound("min", "psnr", 60), **named)
    assert not result.failed and result.verdicts[0].margin == math.inf and "+6 infinite" in result.lines[0]
    assert only_reason(judged(study, Bound("max", "psnr", 60), **named)) == "6 of 6 values are infinite"


def test_too_few_prompts_have_no_interval_to_judge_by(tmp_path: Path) -> None:
    for slug in ("baseline", ROW):
        row(tmp_path, slug, [30.0] * 4)
    assert only_reason(judged(tmp_path, Bound("min", "psnr", 25))).startswith("there is no interval, which needs 5")
    assert not judged(tmp_path, Bound("min", "psnr", 25), by_mean=True).failed


def test_a_missing_score_fails_with_its_reason(study: Path) -> None:
    row(study, OTHER, [*PSNR[:5], None])
    result = judged(study, Bound("min", "psnr", 1), conditions=[OTHER])
    assert only_reason(result) == "1 of 6 samples have no value: no baseline"
    assert "6 of 6 samples have no value: it needs a video quality model" in only_reason(
        judged(study, Bound("min", "vqa", 1), conditions=[ROW])
    )


def test_an_incomplete_study_fails(study: Path) -> None:
    (study / "plan.json").write_text(json.dumps({"samples": [f"{ROW}/g"]}))
    result = judged(study, Bound("min", "psnr", 1))
    assert result.failed and all(v.reason is None for v in result.verdicts)
    assert result.lines[0].startswith("FAILS  Incomplete: 12 of 13 samples")
    write(study, ROW, "g", 1.0, {}, status="failed", error="no memory")
    (study / "plan.json").unlink()
    assert judged(study, Bound("min", "psnr", 1)).problems[0].startswith("Incomplete: 12 of 14 samples, 1 failed")


def test_a_mixture_fails(study: Path) -> None:
    identity = {"generator_version": 1, "model": {"dtype": "bfloat16"}, "spec": {"prompt": "a", "seed": 97, "fps": 12}}
    write(study, OTHER, "a", 1.0, {"psnr": 50.0}, identity=identity)
    result = judged(study, Bound("min", "psnr", 1))
    assert result.failed and not result.verdicts and "mixes 2 models or precisions" in result.lines[0]


def test_samples_made_otherwise_than_their_baselines_fail_in_differences_alone(study: Path) -> None:
    row(study, OTHER, PSNR, 5.0, environment={"packages": {"torch": "2.11"}})
    result = judged(study, Bound("min", "psnr", 1), Bound("max", "token_ratio", 1), conditions=[OTHER])
    assert [v.reason for v in result.verdicts] == [
        "samples were made otherwise than the baseline they are compared with: torch 2.11 and None", None,
    ]  # fmt: skip


def test_exit_statuses(study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(monkeypatch, study, "--min", "psnr=24", "--max", "latency_s=8", "--condition", ROW) == 0
    assert capsys.readouterr().out.count("holds  --m") == 2
    assert ran(monkeypatch, study, "--min", "psnr=25") == 1
    assert capsys.readouterr().out.startswith("FAILS  --min psnr=25  VGDFR (k=5, θ=0.5): psnr 26.50")
    for arguments, said in (
        ((study, "--min", "psnrr=25"), "there is no column psnrr; there are .*; did you mean psnr"),
        ((study, "--min", "psnr=25", "--condition", "mine"), f"there is no condition mine; there are baseline, {ROW}"),
        ((study / "nowhere", "--min", "psnr=25"), "nowhere is no folder"),
    ):
        assert ran(monkeypatch, *arguments) == 2
        assert re.search(said, capsys.readouterr().err), arguments
    for wrong in ((), ("--min", "psnr"), ("--min", "psnr=high"), ("--min", "psnr=nan"), ("--max", "=3")):
        with pytest.raises(SystemExit) as ended:
            ran(monkeypatch, study, *wrong)
        assert ended.value.code == 2
    assert "such as psnr=25, got 'psnr=high'" in capsys.readouterr().err


def test_without_a_methods_row_nothing_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row(tmp_path, "baseline", [None] * 6)
    assert ran(monkeypatch, tmp_path, "--max", "latency_s=100") == 2


def test_verdicts_as_json(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row(study, OTHER, ["inf"] * 6)
    file = tmp_path / "out" / "gate.json"
    assert ran(monkeypatch, study, "--min", "psnr=25", "--json", file) == 1
    told = json.loads(file.read_text(encoding="utf-8"))
    first, second = told["verdicts"]
    assert told["holds"] is False and told["problems"] == []
    assert first == {
        "condition": ROW, "title": "VGDFR (k=5, θ=0.5)", "column": "psnr", "side": "min", "limit": 25.0, "value": 26.5,
        "low": pytest.approx(LOW, abs=1e-3), "high": pytest.approx(HIGH, abs=1e-3), "n": 6, "infinite": 0,
        "margin": pytest.approx(LOW - 25, abs=1e-3), "holds": False, "reason": "the lower end is 0.463 below the bound",
    }  # fmt: skip
    assert second["holds"] is True and second["value"] is None and second["infinite"] == 6 and second["margin"] is None
