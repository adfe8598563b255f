"""The statistics command: differences over common samples, breakdowns, output and refusals."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import run
from scipy import stats
from test_table1 import write

from analysis import Study, StudyError
from analysis.compare import between, findings, report, sheets
from analysis.output import write_and_print
from analysis.statistics import NOTHING
from analysis.study import record_in


def main(study: Path, *arguments: Any, out: Path | None = None) -> None:
    """Does the same as the command."""
    write_and_print(report(Study(study), *arguments), study, out)


SLUG = "vgdfr-k5-theta0.5"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study with one still and two fast prompts. The condition lacks the last prompt."""
    latencies = {"00-still": (10.0, 5.0), "01-fast": (10.0, 10.0), "02-fast": (40.0, None)}
    for i, (prompt, (baseline_s, own_s)) in enumerate(latencies.items()):
        spec = {"prompt": prompt, "seed": i, "height": 64, "width": 96, "num_frames": 65}
        identity = {"generator_version": 1, "model": {"dtype": "float32"}, "spec": spec}
        dimensions = ["scene", "color"] if i == 0 else ["scene"]
        other = {"identity": identity, "prompt_dimensions": dimensions}
        write(tmp_path, "baseline", prompt, baseline_s, {"flicker": 0.5 + 0.1 * i}, **other)
        if own_s:
            write(tmp_path, SLUG, prompt, own_s, {"flicker": 0.7 + 0.2 * i, "psnr": 20.0 + i}, **other)
    return tmp_path


def test_differences_are_over_common_samples(study: Path) -> None:
    found = {(f.row.slug, f.column.name): f for f in findings(Study(study))}
    difference = found[SLUG, "flicker"].difference
    assert difference == (pytest.approx(0.25), None, None, 2, 0)
    assert found["baseline", "flicker"].mean.n == 3 and found["baseline", "flicker"].difference.n == 0
    assert found[SLUG, "latency_s"].difference.value == -2.5
    assert found[SLUG, "speedup"].mean[::3] == (20 / 15, 2)


def test_latencies_of_two_runs_are_not_compared(tmp_path: Path) -> None:
    for prompt in "abcdef":
        write(tmp_path, "baseline", prompt, 10.0, {"flicker": 0.5})
        write(tmp_path, SLUG, prompt, 5.0, {"flicker": 0.7}, environment={"cpu": "another machine"})
    found = {f.column.name: f for f in findings(Study(tmp_path)) if f.row.slug == SLUG}
    assert found["latency_s"].mean.value == 5.0 and found["flicker"].difference.n == 6
    assert found["latency_s"].difference == NOTHING and found["latency_s"].p_holm is None
    assert "latency_s" not in {pair.column.name for pair in between(Study(tmp_path), SLUG, "Original")}
    less = sheets(findings(Study(tmp_path)))[1]
    assert "Latency (s)" not in less.header and "no sample has a value on both sides: CLIPT" in " ".join(less.notes)


def test_a_latency_within_the_error_of_prices_does_not_differ_from_the_baselines(tmp_path: Path) -> None:
    for i, prompt in enumerate("abcdef"):
        write(tmp_path, "baseline", prompt, 10.0 + i, {"flicker": 0.5})
        for k, share in ((5, 0.97), (10, 0.9)):
            write(tmp_path, f"vgdfr-k{k}-theta0.5", prompt, share * (10.0 + i), {"flicker": 0.7})
    found = {(f.row.k, f.column.name): f for f in findings(Study(tmp_path))}
    assert all((found[k, "latency_s"].p_holm or 1.0) < 0.05 for k in (5, 10))
    assert [found[k, "latency_s"].differs for k in (5, 10)] == [False, True]
    assert found[5, "flicker"].differs and not found[None, "flicker"].differs


def test_breakdown_by_content_and_video(study: Path) -> None:
    def means(by: str) -> dict[str, tuple[float | None, int]]:
        return {f.group: (f.mean.value, f.row.n) for f in findings(Study(study), by)
                if f.row.slug == SLUG and f.column.name == "psnr"}  # fmt: skip

    assert means("speed") == {"still": (20.0, 1), "fast": (21.0, 1)}
    assert list(means("speed")) == ["still", "fast"], "in the world's order"
    assert means("dimension") == {"color": (20.0, 1), "scene": (20.5, 2)}, "a prompt may be for several dimensions"
    assert means("resolution") == {"96x64": (20.5, 2)} and means("length") == {"65 frames": (20.5, 2)}


def test_a_dimension_in_the_record_says_more_than_the_id(tmp_path: Path) -> None:
    write(tmp_path, "baseline", "00-still", 1.0, {}, prompt_dimensions=["accelerating"])
    assert {f.group for f in findings(Study(tmp_path), "speed")} == {"accelerating"}


def test_two_conditions_are_compared_over_what_both_have(study: Path) -> None:
    found = {column.name: d for _, column, _, _, d in between(Study(study), SLUG, "Original")}
    assert found["flicker"].value == pytest.approx(0.25) and found["flicker"].n == 2
    assert found["speedup"].value == pytest.approx(20 / 15) and "psnr" not in found
    with pytest.raises(StudyError, match="no condition nothing; there are baseline, vgdfr-k5-theta0.5"):
        between(Study(study), SLUG, "nothing")
    identity = record_in(study / "baseline" / "00-still")["identity"]
    write(study, "vgdfr-k5-theta0.9", "other", 1.0, {}, seed_index=3, identity=identity)
    with pytest.raises(StudyError, match="no sample of the same prompt"):
        between(Study(study), SLUG, "vgdfr-k5-theta0.9")


def test_a_breakdown_that_the_study_has_nothing_for_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "baseline", "a prompt", 1.0, {})
    for by, what in (("speed", "prompts of the embedded world"), ("dimension", "prompts with dimensions"),
                     ("resolution", "video sizes"), ("length", "video lengths")):  # fmt: skip
        with pytest.raises(StudyError, match=f"--by {by} needs {what}.*this study has none"):
            findings(Study(tmp_path), by)


def test_markdown_and_csv_are_written(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        study,
        SLUG,
        "03-fast",
        0.0,
        {},
        status="failed",
        identity=record_in(study / "baseline" / "00-still")["identity"],
    )
    main(study)
    text = capsys.readouterr().out
    assert "## Means" in text and "## Minus the baseline" in text and " +0.2500 " in text
    rows = list(csv.DictReader((study / "report" / "statistics.csv").read_text().splitlines()))
    row = next(r for r in rows if r["slug"] == SLUG and r["column"] == "flicker")
    assert (row["n"], row["n_failed"], row["mean_n"], row["difference_n"]) == ("2", "1", "2", "2")
    assert float(row["difference"]) == pytest.approx(0.25)
    main(study, (SLUG, "baseline"), "speed")
    assert "Difference" in capsys.readouterr().out
    names = {f.name for f in (study / "report").iterdir()}
    stem = f"statistics-{SLUG}-against-baseline-by-speed"
    assert names == {"statistics.md", "statistics.csv", f"{stem}.md", f"{stem}.csv"}


def test_a_column_over_fewer_samples_says_its_own_n(study: Path) -> None:
    (study / SLUG / "00-still" / "scores.json").unlink()
    means, less = sheets(findings(Study(study)))
    row = dict(zip(means.header, (cell.text for cell in means.rows[1]), strict=True))
    assert (row["n"], row["PSNR"], row["FLICKER"]) == ("2", "21.00, n=1", "0.9000, n=1") and "n=" not in row["Speedup"]
    row = dict(zip(less.header, (cell.text for cell in less.rows[0]), strict=True))
    assert row["n"] == "2" and row["FLICKER"] == "+0.3000, n=1" and "n=" not in row["Latency (s)"]


def test_they_are_written_where_asked_and_nowhere_else(study: Path, tmp_path: Path) -> None:
    main(study, out=tmp_path / "elsewhere" / "tables")
    assert not (study / "report").exists()
    assert {f.name for f in (tmp_path / "elsewhere" / "tables").iterdir()} == {"statistics.md", "statistics.csv"}


def test_the_command(study: Path, tmp_path: Path) -> None:
    assert "## Means: still" in run("analysis.statistics", str(study), "--by", "speed").stdout
    wrong = run("analysis.statistics", str(tmp_path / "nowhere"))
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: ") and "Traceback" not in wrong.stderr


def test_differences_to_the_baseline_are_corrected_for_their_number(tmp_path: Path) -> None:
    """Of 10 conditions one differs clearly. One differs with p = 0.03, which is no finding among 10."""
    draw = np.random.default_rng(2)
    noise = draw.normal(size=(10, 8))
    noise -= noise.mean(axis=1, keepdims=True)
    shifts = [9.0, p_shift(noise[1], 0.03), *[0.0] * 8]
    for p in range(8):
        write(tmp_path, "baseline", f"p{p}", 1.0, {"clipsim": 0.0})
        for i, shift in enumerate(shifts):
            write(tmp_path, f"vgdfr-k{i + 1}-theta0.5", f"p{p}", 1.0, {"clipsim": noise[i, p] + shift})
    found = {f.row.k: f for f in findings(Study(tmp_path), names=["clipsim"])}
    clear, near = found[1], found[2]
    assert near.difference.low is not None and near.difference.low > 0, "alone it would be a finding"
    assert near.p_holm == pytest.approx(9 * 0.03)
    assert clear.p_holm is not None and clear.p_holm < 0.05 and found[None].p_holm is None
    _, less = sheets([*found.values()])
    assert [row[0].text for row in less.rows if row[2].mark == "best"] == ["VGDFR (k=1, θ=0.5)"]
    assert "after Holm's correction for the up to 10 conditions of its column." in " ".join(less.notes)
    main(tmp_path)
    rows = list(csv.DictReader((tmp_path / "report" / "statistics.csv").read_text().splitlines()))
    row = next(r for r in rows if (r["k"], r["column"]) == ("2", "clipsim"))
    assert float(row["difference_p_holm"]) == pytest.approx(9 * 0.03)


def p_shift(noise: np.ndarray, p: float) -> float:
    """Returns the shift that gives values with the mean 0 this p-value."""
    return float(stats.t.isf(p / 2, len(noise) - 1) * stats.sem(noise))
