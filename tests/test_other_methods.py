"""Reports know no method by name. They show rows of a third party's method, and older records without facts."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from processes import run
from test_table1 import main, table_in

from analysis import Study, StudyError, compare, cost, figures, paper_table
from analysis.columns import EFFICIENCY
from analysis.complete import incomplete
from analysis.figures import tradeoff, videos
from analysis.figures.videos import find, papers_columns
from analysis.gallery import write_gallery
from analysis.gallery.data import gallery_data
from analysis.marks import rivals
from analysis.model_cost import flops_of_record
from analysis.publish.runs import conditions_of
from analysis.study import record_in
from analysis.table import table_of
from analysis.table1 import csv_text, notes, table_sheet
from bench.store.facts import Facts, data_of, facts_of, makes_video
from vgdfr import HunyuanVideo

STEPS, LATENTS, SIDE = 4, 5, 8  # the latent size of 17 frames of 64 x 64 pixels
NEW: dict[str, Any] = {
    "role": "method", "makes_video": True, "data": None, "dit_passes": None, "outside_latency": [], "accelerated": {},
    "schedule": None, "similarity": None, "token_ratio": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a study made by the sweep itself: the baseline and two conditions of VGDFR, with two prompts each."""
    root = tmp_path_factory.mktemp("runs")
    small = ["model.video.num_frames=17", f"model.video.num_inference_steps={STEPS}", "prompts.limit=2"]
    settings = ["method=vgdfr", "method.k=2", "method.theta=0.5,0.9", "metrics=pixel", f"root={root}", "study=made"]
    done = run("bench.sweep", "--multirun", *settings, *small)
    assert done.returncode == 0, done
    return root / "made"


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    """Returns that study with a third party's SkipSteps in two settings.

    The records are copies of VGDFR's with other facts. SkipSteps is two or three times as fast as VGDFR. Its DiT made
    fewer passes.
    """
    shutil.copytree(made, folder := tmp_path / "study")
    (folder / "plan.json").unlink()
    for every, passes in ((2, 2), (3, 1)):
        skip_steps(folder, every, dit_passes=[[LATENTS, SIDE, SIDE, 1, 1.0, 1.0, passes]])
    return folder


def skip_steps(folder: Path, every: int, **other: Any) -> None:
    slug = f"skipsteps-every={every}"
    method = {"name": "skipsteps", "path": "my_pkg.SkipSteps", "version": 1, "every": every}
    facts = {"title": "SkipSteps", "family": "SkipSteps", "settings": [f"every={every}"]}
    copy(folder, "vgdfr-k2-theta0.9", slug, {"method": method} | facts | other, lambda r: r["latency_s"] / every)


def copy(
    folder: Path, source: str, slug: str, facts: dict[str, Any], latency_s: Callable[[dict[str, Any]], float | None]
) -> None:
    """Copies each sample of the condition `source` to `slug`, with other facts and another latency."""
    for sample in sorted((folder / source).iterdir()):
        shutil.copytree(sample, there := folder / slug / sample.name)
        record = json.loads((there / "record.json").read_text())
        own_s = latency_s(record)
        timed = {} if own_s is None else {"skipping": [1, own_s, own_s]}  # work that only this sample's record times
        record |= NEW | facts | {"slug": slug, "latency_s": own_s, "timed": timed, "unpooled": {}}
        (there / "record.json").write_text(json.dumps(record))


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    for file in folder.glob("*/record.json"):
        record = json.loads(file.read_text())
        how(record)
        file.write_text(json.dumps(record))


def test_another_method_is_a_row_of_table_1_that_competes_and_is_compared(study: Path) -> None:
    table = table_in(study)
    titles = ["Original", "VGDFR (k=2, θ=0.5)", "VGDFR (k=2, θ=0.9)", "SkipSteps (every=2)", "SkipSteps (every=3)"]
    assert [line.title for line in table.rows] == titles
    rows = table_sheet(table, ["latency_s", "speedup"]).rows
    assert not any(cell.mark for row in rows for cell in row), "two prompts separate nothing"
    assert {row.title for row in rivals(table.rows, EFFICIENCY[0])} == set(titles[1:])
    assert table.rows[4].mean("speedup").value == pytest.approx(3 / 2 * (table.rows[3].mean("speedup").value or 0))
    said = notes(table, [], False, {(table.rows[4].condition, "latency_s"): "best"})
    assert any(
        note.startswith("Of all methods' rows, ablations and diagnostics apart, the best value is") for note in said
    )
    found = list(csv.DictReader(io.StringIO(csv_text(table))))[3]
    assert (found["method"], found["k"], found["theta"]) == ("SkipSteps (every=2)", "", "")
    assert [paper_table.setting_of(row) for row in table.rows] == [(None,), None, None, None, None]


def test_its_differences_to_the_baseline_and_to_other_conditions_are_stated(study: Path) -> None:
    of = {f.row.title: f for f in compare.findings(Study(study)) if f.column.name == "latency_s"}
    assert of["SkipSteps (every=2)"].difference.n == 2 and of["Original"].difference.n == 0
    pairs = compare.between(Study(study), "skipsteps-every=2", "SkipSteps (every=3)")
    assert next(p.difference for p in pairs if p.column.name == "speedup").value == pytest.approx(2 / 3)


def test_it_is_a_point_of_the_trade_off_joined_with_its_family_and_named_in_the_legend(study: Path) -> None:
    panels = tradeoff.panels(table_of(Study(study)))
    points = [p for p in panels[0].points if p.row.family == "SkipSteps"]
    assert [(p.row.title, p.row.k, p.row.theta) for p in points] == [
        ("SkipSteps (every=2)", None, None), ("SkipSteps (every=3)", None, None)
    ]  # fmt: skip
    figure = tradeoff.tradeoff(panels)
    legend = [text.get_text() for text in figure.legends[1].get_texts()]
    assert legend == ["SkipSteps (every=2)", "SkipSteps (every=3)"]
    speedups = sorted(p.speedup.value or 0 for p in points)
    assert any(np.array_equal(line.get_xdata(), speedups) for line in figure.axes[0].lines), "a line joins the family"


def test_nothing_overlaps_in_a_trade_off_of_six_families(study: Path) -> None:
    for name in ("TeaCache", "Dvg", "Some Other Method", "Magnitude Cache With A Long Name", "Last"):
        for value in (0.1, 0.2, 0.3):
            facts = {"title": name, "family": name, "settings": [f"threshold={value}"], "method": {"name": name}}
            copy(study, "vgdfr-k2-theta0.9", f"{name}-{value}", facts, lambda r, v=value: r["latency_s"] * (1 - v))
    figure = tradeoff.tradeoff(tradeoff.panels(table_of(Study(study))), "a banner")
    FigureCanvasAgg(figure).draw()
    boxes = [artist.get_window_extent() for artist in (*figure.legends, figure._supxlabel)]
    boxes += [ax.get_tightbbox() for ax in figure.axes]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i])
    looks = {(h.get_color(), h.get_marker()) for h in figure.legends[1].legend_handles}
    assert len(looks) == 2 + 5 * 3, "two conditions must not look alike"


def test_brackets_in_a_title_are_no_settings(study: Path) -> None:
    change(study / "skipsteps-every=2", lambda r: r.update(title="Pairs & <co> (hold)"))
    figure = figures.FIGURES["qualitative"].draw(table_of(Study(study)), figures.Choices())
    assert [ax.get_title() for ax in figure.axes[:5:3]] == ["Original", "Pairs & <co> (hold)\nevery=2"]


def test_a_long_label_of_the_comparison_stays_beside_its_frames(study: Path) -> None:
    title, long = "VGDFR + FirstBlock", ["k2", "theta0.9", "firstblock(threshold=0.12,every=2,cached=residual)"]
    change(study / "vgdfr-k2-theta0.9", lambda r: r.update(title=title, settings=long))
    table = table_of(Study(study))
    assert figures.draw_prompt(table, study / "report", figures.Choices("00-still", 2, 0.9))[0].is_file()
    figure = videos.comparison(*find(table, "00-still", 2, 0.9))
    FigureCanvasAgg(figure).draw()
    labelled = [ax for ax in figure.axes if ax.get_ylabel()]
    boxes = [ax.yaxis.label.get_window_extent() for ax in labelled]
    assert len(boxes) == 3 and all(box.x0 >= 0 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frames = [ax.get_window_extent() for ax in figure.axes]
    assert not any(box.overlaps(frame) for box in boxes for frame in frames)
    for box, ax in zip(boxes, labelled, strict=True):
        above = [f for f in frames if f.y0 > ax.get_window_extent().y1]
        assert all(box.y1 <= f.y0 for f in above), f"{ax.get_ylabel()!r} reaches into the plot above"


@pytest.mark.parametrize("alone", [False, True])
def test_every_figure_is_drawn_with_it_or_says_why_not(study: Path, tmp_path: Path, alone: bool) -> None:
    if alone:
        for folder in study.glob("vgdfr*"):
            shutil.rmtree(folder)
    table = table_of(Study(study))
    titles = [row.title for row, _ in papers_columns(table, "00-still")]
    assert (titles[0], *titles[-2:]) == ("Original", "SkipSteps (every=2)", "SkipSteps (every=3)")
    drawn = {each.name: each for each in figures.draw(table, tmp_path / "figures")}
    missing = {name for name, each in drawn.items() if each.reason}
    assert missing == {"ablation"} | ({"timeline", "tokens"} if alone else set())
    if alone:
        said = "".join(each.reason or "" for each in drawn.values())
        assert "no sample with a schedule" in said and "no finished sample was compressed" in said
        shown = figures.FIGURES["comparison"].draw(table, figures.Choices())
        assert [ax.get_ylabel() for ax in shown.axes if ax.get_ylabel()] == ["baseline", "SkipSteps\nevery=2"]
    else:
        below = {n: figures.FIGURES[n].draw(table, figures.Choices()).get_supxlabel() for n in ("timeline", "tokens")}
        for text in (" ".join(text.split()) for text in below.values()):
            assert "2 without" in text and "not drawn: SkipSteps (every=2); SkipSteps (every=3)" in text


def test_the_gallery_shows_its_videos_with_title_and_settings(study: Path) -> None:
    table = table_in(study)
    data = gallery_data(table, lambda folder: folder.name)
    assert [(c["title"], c["baseline"]) for c in data["conditions"]][:4:3] == [
        ("Original", True), ("SkipSteps (every=2)", False)
    ]  # fmt: skip
    speedup = [c["title"] for c in data["columns"]].index("Speedup")
    baseline, skipped = data["prompts"][0]["samples"][:4:3]
    assert skipped["video"] and "segments" not in skipped and skipped["scores"][speedup] > 0
    assert baseline["scores"][speedup] is None and write_gallery(table, study / "report" / "gallery").is_file()


def study_cost(folder: Path) -> tuple[str, str]:
    """Returns the cost report in Markdown and its CSV."""
    made = cost.report(Study(folder))
    return made.text, str(made.files["cost.csv"])


def test_the_bound_of_any_method_is_of_the_passes_that_were_counted(study: Path) -> None:
    made = cost.report(Study(study))
    text, samples = made.text, str(made.files["cost.csv"])
    rows = [row for row in csv.DictReader(io.StringIO(samples)) if row["condition"].startswith("skipsteps")]
    assert [float(row["bound"]) for row in rows] == [STEPS / 2] * 2 + [STEPS] * 2
    assert [float(row["dit_work"]) for row in rows] == [2 / STEPS] * 2 + [1 / STEPS] * 2
    header, row = (
        [cell.strip() for cell in next(line for line in text.splitlines() if line.startswith(start)).split("|")]
        for start in ("| Method", "| SkipSteps (every=2)")
    )
    assert row[header.index("DiT work, FLOPs")] == "0.500" and row[header.index("cost of a pass, measured")] == "–"
    assert "Accelerators" not in text and "Left out" not in text


@dataclass(frozen=True)
class OwnFlops:
    """A third party's FLOPs without a `configuration`."""

    num_latents: int = LATENTS

    def dit(self, latents: int) -> float:
        return float(latents)

    def cost_ratio(self, latents: int) -> float:
        return latents / LATENTS

    def of_passes(self, passes: Sequence[Sequence[float]]) -> float:
        return sum(row[0] * row[-1] for row in passes)

    def decode(self, latents: int = LATENTS, levels: int = 0) -> float:
        return 0.0

    def encode(self, latents: int, levels: int) -> float:
        return 0.0


@dataclass(frozen=True)
class OwnModel(HunyuanVideo):
    def flops(self, height: int, width: int, num_frames: int, text_tokens: int | None = None) -> Any:
        return OwnFlops()


def test_an_outside_models_own_flops_need_no_configuration(study: Path) -> None:
    for condition in study.glob("*-*"):
        change(condition, lambda r: r["checkpoint"].update({"class": f"{__name__}.OwnModel"}))
    samples = Study(study).samples
    told = samples[samples["layers"].notna() & samples["checkpoint.class"].notna()]
    assert flops_of_record(record_in(told["folder"].iloc[0])) == OwnFlops()
    rows = [r for r in csv.DictReader(io.StringIO(study_cost(study)[1])) if r["condition"] == "skipsteps-every=2"]
    assert [float(row["dit_flops"]) for row in rows] == [2 * LATENTS] * 2


def test_a_setting_named_steps_of_another_method_is_no_number_of_passes(study: Path) -> None:
    before = cost.report(Study(study))
    change(study / "skipsteps-every=2", lambda r: r["method"].update(steps=[0, 2]))
    assert cost.report(Study(study)) == before


def test_what_a_sweep_shares_counts_no_pass_of_another_method(study: Path) -> None:
    """SkipSteps has a setting named k, but its passes are not shared."""
    (shared,) = (
        line for line in cost.report(Study(study)).text.splitlines() if line.startswith("DiT FLOPs of the sweep")
    )
    for every in (2, 3):
        change(study / f"skipsteps-every={every}", lambda r: r["method"].update(k=2))
    assert shared in cost.report(Study(study)).text


def test_a_method_whose_passes_nobody_counted_is_left_out_of_costs_and_named(study: Path) -> None:
    skip_steps(study, 4)
    made = cost.report(Study(study))
    text, samples = made.text, str(made.files["cost.csv"])
    assert "Left out, because their records do not say what the DiT did: SkipSteps (every=4)." in text
    assert "| SkipSteps (every=4)" not in text and "every=4" not in samples and "every=2" in samples


def test_accelerators_say_what_they_counted_and_what_share_was_skipped(study: Path) -> None:
    facts = {
        "title": "VGDFR", "family": "VGDFR", "settings": ["k2", "theta0.9", "skipcalls(every=2)"],
        "method": {"name": "vgdfr", "k": 2, "theta": 0.9}, "dit_passes": [
            [LATENTS, SIDE, SIDE, 1, 1.0, 1.0, 2], [LATENTS, SIDE, SIDE, 1, 0.0, 0.5, 1],
            [LATENTS, SIDE, SIDE, 0, 1.0, 1.0, 1],
        ],
        "accelerated": {"skipcalls": {"gate_asked": 4, "calls_skipped": 2}},
    }  # fmt: skip
    copy(study, "vgdfr-k2-theta0.9", "vgdfr-k2-theta0.9-skipcalls(every=2)", facts, lambda r: r["latency_s"])
    part = cost.report(Study(study)).text.split("## Accelerators")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in part if line.startswith("| ")]
    assert cells == [
        [
            "Method",
            "n",
            "Accelerator",
            "gate asked",
            "calls skipped",
            "attention skipped",
            "feed-forward skipped",
            "samples without a skip",
        ],
        ["VGDFR (k=2, θ=0.9, skipcalls(every=2))", "2", "skipcalls", "4.0", "2.0", "50.0%", "37.5%", "0"],
    ]
    table = table_of(Study(study))
    assert figures.draw(table, study / "report", ["tradeoff"])[0].files
    _, (plain, _) = find(table, "00-still", 2, 0.9)
    assert plain.slug == "vgdfr-k2-theta0.9", "k and theta alone name the condition without an accelerator"


def test_trackers_show_it_and_the_reference_comes_first_whatever_its_name(study: Path) -> None:
    reference = {"role": "reference", "title": "Plain", "family": "Plain", "settings": [], "method": {"name": "zero"}}
    copy(study, "baseline", "zero", reference, lambda r: r["latency_s"])
    shutil.rmtree(study / "baseline")
    conditions = conditions_of(Study(study))
    assert [c.name for c in conditions][:2] == ["zero", "skipsteps-every=2"]
    assert all(c.summary([])["speedup"] > 0 for c in conditions[1:])
    table = table_in(study)
    assert [row.title for row in table.rows][:4:3] == ["Plain", "SkipSteps (every=2)"]
    assert [row.mean("speedup").value is None for row in table.rows] == [True, False, False, False, False]
    assert [d["reference"] for d in gallery_data(table, lambda _: None)["conditions"]] == [0] * 5


def test_two_references_and_two_methods_under_one_name_are_refused(study: Path) -> None:
    reference = {"role": "reference", "title": "Plain", "family": "Plain", "settings": [], "method": {"name": "zero"}}
    copy(study, "baseline", "zero", reference, lambda r: r["latency_s"])
    with pytest.raises(StudyError, match="2 references to compare with: baseline, zero"):
        table_in(study)
    shutil.rmtree(study / "zero")
    change(study / "skipsteps-every=2", lambda r: r["method"].update(version=1 + (r["prompt_id"] == "00-still")))
    with pytest.raises(StudyError, match="mixes 2 settings under the name skipsteps-every=2"):
        table_in(study)


def test_ablations_and_diagnostics_do_not_compete(study: Path) -> None:
    for role in ("diagnostic", "ablation"):
        change(study / "skipsteps-every=3", lambda r, role=role: r.update(role=role))
        table = table_in(study)
        competing = [row.title for row in rivals(table.rows, EFFICIENCY[0])]
        assert "SkipSteps (every=2)" in competing and "SkipSteps (every=3)" not in competing
        panels = tradeoff.panels(table_of(Study(study)))
        assert "SkipSteps (every=3)" not in [p.row.title for p in panels[0].points]
        assert [[row.slug for row, _ in p.levels] for p in panels] == [["skipsteps-every=3"] * (role == "diagnostic")]
    said = "1 left out as ablation or diagnostic: SkipSteps (every=3)"
    assert said in " ".join(tradeoff.tradeoff(panels).get_supxlabel().split())


CEILING: dict[str, Any] = {
    "method": {"name": "interpolated", "k": 2, "theta": 0.9}, "title": "Ceiling", "family": "Ceiling",
    "settings": ["k2", "theta0.9"], "role": "diagnostic", "token_ratio": None, "passes": None, "dit_passes": None,
}  # fmt: skip


@pytest.fixture
def with_ceiling(study: Path) -> Path:
    """Returns the study with a ceiling of VGDFR's k and theta, which has no cost, and with the baseline again."""
    schedules = {
        f.parent.name[:8]: json.loads(f.read_text())["schedule"] for f in study.glob("vgdfr-k2-theta0.9/*/record.json")
    }
    copy(study, "vgdfr-k2-theta0.9", "interpolated-k2-theta0.9", CEILING, lambda r: None)
    for file in study.glob("interpolated-*/*/record.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps(record | {"schedule": schedules[file.parent.name[:8]]}))
    again = {"method": {"name": "baselinererun"}, "title": "Original again", "family": "Original again", "settings": []}
    copy(study, "vgdfr-k2-theta0.5", "baselinererun", again | {"role": "diagnostic"}, lambda r: r["latency_s"])
    return study


def test_a_video_without_cost_has_dashes_in_every_table_and_is_a_level_in_the_trade_off(with_ceiling: Path) -> None:
    table = table_in(with_ceiling)
    assert [row.title for row in table.rows[-2:]] == ["Ceiling (k=2, θ=0.9)", "Original again"]
    cells = [cell.text for cell in table_sheet(table, ["psnr", "latency_s", "speedup", "token_ratio"]).rows[-2]]
    assert cells[3:] == ["–"] * 3 and float(cells[2]) > 0
    assert table.samples.loc["interpolated-k2-theta0.9", "dit_work"].isna().all()
    panel = tradeoff.panels(table)[0]
    assert [row.title for row, _ in panel.levels] == ["Ceiling (k=2, θ=0.9)", "Original again"]
    figure = tradeoff.tradeoff([panel])
    for row, value in panel.levels:
        assert value == row.mean("psnr").value
        lines = [line for line in figure.axes[0].lines if np.asarray(line.get_ydata()).tolist() == [value, value]]
        across = [line for line in lines if np.asarray(line.get_xdata()).tolist() == [0, 1]]
        assert across and all(line.get_linestyle() != "-" for line in across), "a dotted line across the panel"
    legend = [text.get_text() for text in figure.legends[1].get_texts()]
    assert legend[-2:] == ["Ceiling (k=2, θ=0.9)", "Original again"]
    assert "left out" not in " ".join(figure.get_supxlabel().split())
    said = "Left out, because no generator makes their videos in this way: Ceiling (k=2, θ=0.9)."
    assert said in cost.report(Study(with_ceiling)).text


def test_a_level_without_a_finite_score_is_not_drawn_and_the_figure_says_so(with_ceiling: Path) -> None:
    for file in with_ceiling.glob("baselinererun/*/scores.json"):
        scores = json.loads(file.read_text())
        scores["scores"]["psnr"]["value"] = "inf"
        file.write_text(json.dumps(scores))
    panel = tradeoff.panels(table_in(with_ceiling))[0]
    assert [row.title for row, _ in panel.levels] == ["Ceiling (k=2, θ=0.9)"]
    below = " ".join(tradeoff.tradeoff([panel]).get_supxlabel().split())
    assert "1 at infinite PSNR, not drawn: Original again" in below


def test_every_other_report_takes_a_video_without_cost(with_ceiling: Path, tmp_path: Path) -> None:
    table = table_in(with_ceiling)
    reasons = {each.name: each.reason for each in figures.draw(table, tmp_path / "figures")}
    assert [name for name, reason in reasons.items() if reason] == ["ablation"]
    assert find(table, "00-still", 2, 0.9)[1][0].slug == "vgdfr-k2-theta0.9", "the method, not its ceiling, is compared"
    ceiling = next(row for row in table.rows if row.title.startswith("Ceiling"))
    original, own = videos.of_one_seed([table.rows[0], ceiling], "00-still")
    assert "tokens" not in (videos.comparison(original, own).get_suptitle())
    data = gallery_data(table, lambda folder: folder.name)
    place = [c["title"] for c in data["conditions"]].index(ceiling.title)
    costs = [i for i, c in enumerate(data["columns"]) if c["name"] in ("latency_s", "speedup", "token_ratio")]
    sample = data["prompts"][0]["samples"][place]
    assert [sample["scores"][i] for i in costs] == [None] * 3 and sample["segments"]
    condition = next(c for c in conditions_of(Study(with_ceiling)) if c.name == "interpolated-k2-theta0.9")
    summary, rows = condition.summary(["psnr"]), condition.table(["psnr"])
    assert not {"latency_s", "token_ratio", "speedup", "passes"} & set(summary) and summary["psnr"] > 0
    assert rows["latency_s"].tolist() == rows["token_ratio"].tolist() == [None, None]
    found = {f.row.title: f for f in compare.findings(Study(with_ceiling)) if f.column.name == "latency_s"}
    assert found[ceiling.title].difference.n == 0


def test_a_setting_of_all_rows_of_a_method_is_said_once_with_the_methods_title(study: Path) -> None:
    for every in (2, 3):
        settings = [f"every={every}", "interpolator=rife"]
        change(study / f"skipsteps-every={every}", lambda r, own=settings: r.update(settings=own))
    table = table_in(study)
    assert [row.title for row in table.rows][3:] == ["SkipSteps (every=2)", "SkipSteps (every=3)"]
    said = "In all SkipSteps rows the merged frames were filled in by interpolator=rife."
    assert said in notes(table, [], False, {})
    change(study / "skipsteps-every=3", lambda r: r.update(title="SkipSteps + Cache"))
    said = "In all SkipSteps and SkipSteps + Cache rows the merged frames were filled in by interpolator=rife."
    assert said in notes(table_in(study), [], False, {})


def test_a_method_that_makes_no_video_is_in_no_table_and_keeps_its_data(study: Path) -> None:
    facts = {
        "title": "Probe", "family": "Probe", "role": "diagnostic", "settings": [], "makes_video": False,
        "method": {"name": "probe"}, "data": {"errors": [1.0]},
    }  # fmt: skip
    copy(study, "baseline", "probe", facts, lambda r: r["latency_s"])
    assert "Probe" not in [row.title for row in table_in(study).rows]
    for folder in [*study.glob("vgdfr*"), *study.glob("skip*"), study / "baseline"]:
        shutil.rmtree(folder)
    with pytest.raises(StudyError, match="holds measurements of Probe and no videos"):
        table_in(study)


def test_samples_without_a_video_are_tried_and_named_under_the_table(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {
        "title": "Probe", "family": "Probe", "role": "diagnostic", "settings": [], "makes_video": False,
        "method": {"name": "probe"}, "data": {"errors": [1.0]},
    }  # fmt: skip
    copy(study, "baseline", "probe", facts, lambda r: r["latency_s"])
    there = ["/".join(file.parts[-3:-1]) for file in study.glob("*/*/record.json")]
    (study / "plan.json").write_text(json.dumps({"samples": there}))
    assert main(study) and incomplete(table_of(Study(study))) is None
    assert "Without a video: Probe (2 samples), see `data` in their records." in capsys.readouterr().out
    change(study / "probe", lambda r: r.update(status="done" if r["prompt_id"] == "00-still" else "failed"))
    assert not main(study)
    said = f"Incomplete: {len(there) - 1} of {len(there)} samples, 1 failed."
    out = capsys.readouterr().out
    assert said in out and "not tried" not in out and said == incomplete(table_of(Study(study)))
    assert "Without a video: Probe (1 sample), see `data` in its record." in out
    shutil.rmtree(study / "probe")
    assert not main(study) and "2 planned and not tried" in (out := capsys.readouterr().out)
    assert "Without a video" not in out


OLDER: Sequence[tuple[dict[str, Any], str, Facts]] = (
    ({"name": "baseline"}, "baseline", Facts("Original", "reference", "Original", (), True)),
    ({"name": "baselinererun"}, "baselinererun", Facts("Original again", "diagnostic", "Original again", (), True)),
    ({"name": "fewersteps", "steps": 9}, "fewersteps-steps=9",
     Facts("Fewer steps", "method", "Fewer steps", ("steps=9",), True)),
    ({"name": "vgdfr", "k": 5, "theta": 0.7}, "vgdfr-k5-theta0.7",
     Facts("VGDFR", "method", "VGDFR", ("k5", "theta0.7"), True)),
    ({"name": "vgdfr", "k": 5, "schedule": "uniform"}, "vgdfr-k5-schedule=uniform",
     Facts("VGDFR", "method", "Uniform merging", ("k5", "schedule=uniform"), True)),
    ({"name": "vgdfr", "k": 5, "denoise_renoise": False}, "vgdfr-k5-denoise_renoise=false",
     Facts("VGDFR", "ablation", "VGDFR", ("k5", "denoise_renoise=false"), True)),
    ({"name": "vgdfr", "k": 5, "merge_space": "latent"}, "vgdfr-k5-merge_space=latent",
     Facts("VGDFR", "ablation", "VGDFR", ("k5", "merge_space=latent"), True)),
    ({"name": "ropeproxy", "k": 5}, "ropeproxy-k5", Facts("RoPE proxy", "diagnostic", "RoPE proxy", ("k5",), False)),
)  # fmt: skip


@pytest.mark.parametrize(("method", "slug", "expected"), OLDER)
def test_older_records_have_their_facts_from_one_table(method: dict[str, Any], slug: str, expected: Facts) -> None:
    record = {"method": method, "slug": slug, "layer_errors": {"none": 1.0}}
    for older in (record, record | {"title": None, "makes_video": None, "data": None}):
        assert facts_of(older) == expected and makes_video(older) == expected.makes_video
        assert data_of(older) == {"none": 1.0}
    newer = {"title": "T", "role": "method", "family": "F", "settings": ["k5"], "makes_video": True, "data": {"a": 1}}
    assert facts_of(record | newer) == Facts("T", "method", "F", ("k5",), True) and data_of(record | newer) == {"a": 1}
