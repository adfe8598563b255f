"""Families at equal DiT work and at equal FLOPs of the 13B, the line of a family, and the figure's costs."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_rivals import PROMPTS, PSNR, WHOLE, cells, change, condition, line, row_of, rows_in
from test_table1 import table_in

from analysis import Study, StudyError, figures, rivals
from analysis.equal_cost import Comparison, Place, comparisons, equal_cost_sheet, judge_of, place_at
from analysis.family_cost import COSTS, FLOPS_13B, LATENCY, WORK, Cost, column_of, with_costs
from analysis.figures import Choices, families
from analysis.model_cost import paper_flops
from analysis.pareto import free_settings, on_line
from analysis.statistics import interval, paired
from analysis.table import Table
from metrics import METRICS

LPIPS, MOTION = (METRICS[name].about for name in ("lpips", "motion"))
SHAPE = [8, 8, 1, 1.0, 1.0]  # the fields of a record's pass between the number of latent frames and the count
FULL = [[25, *SHAPE, 50]]


def steps(count: int) -> list[float]:
    return [*WHOLE[:6], count]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study in which VGDFR takes 6 full passes for three prompts and 10 for the others, at 9 latent frames.

    Fewer steps take 5 and 9 passes. Latencies are the other way round: work does not ask for them.
    """
    condition(tmp_path, "Original", 1.0)
    condition(tmp_path, "VGDFR-k2-theta0.5", 9.0, {"psnr": line(28, 0.5)})
    change(tmp_path, "VGDFR-*/[abc]", dit_passes=[[9, *SHAPE, 2], [3, *SHAPE, 12]])
    change(tmp_path, "VGDFR-*/[def]", dit_passes=[[9, *SHAPE, 2], [6, *SHAPE, 12]])
    condition(tmp_path, "Steps-n=5", 5.0, {"psnr": line(20, 1)}, passes=steps(5))
    condition(tmp_path, "Steps-n=9", 3.0, {"psnr": line(30, 2)}, passes=steps(9))
    return tmp_path


def costed(study: Path) -> Table:
    return with_costs(table_in(study), [*COSTS.values()])


def found_in(study: Path, cost: Cost, family: str = "Steps") -> Comparison:
    return next(each for each in comparisons(costed(study), [PSNR], "VGDFR", cost) if each.family == family)


# ------------------------------------------------------------------------------------------------ equal work


def test_work_is_in_full_length_passes_of_each_sample(study: Path) -> None:
    table = costed(study)
    values = {row.title: row.values(column_of("work")).tolist() for row in table.rows}
    assert values["VGDFR (k=2, θ=0.5)"] == pytest.approx([6, 6, 6, 10, 10, 10])
    assert values["Original"] == pytest.approx([50] * 6) and values["Steps (n=5)"] == pytest.approx([5] * 6)
    assert WORK.cell(row_of(table, "VGDFR (k=2, θ=0.5)")) == "8.0 full passes"
    assert with_costs(table, [WORK, LATENCY]) is table, "columns that are there are not made again"


def test_a_family_is_interpolated_at_the_rows_mean_work(study: Path) -> None:
    """8 passes lie at three quarters of the way from 5 to 9."""
    found = found_in(study, WORK)
    assert isinstance(found.place, Place) and found.place.weight == pytest.approx(0.75)
    assert found.place.text == "n=5 and n=9 (25% and 75%)"
    hand = [0.25 * (20 + i) + 0.75 * (30 + 2 * i) for i in range(6)]
    index = pd.MultiIndex.from_product([list(PROMPTS), [0]], names=["prompt", "seed"])
    ours, theirs = pd.Series(hand, index), pd.Series(line(28, 0.5), index)
    assert found.value == pytest.approx(interval(ours)) and found.difference == pytest.approx(paired(ours, theirs))
    assert found_in(study, LATENCY).place == "faster in all settings: n=5 takes 0.56 times as long"


def test_equal_work_is_taken_as_it_is_and_no_error_of_prices_stretches_a_line(study: Path) -> None:
    condition(study, "Exact-n=8", 2.0, {"psnr": line(33)}, passes=steps(8))
    condition(study, "Above-n=8", 2.0, {"psnr": line(33)}, passes=steps(8))
    change(study, "Above-*/*", dit_passes=[steps(8), [2, *SHAPE, 1]])
    exact, above = (found_in(study, WORK, family) for family in ("Exact", "Above"))
    assert isinstance(exact.place, Place) and (exact.place.text, exact.value.value) == ("n=8", 35.5)
    assert above.place == "more work in all settings: n=8 takes 1.03 times the work" and above.value.value is None
    sheet = equal_cost_sheet([exact, above], "VGDFR", WORK)
    assert sheet is not None and sheet.title == "At equal DiT work"
    assert sheet.header[:2] == ("DiT work of VGDFR", "Between")
    assert cells(sheet)[0][:2] == ["VGDFR (k=2, θ=0.5)", "8.0 full passes"]
    assert "prices" not in sheet.notes[0] and "of all passes of a sample, in full-length passes" in sheet.notes[0]


def test_a_row_without_counted_passes_has_no_place(study: Path) -> None:
    change(study, "Steps-*/*", dit_passes=None)
    unknown = "no sample of both has passes that its record counts"
    assert found_in(study, WORK).place == found_in(study, FLOPS_13B).place == unknown
    (panel,) = families.panels(table_in(study), ["psnr"], ["flops_13b"])
    assert [(row.title, reason) for row, reason in panel.left_out] == [
        ("Steps (n=5)", "without 13B FLOPs, not drawn"), ("Steps (n=9)", "without 13B FLOPs, not drawn"),
    ]  # fmt: skip


def test_the_report_says_the_cost_in_its_files_and_names(study: Path) -> None:
    made = rivals.report(Study(study), ["psnr"], equal=WORK)
    assert "At equal DiT work" in made.text and "rivals-equal-latency.csv" not in made.files
    steps, vgdfr = "Steps", "VGDFR-k2-theta0.5"
    (row,) = csv.DictReader(io.StringIO(str(made.files["rivals-equal-work.csv"])))
    assert (row["equal"], row["at"], row["family"], row["cheaper"]) == ("work", vgdfr, steps, "Steps-n=5")
    assert float(row["share_of_dearer"]) == pytest.approx(0.75)


# ------------------------------------------------------------------------------------------------ FLOPs of the 13B


def test_the_flops_of_the_13b_are_those_that_its_passes_are_counted_to(tmp_path: Path) -> None:
    """Latents of 25 frames are as long as the 13B's in the paper, so each length can be counted by running it there."""
    condition(tmp_path, "Original", 1.0)
    change(tmp_path, "Original/*", dit_passes=FULL)
    flops = paper_flops()
    full, short, parts = flops.count_dit(25), flops.count_dit(11), flops.count_parts(25)
    half = parts.attention / 2 + parts.feed_forward / 4 + parts.rest
    for name, rows, expected in (
        ("Short-n=1", [[25, *SHAPE, 2], [11, *SHAPE, 12]], 2 + 12 * short / full),
        ("Skip-n=1", [[25, 8, 8, 1, 0.5, 0.25, 10]], 10 * half / full),
        ("Coarse-n=1", [[11 * 4, 4, 4, 1, 1.0, 1.0, 7]], 7 * short / full),  # as many tokens as 11 frames of 8 x 8
        ("None-n=1", [[25, 8, 8, 0, 1.0, 1.0, 7], [25, *SHAPE, 1]], 1.0),
    ):
        condition(tmp_path, name, 1.0, {"psnr": line(20)})
        change(tmp_path, f"{name}/*", dit_passes=rows)
        row = rows_in(costed(tmp_path), name.partition("-")[0])[0]
        assert row.mean(column_of("flops_13b")).value == pytest.approx(expected, rel=1e-9), name
    assert row_of(costed(tmp_path), "Original").mean(column_of("flops_13b")).value == pytest.approx(50)
    assert short / full < 0.27 < 11 / 25, "a short pass costs less than its share of tokens"


def test_a_pass_of_two_forwards_is_one_pass_of_a_baseline_that_has_two(study: Path) -> None:
    before = row_of(costed(study), "VGDFR (k=2, θ=0.5)").values(column_of("flops_13b")).tolist()
    for place, rows in (("Original/*", [9, 50]), ("VGDFR-*/[abc]", [9, 2, 3, 12]), ("VGDFR-*/[def]", [9, 2, 6, 12])):
        pairs = zip(rows[::2], rows[1::2], strict=True)
        change(study, place, dit_passes=[[frames, 8, 8, 2, 1.0, 1.0, count] for frames, count in pairs])
    assert row_of(costed(study), "VGDFR (k=2, θ=0.5)").values(column_of("flops_13b")).tolist() == pytest.approx(before)


def test_flops_are_of_each_samples_own_tokens_and_not_of_their_mean(study: Path) -> None:
    flops, row = paper_flops(), row_of(costed(study), "VGDFR (k=2, θ=0.5)")
    thirds = [2 + 12 * flops.dit(25 * share) / flops.dit(25) for share in (1 / 3, 2 / 3)]
    assert row.values(column_of("flops_13b")).tolist() == pytest.approx([thirds[0]] * 3 + [thirds[1]] * 3)
    of_mean = 2 + 12 * flops.dit(25 * 0.5) / flops.dit(25)
    assert (row.mean(column_of("flops_13b")).value or 0) - of_mean > 0.1, "the cost is convex in tokens"
    place = found_in(study, FLOPS_13B).place
    assert isinstance(place, Place) and place.weight == pytest.approx((np.mean(thirds) - 5) / 4)


# ------------------------------------------------------------------------------------------------ a family's line


def mixed(study: Path, beaten: float = 21.0) -> None:
    """Writes a family with two free settings: 4, 7, 9 and 11 passes, of which 7 and 11 are beaten in PSNR."""
    for slug, count, psnr in (("Mix-k=1-b=1", 4, 24), ("Mix-k=2-b=1", 9, 34), ("Mix-k=2-b=2", 11, 30)):
        condition(study, slug, 1.0, {"psnr": line(psnr), "motion": line(0.9, 0.01)}, passes=steps(count))
    condition(study, "Mix-k=1-b=2", 1.0, {"psnr": line(beaten), "motion": line(0.8, 0.01)}, passes=steps(7))


def test_a_family_of_several_free_settings_is_a_line_through_its_own_front(study: Path) -> None:
    mixed(study)
    found = found_in(study, WORK, "Mix")
    assert isinstance(found.place, Place) and found.place.text == "k=1, b=1 and k=2, b=1 (20% and 80%)"
    assert found.value.value == pytest.approx(0.2 * 26.5 + 0.8 * 36.5) and found.place.chosen_by is PSNR
    sheet = equal_cost_sheet([found, found_in(study, WORK)], "VGDFR", WORK)
    assert sheet is not None and [note for note in sheet.notes if note.startswith("Mix: several settings are free")]
    assert not any("Steps: several" in note for note in sheet.notes)


def test_the_end_of_a_front_stands_for_the_dearer_settings_that_it_beats(study: Path) -> None:
    """At 10 passes the family has no better setting than its 9, which beat its 11. Nothing is taken at 12 passes."""
    mixed(study)
    for count, expected in (
        (10, "k=2, b=1 (0.90 times the work)"),
        (12, "less work in all settings: k=2, b=1 takes 0.75"),
    ):
        change(study, "VGDFR-*/*", dit_passes=[[9, *SHAPE, count]])
        place = found_in(study, WORK, "Mix").place
        assert (place.text if isinstance(place, Place) else place).startswith(expected)


def test_the_first_column_with_a_front_judges_and_only_families_of_several_free_settings(study: Path) -> None:
    mixed(study)
    table = costed(study)
    mix, steps_taken = rows_in(table, "Mix"), rows_in(table, "Steps")
    assert free_settings(mix) == ["k", "b"] and free_settings(steps_taken) == ["n"]
    assert judge_of(mix, [MOTION, LPIPS, PSNR]) is PSNR, "motion has no better direction, and LPIPS no values"
    assert judge_of(steps_taken, [PSNR]) is None and judge_of(mix, [MOTION]) is None
    at = row_of(table, "VGDFR (k=2, θ=0.5)")
    through_all = place_at(mix, at, WORK)
    assert isinstance(through_all, Place) and through_all.text == "k=1, b=2 and k=2, b=1 (50% and 50%)"
    points = [(-(row.mean(column_of("work")).value or 0.0), row.mean("psnr").value or 0.0) for row in mix]
    joined = {row.other: is_joined for row, is_joined in zip(mix, on_line(mix, points, PSNR), strict=True)}
    assert joined == {"k=1, b=1": True, "k=1, b=2": False, "k=2, b=1": True, "k=2, b=2": False}
    assert on_line(mix, points, MOTION) == [False] * 4 and on_line(steps_taken, points[:2], MOTION) == [True] * 2


def test_a_column_with_infinite_values_chooses_no_front(study: Path) -> None:
    """The means leave infinite values out, so the setting with five identical videos would seem to be beaten."""
    scores = {"psnr": [math.inf] * 5 + [39.0], "lpips": [0.0] * 5 + [0.1]}
    condition(study, "Mix-k=1-b=1", 1.0, {"psnr": line(40), "lpips": line(0.1, 0.01)}, passes=steps(5))
    condition(study, "Mix-k=2-b=2", 1.0, scores, passes=steps(12))
    mix = rows_in(costed(study), "Mix")
    assert judge_of(mix, [PSNR]) is None and judge_of(mix, [PSNR, LPIPS]) is LPIPS
    place = found_in(study, WORK, "Mix").place
    assert isinstance(place, Place) and place.text == "k=1, b=1 and k=2, b=2 (57% and 43%)"


# ------------------------------------------------------------------------------------------------ the figure


def test_the_figure_draws_chosen_costs_metrics_and_families(study: Path, tmp_path: Path) -> None:
    mixed(study)
    table = table_in(study)
    data = families.panels(table, ["psnr"], ["work", "flops_13b"], ["Mix", "VGDFR"])
    assert [(panel.cost, panel.column) for panel in data] == [(WORK, PSNR), (FLOPS_13B, PSNR)]
    assert {point.row.family for panel in data for point in panel.points} == {"Mix", "VGDFR"}
    figure = families.families(table, data)
    FigureCanvasAgg(figure).draw()
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "DiT work (full-length passes)", "13B FLOPs (full-length passes)",
    ]  # fmt: skip
    caption = " ".join(figure.get_supxlabel().split())
    assert "Families not drawn, by choice: Steps" in caption and "Its other settings are faint marks" in caption
    choices = Choices(columns=("psnr",), costs=("work",), families=("Mix", "VGDFR"))
    (drawn,) = figures.draw(table, tmp_path / "out", ["families"], choices)
    assert drawn.files[0].name == "families-psnr-work-Mix-VGDFR.png"
    for wrong, said in (
        ({"costs": ["flops"]}, "there is no cost flops; there are latency, work, flops_13b"),
        ({"only": ["Mixed"]}, "there is no family Mixed; there are VGDFR, Mix, Steps"),
    ):
        with pytest.raises(StudyError, match=said):
            families.panels(table, ["psnr"], **wrong)


def test_the_line_joins_the_familys_front_and_leaves_the_others_faint(study: Path) -> None:
    mixed(study)
    change(study, "Original/*", dit_passes=[WHOLE])
    table = table_in(study)
    psnr, motion = families.panels(table, ["psnr", "motion"], ["work"], ["Mix"])
    figure = families.families(table, [psnr, motion])
    above, below = ([line for line in ax.lines if line.get_color() != families.FRONT] for ax in figure.axes)
    (joined,) = (np.asarray(each.get_xdata()).tolist() for each in above if len(np.asarray(each.get_xdata())) > 1)
    assert joined == pytest.approx([4, 9])
    marks = {
        round(float(np.asarray(each.get_xdata())[0]), 1): each.get_alpha()
        for each in above
        if each.get_marker() != "None"
    }
    assert marks == {4.0: 1.0, 7.0: families.FAINT, 9.0: 1.0, 11.0: families.FAINT}
    assert {each.get_alpha() for each in below if each.get_marker() != "None"} == {1.0}, "no line passes them by"
    assert not any(len(np.asarray(each.get_xdata())) > 1 for each in below)


def test_the_baseline_stands_at_all_of_its_passes(study: Path) -> None:
    change(study, "Original/*", status="done")
    condition(study, "VGDFR-k2-theta0.7", 2.0, {"clipsim": line(0.5, 0.01)})
    for prompt in PROMPTS:
        (study / "Original" / prompt / "scores.json").write_text(
            (study / "VGDFR-k2-theta0.7" / prompt / "scores.json").read_text()
        )
    panels = families.panels(table_in(study), ["clipsim"], ["work", "latency"])
    assert [panel.baseline and panel.baseline[0] for panel in panels] == [50, 1]
