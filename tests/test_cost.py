"""Projected costs of a study's samples, of models of conf, and of the paper's Table 1."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from processes import run
from test_figures import change, sample, twin
from test_figures import study as made_study

from analysis import Study, StudyError, cost, paper_table
from analysis.cost import projections, study_savings
from analysis.model_cost import flops_of_record, implied_costs, model_report, paper_savings, paper_sheet
from analysis.output import Report
from analysis.render import markdown
from analysis.study import record_in
from analysis.table import table_of
from vgdfr.flops import Flops
from vgdfr.presets import PRESETS

study = made_study  # the fixture
SHAPE = [8, 8, 1, 1.0, 1.0]  # the fields of a record's pass between the number of latent frames and the count


def projected_in(study: Path) -> pd.DataFrame:
    return projections(table_of(Study(study)))


def report_of(study: Path) -> tuple[str, str]:
    """Returns the report in Markdown, and its CSV."""
    made = cost.report(Study(study))
    return made.text, str(made.files["cost.csv"])


def row_of(made: Report, title: str) -> dict[str, str]:
    sheet = made.sheets[0]
    (row,) = (row for row in sheet.rows if row[0].text == title)
    return {name: cell.text for name, cell in zip(sheet.header, row, strict=True)}


def test_bounds_projections_and_savings(study: Path) -> None:
    projected = projected_in(study)
    assert (projected["projected"] < projected["bound"]).all() and (projected["bound"] > 1).all()
    p = projected[projected["condition"] == "vgdfr-k5-theta0.5"].iloc[0]
    flops = flops_of_record(record_in(p["folder"]))
    full, short = flops.count_dit(17), flops.count_dit(11)
    assert p["flops"] == flops and (p["kept_latents"], p["num_latents"], p["compressed_steps"]) == (11, 17, 45)
    assert p["bound"] == pytest.approx(50 * full / (5 * full + 45 * short)) == 1 / p["dit_work"]
    assert p["module_flops"] == flops.decode(levels=1) + flops.encode(11, 1)
    assert (p["cost_ratio"], p["measured_cost_ratio"]) == (pytest.approx(short / full), pytest.approx(0.5))
    alone, prefix_shared, equal_shared = study_savings(projected, 4)
    assert alone == pytest.approx(4 + projected["dit_work"].sum())
    assert alone - prefix_shared == pytest.approx(4 * (5 + 5 + 15) / 50)
    # for the still prompts both thetas have the same schedule
    assert prefix_shared - equal_shared == pytest.approx(2 * 45 / 50 * short / full)


def test_another_start_of_the_shortened_steps_shares_none_and_a_round_trip_costs_an_encoding(study: Path) -> None:
    before = projected_in(study)
    change(study, "vgdfr-k5-theta0.5/*", lambda r: r["method"].update(anchor=4.0, residual="mean"))
    projected = projected_in(study)
    alone, prefix_shared, equal_shared = study_savings(projected, 4)
    assert alone == study_savings(before, 4)[0] and prefix_shared == equal_shared
    p, paper = (each[each["condition"] == "vgdfr-k5-theta0.5"].iloc[0] for each in (projected, before))
    assert p["module_flops"] == paper["module_flops"] + p["flops"].encode(17, 1)


def test_steps_on_the_full_length_are_full_passes_after_a_decoding_and_an_encoding(study: Path) -> None:
    before = projected_in(study)
    change(study, "vgdfr-k5-theta0.5/*", lambda r: r["method"].update(full_steps=10, interpolator="flow"))
    p, paper = (each[each["condition"] == "vgdfr-k5-theta0.5"].iloc[0] for each in (projected_in(study), before))
    full, short = p["flops"].count_dit(17), p["flops"].count_dit(11)
    assert p["compressed_steps"] == 35 and p["dit_work"] == pytest.approx((15 * full + 35 * short) / (50 * full))
    assert p["module_flops"] == paper["module_flops"] + p["flops"].decode(11) + p["flops"].encode(17, 0)
    # the two conditions have equal schedules for still prompts, and their last steps differ
    assert study_savings(projected_in(study), 4)[1] == study_savings(projected_in(study), 4)[2]


def test_a_sample_in_which_nothing_was_merged_is_its_baseline(study: Path) -> None:
    sample(study, "00-still", 5, 1.0, 0, 1.0)
    projected = projected_in(study)
    (p,) = (row for _, row in projected.iterrows() if row["condition"] == "vgdfr-k5-theta1")
    assert p["bound"] == 1 and pd.isna(p["cost_ratio"]) and pd.isna(p["measured_cost_ratio"]) and p["speedup"] > 0
    others = projected[projected["condition"] != "vgdfr-k5-theta1"]
    assert study_savings(projected, 4)[1:] == pytest.approx(study_savings(others, 4)[1:])
    row = row_of(cost.report(Study(study)), "VGDFR (k=5, θ=1)")
    assert (row["n"], row["cost of a pass, FLOPs"], row["cost of a pass, measured"]) == ("1", "–", "–")


def test_passes_that_a_record_counts_stand_above_those_that_its_settings_imply(study: Path) -> None:
    change(study, "baseline/*", lambda r: r.update(dit_passes=[[17, *SHAPE, 50]]))
    change(study, "vgdfr-k5-theta0.5/*", lambda r: r.update(dit_passes=[[11, *SHAPE, 10], [17, *SHAPE, 5]]))
    projected = projected_in(study)
    p = projected[projected["condition"] == "vgdfr-k5-theta0.5"].iloc[0]
    full, short = p["flops"].dit(17), p["flops"].dit(11)
    assert p["dit_flops"] == pytest.approx(5 * full + 10 * short) and p["baseline_flops"] == pytest.approx(50 * full)
    assert projected["dit_passes"].isna().any(), "the other conditions are projected by their settings"
    made = cost.report(Study(study))
    row = row_of(made, "VGDFR (k=5, θ=0.5)")
    assert row["DiT work, FLOPs"] == f"{p['dit_work']:.3f}" and "counts tokens instead" in made.text
    assert str(made.files["cost.csv"]).splitlines()[0].endswith(",above_bound,dit_work")


def test_an_accelerated_sample_shares_no_steps(study: Path) -> None:
    before = study_savings(projected_in(study), 4)
    change(study, "vgdfr-k5-theta0.5/00-still", lambda r: r.update(accelerated={"cache": {"asked": 1}}))
    alone, prefix_shared, _ = study_savings(projected_in(study), 4)
    assert alone == before[0] and prefix_shared - before[1] == pytest.approx(5 / 50)


def test_baselines_are_of_the_samples_own_video_setting(study: Path) -> None:
    twin(study, "-33", lambda r: (r["identity"]["spec"].update(num_frames=33), r.update(token_ratio=1.0)))
    projected = projected_in(study)
    assert len(projected) == 24
    for frames, latents in ((33, 9), (65, 17)):
        own = projected[projected["video.num_frames"] == frames]
        flops = own["flops"].iloc[0]
        assert len(own) == 12 and (own["num_latents"] == latents).all() and flops.num_latents == latents
        assert (own["baseline_flops"] == 50 * flops.dit(latents)).all()


def test_latencies_of_isolated_runs_are_never_compared_with_others(study: Path) -> None:
    """One prompt was timed alone and was much slower. Only its latencies count."""
    change(study, "*/00-still", lambda r: r.update(timing="isolated"))
    change(study, "baseline/00-still", lambda r: r.update(latency_s=28.0))
    change(study, "vgdfr-k5-theta0.5/00-still", lambda r: r.update(latency_s=7.0))
    projected = projected_in(study)
    own = projected[projected["condition"] == "vgdfr-k5-theta0.5"]
    assert own["speedup"].fillna(0).tolist() == [4, 0, 0, 0]
    assert own["measured_cost_ratio"].isna().tolist() == [False, True, True, True]
    made = cost.report(Study(study))
    row = row_of(made, "VGDFR (k=5, θ=0.5)")
    assert (row["n"], row["Speedup"]) == ("1", "4.00 ▲") and "9 samples were not timed as the others" in made.text
    lines = str(made.files["cost.csv"]).splitlines()
    assert [line.split(",")[-2] for line in lines[1:5]] == ["4", "", "", ""]


def test_a_measured_speedup_above_its_bound_is_marked(study: Path) -> None:
    text, samples = report_of(study)
    fast = next(line for line in text.splitlines() if line.startswith("| VGDFR (k=5, θ=0.5)"))
    assert "▲" in fast, "steps on 11 of 17 latent frames were timed at half of a full one: the model says 0.63"
    assert samples.splitlines()[1].startswith("vgdfr-k5-theta0.5,00-still,0,11,17,")
    assert [line.rsplit(",", 1)[1] for line in samples.splitlines()[1:5]] == ["1"] * 4


def test_older_records_without_a_schedule_count_their_passes_or_are_left_out(study: Path) -> None:
    def steps_25(r: dict) -> None:
        r.update(slug="fewersteps-steps=25", method={"name": "fewersteps", "steps": 25}, passes=25.0)

    twin(study, "", steps_25, "baseline")
    projected = projected_in(study)
    assert projected[projected["method"] == "fewersteps"]["bound"].tolist() == [2, 2, 2, 2]
    change(study, "fewersteps*/*", lambda r: r.pop("passes"))
    text, samples = report_of(study)
    assert "Left out, because their records do not say what the DiT did: Fewer steps (steps=25)." in text
    assert "fewersteps" not in samples
    for file in study.glob("vgdfr*/*/record.json"):
        file.unlink()
    with pytest.raises(StudyError, match="no finished sample has both a finished baseline to compare with and a"):
        cost.report(Study(study))


def test_different_devices_are_reported_together_where_that_is_asked_for(study: Path) -> None:
    change(study, "baseline/*", lambda r: r["identity"]["model"].update(device_type="cuda"))
    with pytest.raises(StudyError, match="--allow-mixed"):
        cost.report(Study(study))
    assert "Made on different devices" in cost.report(Study(study), allow_mixed=True).text


def test_flops_are_of_the_checkpoint_that_made_the_study(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    place = Study(study).samples["folder"].iloc[0]
    conf = flops_of_record(record_in(place))
    for part, config in conf.configuration.items():
        (folder / part).mkdir(parents=True)
        config = dict(config) | (
            {"num_single_layers": config["num_single_layers"] + 2} if part == "transformer" else {}
        )
        (folder / part / "config.json").write_text(json.dumps(config))
    layers = {"dual": conf.configuration["transformer"]["num_layers"]}
    layers["single"] = conf.configuration["transformer"]["num_single_layers"] + 2
    # a sample whose record lacks its layers does not hide the others
    change(study, "*/*", lambda r: r.update(checkpoint={"path": str(folder)}))
    change(study, "vgdfr*/02-still", lambda r: r.update(layers=layers))
    assert flops_of_record(record_in(place)).count_dit(5) > conf.count_dit(5)
    assert projected_in(study)["flops"].iloc[0].count_dit(5) > conf.count_dit(5)
    folder.rename(tmp_path / "gone")
    refused = r"single layers, made from .*checkpoint; the configuration at hand has"
    with pytest.raises(StudyError, match=refused):
        flops_of_record(record_in(study / "vgdfr-k5-theta0.5" / "02-still"))
    with pytest.raises(StudyError, match=refused):
        projected_in(study)


def test_what_is_no_study_is_refused_in_a_line_and_nothing_is_written(tmp_path: Path) -> None:
    done = run("analysis.cost", str(tmp_path / "nowhere"))
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "is no folder" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_the_papers_latencies_imply_its_speedups_and_the_costs_that_method_md_gives() -> None:
    rows = paper_table.rows()
    baseline_s, costs = rows[None]["latency_s"], implied_costs(50)
    assert baseline_s == 714.90 and len(costs) == 15 and set(costs) == rows.keys() - {None}
    for setting in costs:
        assert rows[setting]["speedup"] == pytest.approx(baseline_s / rows[setting]["latency_s"], abs=0.011)
    assert costs[5, 0.5] == pytest.approx(0.27, abs=0.005)


def test_sharing_first_steps_saves_table_1_at_the_papers_costs_what_was_promised() -> None:
    alone, shared = paper_savings(50)
    latencies = [row["latency_s"] for row in paper_table.rows().values()]
    assert alone == pytest.approx(50 * sum(latencies) / 714.90)
    assert alone - shared == pytest.approx(5 * (5 + 10 + 15))
    assert alone / shared >= 1.45


def test_printed_speedups_above_the_bound_of_merging_pairs_are_marked() -> None:
    preset = PRESETS["hunyuan_video"]
    size = (preset.video[name] for name in ("height", "width", "num_frames"))
    text = markdown(paper_sheet(Flops(preset.model.configuration(), preset.model.tiling, *size), 50))
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    marked = {tuple(c.strip() for c in line.strip("|").split("|")[:2]) for line in table if "▲" in line}
    assert ("5", "0.5") in marked and ("10", "0.6") in marked and ("5", "0.9") not in marked
    assert all(line.rstrip("| ")[-1] != "▲" for line in table), "merging up to four explains every row"


def test_models_of_conf_at_other_sizes_and_what_is_wrong_about_them() -> None:
    text = model_report("embedded", ["model.video.num_frames=33"], [5, 9]).text
    assert "33 frames of 64x64" in text and "5 of 9" in text and "Table 1" not in text
    with pytest.raises(StudyError, match=r"--kept must be 1 to 9 latent frames for 33 frames, got \[12\]"):
        model_report("embedded", ["model.video.num_frames=33"], [12])
    with pytest.raises(StudyError, match="model nothing cannot be composed from conf"):
        model_report("nothing")


@pytest.mark.parametrize("given", [["--model", "embedded"], ["--kept", "5"]])
def test_what_a_study_decides_itself_is_refused_beside_one(
    given: list[str], study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cost", str(study), *given])
    with pytest.raises(SystemExit, match="2"):
        cost.command()
    assert "a study has its own model" in capsys.readouterr().err and not (study / "report").exists()


def test_settings_before_a_study_leave_it_a_study(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study)
    monkeypatch.setattr(sys, "argv", ["cost", "--set", "model.video.fps=12", "--set", "method.k=6", "."])
    cost.command()
    said = capsys.readouterr().out
    assert "## Study `made`" in said and "over the samples that were merged" in said
    assert (study / "report" / "cost.csv").is_file()
