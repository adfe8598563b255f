"""The judgement of assignments of Global-RoPE: on other prompts than those that selected the layers, and corrected."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_rope_sensitivity import EVERY, noise, record, spoil, write, write_study

from analysis import Study, StudyError
from analysis.rope_sensitivity.__main__ import report

ASSIGNMENTS: dict[str, tuple[list[int], float]] = {  # layers, and the gain
    "chosen": ([2, 4], 0.1), "paper": ([1, 3], 0.0), "all": (list(EVERY), 0.1), "none": ([], -0.05)
}  # fmt: skip


def write_assignment(
    folder: Path, prompts: str = "ijklmnop", assignments: Mapping[str, tuple[list[int], float]] = ASSIGNMENTS
) -> Path:
    """Writes prompts of very different difficulty. LPIPS falls by the gain, and PSNR knows nothing."""
    for i, prompt in enumerate(prompts):
        for name, (layers, gain) in assignments.items():
            values = {
                "lpips_embedded": 1 + i - gain - noise(prompt, name), "psnr": 20 + 3 * i + 100 * noise(name, prompt)
            }  # fmt: skip
            scores = {n: {"id": f"{n}-v1-rgb-no-weights", "value": v, "reason": None} for n, v in values.items()}
            write(folder / name / prompt, record(layers, prompt), scores)
    return folder


def judged(selection: Path, assignment: Path, **other: Any) -> tuple[str, list[dict[str, str]]]:
    """Returns the report's text from the judgement on, and the rows of its CSV file."""
    made = report(Study(selection), None, assignment=Study(assignment), **other)
    rows = list(csv.DictReader(io.StringIO(str(made.files["rope_assignment.csv"]))))
    return made.text.split("## Assignments on other prompts")[1], rows


@pytest.fixture(scope="module")
def selection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("selection") / "rope_sensitivity")


def test_assignments_are_judged_by_paired_differences_to_the_recommended_layers(
    selection: Path, tmp_path: Path
) -> None:
    text, rows = judged(selection, write_assignment(tmp_path / "rope_assignment"))
    assert (
        "By LPIPS†, worse than the recommended layers: paper's list, none; not separated from the recommended " in text
    )
    assert "By PSNR, not separated from the recommended layers: paper's list, all, none." in text
    assert "8 prompts. None of them is among the 8 prompts by which `rope_sensitivity` selected" in text
    assert "corrected for 6 differences" in text
    shown = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]
    assert shown == ["recommended (2, 4)", "paper's list (1, 3)", "all", "none"]
    by = {(row["measure"], row["assignment"]): row for row in rows}
    assert len(by) == len(rows) == 8 and by["lpips_embedded", "recommended"]["p_corrected"] == ""
    for name, own in (("paper's list", 0.1), ("all", 0.0), ("none", 0.15)):
        row = by["lpips_embedded", name]
        assert float(row["difference"]) == pytest.approx(own, abs=0.003)
        assert float(row["difference_low"]) < float(row["difference"]) < float(row["difference_high"])
    assert by["psnr", "all"]["global_layers"] == "0 1 2 3 4 5" and by["psnr", "none"]["global_layers"] == ""


def test_prompts_that_selected_the_layers_are_refused_with_number_example_and_command(
    selection: Path, tmp_path: Path
) -> None:
    message = (
        r"2 of the 6 prompts of mine are among the 8 prompts by which rope_sensitivity selects layers, such as "
        r"'prompt g'. .*python -m bench.sweep \+exp=rope_assignment study=mine_others prompts.skip=8"
    )
    with pytest.raises(StudyError, match=message):
        judged(selection, write_assignment(tmp_path / "mine", "ghijkl"))


def test_a_prompt_counts_as_selecting_whatever_its_seed_and_its_outcome(selection: Path, tmp_path: Path) -> None:
    """Seeds of a prompt show the same thing, and a failed sample was part of the selecting study."""
    study = write_assignment(tmp_path / "mine")
    for file in study.glob("*/i/record.json"):
        spoil(file, lambda r: r.update(seed_index=3))
        spoil(file, lambda r: r["identity"]["spec"].update(prompt="prompt a", seed=99))
    with pytest.raises(StudyError, match="1 of the 8 prompts of mine"):
        judged(selection, study)
    failed = write_study(tmp_path / "failed")
    write(failed / "only_0" / "j", record([0], "j") | {"status": "failed", "layers": None}, None)
    with pytest.raises(StudyError, match="1 of the 8 prompts of other .* such as 'prompt j'"):
        judged(failed, write_assignment(tmp_path / "other"))


def test_the_same_layers_are_one_row_and_other_layers_have_their_numbers(selection: Path, tmp_path: Path) -> None:
    assignments = {"chosen": ([1, 2, 3, 4, 5, 0], 0.1), "mine": ([0, 5], 0.3), "none": ([], 0.0)}
    text, rows = judged(selection, write_assignment(tmp_path / "mine", assignments=assignments), size=6)
    assert [row["assignment"] for row in rows][:3] == ["recommended", "none", "other"]
    assert "worse than the recommended layers: none; better than the recommended layers: other (0, 5)." in text


def test_few_prompts_judge_nothing_and_missing_samples_are_counted(selection: Path, tmp_path: Path) -> None:
    text, rows = judged(selection, write_assignment(tmp_path / "few", "ijkl"))
    assert "**Only 4 of the 5 prompts that a judgement needs.**" in text and "By LPIPS" not in text
    assert {row["p_corrected"] for row in rows} == {""}
    text, _ = judged(selection, write_assignment(tmp_path / "more"))
    assert "**8 prompts are too few to judge layers by: 20 or more are needed.**" in text and "By LPIPS" in text
    study = write_assignment(tmp_path / "lacking")
    (study / "all" / "i" / "record.json").unlink()
    spoil(study / "none" / "j" / "scores.json", lambda d: d["scores"]["psnr"].update(value="inf"))
    text, rows = judged(selection, study)
    assert "Left out: 2 samples without a finite value under some assignment." in text
    assert {row["measure"]: row["n"] for row in rows} == {"lpips_embedded": "7", "psnr": "6"}


def test_a_study_without_the_recommended_layers_or_with_other_settings_is_refused(
    selection: Path, tmp_path: Path
) -> None:
    rest = {name: own for name, own in ASSIGNMENTS.items() if name != "chosen"}
    with pytest.raises(StudyError, match=r"no finished samples of the recommended global_layers=\[2,4\]"):
        judged(selection, write_assignment(tmp_path / "lacking", assignments=rest))
    with pytest.raises(StudyError, match="and of another assignment"):
        judged(selection, write_assignment(tmp_path / "alone", assignments={"chosen": ([2, 4], 0.1)}))
    other = write_assignment(tmp_path / "other")
    for file in other.glob("*/*/record.json"):
        spoil(file, lambda r: r["method"].update(theta=0.5))
    with pytest.raises(
        StudyError, match="other is of another theta than rope_sensitivity: 0.5, not 0.7; run .exp=rope_a"
    ):
        judged(selection, other)
    with pytest.raises(StudyError, match=r"holds no sample of a method .*\+exp=rope_assignment"):
        empty = tmp_path / "empty"
        write(empty / "baseline" / "a", record([], "z", method={"name": "baseline"}), None)
        judged(selection, empty)
