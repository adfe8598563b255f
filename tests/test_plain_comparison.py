"""The notes under Table 1 about its comparison rows."""

from pathlib import Path

import pytest
from test_table1 import table_in, write

from analysis.plain_comparison import notes

SHOWN = ("motion", "psnr")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study with two VGDFR rows, fewer steps at the work of each, a ceiling, and the baseline again."""
    rows = {
        "baseline": (50.0, {}, {}),
        "vgdfr-k5-theta0.5": (24.8, {"psnr": 23.0, "motion": 0.5}, {}),
        "vgdfr-k15-theta0.9": (34.5, {"psnr": 30.0, "motion": 0.75}, {}),
        "fewersteps-steps=25": (25.0, {"psnr": 41.0, "motion": 0.9}, {}),
        "fewersteps-steps=35": (35.0, {"psnr": 46.0, "motion": 1.0}, {}),
        "interpolated-k5-theta0.5": (None, {"psnr": 50.0, "motion": 0.45}, {
            "title": "Ceiling", "role": "diagnostic", "family": "Ceiling", "settings": ["k5", "theta0.5"],
            "method": {"name": "interpolated", "k": 5, "theta": 0.5}, "makes_video": True,
        }),
        "baselinererun": (50.0, {"psnr": "inf", "motion": 1.0}, {}),
    }  # fmt: skip
    for slug, (passes, scores, other) in rows.items():
        for prompt in "ab":
            write(tmp_path, slug, prompt, 1.0, scores, passes=passes, **other)
    return tmp_path


def test_the_extra_rows_stand_below_the_papers_with_one_rule_between(study: Path) -> None:
    table = table_in(study)
    assert [row.title for row in table.rows] == [
        "Original", "VGDFR (k=5, θ=0.5)", "VGDFR (k=15, θ=0.9)", "Fewer steps (steps=25)", "Fewer steps (steps=35)",
        "Ceiling (k=5, θ=0.5)", "Original again",
    ]  # fmt: skip
    blocks = [table.block(row) for row in table.rows]
    assert [i for i in range(1, len(blocks)) if blocks[i] != blocks[i - 1]] == [1, 2, 3]


def test_equal_work_lost_motion_and_the_ceiling_are_told(study: Path) -> None:
    work, motion, ceiling = notes(table_in(study), SHOWN)
    assert work == (
        "DiT work is tokens times layers as a share of the baseline's. "
        "About equal: Fewer steps (steps=25) 0.500 and VGDFR (k=5, θ=0.5), least work, 0.496; "
        "Fewer steps (steps=35) 0.700 and VGDFR (k=15, θ=0.9), best PSNR, 0.690."
    )
    lost = "VGDFR (k=5, θ=0.5) (0.50), Ceiling (k=5, θ=0.5) (0.45)"
    assert motion == f"These rows lose half of the baseline's motion or more: {lost}."
    assert ceiling.startswith("A ceiling is no generator: ")
    assert notes(table_in(study), ("psnr",)) == [work, ceiling], "motion is told where its column is shown"
    assert not any(note.startswith("DiT work") for note in notes(table_in(study, frames="kept"), SHOWN))


def test_rows_at_unequal_work_get_a_warning(study: Path) -> None:
    for prompt in "ab":
        write(study, "fewersteps-steps=30", prompt, 1.0, {"psnr": 44.0, "motion": 1.0}, passes=30.0)
        for slug in ("fewersteps-steps=35", "interpolated-k5-theta0.5"):
            for file in (study / slug / prompt).iterdir():
                file.unlink()
            (study / slug / prompt).rmdir()
    (work, motion) = notes(table_in(study), SHOWN)
    assert work == (
        "DiT work is tokens times layers as a share of the baseline's. "
        "About equal: Fewer steps (steps=25) 0.500 and VGDFR (k=5, θ=0.5), least work, 0.496. "
        "Warning, these rows are not at equal work: "
        "Fewer steps (steps=30) 0.600 and VGDFR (k=15, θ=0.9), best PSNR, 0.690 (13% apart)."
    )
    assert motion == "This row loses half of the baseline's motion or more: VGDFR (k=5, θ=0.5) (0.50)."


def test_a_study_without_these_rows_has_no_such_notes(tmp_path: Path) -> None:
    write(tmp_path, "baseline", "a", 1.0, {}, passes=50.0)
    write(tmp_path, "vgdfr-k5-theta0.5", "a", 1.0, {"psnr": 23.0, "motion": 0.6}, passes=25.0)
    assert notes(table_in(tmp_path), SHOWN) == []
