"""What the paper's Table 1 implies, and the folder of all tables and figures."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_figures import study as made_study
from test_figures import twin
from test_rope_sensitivity import write_proxy, write_study

from analysis import cost, sheet
from analysis.cost import model_cost, paper_sheet, study_cost
from analysis.load import StudyError
from analysis.page import Block, html_of, page
from analysis.paper import build
from analysis.projection import implied_cost, paper_savings, paper_table
from vgdfr.flops import Flops
from vgdfr.presets import PRESETS
from vgdfr.video_file import write_master

study = made_study  # the fixture


def test_the_papers_latencies_imply_its_speedups_and_the_costs_that_method_md_gives() -> None:
    baseline_s, rows = paper_table()
    assert baseline_s == 714.90 and len(rows) == 15
    for row in rows:
        assert row.speedup == pytest.approx(baseline_s / row.latency_s, abs=0.011)
    fastest = next(row for row in rows if (row.k, row.theta) == (5, 0.5))
    assert implied_cost(fastest, baseline_s, 50) == pytest.approx(0.27, abs=0.005)


def test_sharing_first_steps_saves_table_1_at_the_papers_costs_what_was_promised() -> None:
    baseline_s, rows = paper_table()
    saved = paper_savings(baseline_s, rows, 50)
    latencies = [row.latency_s for row in rows]
    assert saved.alone == pytest.approx(50 * (baseline_s + sum(latencies)) / baseline_s)
    assert saved.alone - saved.prefix_shared == pytest.approx(5 * (5 + 10 + 15))
    assert saved.alone / saved.prefix_shared >= 1.45
    assert saved.equal_shared is None


def test_printed_speedups_above_the_bound_of_merging_pairs_are_marked() -> None:
    preset = PRESETS["hunyuan_video"]
    size = (preset.video[name] for name in ("height", "width", "num_frames"))
    text = sheet.markdown(paper_sheet(Flops(preset.model.configuration(), preset.model.tiling, *size), 50))
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    marked = {tuple(c.strip() for c in line.strip("|").split("|")[:2]) for line in table if "▲" in line}
    assert ("5", "0.5") in marked and ("10", "0.6") in marked and ("5", "0.9") not in marked
    assert all(line.rstrip("| ")[-1] != "▲" for line in table), "merging up to four explains every row"


def test_a_measured_speedup_above_its_bound_is_marked(study: Path) -> None:
    text, samples = study_cost(study)
    fast = next(line for line in text.splitlines() if line.startswith("| VGDFR (k=5, θ=0.5)"))
    assert "▲" in fast, "steps on 11 of 17 latent frames were timed at half of a full one: the model says 0.63"
    assert samples.splitlines()[1].startswith("vgdfr-k5-theta0.5,00-still,0,11,17,")
    assert [line.rsplit(",", 1)[1] for line in samples.splitlines()[1:5]] == ["1"] * 4


def test_models_of_conf_at_other_sizes_and_what_is_wrong_about_them() -> None:
    text = model_cost("embedded", ["model.video.num_frames=33"], [5, 9])
    assert "33 frames of 64x64" in text and "5 of 9" in text and "Table 1" not in text
    with pytest.raises(StudyError, match=r"--kept must be 1 to 9 latent frames for 33 frames, got \[12\]"):
        model_cost("embedded", ["model.video.num_frames=33"], [12])
    with pytest.raises(StudyError, match="model nothing cannot be composed from conf"):
        model_cost("nothing")


def test_a_page_shows_text_as_text_and_tables_as_tables() -> None:
    html = html_of("## A `b`\n\n| Method | n |\n|---|--:|\n| <i>x</i> | **1** |\n\nSo & so.")
    assert "<h3>A <code>b</code></h3>" in html and "<td>&lt;i&gt;x&lt;/i&gt;</td><td><b>1</b></td>" in html
    assert "<p>So &amp; so.</p>" in html
    whole = page("<t>", [("One", [Block("a", files=("figures/a.png", "figures/a.pdf")), Block(reason="<no>")])])
    assert "<t>" not in whole and '<img src="figures/a.png"' in whole and "&lt;no&gt;" in whole


def test_a_page_shows_no_marks_of_markdown_and_rows_keep_their_cells() -> None:
    html = html_of(
        "| a | b | c |\n|---|--:|--:|\n| _second best_ |  | 1\\|2 |\n| k_s=a_b | **x\\*y** |  |\n\n`a_b` <\\*>"
    )
    rows = html.split("<tbody>")[1]
    assert "<tr><td><i>second best</i></td><td></td><td>1|2</td></tr>" in rows
    assert "<tr><td>k_s=a_b</td><td><b>x*y</b></td><td></td></tr>" in rows
    assert "<p><code>a_b</code> &lt;*&gt;</p>" in html


@pytest.mark.parametrize("given", [["--model", "embedded"], ["--kept", "5"]])
def test_what_a_study_decides_itself_is_refused_beside_one(
    given: list[str], study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cost", str(study), *given])
    with pytest.raises(SystemExit, match="2"):
        cost.main()
    assert "a study has its own model" in capsys.readouterr().err and not (study / "report").exists()


def test_settings_before_a_study_leave_it_a_study(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study)
    monkeypatch.setattr(sys, "argv", ["cost", "--set", "model.video.fps=12", "--set", "method.k=6", "."])
    cost.main()
    said = capsys.readouterr().out
    assert "## Study `made`" in said and "over the samples that were merged" in said
    assert (study / "report" / "cost.csv").is_file()


def test_every_section_is_made_below_the_papers_folder_and_nowhere_else(study: Path, tmp_path: Path) -> None:
    ablation = shutil.copytree(study, tmp_path / "ablation")
    no_module = {"slug": "vgdfr-k5-theta0.5-merge_space=latent"}
    twin(ablation, "", lambda r: (r.update(no_module), r["method"].update(merge_space="latent")), "vgdfr-k5-theta0.5")
    for record in [*study.glob("*/*/record.json"), *ablation.glob("*/*/record.json")]:
        write_master(record.parent / "master.mkv", np.full((65, 16, 16, 3), 90, np.uint8), 12)
    rope, proxy = write_study(tmp_path / "rope_sensitivity", "ab"), write_proxy(tmp_path / "rope_proxy")
    for name, there in (("ablation", ablation), ("rope_sensitivity", rope), ("rope_proxy", proxy)):
        assert build.beside(study, None, name) == there
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    out = tmp_path / "out"
    html = build.make(build.Paper(study, out, ablation, rope, proxy)).read_text()
    assert "Not shown" not in html
    assert all(f'id="{i}">{title}<' in html for i, (title, _) in enumerate(build.SECTIONS, 1))
    wanted = [f"figures/{name}.png" for name in (*build.FROM_STUDY, "ablation", "rope_sensitivity")]
    wanted += [f"tables/table1{end}" for end in (".md", ".csv", ".tex", ".html", "-trends.tex")]
    wanted += ["tables/statistics.csv", "tables/rope_sensitivity.csv", "tables/cost.csv", "gallery/index.html"]
    for place in wanted:
        assert f'"{place}"' in html and (out / place).is_file(), place
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file() and out not in f.parents} == before
    foreign = tmp_path / "site"
    foreign.mkdir()
    (foreign / "index.html").write_text("<title>Holidays</title>")
    with pytest.raises(StudyError, match="holds something else; --out must be a folder"):
        build.make(build.Paper(study, foreign, None, None, None))
    assert [f.name for f in foreign.iterdir()] == ["index.html"] and "Holidays" in (foreign / "index.html").read_text()


def test_the_folder_has_what_the_study_allows_and_says_what_it_lacks(
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "FROM_STUDY", ("tradeoff", "timeline"))
    sections = [
        s if s[0] != "Figures" else ("Figures", build.drawn(build.FROM_STUDY, lambda p: p.study, ""))
        for s in build.SECTIONS
    ]
    monkeypatch.setattr(build, "SECTIONS", [s for s in sections if s[0] not in ("Projected cost", "Gallery")])
    out = tmp_path / "out"
    index = build.make(build.Paper(study, out, None, None, None))
    html = index.read_text()
    assert {"table1.md", "table1.csv", "table1.tex"} <= {f.name for f in (out / "tables").iterdir()}
    assert {f"{n}.{s}" for n in ("tradeoff", "timeline") for s in ("png", "svg", "pdf")} == {
        f.name for f in (out / "figures").iterdir()
    }
    assert "python -m bench.sweep +exp=ablation" in html and "+exp=rope_sensitivity" in html
    for place in ("figures/tradeoff.png", "tables/table1.tex"):
        assert f'"{place}"' in html and (out / place).is_file()
    assert build.make(build.Paper(study, out, None, None, None)) == index, "its own page is written anew"
    with pytest.raises(StudyError, match="is no folder"):
        build.beside(study, tmp_path / "none", "ablation")
