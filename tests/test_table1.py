"""Table 1 from records: the paper's order, means over what is there, and what must not be averaged."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.conditions import lines
from analysis.load import StudyError, load
from analysis.table1 import csv_text, latex, main, markdown


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
    """Two prompts; at theta 0.9 one video is identical to its baseline."""
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
    table = lines(load(study))
    assert [line.title for line in table] == [
        "Original", "VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.9)", "VGDFR (k=10, θ=0.5)",
    ]  # fmt: skip
    assert [line.n for line in table] == [2, 2, 2, 2]
    assert [line.means["speedup"].value for line in table] == [None, 3.0, 1.2, 2.0]
    assert table[1].means["psnr"] == (25.0, 20.0, 30.0, 2, 0)
    assert table[2].means["psnr"] == (25.0, None, None, 1, 1), (
        "an infinite PSNR is counted, never averaged in or capped"
    )
    assert table[0].means["psnr"].value is None


def test_csv_has_the_agreed_columns_and_parses_back(study: Path) -> None:
    text = csv_text(lines(load(study)))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0] == (
        "method,k,theta,n,n_failed,clip_temp,clipsim,vqa,flicker,motion,psnr,ssim,lpips,cosine,latency_s,speedup,token_ratio"
    )
    assert (rows[0]["method"], rows[0]["k"], rows[0]["psnr"]) == ("Original", "", "")
    assert (rows[3]["k"], rows[3]["theta"], float(rows[3]["latency_s"])) == ("10", "0.5", 7.5)


def test_markdown_marks_the_best_and_explains_what_is_absent(study: Path) -> None:
    text = markdown(lines(load(study)), "study")
    assert "**3.00**" in text and "**5.00**" in text
    assert "CLIPSIM needs a CLIP model" in text and "θ=0.9): 1" in text and "Incomplete" not in text
    assert r"\textbf{3.00}" in latex(lines(load(study))) and latex(lines(load(study))).count(r"\midrule") == 3


def test_the_embedded_judges_columns_are_marked_and_give_way_to_real_ones(study: Path) -> None:
    for folder in study.glob("*/*"):
        file = folder / "scores.json"
        scores = json.loads(file.read_text())
        judged = {"value": 0.25, "reason": None, "id": "judged-v1-rgb-0123456789abcdef"}
        scores["scores"] |= {"clipsim_embedded": judged, "lpips_embedded": judged, "lpips": judged}
        file.write_text(json.dumps(scores))
    text = markdown(lines(load(study)), "study")
    assert "| CLIPSIM† |" in text and "| LPIPS |" in text and "† seen by the small judge" in text
    header = csv_text(lines(load(study))).splitlines()[0].split(",")
    assert "clipsim_embedded" in header and "lpips" in header and "clipsim" not in header
    assert "CLIP model" not in text.split("A dash in a whole column")[0]


def test_ablations_are_not_ranked_and_what_their_latency_leaves_out_is_said(study: Path) -> None:
    method = {"name": "vgdfr", "k": 5, "theta": 0.5, "merge_space": "latent"}
    slug, note = "vgdfr-k5-theta0.5-merge_space=latent", "the time to find it is not in the latency"
    write(study, slug, "a", 0.5, {"psnr": 99.0}, method=method, notes=[note])
    text = markdown(lines(load(study)), "study")
    assert " 99.00 " in text and "**99.00**" not in text
    assert f"VGDFR (k=5, θ=0.5, merge_space=latent): {note}." in text


def test_failed_samples_are_named_not_averaged(study: Path) -> None:
    write(study, "vgdfr-k5-theta0.5", "c", 0.0, {}, status="failed")
    table = lines(load(study))
    assert table[1].n == 2 and table[1].n_failed == 1
    assert "**Incomplete: 8 of 12 samples, 1 failed.**" in markdown(table, "study")


def test_bad_studies_are_refused(tmp_path: Path, study: Path) -> None:
    with pytest.raises(StudyError, match="is no folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="holds no samples"):
        load(tmp_path / "empty")
    write(tmp_path / "other", "vgdfr-k5-theta0.5", "a", 1.0, {})
    with pytest.raises(StudyError, match="no finished baseline"):
        lines(load(tmp_path / "other"))
    write(study, "vgdfr-k15-theta0.5", "a", 1.0, {}, identity={"model": {"dtype": "bfloat16"}})
    with pytest.raises(StudyError, match="mixes 2 models"):
        lines(load(study))


def test_video_settings_that_vary_are_rows_of_their_own_with_their_own_baseline(tmp_path: Path) -> None:
    for frames, baseline_s, own_s in ((97, 8.0, 2.0), (33, 3.0, 2.0)):
        for slug, latency_s in (("baseline", baseline_s), ("vgdfr-k5-theta0.5", own_s)):
            spec = {"prompt": "a", "seed": 1, "num_frames": frames, "fps": 12}
            identity = {"generator_version": 1, "model": {"dtype": "float32"}, "spec": spec}
            write(tmp_path, slug, f"a-{frames}", latency_s, {}, identity=identity, prompt_id="a")
    table = lines(load(tmp_path))
    assert [line.title for line in table] == [
        "Original (num_frames=33)", "VGDFR (k=5, θ=0.5, num_frames=33)",
        "Original (num_frames=97)", "VGDFR (k=5, θ=0.5, num_frames=97)",
    ]  # fmt: skip
    assert [line.means["speedup"].value for line in table] == [None, 1.5, None, 4.0]


def test_other_settings_are_named_in_their_row(study: Path) -> None:
    write(study, "vgdfr-k5-theta0.5-max_merge=2", "a", 5.0, {})
    titles = [line.title for line in lines(load(study))]
    assert "VGDFR (k=5, θ=0.5, max_merge=2)" in titles
    assert r"max\_merge=2" in latex(lines(load(study)))


def test_the_command_writes_its_files_without_torch(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(study)
    assert "Original" in capsys.readouterr().out
    assert {f.name for f in (study / "report").iterdir()} == {"table1.md", "table1.csv", "table1.tex", "table1.html"}
    code = "import sys, analysis.table1; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
