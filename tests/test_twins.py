"""Twins of two families: which conditions are paired, hand-worked differences, caps, targets, Holm, refusals."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_rivals import HALF, PROMPTS, condition, line
from test_table1 import table_in

from analysis import Study, StudyError
from analysis.matching import equal_work, matching_of
from analysis.statistics import holm, p_value, paired
from analysis.targets import has_target
from analysis.twins import report
from metrics import METRICS

INDEX = pd.MultiIndex.from_product([list(PROMPTS), [0]], names=["prompt", "seed"])
PLAIN = [20.0, 21.0, 22.0, 23.0, 24.0, "inf"]
ANCHORED = [25.0, 70.0, 24.0, 30.0, 26.0, "inf"]
VQA = {"baseline": [50.0] * 6, "VGDFR": [60, 58, 62, 61, 59, 60], "Anchored": [45, 44, 47, 46, 45, 46]}


def grid(study: Path, family: str, k: int, psnr: Any, extra: tuple[str, ...] = (), **other: Any) -> None:
    motion = line(0.5, 0.02) if family == "VGDFR" else line(1.2, 0.01)
    values = {"psnr": psnr, "motion": motion, "vqa": VQA[family]}
    slug = "-".join([family, f"k{k}", "theta0.5", *extra])
    method = {"name": "vgdfr", "k": k, "theta": 0.5}
    condition(study, slug, 1.0, values, method=method, **{"title": "VGDFR", "token_ratio": 0.5, "passes": HALF} | other)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study of k=5 and k=10 in both families, and of k=15 in one."""
    folder = tmp_path / "anchored"
    condition(folder, "Original", 6.0, {"vqa": VQA["baseline"]})
    grid(folder, "VGDFR", 5, PLAIN)
    grid(folder, "VGDFR", 10, line(30, 1))
    grid(folder, "VGDFR", 15, line(35, 1))
    grid(folder, "Anchored", 5, ANCHORED, ("anchor=3", "noise=own"))
    grid(folder, "Anchored", 10, [31.0, 29.0, 33.5, 32.0, 35.5, 34.0], ("anchor=3", "noise=own"))
    return folder


def rows_of(study: Path, **options: Any) -> dict[tuple[str, str, str], dict[str, str]]:
    made = report(Study(study), "Anchored", "VGDFR", **options)
    (text,) = made.files.values()
    rows = csv.DictReader(io.StringIO(str(text)))
    return {(row["settings"], row["column"], row["measure"]): row for row in rows}


def test_twins_are_equal_but_for_the_settings_that_tell_families_apart(study: Path) -> None:
    matching = matching_of(table_in(study), "Anchored", "VGDFR")
    assert [(pair.family.k, pair.against.k, pair.title) for pair in matching.twins] == [
        (5, 5, "k=5, θ=0.5"), (10, 10, "k=10, θ=0.5"),
    ]  # fmt: skip
    assert matching.family_settings == ("anchor=3", "noise=own") and matching.against_settings == ()
    assert [row.title for row in matching.alone] == ["VGDFR (k=15, θ=0.5)"]
    notes = " ".join(report(Study(study), "Anchored", "VGDFR").sheets[0].notes)
    assert "Anchored has anchor=3, noise=own, and VGDFR has the defaults" in notes
    assert "Conditions without a twin are left out: VGDFR (k=15, θ=0.5)." in notes


def test_a_setting_with_two_values_in_a_family_does_not_tell_families_apart(study: Path) -> None:
    grid(study, "Anchored", 20, line(30), ("anchor=4", "noise=own"))
    with pytest.raises(StudyError, match=r"no condition of Anchored has a twin in VGDFR: .* \(noise\), Anchored has"):
        matching_of(table_in(study), "Anchored", "VGDFR")


def test_a_cap_counts_larger_and_infinite_values_on_both_sides(study: Path) -> None:
    """Differences of 5, 60 - 21, 2, 7, 2, and 0 for two identical videos."""
    row = rows_of(study, names=["psnr"], caps={"psnr": 60})["k=5, θ=0.5", "psnr", "value"]
    assert float(row["difference"]) == pytest.approx((5 + 39 + 2 + 7 + 2 + 0) / 6, rel=1e-5)
    assert (row["difference_n"], row["difference_infinite"]) == ("6", "0")
    assert (row["capped"], row["against_capped"]) == ("2", "1")
    assert float(row["mean"]) - float(row["against_mean"]) == pytest.approx(float(row["difference"]), abs=1e-3)
    notes = " ".join(report(Study(study), "Anchored", "VGDFR", ["psnr"], {"psnr": 60}).sheets[0].notes)
    assert "PSNR above 60 dB counts as 60 dB on both sides" in notes
    assert "2 common samples of Anchored and 1 of VGDFR" in notes


def test_without_a_cap_infinite_values_are_left_out(study: Path) -> None:
    row = rows_of(study, names=["psnr"])["k=5, θ=0.5", "psnr", "value"]
    assert float(row["difference"]) == pytest.approx((5 + 49 + 2 + 7 + 2) / 5)
    assert (row["difference_n"], row["difference_infinite"]) == ("5", "1")
    sheet = report(Study(study), "Anchored", "VGDFR", ["psnr"]).sheets[0]
    assert "1 infinite" in sheet.rows[0][3].text and "--cap psnr=NUMBER counts them" in " ".join(sheet.notes)


def test_p_values_are_corrected_over_the_pairs_of_a_column(study: Path) -> None:
    rows = rows_of(study, names=["psnr"], caps={"psnr": 60})
    a = [pd.Series([25.0, 60, 24, 30, 26, 60], INDEX), pd.Series([31.0, 29, 33.5, 32, 35.5, 34], INDEX)]
    b = [pd.Series([20.0, 21, 22, 23, 24, 60], INDEX), pd.Series(line(30, 1), INDEX)]
    raw = [p for x, y in zip(a, b, strict=True) if (p := p_value(x, y)) is not None]
    for place, settings in enumerate(("k=5, θ=0.5", "k=10, θ=0.5")):
        row, hand = rows[settings, "psnr", "value"], paired(a[place], b[place])
        assert float(row["difference_p_holm"]) == pytest.approx(holm(raw)[place], rel=1e-4)
        assert float(row["difference_low"]) == pytest.approx(hand.low, rel=1e-4)
        assert (row["differs"], row["verdict"]) == ("False", "0")


def test_a_column_with_a_target_is_judged_by_its_distance(study: Path) -> None:
    """VQA falls from about 60 to about 45.5, and so comes nearer to the baseline's 50. Motion rises past 1."""
    rows = rows_of(study, names=["vqa", "motion"])
    value, distance = (rows["k=5, θ=0.5", "vqa", measure] for measure in ("value", "distance"))
    assert float(value["difference"]) == pytest.approx(273 / 6 - 360 / 6) and value["verdict"] == ""
    assert float(distance["difference"]) == pytest.approx(27 / 6 - 60 / 6) and distance["verdict"] == "1"
    motion = rows["k=5, θ=0.5", "motion", "distance"]
    assert float(motion["difference"]) == pytest.approx(0.225 - 0.45) and motion["verdict"] == "1"
    notes = report(Study(study), "Anchored", "VGDFR", ["vqa", "motion"]).sheets[0].notes
    assert "VQA (distance): 2 better, 0 worse, 0 not separated; Motion (distance): 2 better" in notes[0]
    turned = report(Study(study), "VGDFR", "Anchored", ["vqa"]).sheets[0]
    assert "VQA (distance): 0 better, 2 worse, 0 not separated." in turned.notes[0]
    assert [cell.mark for cell in turned.rows[0]] == ["", "", "", "best", "best"]


def test_which_metrics_have_a_target() -> None:
    names = ("vqa", "clipsim", "clip_temp", "flicker", "motion", "motion_flow", "psnr", "ssim", "lpips", "cosine")
    assert [name for name in names if has_target(METRICS[name].about)] == list(names[:6])


def test_the_report_says_whether_twins_did_equal_work(study: Path) -> None:
    sheet = report(Study(study), "Anchored", "VGDFR", ["psnr"]).sheets[0]
    assert [row[2].text for row in sheet.rows] == ["0.50, 0.50"] * 2
    assert "Both twins have the same tokens and DiT passes in all 12 common samples" in " ".join(sheet.notes)
    grid(study, "VGDFR", 20, line(30), passes=[*HALF[:6], 40])
    grid(study, "Anchored", 20, line(31), ("anchor=3", "noise=own"))
    matching = matching_of(table_in(study), "Anchored", "VGDFR")
    assert equal_work(matching.twins[-1]) == [False] * 6
    notes = " ".join(report(Study(study), "Anchored", "VGDFR", ["psnr"]).sheets[0].notes)
    assert "the tokens or DiT passes of twins differ in k=20, θ=0.5 (6 of 6 samples)" in notes


def test_refusals(study: Path) -> None:
    asked = Study(study)
    with pytest.raises(StudyError, match="there is no family Anchor; there are VGDFR, Anchored"):
        report(asked, "Anchor", "VGDFR")
    with pytest.raises(StudyError, match="both name VGDFR; name two families"):
        report(asked, "VGDFR", "VGDFR")
    with pytest.raises(StudyError, match="--cap names ssim, and the columns are psnr"):
        report(asked, "Anchored", "VGDFR", ["psnr"], {"ssim": 1})
    with pytest.raises(StudyError, match="speedup is no mean over samples"):
        report(asked, "Anchored", "VGDFR", ["speedup"])
