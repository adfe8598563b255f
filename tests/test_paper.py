"""The page of all tables and figures, and its folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser
from test_figures import study as made_study
from test_figures import twin
from test_gallery import browser as chromium
from test_rope_assignment import write_assignment
from test_rope_sensitivity import write_proxy, write_study
from test_table1 import table_in

from analysis import StudyError, paper
from analysis.paper import Paper, make, study_beside
from analysis.render import Block, Cell, Sheet, fragment, latex, markdown, page, plain, report_page
from vgdfr.video_file import write_master

study, browser = made_study, chromium  # the fixtures

NOTED = Sheet(
    ("Method", "PSNR"),
    ((Cell("<i>x</i>"), Cell("1.0", "best")), plain("k_s=a [1, 2]", "2.0 [1.5, 2.5] (n=3)")),
    notes=("Set `a_b & <c>`, not a lone `.", "† by `judge`."),
    title="Of `x`",
)


def test_a_page_shows_text_as_text_and_tables_as_tables() -> None:
    html = fragment(NOTED)
    assert "<td>&lt;i&gt;x&lt;/i&gt;</td><td><strong>1.0</strong></td>" in html
    assert "<td>k_s=a [1, 2]</td><td>2.0 <small>[1.5, 2.5] (n=3)</small></td>" in html, "an interval is on its own line"
    block = Block("a", files=("figures/a.png", "figures/a.pdf"))
    whole = report_page("<t>", [("One", [block]), ("<Two>", [Block(sheets=(NOTED,)), Block(reason="<no>")])])
    assert "<t>" not in whole and '<img src="figures/a.png"' in whole and "&lt;no&gt;" in whole
    assert html in whole and 'id="2">&lt;Two&gt;<' in whole


def test_backticks_mean_code_in_every_form_of_a_sheet() -> None:
    assert "<p>Set <code>a_b &amp; &lt;c&gt;</code>, not a lone `.</p>" in fragment(NOTED)
    assert "<h3>Of <code>x</code></h3>" in fragment(NOTED)
    assert r"\multicolumn{2}{l}{\footnotesize $^\dagger$ by \texttt{judge}.} \\" in latex(NOTED)
    assert "Set `a_b & <c>`, not a lone `.\n" in markdown(NOTED) and "## Of `x`\n" in markdown(NOTED)


def test_a_wide_table_shows_its_last_column_and_scrolls_beside_its_first(browser: Browser) -> None:
    row = plain("VGDFR (k=10, θ=0.5)", "10", *["0.9951 [0.9878, 0.9979] (n=9)"] * 12)
    view = browser.new_page(viewport={"width": 1280, "height": 800})
    view.set_content(page("Wide", Sheet(("Method", "n", *["Latency (s)"] * 12), (row,))))
    frame, ends = view.locator(".table"), (view.locator("td").first, view.locator("td").last)
    last = ends[1].bounding_box()
    assert last and last["x"] + last["width"] <= 1280
    view.set_viewport_size({"width": 500, "height": 800})
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the table scrolls, not the page"
    first = ends[0].bounding_box()
    frame.evaluate("(e) => { e.scrollLeft = e.scrollWidth; }")
    last = ends[1].bounding_box()
    assert last and last["x"] + last["width"] <= 500 and ends[0].bounding_box() == first
    view.close()


def test_every_section_is_made_below_the_papers_folder_and_nowhere_else(study: Path, tmp_path: Path) -> None:
    ablation = shutil.copytree(study, tmp_path / "ablation")
    no_module = {"slug": "vgdfr-k5-theta0.5-merge_space=latent"}
    twin(ablation, "", lambda r: (r.update(no_module), r["method"].update(merge_space="latent")), "vgdfr-k5-theta0.5")
    for record in [*study.glob("*/*/record.json"), *ablation.glob("*/*/record.json")]:
        write_master(record.parent / "master.mkv", np.full((65, 16, 16, 3), 90, np.uint8), 12)
    rope, proxy = write_study(tmp_path / "rope_sensitivity", "ab"), write_proxy(tmp_path / "rope_proxy")
    judging = write_assignment(tmp_path / "rope_assignment", "cd")
    siblings = {"ablation": ablation, "rope_sensitivity": rope, "rope_proxy": proxy, "rope_assignment": judging}
    for name, there in siblings.items():
        assert study_beside(study, None, name) == there
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    out = tmp_path / "out"
    html = make(Paper(table_in(study), out, ablation, rope, proxy, judging)).read_text()
    assert "Not shown" not in html and "Assignments on other prompts" in html
    assert all(f'id="{i}">{title}<' in html for i, (title, _) in enumerate(paper.SECTIONS, 1))
    wanted = [f"figures/{name}.png" for name in (*paper.FROM_STUDY, "ablation", "rope_sensitivity")]
    wanted += [f"tables/table1{end}" for end in (".md", ".csv", ".tex", ".html", "-trends.tex")]
    wanted += [
        "tables/samples.csv",
        "tables/samples.parquet",
        "tables/statistics.csv",
        "tables/rope_sensitivity.csv",
        "tables/rope_assignment.csv",
        "tables/cost.csv",
        "gallery/index.html",
    ]
    for place in wanted:
        assert f'"{place}"' in html and (out / place).is_file(), place
    after = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file() and out not in f.parents}
    assert {f: content for f, content in after.items() if f.name != "index.parquet"} == before
    foreign = tmp_path / "site"
    foreign.mkdir()
    (foreign / "index.html").write_text("<title>Holidays</title>")
    with pytest.raises(StudyError, match="holds something else; --out must be a folder"):
        make(Paper(table_in(study), foreign, None, None, None))
    assert [f.name for f in foreign.iterdir()] == ["index.html"] and "Holidays" in (foreign / "index.html").read_text()


def test_assignments_that_were_judged_on_selecting_prompts_are_not_shown_and_the_sensitivity_is(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper, "SECTIONS", [s for s in paper.SECTIONS if s[0] == "RoPE sensitivity"])
    rope, judging = write_study(tmp_path / "rope_sensitivity", "ab"), write_assignment(tmp_path / "judging", "bcd")
    html = make(Paper(table_in(study), tmp_path / "out", None, rope, None, judging)).read_text()
    assert "Recommended global layers" in html and "1 of the 3 prompts of judging are among the 2 prompts" in html
    shutil.rmtree(rope / "none")
    html = make(Paper(table_in(study), tmp_path / "out", None, rope, None, judging)).read_text()
    assert "no finished sample of global_layers=none" in html and "Recommended global layers" not in html


def test_the_folder_has_what_the_study_allows_and_says_what_it_lacks(
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paper, "FROM_STUDY", ("tradeoff", "timeline"))
    monkeypatch.setattr(paper, "SECTIONS", [s for s in paper.SECTIONS if s[0] not in ("Projected cost", "Gallery")])
    out = tmp_path / "out"
    index = make(Paper(table_in(study), out, None, None, None))
    html = index.read_text()
    assert {"table1.md", "table1.csv", "table1.tex"} <= {f.name for f in (out / "tables").iterdir()}
    assert {f"{n}.{s}" for n in ("tradeoff", "timeline") for s in ("png", "svg", "pdf")} == {
        f.name for f in (out / "figures").iterdir()
    }
    assert "python -m bench.sweep +exp=ablation" in html and "+exp=rope_sensitivity" in html
    for place in ("figures/tradeoff.png", "tables/table1.tex"):
        assert f'"{place}"' in html and (out / place).is_file()
    assert make(Paper(table_in(study), out, None, None, None)) == index, "the command's earlier page is written again"
    with pytest.raises(StudyError, match="is no folder"):
        study_beside(study, tmp_path / "none", "ablation")
