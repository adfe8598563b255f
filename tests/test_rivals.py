"""The report on rivals: families, equal latency, the Pareto front, conditions that skipped nothing, the literature."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from plans import jobs, plan
from processes import run
from test_table1 import markdown, table_in, write

from analysis import Study, StudyError, compare, figures, literature, pareto, rivals
from analysis.accelerators import accelerators_sheet
from analysis.equal_cost import Comparison, Place, comparisons, csv_rows, equal_cost_sheet, place_at
from analysis.family_cost import LATENCY, WORK
from analysis.figures import Choices, families, tradeoff
from analysis.gallery.data import gallery_data
from analysis.gate import Bound, verdict
from analysis.marks import marks
from analysis.output import csv_of
from analysis.publish.runs import conditions_of
from analysis.render import Sheet
from analysis.row import Row
from analysis.skips import idle_in, skipped_shares
from analysis.statistics import holm, interval, p_value, paired
from analysis.table import Table, table_of
from analysis.table1 import refusal
from metrics import METRICS

PROMPTS = "abcdef"
PSNR, SSIM, CLIPSIM = (METRICS[name].about for name in ("psnr", "ssim", "clipsim"))
WHOLE, HALF = [9, 8, 8, 1, 1.0, 1.0, 50], [9, 8, 8, 1, 0.5, 0.5, 50]
Values = Mapping[str, Sequence[float | str]]


def condition(
    study: Path,
    slug: str,
    latency_s: float,
    values: Values | None = None,
    accelerated: dict[str, Any] | None = None,
    passes: Sequence[float] = WHOLE,
    **other: Any,
) -> None:
    """Writes a condition with a value per prompt in each metric. Its slug is its family and settings: "Tea-t=1"."""
    family, *settings = slug.split("-")
    facts = {
        "title": family, "role": "method", "family": family, "settings": settings, "makes_video": True,
        "method": {"name": family.lower()}, "dit_passes": [list(passes)], "accelerated": accelerated or {},
        "model_name": "embedded", "environment": {},
    }  # fmt: skip
    if family == "VGDFR":
        k, theta = settings[:2]
        facts["method"] = {"name": "vgdfr", "k": int(k[1:]), "theta": float(theta[5:])}
    if family == "Original":
        facts |= {"role": "reference", "method": {"name": "baseline"}}
    for i, prompt in enumerate(PROMPTS):
        scores = {name: own[i] for name, own in (values or {}).items()}
        spec = {"prompt": prompt, "seed": i, "height": 64, "width": 64, "num_frames": 33, "fps": 12}
        spec |= {"num_inference_steps": 50}
        identity = {"generator_version": 1, "model": {"dtype": "float32"}, "spec": spec}
        write(study, slug, prompt, latency_s, scores, identity=identity, **facts | other)


def line(first: float, step: float = 1.0) -> list[float]:
    return [first + step * i for i in range(len(PROMPTS))]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study of VGDFR at 3.5 s and at 1.5 s, of "Tea" at 2 s and 4 s, and of "Steps" at 3 s alone."""
    folder = tmp_path / "rivals"
    condition(folder, "Original", 6.0, {"clipsim": line(0.5, 0.01)})
    condition(folder, "VGDFR-k5-theta0.5", 1.5, {"psnr": line(22, 0.4), "clipsim": line(0.4, 0.01)})
    condition(folder, "VGDFR-k5-theta0.9", 3.5, {"psnr": line(25, 0.5), "clipsim": line(0.45, 0.01)})
    condition(folder, "Tea-t=1", 4.0, {"psnr": line(30, 2), "clipsim": line(0.5, 0.01)})
    condition(folder, "Tea-t=2", 2.0, {"psnr": line(20, 1), "clipsim": line(0.3, 0.02)}, passes=HALF)
    condition(folder, "Steps-n=25", 3.0, {"psnr": line(40, 1), "clipsim": line(0.5, 0.01)})
    return folder


def sheets(study: Path, names: Sequence[str] | None = None, at: str = "VGDFR") -> list[Sheet]:
    """Returns the sheets of the report, which also draws a figure and takes longer."""
    table = table_in(study)
    shown = rivals.columns_of(table, names)
    return rivals.sheets_of(table, shown, comparisons(table, table.columns(shown), at, LATENCY), at)


def row_of(table: Table, title: str) -> Row:
    return next(row for row in table.rows if row.title == title)


def rows_in(table: Table, family: str) -> list[Row]:
    return [row for row in table.rows if row.family == family]


def cells(sheet: Sheet | None) -> list[list[str]]:
    assert sheet is not None
    return [[cell.text for cell in row] for row in sheet.rows]


def change(study: Path, place: str, **facts: Any) -> None:
    for file in study.glob(f"{place}/record.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def found_in(study: Path, at: str, family: str, column: str = "psnr") -> Comparison:
    table = table_in(study)
    every = comparisons(table, table.columns(["psnr", "clipsim", "speedup"]), "VGDFR", LATENCY)
    return next(c for c in every if (c.at.title, c.family, c.column.name) == (at, family, column))


# ------------------------------------------------------------------------------------------------ equal latency


def test_a_family_is_interpolated_between_its_two_neighbours_for_each_sample(study: Path) -> None:
    """3.5 s lies at three quarters of the way from 2 s to 4 s."""
    found = found_in(study, "VGDFR (k=5, θ=0.9)", "Tea")
    assert isinstance(found.place, Place)
    assert (found.place.cheaper.title, found.place.dearer.title) == ("Tea (t=2)", "Tea (t=1)")
    assert found.place.weight == pytest.approx(0.75) and found.place.text == "t=2 and t=1 (25% and 75%)"
    hand = [0.25 * (20 + i) + 0.75 * (30 + 2 * i) for i in range(6)]
    assert found.place.values(PSNR).tolist() == pytest.approx(hand)
    index = pd.MultiIndex.from_product([list(PROMPTS), [0]], names=["prompt", "seed"])
    ours, theirs = pd.Series(hand, index), pd.Series(line(25, 0.5), index)
    assert found.value == pytest.approx(interval(ours)) and found.difference == pytest.approx(paired(ours, theirs))
    assert found.difference.value == pytest.approx(27.5 + 1.75 * 2.5 - 25 - 0.5 * 2.5)


def test_nothing_is_extrapolated(study: Path) -> None:
    below, above = "VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.9)"
    reasons = {
        (below, "Tea"): "slower in all settings: t=2 takes 1.33 times as long",
        (below, "Steps"): "slower in all settings: n=25 takes 2.00 times as long",
        (above, "Steps"): "faster in all settings: n=25 takes 0.86 times as long",
    }
    for (at, family), reason in reasons.items():
        found = found_in(study, at, family)
        assert (found.place, found.value.value, found.difference.value, found.p_holm) == (reason, None, None, None)
    table = table_in(study)
    made = equal_cost_sheet(comparisons(table, [PSNR], "VGDFR", LATENCY), "VGDFR", LATENCY)
    texts = [row for row in cells(made) if row[0] == "– Tea"]
    assert texts[0][1:] == [reasons[below, "Tea"], "–"]
    assert texts[1][1] == "t=2 and t=1 (25% and 75%)" and texts[1][2].startswith("31.88 (+5.62 [")


def test_a_setting_of_the_same_latency_is_taken_as_it_is(study: Path) -> None:
    """Identical videos have an infinite PSNR, which a weight of 0 would turn into no number."""
    condition(study, "Tea-t=3", 3.5, {"psnr": [*line(31)[:-1], "inf"], "clipsim": line(0.5)})
    found = found_in(study, "VGDFR (k=5, θ=0.9)", "Tea")
    assert isinstance(found.place, Place) and (found.place.text, found.place.ratio) == ("t=3", 1.0)
    assert found.place.values(PSNR).tolist() == [*line(31)[:-1], math.inf]
    assert (found.difference.n, found.difference.infinite) == (5, 1)


@pytest.mark.parametrize(
    ("latency_s", "text"),
    [
        (3.6, "n=25 (1.03 times as long)"),
        (3.35, "n=25 (0.96 times as long)"),
        (3.7, "slower in all settings: n=25 takes 1.06 times as long"),
        (3.3, "faster in all settings: n=25 takes 0.94 times as long"),
    ],
)
def test_an_end_of_a_line_within_the_error_of_prices_is_taken_as_it_is(
    tmp_path: Path, latency_s: float, text: str
) -> None:
    condition(tmp_path, "Original", 6.0)
    condition(tmp_path, "VGDFR-k5-theta0.9", 3.5, {"psnr": line(25, 0.5)})
    condition(tmp_path, "Steps-n=25", latency_s, {"psnr": line(40)})
    (found,) = comparisons(table_in(tmp_path), [PSNR], "VGDFR", LATENCY)
    assert text == (found.place.text if isinstance(found.place, Place) else found.place)
    assert found.value.value == (42.5 if isinstance(found.place, Place) else None)


def test_latencies_are_compared_within_one_run_alone(study: Path) -> None:
    change(study, "Tea-*/*", environment={"packages": {"torch": "another"}})
    table = table_in(study)
    assert place_at(rows_in(table, "Tea"), row_of(table, "VGDFR (k=5, θ=0.9)"), LATENCY) == "no run timed both"


def test_differences_are_marked_after_the_correction_over_their_column(study: Path) -> None:
    condition(study, "Steps-n=45", 5.0, {"psnr": line(50, 1), "clipsim": line(0.5, 0.01)})
    table = table_in(study)
    found = [c for c in comparisons(table, [PSNR, CLIPSIM], "VGDFR", LATENCY) if isinstance(c.place, Place)]
    assert [(c.family, c.column.name) for c in found] == [
        ("Steps", "psnr"), ("Steps", "clipsim"), ("Tea", "psnr"), ("Tea", "clipsim"),
    ]  # fmt: skip
    steps, tea = (c for c in found if c.column is PSNR)
    raw = [p_value(c.place.values(PSNR), c.at.values("psnr")) for c in (steps, tea) if isinstance(c.place, Place)]
    assert [steps.p_holm, tea.p_holm] == holm([p for p in raw if p is not None])
    sheet = equal_cost_sheet(found, "VGDFR", LATENCY)
    assert sheet is not None and [cell.mark for cell in sheet.rows[1][2:]] == ["best" * c.differs for c in found[:2]]
    calm = METRICS["flicker"].about
    assert steps.differs and not steps._replace(column=calm).differs, "frozen videos are best in that column"


def test_the_family_to_compare_at_can_be_chosen_and_must_exist(study: Path) -> None:
    sheet = sheets(study, at="Steps")[1]
    assert sheet.header[0] == "Latency of Steps"
    assert [row[0] for row in cells(sheet)] == ["Steps (n=25)", "– VGDFR", "– Tea"]
    with pytest.raises(StudyError, match="there is no family Teas; there are VGDFR, Steps, Tea"):
        rivals.report(Study(study), at="Teas")


# ----------------------------------------------------------------------------------------------- the table by family


def test_rows_are_grouped_by_family_with_a_rule_between(study: Path) -> None:
    condition(study, "VGDFR-k5-theta0.7", 2.5, {"psnr": line(23)}, title="VGDFR + Tea", family="VGDFR + Tea")
    sheet = sheets(study)[0]
    assert [row[0] for row in cells(sheet)] == [
        "Original", "VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.9)", "Steps (n=25)", "Tea (t=1)", "Tea (t=2)",
        "VGDFR + Tea (k=5, θ=0.7)",
    ]  # fmt: skip
    assert sheet.rules == {1, 3, 4, 6}
    assert sheet.header[:6] == ("Method", "n", "DiT work", "Skipped", "Latency (s)", "Speedup")
    assert "Peak (GiB)" not in sheet.header
    change(study, "Tea-*/*", peak_bytes=2**31)
    assert "Peak (GiB)" in sheets(study)[0].header


def test_a_row_with_accelerators_is_not_the_main_family(tmp_path: Path) -> None:
    condition(tmp_path, "Original", 6.0)
    tea = {"title": "VGDFR + Tea", "family": "VGDFR + Tea", "accelerated": {"Tea": {"calls_skipped": 1}}}
    condition(tmp_path, "VGDFR-k10-theta0.5", 2.0, **tea)
    condition(tmp_path, "VGDFR-k5-theta0.5", 3.0)
    assert table_in(tmp_path).main == "VGDFR"


def test_the_share_of_skipped_layers_is_a_column_of_accelerated_rows(study: Path) -> None:
    change(study, "Tea-t=2/*", accelerated={"Tea": {"calls_skipped": 25}})
    sheet = sheets(study)[0]
    at = sheet.header.index("Skipped")
    assert {row[0]: row[at].partition(" ")[0] for row in cells(sheet)} == {
        "Original": "–", "VGDFR (k=5, θ=0.5)": "–", "VGDFR (k=5, θ=0.9)": "–", "Steps (n=25)": "–", "Tea (t=1)": "–",
        "Tea (t=2)": "0.50",
    }  # fmt: skip


# ----------------------------------------------------------------------------------------- rows that skipped nothing

NOTHING_SKIPPED = {"Tea": {"gate_asked": 50, "calls_skipped": 0}}
SAYS = "skipped nothing in 6 samples: this is the plain method"


def test_a_condition_that_skipped_nothing_fails_its_row(study: Path, tmp_path: Path) -> None:
    before = table_in(study)
    change(study, "Tea-t=1/*", accelerated=NOTHING_SKIPPED)
    table = table_in(study)
    row = row_of(table, "Tea (t=1)")
    assert (row.n, row.n_failed, row.fault, row.label) == (0, 6, SAYS, f"Tea (t=1): {SAYS}")
    assert row.mean("psnr").value is None and row_of(before, "Tea (t=1)").mean("psnr").value == 35
    sheet = sheets(study)[0]
    texts = next(own for own in cells(sheet) if own[0].startswith("Tea (t=1)"))
    assert texts == [row.label, "0, 6 failed", *["–"] * (len(texts) - 2)]
    assert sheet.banner == f"Incomplete: 30 of 36 samples, 6 failed. Tea (t=1): {SAYS}."
    assert not any(name == row.condition for name, _ in marks(table, table.columns()))
    figure = families.families(table, families.panels(table))
    assert f"1 {SAYS}: Tea (t=1)" in " ".join(figure.get_supxlabel().split())
    faster = "faster in all settings: t=2 takes 0.57 times as long"
    assert found_in(study, "VGDFR (k=5, θ=0.9)", "Tea").place == faster
    assert refusal(Study(study), sheet) == "the study is not complete: see the line above the table"
    done = run("analysis.rivals", str(study), "--out", str(tmp_path / "out"), "--strict")
    assert done.returncode == 1 and SAYS in done.stdout and "the study is not complete" in done.stderr


def test_other_reports_say_it_too(study: Path) -> None:
    change(study, "Tea-t=1/*", accelerated=NOTHING_SKIPPED)
    assert f"| Tea (t=1): {SAYS} |" in markdown(table_in(study))
    means = compare.report(Study(study)).sheets[0]
    assert next(own for own in cells(means) if "Tea (t=1)" in own[0])[:3] == [f"Tea (t=1): {SAYS}", "0", "6"]
    assert (
        verdict(table_in(study), row_of(table_in(study), "Tea (t=1)"), PSNR, Bound("min", "psnr", 25.0)).reason == SAYS
    )
    made = gallery_data(table_in(study), lambda folder: None)
    place = next(i for i, own in enumerate(made["conditions"]) if own["title"] == "Tea (t=1)")
    assert made["prompts"][0]["samples"][place] == {"failed": "failed", "reason": SAYS}
    assert {len(own.done) for own in conditions_of(Study(study)) if own.name == "Tea-t=1"} == {0}
    sheet = accelerators_sheet(table_in(study))
    assert cells(sheet) == [["Tea (t=1)", "6", "Tea", "50.0", "0.0", "0.0%", "0.0%", "6"]]
    assert Study(study).samples["fault"].dropna().unique().tolist() == [SAYS]


def test_one_sample_with_a_skip_is_enough_and_a_part_of_the_study_decides_nothing(study: Path) -> None:
    change(study, "Tea-t=1/*", accelerated=NOTHING_SKIPPED)
    change(study, "Tea-t=1/f", accelerated={"Tea": {"gate_asked": 50, "calls_skipped": 1}})
    assert row_of(table_in(study), "Tea (t=1)").n == 6
    whole = Study(study)
    part = whole.only(whole.samples[whole.samples.index.get_level_values("prompt") < "f"])
    assert row_of(table_of(part), "Tea (t=1)").n == 5
    assert [own[-1] for own in cells(accelerators_sheet(table_in(study)))] == ["5"]


@pytest.mark.parametrize(
    ("accelerated", "passes", "idle"),
    [
        ({"A": {"gate_asked": 9}}, [WHOLE], ("A",)),  # a third party's, which does not count its skips
        ({"A": {"gate_asked": 9}}, [WHOLE, HALF], ()),
        ({"A": {"gate_asked": 9}}, [[9, 8, 8, 0, 1.0, 1.0, 1]], ()),  # the whole forward was skipped
        ({"A": {"blocks_skipped": 4}}, [WHOLE], ()),  # a model without layers to count
        ({"A": {"blocks_skipped": 0, "passes_skipped": 0}}, [WHOLE], ("A",)),
        ({"A": {"skipped": 0}, "B": {"calls_skipped": 3}}, [HALF], ("A",)),
        ({"A": {"gate_asked": 9}, "B": {"calls_skipped": 3}}, [HALF], ()),  # nobody knows of A
        ({"A": {"gate_asked": 9}, "B": {"calls_skipped": 0}}, [WHOLE], ("A", "B")),
        ({"A": {"gate_asked": 9}}, None, ()),
        ({"A": {"calls_skipped": 0}}, None, ("A",)),
    ],
)
def test_skips_are_known_from_counts_and_from_the_histogram(
    accelerated: dict[str, dict[str, int]], passes: list[list[float]] | None, idle: tuple[str, ...]
) -> None:
    assert idle_in(json.dumps(accelerated), None if passes is None else json.dumps(passes)) == idle


def test_the_skipped_share_weighs_forwards() -> None:
    assert skipped_shares([[9, 8, 8, 1, 1.0, 1.0, 2], [9, 8, 8, 2, 0.5, 0.25, 1]]) == {4: 1 / 4, 5: 3 / 8}


def test_one_of_two_idle_accelerators_is_named(study: Path) -> None:
    change(study, "Tea-t=1/*", accelerated={"Tea": {"calls_skipped": 3}, "Coffee": {"calls_skipped": 0}})
    fault = row_of(table_in(study), "Tea (t=1)").fault
    assert fault == "Coffee skipped nothing in 6 samples: this is the method without Coffee"


def test_there_is_no_front_where_a_frozen_video_has_the_best_value() -> None:
    points = [(1.0, 0.5), (2.0, 0.9)]
    assert pareto.front(points, PSNR) == [False, True]
    assert pareto.front(points, METRICS["flicker"].about) == pareto.front(points, METRICS["motion"].about)
    assert pareto.front(points, METRICS["flicker"].about) == [False, False]


# ------------------------------------------------------------------------------------------------ noise of its own


def test_rows_from_other_noise_are_shown_and_not_ranked_where_they_are_compared_with_the_baseline(study: Path) -> None:
    values = {"psnr": line(60, 0.1), "clipsim": line(0.9, 0.001)}
    condition(study, "Own-b=1", 3.0, values, own_noise=True)
    condition(study, "Own-b=2", 4.0, values, own_noise=True)
    table = table_in(study)
    shown = table.columns(["psnr", "ssim", "clipsim", "motion", "flicker"])
    marked = marks(table, shown)
    assert marked["Steps-n=25", "psnr"] == "best" and ("Own-b=1", "psnr") not in marked
    assert marked["Own-b=1", "clipsim"] == marked["Own-b=2", "clipsim"] == "best"
    sheet = sheets(study, ["psnr", "ssim", "clipsim", "motion", "flicker"])[0]
    own = next(row for row in cells(sheet) if row[0] == "Own (b=1)")
    assert own[2].startswith("60.25 [") and own[2].endswith(" §") and "§" not in own[4]
    (note,) = (note for note in sheet.notes if note.startswith("§"))
    assert note == (
        "§ Own starts from noise of its own, so the videos show other content than the baseline's. PSNR, SSIM are bad "
        "by construction there, and are not ranked. Read CLIPSIM, Motion there."
    )
    assert not any(note.startswith("§") for note in sheets(study, ["clipsim"])[0].notes)
    psnr = found_in(study, "VGDFR (k=5, θ=0.9)", "Own")
    assert isinstance(psnr.place, Place) and psnr.value.value is None
    assert found_in(study, "VGDFR (k=5, θ=0.9)", "Own", "clipsim").value.value == pytest.approx(0.9025)
    own = row_of(table, "Own (b=1)")
    (reason,) = {verdict(table, own, PSNR, Bound(side, "psnr", 25.0)).reason for side in ("min", "max")}
    assert reason is not None and "start from noise of their own, so psnr compares other videos" in reason
    assert verdict(table, own, CLIPSIM, Bound("min", "clipsim", 0.5)).reason is None
    for panel in (*families.panels(table, ["psnr"]), *tradeoff.panels(table, ["psnr"])):
        assert not any(point.row.own_noise for point in panel.points)
        said = dict((row.title, reason) for row, reason in panel.left_out)
        assert said["Own (b=1)"] == "with noise of its own, so that PSNR compares other videos, not drawn"
    assert any(point.row.own_noise for point in families.panels(table, ["clipsim"])[0].points)


# ------------------------------------------------------------------------------------------------ figure and front


def test_the_front_of_work_and_of_latency_is_what_nothing_dominates(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    condition(tmp_path, "Original", 10.0)
    numbers = draw.integers(1, 8, size=(14, 3))
    for i, (seconds, psnr, steps) in enumerate(numbers.tolist()):
        condition(tmp_path, f"M{i % 4}-n={i}", seconds, {"psnr": [psnr] * 6}, passes=[*WHOLE[:6], steps])
    work, latency = families.panels(table_in(tmp_path), ["psnr"])
    assert (work.cost, latency.cost) == (WORK, LATENCY)
    for panel, column, full in ((work, 2, 1), (latency, 0, 10)):
        costs = {f"n={i}": (own[column] / full, own[1]) for i, own in enumerate(numbers.tolist())}
        assert {p.row.other: p.at for p in panel.points} == {n: pytest.approx(at) for n, at in costs.items()}
        for p in panel.points:
            x, y = costs[p.row.other]
            beaten = [n for n, (a, b) in costs.items() if a <= x and b >= y and (a < x or b > y)]
            assert p.best == (not beaten), (panel.cost.name, p.row.other, beaten)


def test_the_figure_has_a_line_per_family_by_rising_cost(study: Path) -> None:
    table = table_in(study)
    data = families.panels(table)
    assert [(panel.column.name, panel.cost.name) for panel in data] == [("psnr", "work"), ("psnr", "latency")]
    figure = families.families(table, data)
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["VGDFR", "Steps", "Tea", "Pareto front"]
    lines = [np.asarray(each.get_xdata()).tolist() for each in figure.axes[1].lines]
    assert [pytest.approx(x) for x in ([1.5 / 6, 3.5 / 6], [2 / 6, 4 / 6])] == [x for x in lines if len(x) == 2][-2:]
    for artist in (figure._supxlabel, legend):
        box = artist.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert [f.name for f in figures.draw(table, study, ["families"], Choices(columns=("psnr",)))[0].files] == [
        "families-psnr.png", "families-psnr.svg", "families-psnr.pdf"
    ]  # fmt: skip
    with pytest.raises(StudyError, match="no method has a score of SSIM"):
        families.panels(table, ["psnr", "ssim"])
    notes = rivals.report(Study(study), ["ssim"]).sheets[0].notes
    assert notes[-1].startswith("There is no figure: no method has a score of SSIM")


def test_no_two_families_look_alike() -> None:
    looks = families.styles(map(str, range(100)))
    assert len(set(looks.values())) == 100 and len({colour for colour, _ in looks.values()}) == 13


# ------------------------------------------------------------------------------------------------ the literature


def test_the_literature_stands_apart_and_only_by_the_models_it_is_about(study: Path) -> None:
    made = rivals.report(Study(study))
    sheet = made.sheets[-1]
    assert sheet.title == "The literature on HunyuanVideo" and len(sheet.rows) == 9
    assert sheet.notes[0].startswith("These numbers do not compare with this study.")
    assert ["PAB", "–", "1.17", "18.6", "0.702", "0.383", "–", "EasyCache README (H-EmbodVis/EasyCache)"] in cells(
        sheet
    )
    assert all(row[-1] for row in cells(sheet)), "every row names its source"
    ours = markdown(table_in(study)) + str(made.files["rivals.csv"]) + str(made.files["rivals-equal-latency.csv"])
    assert not any(row["method"] in ours for row in literature.rows())
    change(study, "*/*", model_name="hunyuan_video")
    assert {"rivals-families.png", "rivals-families.svg", "rivals-families.pdf"} < made.files.keys()
    assert "Read them as anchors" in sheets(study)[-1].notes[0]
    change(study, "*/*", model_name="mine")
    assert literature.literature_sheet(table_in(study)) is None
    assert not any("literature" in sheet.title for sheet in sheets(study))


def test_the_literature_has_numbers_in_its_columns() -> None:
    for row in literature.rows():
        assert row["method"] and row["backbone"] and row["source"]
        numbers = {name: float(row[name]) for name in literature.NUMBERS if row[name]}
        assert numbers["speedup"] > 1 and 10 < numbers["psnr"] < 40
        assert 0 < numbers["ssim"] < 1 and 0 < numbers["lpips"] < 1


def test_the_csv_of_equal_latencies_has_the_places_and_the_reasons(study: Path) -> None:
    table = table_in(study)
    text = csv_of(csv_rows(comparisons(table, table.columns(["psnr"]), "VGDFR", LATENCY), LATENCY))
    found = [row for row in csv.DictReader(io.StringIO(text)) if (row["family"], row["column"]) == ("Tea", "psnr")]
    none, between = found
    assert none["reason"].startswith("slower in all settings") and none["value_value"] == none["cheaper"] == ""
    assert (between["at"], between["cheaper"], between["dearer"]) == ("VGDFR-k5-theta0.9", "Tea-t=2", "Tea-t=1")
    assert float(between["share_of_dearer"]) == 0.75 and float(between["value_value"]) == pytest.approx(31.875)


# ------------------------------------------------------------------------------------------------ the experiment

CACHES = ("first_block_cache", "magcache", "taylorseer", "seacache", "pab", "fastercache", "teacache")


def families_of(*arguments: str) -> Counter[tuple[str, ...]]:
    """Returns the number of conditions by method, accelerator and whether the number of steps is set."""
    found: Counter[tuple[str, ...]] = Counter()
    for given in plan("+exp=rivals", *arguments).conditions:
        own = dict(each.split("=", 1) for each in given)
        found[own["method"], own.get("accelerator", ""), "steps" * ("method.steps" in own)] += 1
    return found


@pytest.mark.parametrize(
    "model", [["model=embedded"], ["model=hunyuan_video", "model.magcache_calibration=my/magcache.json"]]
)
def test_the_experiment_has_each_family_at_two_settings_or_more(model: list[str]) -> None:
    """Two settings make a line, which equal latency needs."""
    found = families_of(*model)
    caches = [("baseline", cache, "") for cache in CACHES]
    together = [("vgdfr", "first_block_cache", ""), ("vgdfr", "teacache", ""), ("vgdfr", "", "steps")]
    assert set(found) == {("vgdfr", "", ""), ("fewer_steps", "", "steps"), ("dvg", "", ""), *caches, *together}
    assert min(found.values()) >= 2 and found["vgdfr", "", ""] == 3


def test_a_model_without_a_calibration_of_magcache_leaves_it_out() -> None:
    without = families_of("model=hunyuan_video")
    assert ("baseline", "magcache", "") not in without and without["baseline", "teacache", ""] == 2


def test_vgdfr_alone_is_left_without_comparisons_and_in_a_model_that_names_no_rivals(tmp_path: Path) -> None:
    assert len(plan("+exp=rivals", "comparisons=null").conditions) == 3
    assert len(plan("+exp=rivals", "model.rivals=null").conditions) == 3
    chosen = plan("+exp=rivals", "accelerator=first_block_cache", "accelerator.threshold=0.1,0.2").conditions
    assert len(chosen) == 6 and all("method=vgdfr" in given for given in chosen)


def test_the_conditions_of_the_embedded_experiment_pass_all_checks(tmp_path: Path) -> None:
    made = jobs("+exp=rivals", f"root={tmp_path}")
    slugs = [job.condition.slug for job in made]
    assert len(set(slugs)) == len(slugs) and all(len(job.prompts) == 10 for job in made)
    assert {job.condition.method.row_family for job in made} == {
        "VGDFR", "Fewer steps", "DVG", "FirstBlockCache", "MagCache", "TaylorSeer", "TaylorSeer lite", "SeaCache",
            "PAB",
        "FasterCache", "TeaCache", "VGDFR + FirstBlockCache", "VGDFR + TeaCache", "VGDFR + fewer steps",
    }  # fmt: skip
    assert [job.condition.method.own_noise for job in made].count(True) == 2, "DVG's"
