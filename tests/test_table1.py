"""Table 1 from records: the paper's order, means over the present samples, and values that must not be averaged."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from processes import run

from analysis import Study, StudyError, paper_table, render
from analysis.output import names_in, write_and_print
from analysis.table import Table, table_of
from analysis.table1 import csv_text, report, table_sheet


def table_in(study: Path, **options: Any) -> Table:
    return table_of(Study(study), **options)


def markdown(table: Table, names: Sequence[str] | None = None, intervals: bool = False) -> str:
    return render.markdown(table_sheet(table, names, intervals))


def latex(table: Table) -> str:
    return render.latex(table_sheet(table))


def main(study: Path, out: Path | None = None, **options: Any) -> bool:
    """Does the same as the command. Returns whether the study is complete."""
    made = report(Study(study), **options)
    write_and_print(made, study, out)
    return made.sheets[0].banner is None


def write(
    study: Path,
    slug: str,
    prompt: str,
    latency_s: float,
    scores: dict[str, Any],
    token_ratio: float = 1.0,
    **other: Any,
) -> None:
    parts = slug.split("-")
    method: dict[str, Any] = {"name": parts[0]}
    if parts[0] == "vgdfr":
        method |= {"k": int(parts[1][1:]), "theta": float(parts[2][5:])}
    record = {
        "schema": 1,
        "status": "done",
        "slug": slug,
        "method": method,
        "prompt_id": prompt,
        "seed_index": 0,
        "latency_s": latency_s,
        "token_ratio": token_ratio,
        "identity": {
            "generator_version": 1,
            "model": {"dtype": "float32"},
            "spec": {"prompt": prompt, "seed": ord(prompt[0]), "fps": 12},
        },
    } | other
    folder = study / slug / prompt
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record))
    values = {
        k: {"id": f"{k}-v1-rgb-no-weights", "value": v, "reason": None if v is not None else "no baseline"}
        for k, v in scores.items()
    }
    (folder / "scores.json").write_text(json.dumps({"schema": 2, "scores": values}))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study of two prompts. At theta 0.9 one video is identical to its baseline."""
    for prompt, seconds in (("a", 10.0), ("b", 20.0)):
        write(tmp_path, "baseline", prompt, seconds, {"flicker": 0.9, "psnr": None})
    for slug, seconds, psnr in (
        ("vgdfr-k5-theta0.5", (4.0, 6.0), (20.0, 30.0)),
        ("vgdfr-k10-theta0.5", (6.0, 9.0), (21.0, 31.0)),
        ("vgdfr-k5-theta0.9", (10.0, 15.0), (25.0, "inf")),
    ):
        for prompt, s, p in zip(("a", "b"), seconds, psnr, strict=True):
            write(tmp_path, slug, prompt, s, {"flicker": 0.95, "psnr": p, "ssim": 0.5}, token_ratio=0.5)
    return tmp_path


def test_rows_are_in_the_papers_order_with_means_and_speedups(study: Path) -> None:
    table = table_in(study)
    assert [row.title for row in table.rows] == [
        "Original", "VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.9)", "VGDFR (k=10, θ=0.5)",
    ]  # fmt: skip
    assert [row.n for row in table.rows] == [2, 2, 2, 2]
    assert [row.mean("speedup").value for row in table.rows] == [None, 3.0, 1.2, 2.0]
    assert table.rows[1].mean("psnr") == (25.0, None, None, 2, 0)
    assert table.rows[2].mean("psnr") == (25.0, None, None, 1, 1), (
        "an infinite PSNR is counted, never averaged in or capped"
    )
    assert table.rows[0].mean("psnr").value is None


def test_a_study_of_a_baseline_alone_has_a_table(tmp_path: Path) -> None:
    """No record has a setting of a method then."""
    for prompt in ("a", "b"):
        write(tmp_path, "baseline", prompt, 10.0, {"flicker": 0.9})
    (row,) = table_in(tmp_path).rows
    assert (row.title, row.n, row.mean("flicker").value) == ("Original", 2, 0.9)


def test_csv_has_the_agreed_columns_and_parses_back(study: Path) -> None:
    text = csv_text(table_in(study))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0] == (
        "method,k,theta,n,n_failed,clip_temp,clipsim,vqa,flicker,motion,psnr,ssim,lpips,cosine,latency_s,speedup,token_ratio"
    )
    assert (rows[0]["method"], rows[0]["k"], rows[0]["psnr"]) == ("Original", "", "")
    assert (rows[3]["k"], rows[3]["theta"], float(rows[3]["latency_s"])) == ("10", "0.5", 7.5)


def test_markdown_explains_what_is_absent_and_says_the_n_and_identical_videos_of_a_cell(study: Path) -> None:
    text = markdown(table_in(study))
    assert " 25.00 (n=1, +1 identical) " in text and " 25.00 |" in text
    assert "CLIPSIM needs a CLIP model" in text and "Incomplete" not in text
    assert "not computed; metrics=embedded fills it" in text
    assert "**" not in text and "No value is marked as the best: marks need 5 prompts or more." in text
    made = render.fragment(table_sheet(table_in(study)))
    assert "<td>25.00 <small>(n=1, +1 identical)</small></td>" in made
    assert (
        " & 25.00 (n=1, +1 identical) & " in latex(table_in(study)) and latex(table_in(study)).count(r"\midrule") == 3
    )
    rewrite(study / "vgdfr-k5-theta0.9" / "a", "scores.json", {"scores": {"psnr": PSNR_OF_IDENTICAL}})
    assert " identical |" in markdown(table_in(study))
    (study / "vgdfr-k5-theta0.9" / "b" / "scores.json").unlink()
    assert " identical (n=1) |" in markdown(table_in(study))


PSNR_OF_IDENTICAL = {"id": "psnr-v1-rgb-no-weights", "value": "inf", "reason": None}


def test_the_embedded_judges_columns_are_marked_and_give_way_to_real_ones(study: Path) -> None:
    for folder in study.glob("*/*"):
        file = folder / "scores.json"
        scores = json.loads(file.read_text())
        judged = {"value": 0.25, "reason": None, "id": "judged-v1-rgb-0123456789abcdef"}
        scores["scores"] |= {"clipsim_embedded": judged, "lpips_embedded": judged, "lpips": judged}
        file.write_text(json.dumps(scores))
    text = markdown(table_in(study))
    assert "| CLIPSIM† |" in text and "| LPIPS |" in text and "† seen by the small judge" in text
    header = csv_text(table_in(study)).splitlines()[0].split(",")
    assert "clipsim_embedded" in header and "lpips" in header and "clipsim" not in header
    printed = [line for line in latex(table_in(study)).splitlines() if not line.startswith("%")]
    assert any(r"\multicolumn{14}{l}{\footnotesize $^\dagger$ seen by the small judge" in line for line in printed)
    assert "CLIP model" not in text.split("A dash in a whole column")[0]


def test_ablations_are_not_ranked_and_what_their_latency_leaves_out_is_said(study: Path) -> None:
    method = {"name": "vgdfr", "k": 5, "theta": 0.5, "merge_space": "latent"}
    slug, note = "vgdfr-k5-theta0.5-merge_space=latent", "the time to find it is not in the latency"
    write(study, slug, "a", 0.5, {"psnr": 99.0}, method=method, notes=[note])
    text = markdown(table_in(study))
    assert " 99.00 " in text and "**99.00**" not in text
    assert f"VGDFR (k=5, θ=0.5, merge_space=latent): {note}." in text


def test_an_interpolator_of_all_rows_sets_no_row_apart_and_is_said_once(tmp_path: Path) -> None:
    """As with the paper's RIFE, the rows still correspond to the paper's rows."""
    model: dict[str, Any] = {"model_name": "hunyuan_video"}
    write(tmp_path, "baseline", "a", 10.0, {"psnr": None}, **model)
    for theta in ("0.5", "0.9"):
        write(tmp_path, f"vgdfr-k5-theta{theta}-interpolator=rife", "a", 5.0, {"psnr": 20.0}, **model)
    table = table_in(tmp_path)
    assert [line.title for line in table.rows[1:]] == ["VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.9)"]
    assert [paper_table.setting_of(line) for line in table.rows] == [(None,), ((5, 0.5),), ((5, 0.9),)]
    said = "In all VGDFR rows the merged frames were filled in by interpolator=rife."
    assert said in markdown(table)
    assert "the small judge" not in markdown(table), "the small judge must not score the 13B model"

    write(tmp_path, "vgdfr-k5-theta0.5", "a", 5.0, {"psnr": 21.0})
    table = table_in(tmp_path)
    assert [line.title for line in table.rows[1:3]] == ["VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.5, interpolator=rife)"]
    assert paper_table.setting_of(table.rows[2]) is None and said not in markdown(table)


def test_prompts_longer_than_the_metrics_model_reads_are_said_under_the_table_and_in_csv(study: Path) -> None:
    def score_all(extra: dict[str, float]) -> None:
        for folder in study.glob("*/*"):
            document = json.loads((folder / "scores.json").read_text())
            own = extra if folder.name == "a" else {"truncated": 0.0}
            document["scores"]["clipsim"] = {"value": 0.3, "reason": None, "id": "clipsim-v1-rgb-0123", "extra": own}
            (folder / "scores.json").write_text(json.dumps(document))

    score_all({"truncated": 1.0, "context_length": 77.0})
    table = table_in(study)
    said = "1 of 2 prompts is longer than the 77 tokens that the CLIP model reads: CLIPSIM compares with its beginning."
    assert said in markdown(table) and said in latex(table)
    assert [row["clipsim_prompts_cut"] for row in csv.DictReader(io.StringIO(csv_text(table)))] == ["1"] * 4
    with_paper = list(csv.reader(io.StringIO(csv_text(table, intervals=True, beside_paper=True))))
    assert {len(row) for row in with_paper} == {len(with_paper[0])} and with_paper[0][-1] == "clipsim_prompts_cut"
    assert "longer than" not in markdown(table_in(study)).replace(said, "")
    assert not any("longer than" in note for note in table_sheet(table, ["psnr"]).notes)

    score_all({"truncated": 1.0})  # earlier scores do not hold the number of tokens
    assert "1 of 2 prompts is longer than the CLIP model reads: " in markdown(table_in(study))
    score_all({"truncated": 0.0})
    table = table_in(study)
    assert "longer than" not in markdown(table) and "prompts_cut" not in csv_text(table)


def test_failed_samples_are_named_not_averaged(study: Path) -> None:
    write(study, "vgdfr-k5-theta0.5", "c", 0.0, {}, status="failed")
    table = table_in(study)
    assert table.rows[1].n == 2 and table.rows[1].n_failed == 1
    assert "**Incomplete: 8 of 12 samples, 1 failed.**" in markdown(table)


def test_bad_studies_are_refused(tmp_path: Path, study: Path) -> None:
    with pytest.raises(StudyError, match="is no folder"):
        Study(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="holds no samples"):
        Study(tmp_path / "empty")
    write(tmp_path / "other", "vgdfr-k5-theta0.5", "a", 1.0, {})
    with pytest.raises(StudyError, match="no finished baseline"):
        table_in(tmp_path / "other")
    spec = {"prompt": "a", "seed": 97, "fps": 12}
    identity = {"generator_version": 1, "model": {"dtype": "bfloat16"}, "spec": spec}
    write(study, "vgdfr-k15-theta0.5", "a", 1.0, {}, identity=identity)
    with pytest.raises(StudyError, match="mixes 2 models"):
        table_in(study)


def test_video_settings_that_vary_are_rows_of_their_own_with_their_own_baseline(tmp_path: Path) -> None:
    for frames, baseline_s, own_s in ((97, 8.0, 2.0), (33, 3.0, 2.0)):
        for slug, latency_s in (("baseline", baseline_s), ("vgdfr-k5-theta0.5", own_s)):
            spec = {"prompt": "a", "seed": 1, "num_frames": frames, "fps": 12}
            identity = {"generator_version": 1, "model": {"dtype": "float32"}, "spec": spec}
            write(tmp_path, slug, f"a-{frames}", latency_s, {}, identity=identity, prompt_id="a")
    table = table_in(tmp_path)
    assert [row.title for row in table.rows] == [
        "Original (num_frames=33)", "VGDFR (k=5, θ=0.5, num_frames=33)",
        "Original (num_frames=97)", "VGDFR (k=5, θ=0.5, num_frames=97)",
    ]  # fmt: skip
    assert [row.mean("speedup").value for row in table.rows] == [None, 1.5, None, 4.0]


def test_other_settings_are_named_in_their_row(study: Path) -> None:
    write(study, "vgdfr-k5-theta0.5-max_merge=2", "a", 5.0, {})
    titles = [row.title for row in table_in(study).rows]
    assert "VGDFR (k=5, θ=0.5, max_merge=2)" in titles
    assert r"max\_merge=2" in latex(table_in(study))


def test_the_command_writes_its_files_without_torch(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(study)
    assert "Original" in capsys.readouterr().out
    assert {f.name for f in (study / "report").iterdir()} == {"table1.md", "table1.csv", "table1.tex", "table1.html"}
    code = "import sys, analysis.table1; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_its_files_are_written_where_asked_and_whole_or_not_at_all(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "elsewhere" / "tables"
    main(study, out=out)
    assert len([*out.iterdir()]) == 4 and not (study / "report").exists()
    before = {f.name: f.read_text() for f in out.iterdir()}
    write(study, "vgdfr-k5-theta0.5", "c", 0.0, {}, status="failed")

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        main(study, out=out)
    assert {name: (out / name).read_text() for name in before} == before


def rewrite(folder: Path, name: str, change: dict[str, Any]) -> None:
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


def test_a_rerun_of_the_baseline_has_a_plain_name_and_its_own_difference(study: Path) -> None:
    write(study, "baselinererun", "a", 10.0, {"psnr": "inf"})
    assert "Original again" in [row.title for row in table_in(study).rows]


def test_best_and_second_are_marked_among_rows_over_the_same_samples_only(tmp_path: Path) -> None:
    for i, prompt in enumerate("abcde"):
        write(tmp_path, "baseline", prompt, 10.0, {})
        for theta, ssim in (("0.5", 0.5), ("0.6", 0.6), ("0.7", 0.7)):
            slug = f"vgdfr-k5-theta{theta}"
            write(tmp_path, slug, prompt, 5.0, {"ssim": ssim + (i - 2) * (float(theta) - 0.5) / 100})
    write(tmp_path, "vgdfr-k5-theta0.9", "a", 1.0, {"ssim": 0.99})
    table = table_in(tmp_path)
    text = markdown(table)
    assert "**0.700**" in text and "_0.600_" in text and " 0.500 " in text
    assert " 0.990 " in text and " 10.00 " in text, "a row over prompt a alone is not ranked"
    assert r"\underline{0.600}" in latex(table) and "<u>0.600</u>" in render.fragment(table_sheet(table))
    assert text.startswith("**Incomplete: 21 of 25 samples, 0 failed.**")


def test_uniform_merging_competes_as_every_method_does_and_is_a_family_of_its_own(tmp_path: Path) -> None:
    for i, prompt in enumerate("abcde"):
        write(tmp_path, "baseline", prompt, 12.0, {})
        for theta, seconds in (("0.5", 4.0), ("0.9", 8.0)):
            write(tmp_path, f"vgdfr-k5-theta{theta}", prompt, seconds, {"clipsim": 0.5 - i * float(theta) / 100})
        method = {"name": "vgdfr", "k": 10, "theta": 0.0, "schedule": "uniform"}
        write(tmp_path, "vgdfr-k10-theta0-schedule=uniform", prompt, 0.1, {"clipsim": 0.9}, method=method)
    table = table_in(tmp_path)
    made = table_sheet(table, ["speedup", "clipsim"])
    row = next(row for row in made.rows if "schedule=uniform" in row[0].text)
    assert [(cell.text, cell.mark) for cell in row[2:]] == [("120.00", "best"), ("0.9000", "best")]
    assert any(row[2].mark == "second" and row[2].text == "3.00" for row in made.rows)
    assert {row.family for row in table.rows if row.ranked} == {"VGDFR", "Uniform merging"}
    assert any(
        note.startswith("Of all methods' rows, ablations and diagnostics apart, the best") for note in made.notes
    )


def test_a_row_with_an_infinite_value_is_not_beaten_by_what_its_mean_leaves_out(tmp_path: Path) -> None:
    for prompt in "abcdef":
        write(tmp_path, "baseline", prompt, 10.0, {})
        for theta, psnr in (("0.5", 30.0), ("0.7", 20.0), ("0.9", "inf" if prompt == "a" else 25.0)):
            write(tmp_path, f"vgdfr-k5-theta{theta}", prompt, 10 * float(theta), {"psnr": psnr})
    sheet_of = table_sheet(table_in(tmp_path), ["psnr", "speedup"])
    assert [row[2].mark for row in sheet_of.rows] == [""] * 4, "a mean of θ=0.9 is not over the same samples"
    assert [row[3].mark for row in sheet_of.rows] == ["", "best", "second", ""]
    assert any("has an infinite value is not" in note for note in sheet_of.notes)


def test_what_a_sweep_planned_and_nobody_made_is_missing(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = [f"{folder.parent.name}/{folder.name}" for folder in study.glob("*/*")]
    (study / "plan.json").write_text(json.dumps({"samples": there}))
    assert main(study) and "Incomplete" not in capsys.readouterr().out
    (study / "plan.json").write_text(json.dumps({"samples": [*there, "baseline/z-s0-00000000"]}))
    assert not main(study)
    assert f"Incomplete: {len(there)} of {len(there) + 1} samples, 0 failed. 1 planned and" in capsys.readouterr().out
    (study / "plan.json").write_text("{")
    with pytest.raises(StudyError, match="plan.json is damaged"):
        main(study)


def test_samples_without_a_score_are_told_and_strict_fails(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(study), "PSNR of the baseline and metrics that the whole study lacks are no gap"
    capsys.readouterr()
    (study / "vgdfr-k5-theta0.5" / "b" / "scores.json").unlink()
    assert not main(study)
    text = capsys.readouterr().out
    assert "**Samples without a score: FLICKER for 1 of 8, PSNR for 1 of 6, SSIM for 1 of 6; see" in text
    row = next(line for line in text.splitlines() if line.startswith("| VGDFR (k=5, θ=0.5)"))
    assert row.split(" | ")[1].strip() == "2" and "20.00 (n=1)" in row and "3.00 (n" not in row
    assert main(study, names=["speedup"]), "hidden columns cannot make a study incomplete"
    rewrite(study / "vgdfr-k5-theta0.9" / "b", "record.json", {"timing": "isolated"})
    rewrite(study / "baseline" / "b", "record.json", {"timing": "isolated"})
    first = table_sheet(table_in(study), ["latency_s"])
    assert first.rows[0][2].text == "20.00 (n=1)" and first.banner is None, (
        "only some samples have isolated latencies, by choice"
    )


def test_latex_and_html_escape_what_stands_in_cells() -> None:
    made = render.Sheet(("a_b", "n"), ((render.Cell("<b>50% & θ_{x}\\"), render.Cell("1", "best")),), banner="3 of 4")
    assert r"\textless{}b\textgreater{}50\% \& $\theta$\_\{x\}\textbackslash{} & \textbf{1} \\" in render.latex(made)
    assert r"a\_b & n \\" in render.latex(made) and r"\toprule" in render.latex(made)
    assert r"\multicolumn{2}{l}{\bfseries 3 of 4} \\" in render.latex(made).splitlines()
    page = render.page("A & B", made)
    assert "&lt;b&gt;50% &amp; θ" in page and "<b>" not in page and "A &amp; B" in page and "http" not in page
    assert r"\<b>50%" in render.markdown(made)


def test_columns_are_chosen_by_name_and_notes_speak_of_them_alone(study: Path) -> None:
    sheet_of = table_sheet(table_in(study), ["psnr", "speedup"])
    assert sheet_of.header == ("Method", "n", "PSNR", "Speedup") and dict(sheet_of.groups)["Difference"] == 1
    assert "Tokens" not in " ".join(sheet_of.notes)
    with pytest.raises(StudyError, match="no column speed; there are clip_temp"):
        table_sheet(table_in(study), ["psnr", "speed"])
    kept = table_sheet(table_in(study, frames="kept"))
    assert "Speedup" not in kept.header and not any("Latency" in note or "Speedup" in note for note in kept.notes)


def test_intervals_are_printed_where_there_are_prompts_for_them(study: Path, tmp_path: Path) -> None:
    for i, prompt in enumerate("abcde"):
        write(tmp_path / "five", "baseline", prompt, 1.0, {})
        write(tmp_path / "five", "vgdfr-k5-theta0.5", prompt, 1.0, {"psnr": 20.0 + 5 * i})
    table = table_in(tmp_path / "five")
    made = table.rows[1].mean("psnr")
    assert made.low is not None and made.high is not None and 20 < made.low < 30 < made.high < 40
    assert f"30.00 [{made.low:.2f}, {made.high:.2f}]" in render.markdown(table_sheet(table, intervals=True))
    row = list(csv.DictReader(io.StringIO(csv_text(table, ["psnr"], intervals=True))))[1]
    assert float(row["psnr_low"]) == pytest.approx(made.low, rel=1e-5)
    assert (row["psnr_n"], row["psnr_infinite"]) == ("5", "0")
    few = table_sheet(table_in(study), intervals=True)
    assert any("No intervals: they need 5 prompts" in note for note in few.notes)
    assert "[" not in render.latex(few).split("%")[0]


def test_some_columns_do_not_take_the_whole_tables_place(study: Path) -> None:
    main(study)
    whole = (study / "report" / "table1.csv").read_text()
    main(study, names=["psnr", "speedup"], beside_paper=True)
    assert (study / "report" / "table1.csv").read_text() == whole
    there = (study / "report" / "table1-psnr-speedup.csv").read_text().splitlines()
    assert there[4] == "VGDFR in the paper,5,0.5,,,15.399,2.92", "the paper's digits, not ours"


def test_devices_are_mixed_only_if_asked(study: Path) -> None:
    rewrite(study / "vgdfr-k5-theta0.5" / "a", "record.json", {"environment": {"gpu": "another"}})
    with pytest.raises(StudyError, match="mixes 2 devices: another; unknown.*--allow-mixed"):
        table_in(study)
    assert "different devices" in markdown(table_in(study, allow_mixed=True))


def test_samples_of_another_number_of_threads_than_their_baseline_are_marked(study: Path) -> None:
    for i, file in enumerate(sorted(study.glob("*/*/record.json"))):
        record = json.loads(file.read_text(encoding="utf-8"))
        model = record["identity"]["model"] | {"device_type": "cpu"}
        environment = {"cpu": "A CPU", "threads": 1 + (i == 0)}
        rewrite(
            file.parent, "record.json", {"identity": record["identity"] | {"model": model}, "environment": environment}
        )
    text = markdown(table_in(study))
    assert "otherwise than the baseline compared with: threads 1 and 2. Differences may be of that alone." in text
    assert "no speed-up: its baseline was timed in another run" in text and " ‡ |" in text
    done = run("analysis.table1", str(study), "--strict")
    assert done.returncode == 1 and "threads 1 and 2" in done.stderr


def test_latencies_of_another_device_than_the_samples_are_that_devices(study: Path) -> None:
    rewrite(study / "vgdfr-k5-theta0.5" / "a", "record.json", {"timed_on": {"gpu": "another"}})
    with pytest.raises(StudyError, match="mixes 2 devices: another; unknown"):
        table_in(study)


def test_scores_of_two_versions_are_refused(study: Path) -> None:
    scores = {"flicker": {"id": "flicker-v9-rgb-no-weights", "value": 0.5, "reason": None}}
    rewrite(study / "baseline" / "a", "scores.json", {"scores": scores})
    with pytest.raises(StudyError, match="flicker was scored in 2 ways.*bench.score STUDY --metrics flicker"):
        table_in(study)


def test_isolated_latencies_are_not_mixed_with_others(study: Path) -> None:
    for slug, seconds in (("baseline", 9.0), ("vgdfr-k5-theta0.5", 3.0)):
        rewrite(study / slug / "a", "record.json", {"timing": "isolated", "latency_s": seconds})
    table = table_in(study)
    assert [row.mean("latency_s").n for row in table.rows] == [1, 1, 0, 0]
    assert table.rows[1].mean("speedup").value == 3.0 and table.rows[2].mean("speedup").value is None
    assert "Latency and Speedup are of samples timed alone; other samples have none." in markdown(table)


def test_the_papers_rows_stand_beside(study: Path) -> None:
    table = table_in(study)
    rows = table_sheet(table, ["psnr"], beside_paper=True).rows
    assert [row[2].text for row in rows if row[0].text == "in the paper"] == ["–", "15.399", "17.722", "17.348"]
    assert paper_table.rows()[10, 0.7]["latency_s"] == 359.06 and len(paper_table.rows()) == 16


def test_strict_fails_for_an_incomplete_study_and_nothing_but_the_report_is_written(study: Path) -> None:
    before = {f: f.read_bytes() for f in study.rglob("*.json")}
    command = ["analysis.table1", str(study), "--strict", "--paper"]
    assert run(*command).returncode == 0
    write(study, "vgdfr-k5-theta0.5", "c", 0.0, {}, status="failed")
    made = run(*command)
    assert made.returncode == 1 and "Incomplete: 8 of 12 samples, 1 failed." in made.stdout
    assert {f: f.read_bytes() for f in before} == before
    assert {f.name for f in study.iterdir() if f.is_file()} == {"index.parquet"}
    assert {f.parent.name for f in study.rglob("*/*.*") if f.is_file() and f.suffix != ".json"} == {"report"}
    wrong = run(*command, "--columns", "x")
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: there is no column x")


def test_any_scored_metric_is_a_column_and_own_metrics_are_shown_by_default(study: Path) -> None:
    about = {"title": "Sharpness", "unit": "", "digits": 1, "better": 1, "group": "Video Quality"}
    for i, folder in enumerate(sorted(study.glob("*/*"))):
        document = json.loads((folder / "scores.json").read_text())
        own = {"value": 10.0 + i, "reason": None, "id": "my_pkg.sharpness-v1-uint8-rgb-no-weights", "about": about}
        other = {"value": 1.25, "reason": None, "id": "motion_flow-v1-rgb-no-weights"}
        document["scores"] |= {"my_pkg.sharpness": own, "motion_flow": other}
        (folder / "scores.json").write_text(json.dumps(document))
    made = table_sheet(table_in(study))
    assert "Sharpness" in made.header and made.header.index("Sharpness") == made.header.index("Motion") + 1
    assert dict(made.groups)["Video Quality"] == 6 and "motion_flow" not in csv_text(table_in(study))
    cells = [row[made.header.index("Sharpness")] for row in made.rows]
    assert cells[0].text == "10.5"
    chosen = table_sheet(table_in(study), ["motion_flow", "my_pkg.sharpness"])
    assert chosen.header[3] == "Sharpness" and {row[2].text for row in chosen.rows} == {"1.250"}
    with pytest.raises(
        StudyError, match="no column beauty; there are clip_temp.*my_pkg.sharpness, motion_flow, latency_s"
    ):
        table_sheet(table_in(study), ["beauty"])


def test_a_metric_that_fails_everywhere_is_told_with_its_reason(study: Path) -> None:
    about = {"title": "Mine", "unit": "", "digits": 1, "better": 1, "group": "Video Quality"}
    for folder in study.glob("*/*"):
        document = json.loads((folder / "scores.json").read_text())
        document["scores"]["my.own"] = {"value": None, "reason": "KeyError: 'x'", "id": "my.own-v1-x-no-weights"} | {
            "about": about
        }
        (folder / "scores.json").write_text(json.dumps(document))
    assert "No sample has a value of Mine: KeyError: 'x'." in table_sheet(table_in(study)).notes


def test_names_of_columns_may_have_spaces_and_wrong_ones_get_a_hint(study: Path) -> None:
    assert names_in("psnr, ssim") == ["psnr", "ssim"]
    assert table_sheet(table_in(study), ["psnr", "psnr"]).header == ("Method", "n", "PSNR")
    with pytest.raises(StudyError, match="did you mean psnr"):
        table_sheet(table_in(study), ["PSNR"])
    with pytest.raises(StudyError, match="score it first: python -m bench.score STUDY --metrics NAME"):
        table_sheet(table_in(study), ["my_pkg.unheard_of"])


def test_a_mixture_names_what_differs_and_a_sample_of_each(study: Path) -> None:
    identity = json.loads((study / "baseline" / "a" / "record.json").read_text())["identity"]
    other = identity | {"model": {"dtype": "bfloat16", "same": 1}}
    write(study, "vgdfr-k15-theta0.5", "a", 1.0, {}, identity=other)
    said = 'dtype="bfloat16", same=1 .1 sample, such as vgdfr-k15-theta0.5/a.; dtype="float32", same=null .8 samples'
    with pytest.raises(StudyError, match=said):
        table_in(study)


def test_titles_are_escaped_in_a_header() -> None:
    sheet = render.Sheet(("Max | diff", "n"), (render.plain("a", "1"),))
    assert render.markdown(sheet).splitlines()[0].count("|") - render.markdown(sheet).splitlines()[0].count(r"\|") == 3
