"""Tests the data of figures: choices, values and omissions. Equal data give files with equal bytes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from processes import run

from analysis import figures
from analysis.figures import Choices, content, timeline, tokens, tradeoff, videos
from analysis.figures.caption import means
from analysis.figures.style import looks
from analysis.figures.videos import conditions_of, find, papers_columns, telling_prompt
from analysis.pareto import pareto
from analysis.statistics import Interval
from analysis.study import Study, StudyError
from analysis.table import Table, table_of
from bench.drawing import Axes, Figure
from vgdfr.schedule import FrameSchedule

FULL_STEP_S = 0.1
FRAMES, STEPS = 65, 50
TILING = {"frames": 128, "frames_stride": 96, "pixels": 256, "pixels_stride": 192}


def sample(
    study: Path, prompt: str, k: int = 0, theta: float = 0.0, pairs: int = 0, step: float = 0.5, **scores: float
) -> None:
    """Writes a sample. A compressed step takes `step` of a full step, and its first `pairs` blocks are merged."""
    slug = f"vgdfr-k{k}-theta{theta:g}" if k else "baseline"
    method: dict[str, Any] = {"name": "baseline"}
    schedule = FrameSchedule.of_factors(FRAMES, [(1 + 8 * i, 2) for i in range(pairs)], frames_per_latent=4)
    seconds = {"denoise_full": STEPS * FULL_STEP_S}
    if k:
        method = {
            "name": "vgdfr", "k": k, "theta": theta, "preview_steps": 1, "spatial_levels": 1, "merge_space": "pixel",
            "denoise_renoise": True, "global_layers": "paper", "preview_latent": "latest",
        }  # fmt: skip
        seconds = {
            "denoise_full": k * FULL_STEP_S,
            "compress": 0.05,
            "denoise_compressed": (STEPS - k) * FULL_STEP_S * step,
        }
    spec = {
        "prompt": f"a {prompt}", "seed": 1, "height": 64, "width": 64, "num_frames": FRAMES,
        "num_inference_steps": STEPS, "guidance_scale": 1.0, "flow_shift": 1.0, "fps": 12,
    }  # fmt: skip
    record = {
        "schema": 1, "status": "done", "slug": slug, "model_name": "embedded", "method": method, "prompt_id": prompt,
        "seed_index": 0, "prompt_dimensions": [], "notes": [], "shared_stages": [], "environment": {"gpu": None},
        "identity": {
            "generator_version": 1, "model": {"dtype": "float32", "device_type": "cpu", "tiling": TILING}, "spec": spec,
        },
        "schedule": None, "similarity": None, "token_ratio": 1.0, "seconds": seconds,
        "latency_s": sum(seconds.values()),
    }  # fmt: skip
    if k:
        record["schedule"] = {
            "segments": [[s.start, s.length, s.factor] for s in schedule.segments],
            "kept_frames": list(schedule.kept_frames),
            "kept_latents": list(schedule.kept_latents),
        }
        record["similarity"] = {f"lag{i}": [1 - 0.1 * i] * (FRAMES - i) for i in (1, 2, 3)}
        record["token_ratio"] = schedule.token_ratio
    folder = study / slug / prompt
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record))
    values = {n: {"value": v, "reason": None, "id": f"{n}-v1-rgb-no-weights"} for n, v in scores.items()}
    (folder / "scores.json").write_text(json.dumps({"schema": 2, "scores": values}))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study of four prompts of two kinds.

    The lower theta merges more, is faster and is further from the baseline.
    """
    folder = tmp_path / "made"
    for i, prompt in enumerate(("00-still", "01-fast", "02-still", "03-fast")):
        sample(folder, prompt, clipsim=0.5)
        for k, theta, pairs, step in ((5, 0.5, 6, 0.5), (5, 0.9, 6 if "still" in prompt else 2, 0.75)):
            sample(
                folder, prompt, k, theta, pairs, step, psnr=20 + 10 * theta + i, lpips=0.4 - 0.2 * theta, clipsim=0.5
            )
        sample(folder, prompt, 15, 0.9, 6 if "still" in prompt else 2, 0.9, psnr=32.0 + i, lpips=0.1, clipsim=0.49)
    return folder


def table_at(study: Path, **options: Any) -> Table:
    return table_of(Study(study), **options)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12), st.sampled_from((1, -1)))
def test_the_pareto_front_is_what_nothing_dominates(points: list[tuple[int, int]], better: int) -> None:
    front = pareto(points, better)
    assert any(front)
    for (x, y), chosen in zip(points, front, strict=True):
        above = [(a, b) for a, b in points if a >= x and b * better >= y * better and (a > x or b != y)]
        assert chosen == (not above)


def test_tradeoff_points_are_the_tables_means_with_intervals(study: Path) -> None:
    table = table_at(study)
    lpips, psnr, clipsim = tradeoff.panels(table)
    assert (lpips.title, psnr.title, clipsim.title) == ("LPIPS", "PSNR (dB)", "CLIPSIM")
    assert lpips.baseline is None and clipsim.baseline is not None and clipsim.baseline.value == 0.5
    first = psnr.points[0]
    assert (first.row.k, first.row.theta) == (5, 0.5) and first.metric.value == pytest.approx(26.5)
    of = {row.title: row for row in table.rows}
    assert first.metric is of["VGDFR (k=5, θ=0.5)"].mean("psnr") and first.speedup.n == 4
    assert first.speedup.value == pytest.approx(5.0 / (0.5 + 0.05 + 2.25))
    assert [p.best for p in psnr.points] == [True, True, True]
    assert [p.best for p in clipsim.points] == [True, False, False]


def test_a_timeline_has_the_samples_own_schedules(study: Path) -> None:
    table = table_at(study)
    assert telling_prompt(table) == "01-fast"
    made = timeline.timeline_of(table, "01-fast")
    assert made.k == 5 and [row.theta for row in made.records] == [row.theta for row in made.by_theta] == [0.5, 0.9]
    specs = [record["identity"]["spec"] for record in made.records.values()]
    assert {(spec["prompt"], spec["num_frames"]) for spec in specs} == {("a 01-fast", FRAMES)}
    segments = [record["schedule"]["segments"] for record in made.records.values()]
    assert [sum(factor == 2 for _, _, factor in own) for own in segments] == [6, 2]
    assert [len(made.similarity[lag]) for lag in timeline.LAGS] == [64, 63, 62]
    figure = timeline.timeline(made)
    assert [np.size(line.get_xdata()) for line in figure.axes[0].lines[:3]] == [64, 63, 62]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["θ=0.5", "θ=0.9"]
    assert made.left_out == ("1 with another k than 5, not drawn: VGDFR (k=15, θ=0.9)",)
    with pytest.raises(StudyError, match=r"no sample with k=7; there is k = 15, 5"):
        timeline.timeline_of(table, "01-fast", 7)


def test_quality_by_content_groups_prompts_by_their_speed_profile(study: Path) -> None:
    k, (kept, speedup, lpips, psnr) = content.panels(table_at(study))
    assert k == 5 and (lpips.title, psnr.title) == ("LPIPS", "PSNR (dB)")
    values = {(bar.content, bar.row.theta): bar.value for bar in kept.bars}
    assert set(values) == {("fast", 0.5), ("fast", 0.9), ("still", 0.5), ("still", 0.9)}
    assert values["still", 0.9].value == pytest.approx(11 / 17) and values["fast", 0.9].value == pytest.approx(15 / 17)
    assert {b.value.n for b in psnr.bars} == {2} and all(b.value.value for b in speedup.bars)


def test_costs_of_passes_are_measured_over_a_full_one(study: Path) -> None:
    made = tokens.costs_of(table_at(study))
    assert len(made.samples) == 12
    assert (5, 11 / 17, pytest.approx(0.5)) in [(k, r, c) for k, r, c in made.samples]
    ratios, costs = np.array(made.curve).T
    assert (np.diff(costs) > 0).all() and (np.diff(costs, 2) > 0).all(), "a quadratic, opening upwards"
    assert (ratios[-1], costs[-1]) == (1, 1)


def test_what_the_study_does_not_allow_is_named_and_the_rest_is_drawn_the_same_each_time(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ablation", "tradeoff", "timeline", "content", "tokens")
    before = {f: f.read_bytes() for f in study.rglob("*") if f.is_file()}
    first = figures.draw(table_at(study), study / "report", names)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    second = figures.draw(table_at(study), study / "again", names)
    assert first[0].files == () and "the study has no ablations" in (first[0].reason or "")
    for a, b in zip(first[1:], second[1:], strict=True):
        assert [f.suffix for f in a.files] == [".png", ".svg", ".pdf"]
        for one, other in zip(a.files, b.files, strict=True):
            assert one.read_bytes() == other.read_bytes(), one.name
    assert {f: f.read_bytes() for f in before} == before
    assert not list(study.rglob("*.partial"))


def test_long_names_of_schedules_do_not_overlap_in_a_timeline(study: Path) -> None:
    options = "max_merge=8-placement=least_error-residual=mean-noise=own_mean-anchor"
    for k in (5, 15):
        slug = f"vgdfr-k5-theta0.9-{options}={k}.0"
        change(study, f"vgdfr-k{k}-theta0.9/*", lambda r, slug=slug: (r.update(slug=slug), r["method"].update(k=5)))
    figure = timeline.timeline(timeline.timeline_of(table_at(study), "01-fast", 5))
    FigureCanvasAgg(figure).draw()
    boxes = sorted((label.get_window_extent() for label in figure.axes[1].get_yticklabels()), key=lambda box: box.y0)
    assert len(boxes) == 3
    assert all(below.y1 <= above.y0 for below, above in zip(boxes, boxes[1:], strict=False))


def test_the_papers_grid_shows_the_baseline_and_of_each_k_first_middle_and_last_theta(study: Path) -> None:
    titles = [row.title for row, _ in papers_columns(table_at(study), "00-still")]
    assert titles == ["Original", "VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.9)", "VGDFR (k=15, θ=0.9)"]


@pytest.mark.parametrize("module", ["figures", "cost", "paper"])
def test_what_is_no_study_is_refused_in_a_line_and_nothing_is_written(module: str, tmp_path: Path) -> None:
    done = run(f"analysis.{module}", str(tmp_path / "nowhere"))
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "is no folder" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_a_master_that_was_not_kept_is_named_with_what_to_do(study: Path, tmp_path: Path) -> None:
    (made,) = figures.draw(table_at(study), tmp_path / "out", ["qualitative"])
    assert made.files == () and "there is no file" in (made.reason or "") and "keep=all" in (made.reason or "")
    table, chosen = table_at(study), Choices("01-fast", 5, 0.5)
    with pytest.raises(StudyError, match="keep=all"):
        figures.draw_prompt(table, tmp_path / "out", chosen)
    (study / "baseline" / "01-fast" / "master.mkv").write_bytes(b"cut")
    with pytest.raises(StudyError, match="master.mkv.*: python -m bench.store verify"):
        figures.draw_prompt(table, tmp_path / "out", chosen)


def change(study: Path, place: str, how: Callable[[dict[str, Any]], object]) -> None:
    for file in study.glob(f"{place}/record.json"):
        record = json.loads(file.read_text())
        how(record)
        file.write_text(json.dumps(record))


def test_a_condition_that_is_not_there_is_refused_with_those_that_are(study: Path) -> None:
    table = table_at(study)
    assert [row.title for row, _ in find(table, "01-fast")] == ["Original", "VGDFR (k=5, θ=0.9)"], "the middle theta"
    with pytest.raises(StudyError, match="k=7, theta=0.5, found 0; prompts: 00-still, .*: Original, VGDFR"):
        find(table, "01-fast", 7, 0.5)
    with pytest.raises(StudyError, match="no sample of prompt 9; prompts: 00-still, 01-fast"):
        find(table, "9")


def test_latencies_of_isolated_runs_are_never_compared_with_others(study: Path) -> None:
    """One prompt was timed alone and was much slower. Only its latencies count, in every figure and report."""
    change(study, "*/00-still", lambda r: r.update(timing="isolated"))
    change(study, "baseline/00-still", lambda r: r.update(latency_s=28.0))
    change(study, "vgdfr-k5-theta0.5/00-still", lambda r: r.update(latency_s=7.0))
    table = table_at(study)
    of = {row.title: row for row in table.rows}
    assert of["VGDFR (k=5, θ=0.5)"].mean("speedup").value == 4
    point = tradeoff.panels(table)[0].points[0]
    assert (point.speedup.value, point.speedup.n, point.metric.n) == (4, 1, 4)
    _, (_, speedups, *_) = content.panels(table)
    values = {(bar.content, bar.row.theta): bar.value for bar in speedups.bars}
    assert (values["still", 0.5].value, values["still", 0.5].n) == (4, 1) and values["fast", 0.5].value is None


def twin(study: Path, name: str, how: Callable[[dict[str, Any]], object], slugs: str = "*") -> None:
    """Copies every sample with a change: another seed, another video setting, or another condition."""
    for file in [*study.glob(f"{slugs}/*/record.json")]:
        record = json.loads(file.read_text())
        how(record)
        folder = study / record["slug"] / f"{file.parent.name}{name}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "scores.json").write_bytes((file.parent / "scores.json").read_bytes())


def test_a_sample_is_shown_beside_the_baseline_of_its_own_video_setting(study: Path) -> None:
    twin(study, "-33", lambda r: r["identity"]["spec"].update(num_frames=33))
    baseline, made = find(table_at(study), "01-fast", 5, 0.5)
    assert [sample["video.num_frames"] for _, sample in (baseline, made)] == [33, 33]
    shown = papers_columns(table_at(study), "01-fast")
    assert {sample["video.num_frames"] for _, sample in shown} == {33} and len(shown) == 4


def test_a_comparison_knows_the_conditions_with_the_same_k_and_theta_that_it_leaves_out(study: Path) -> None:
    other = {"slug": "vgdfr-k5-theta0.5-anchor=3.0"}
    twin(study, "", lambda r: (r.update(other), r["method"].update(anchor=3.0)), "vgdfr-k5-theta0.5")
    twin(study, "-33", lambda r: r["identity"]["spec"].update(num_frames=33), "vgdfr-k5-theta0.5")
    table = table_at(study)
    _, (row, _) = find(table, "01-fast", 5, 0.5)
    assert row.title.startswith("VGDFR (k=5, θ=0.5") and "anchor" not in row.title
    assert [left.other for left in videos.alike(table, row, "01-fast")] == ["anchor=3.0"]
    (single,) = (row for row in table.rows if row.k == 15)
    assert videos.alike(table, single, "01-fast") == []
    change(study, "vgdfr-k5-theta0.5*/*", lambda r: r["method"].update(theta=None))
    table = table_at(study)
    assert not any(videos.alike(table, row, "01-fast") for row in table.rows), (
        "which k and theta to ask for is not known"
    )


def test_of_several_seeds_a_grid_shows_the_first_that_all_conditions_have(study: Path) -> None:
    twin(study, "-again", lambda r: r.update(seed_index=1))
    (study / "baseline" / "00-still" / "record.json").unlink()
    for choose in (papers_columns, conditions_of):
        assert [sample.name for _, sample in choose(table_at(study), "00-still")] == [1] * 4
        assert [sample.name for _, sample in choose(table_at(study), "01-fast")] == [0] * 4
    change(study, "vgdfr-k5-theta0.5/01-fast-again", lambda r: r["similarity"].update(lag1=[0.3] * (FRAMES - 1)))
    (study / "vgdfr-k5-theta0.9" / "01-fast" / "record.json").unlink()
    assert timeline.timeline_of(table_at(study), "01-fast").similarity["lag1"][0] == 0.3, (
        "all thetas have the same seed"
    )
    (study / "vgdfr-k15-theta0.9" / "00-still-again" / "record.json").unlink()
    with pytest.raises(StudyError, match="no seed of prompt 00-still is finished under all of Original, VGDFR"):
        conditions_of(table_at(study), "00-still")
    with pytest.raises(StudyError, match="no sample of prompt 9; prompts: 00-still, 01-fast"):
        conditions_of(table_at(study), "9")


def test_settings_beyond_k_and_theta_are_points_of_their_own_with_a_label(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    sample(folder, "00-still", clipsim=0.5)
    for ratio, step in ((0.5, 0.5), (0.7, 0.8)):
        sample(folder, "00-still", 5, 0.5, 6, step, psnr=30 * ratio)
        (folder / "vgdfr-k5-theta0.5").rename(folder / f"vgdfr-k5-token_ratio={ratio}")
        asked = {"slug": f"vgdfr-k5-token_ratio={ratio}"}
        change(folder, f"*={ratio}/*", lambda r, asked=asked: (r.update(asked), r["method"].update(theta=None)))
    (psnr,) = tradeoff.panels(table_at(folder))
    assert [p.row.other for p in psnr.points] == ["token_ratio=0.5", "token_ratio=0.7"]
    texts = [text.get_text() for text in tradeoff.tradeoff([psnr]).axes[0].texts]
    assert texts == ["token_ratio=0.5", "token_ratio=0.7"]
    figure = tradeoff.tradeoff([psnr], "a banner of what must not be overlooked in this figure, longer than it is wide")
    FigureCanvasAgg(figure).draw()
    for artist in (
        figure._supxlabel,
        *figure.legends,
    ):  # with a single panel, the small print and the legend are wrapped
        box = artist.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1
    with pytest.raises(StudyError, match="not two kinds"):
        content.panels(table_at(folder))


def test_figures_say_how_many_samples_a_mean_is_of_and_what_is_missing(study: Path) -> None:
    names = ("tradeoff", "content")
    whole = [figures.FIGURES[name].draw(table_at(study), Choices()).get_supxlabel() for name in names]
    assert "Means of 4 samples." in whole[0] and "Means of 2 samples." in whole[1]
    assert "Incomplete" not in "".join(whole) and "Bars" not in "".join(whole), "4 prompts have no intervals"
    assert "Bars: 95 %" in means([Interval(value=1.0, low=0.5, high=1.5, n=5, infinite=0)], [])[0]
    (study / "vgdfr-k5-theta0.5" / "01-fast" / "record.json").unlink()
    partial = [figures.FIGURES[name].draw(table_at(study), Choices()).get_supxlabel() for name in names]
    assert "Means of 3 to 4 samples" in partial[0] and "Means of 1 to 2 samples" in partial[1]
    assert all(text.startswith("Incomplete: 15 of 16 samples, 0 failed.") for text in partial)


@pytest.mark.parametrize("slugs", ["vgdfr-k15-theta0.9", "vgdfr-*"])
def test_conditions_identical_to_the_baseline_are_named_below_the_trade_off(study: Path, slugs: str) -> None:
    folders = sorted(study.glob(slugs))
    for file in (file for folder in folders for file in folder.glob("*/scores.json")):
        document = json.loads(file.read_text())
        document["scores"]["psnr"]["value"] = "inf"
        file.write_text(json.dumps(document))
    panels = tradeoff.panels(table_at(study))
    assert [len(panel.points) for panel in panels] == [3, 3 - len(folders), 3]
    text = tradeoff.tradeoff(panels).get_supxlabel().replace("\n", " ")
    assert f"{len(folders)} at infinite PSNR, not drawn: VGDFR (k=" in text and "VGDFR (k=15, θ=0.9)" in text


def test_different_devices_are_drawn_together_where_that_is_asked_for(study: Path, tmp_path: Path) -> None:
    change(study, "baseline/*", lambda r: r["identity"]["model"].update(device_type="cuda"))
    command = ["analysis.figures", str(study), "--only", "timeline", "--out", str(tmp_path)]
    refused = run(*command)
    assert refused.returncode == 1 and "--allow-mixed" in refused.stderr
    assert run(*command, "--allow-mixed").returncode == 0 and (tmp_path / "timeline.png").is_file()


def scores(study: Path, place: str, how: Callable[[dict[str, Any]], object]) -> None:
    for file in study.glob(f"{place}/scores.json"):
        document = json.loads(file.read_text())
        how(document["scores"])
        file.write_text(json.dumps(document))


def below(figure: Figure) -> str:
    """Returns the text below a figure in one line."""
    return " ".join(figure.get_supxlabel().split())


def test_each_condition_that_a_trade_off_leaves_out_is_named_with_the_reason(study: Path) -> None:
    of = {theta: f"VGDFR (k={k}, θ={theta})" for k, theta in ((5, 0.5), (15, 0.8), (15, 0.7))}
    for theta in (0.8, 0.7):
        again = {"slug": f"vgdfr-k15-theta{theta}"}
        twin(study, "", lambda r, t=theta, a=again: (r.update(a), r["method"].update(theta=t)), "vgdfr-k15-theta0.9")
    scores(study, "vgdfr-k15-theta0.8/*", lambda s: s["psnr"].update(value=None, reason="no reference video"))
    scores(study, "vgdfr-k5-theta0.5/00-still", lambda s: s["psnr"].update(value="inf"))
    change(study, "vgdfr-k15-theta0.7/*", lambda r: r["environment"].update(gpu="another"))
    change(study, "vgdfr-k5-theta0.9/*", lambda r: r["method"].update(merge_space="latent"))
    panels = tradeoff.panels(table_at(study), ["psnr"])
    assert [p.row.title for p in panels[0].points] == [of[0.5], "VGDFR (k=15, θ=0.9)"]
    assert panels[0].points[0].metric.n == 3
    said = below(tradeoff.tradeoff(panels))
    for line in (
        f"1 without PSNR (no reference video), not drawn: {of[0.8]}",
        f"1 without a speed-up (its baseline was timed in another run), not drawn: {of[0.7]}",
        f"1 with samples at infinite PSNR, which the mean leaves out: {of[0.5]}",
        "1 left out as ablation or diagnostic: VGDFR (k=5, θ=0.9)",
    ):
        assert line in said, said


def test_each_video_setting_has_a_row_of_panels_where_a_condition_looks_the_same(study: Path) -> None:
    twin(study, "-33", lambda r: r["identity"]["spec"].update(num_frames=33))
    panels = tradeoff.panels(table_at(study))
    assert [panel.video for panel in panels] == ["num_frames=33"] * 3 + ["num_frames=65"] * 3
    assert all(len(panel.points) == 3 for panel in panels)
    figure = tradeoff.tradeoff(panels)
    assert len(figure.axes) == 6 and "num_frames=65" in figure.axes[3].get_title() and len(figure.legends) == 1

    def marks(ax: Axes) -> list[tuple[object, ...]]:
        return [(line.get_color(), line.get_marker(), *np.asarray(line.get_xdata())) for line in ax.lines]

    assert marks(figure.axes[0]) == marks(figure.axes[3]), "the samples are the same"
    k, data = content.panels(table_at(study))
    for figure in (
        content.content(table_at(study), k, data),
        timeline.timeline(timeline.timeline_of(table_at(study), "01-fast")),
        tokens.tokens(tokens.costs_of(table_at(study))),
    ):
        assert "3 under other video settings than num_frames=33" in below(figure)
        FigureCanvasAgg(figure).draw()
        box = figure._supxlabel.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0


def test_conditions_of_many_families_all_look_different(study: Path) -> None:
    for name in "abcdefghijklmn":
        facts = {"title": name, "family": name, "role": "method", "settings": [], "makes_video": True}
        for n in range(3):
            own = {"slug": f"{name}-n={n}", "method": {"name": name, "n": n}, "settings": [f"n={n}"]}
            twin(study, "", lambda r, own=own, facts=facts: r.update(facts | own), "vgdfr-k5-theta0.5")
    drawn = [(look.colour, look.marker, look.hollow) for look in looks(table_at(study).rows[1:]).values()]
    assert len(set(drawn)) == len(drawn) >= 14 * 3


def test_filled_marks_are_as_large_as_hollow_ones(study: Path) -> None:
    other = {"title": "Other", "family": "Other", "role": "method", "settings": ["every=2"], "makes_video": True}
    again = {"slug": "other-every=2", "method": {"name": "other", "every": 2}} | other
    twin(study, "", lambda r: r.update(again), "vgdfr-k5-theta0.5")
    styles = {look.hollow: look.style for look in looks(table_at(study).rows[1:]).values()}
    assert styles.keys() == {True, False}
    hollow, filled = styles[True]["ms"] + styles[True]["mew"], styles[False]["ms"] - styles[False]["mew"]
    assert filled == pytest.approx(hollow, abs=0.3), (
        "sizes are in points: a hollow edge adds to them, a white edge takes away"
    )


def test_any_scored_metrics_can_be_chosen(study: Path, tmp_path: Path) -> None:
    scores(study, "*/*", lambda s: s.update(mine={
        "value": 0.25, "reason": None, "id": "mine-v1", "about":
        {"title": "Mine", "unit": "m", "digits": 2, "better": 0, "group": "Difference"},
    }))  # fmt: skip
    command = ["analysis.figures", str(study), "--only", "tradeoff", "content", "--out"]
    done = run(*command, str(tmp_path), "--columns", "mine,psnr")
    assert done.returncode == 0, done.stderr
    assert sorted(f.name for f in tmp_path.glob("*.png")) == ["content-mine-psnr.png", "tradeoff-mine-psnr.png"]
    mine, psnr = tradeoff.panels(table_at(study), ["mine", "psnr"])
    assert (mine.title, psnr.title) == ("Mine (m)", "PSNR (dB)")
    assert not any(p.best for p in mine.points), "neither direction is better"
    assert [p.title for p in content.panels(table_at(study), names=["mine"])[1]][2:] == ["Mine (m)"]
    (drawn,) = figures.draw(table_at(study), tmp_path, ["tradeoff"], Choices(columns=("beauty",)))
    assert drawn.files == () and "there is no column beauty; there are" in (drawn.reason or "")
    (drawn,) = figures.draw(table_at(study), tmp_path, ["tradeoff"], Choices(columns=("lpips", "ssim")))
    assert "no method has a score of SSIM" in (drawn.reason or "")


def test_a_method_without_k_and_theta_is_drawn_in_every_figure_that_has_its_data(study: Path) -> None:
    """The method has schedules but neither similarities nor k.

    Alone in a study it still has a timeline and its content.
    """
    other = {"title": "Other", "family": "Other", "role": "method", "settings": ["every=2"], "makes_video": True}
    again = {"slug": "other-every=2", "similarity": None, "method": {"name": "other", "every": 2}} | other
    twin(study, "", lambda r: r.update(again), "vgdfr-k5-theta0.5")
    made = timeline.timeline_of(table_at(study), "01-fast")
    assert [row.title for row in made.records][-1] == "Other (every=2)" and len(made.by_theta) == 2
    k, (kept, *_) = content.panels(table_at(study))
    assert k == 5 and {bar.row.title for bar in kept.bars if bar.row.k is None} == {"Other (every=2)"}
    for folder in study.glob("vgdfr-*"):
        shutil.rmtree(folder)
    alone = timeline.timeline_of(table_at(study), "01-fast")
    assert (alone.k, alone.similarity) == (None, {}) and len(timeline.timeline(alone).axes) == 1
    k, data = content.panels(table_at(study))
    assert k is None and {bar.row.title for panel in data for bar in panel.bars} == {"Other (every=2)"}
    assert content.content(table_at(study), k, data).legends[0].get_title().get_text() == "By content"
