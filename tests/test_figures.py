"""Figures tested on their data: what is chosen, computed and left out; and that files are the same bytes each time."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis import figures
from analysis.conditions import lines
from analysis.cost import study_cost
from analysis.figures import content, timeline, tokens, tradeoff
from analysis.figures.choose import conditions_of, find, papers_columns, telling_prompt
from analysis.figures.tradeoff import pareto
from analysis.load import StudyError, load
from analysis.projection import FlopsOfStudy, projections, study_savings
from vgdfr.schedule import FrameSchedule

FULL_STEP_S = 0.1
FRAMES, STEPS = 65, 50
TILING = {"frames": 128, "frames_stride": 96, "pixels": 256, "pixels_stride": 192}


def sample(
    study: Path, prompt: str, k: int = 0, theta: float = 0.0, pairs: int = 0, step: float = 0.5, **scores: float
) -> None:
    """A sample whose compressed steps take `step` of a full one; its schedule merges the first `pairs` blocks."""
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
    """Four prompts of two kinds; more is merged at the lower theta, and faster, and further from the baseline."""
    folder = tmp_path / "made"
    for i, prompt in enumerate(("00-still", "01-fast", "02-still", "03-fast")):
        sample(folder, prompt, clipsim=0.5)
        for k, theta, pairs, step in ((5, 0.5, 6, 0.5), (5, 0.9, 6 if "still" in prompt else 2, 0.75)):
            sample(
                folder, prompt, k, theta, pairs, step, psnr=20 + 10 * theta + i, lpips=0.4 - 0.2 * theta, clipsim=0.5
            )
        sample(folder, prompt, 15, 0.9, 6 if "still" in prompt else 2, 0.9, psnr=32.0 + i, lpips=0.1, clipsim=0.49)
    return folder


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12), st.sampled_from((1, -1)))
def test_the_pareto_front_is_what_nothing_dominates(points: list[tuple[int, int]], better: int) -> None:
    front = pareto(points, better)
    assert any(front)
    for (x, y), chosen in zip(points, front, strict=True):
        above = [(a, b) for a, b in points if a >= x and b * better >= y * better and (a > x or b != y)]
        assert chosen == (not above)


def test_tradeoff_points_are_the_tables_means_with_intervals(study: Path) -> None:
    table = lines(load(study))
    lpips, psnr, clipsim = tradeoff.panels(table)
    assert (lpips.title, psnr.title, clipsim.title) == ("LPIPS", "PSNR (dB)", "CLIPSIM")
    assert lpips.baseline is None and clipsim.baseline is not None and clipsim.baseline.value == 0.5
    first = psnr.points[0]
    assert (first.k, first.theta) == (5, 0.5) and first.metric.value == pytest.approx(26.5)
    of = {line.title: line for line in table}
    assert first.metric is of["VGDFR (k=5, θ=0.5)"].means["psnr"] and first.speedup.n == 4
    assert first.speedup.value == pytest.approx(5.0 / (0.5 + 0.05 + 2.25))
    assert [p.best for p in psnr.points] == [True, True, True]
    assert [p.best for p in clipsim.points] == [True, False, False]


def test_a_timeline_has_the_samples_own_schedules(study: Path) -> None:
    table = lines(load(study))
    assert telling_prompt(table) == "01-fast"
    made = timeline.timeline_of(table, "01-fast")
    assert (made.k, made.prompt, made.num_frames) == (5, "a 01-fast", FRAMES)
    assert [s.theta for s in made.schedules] == [0.5, 0.9]
    assert [sum(factor == 2 for _, _, factor in s.segments) for s in made.schedules] == [6, 2]
    assert [len(lag) for lag in made.lags] == [64, 63, 62]
    with pytest.raises(StudyError, match=r"no sample with k=7; there is k = 15, 5"):
        timeline.timeline_of(table, "01-fast", 7)


def test_quality_by_content_groups_prompts_by_their_speed_profile(study: Path) -> None:
    k, (kept, speedup, lpips, psnr) = content.panels(lines(load(study)))
    assert k == 5 and (lpips.title, psnr.title) == ("LPIPS", "PSNR (dB)")
    values = {(bar.content, bar.theta): bar.value for bar in kept.bars}
    assert set(values) == {("fast", 0.5), ("fast", 0.9), ("still", 0.5), ("still", 0.9)}
    assert values["still", 0.9].value == pytest.approx(11 / 17) and values["fast", 0.9].value == pytest.approx(15 / 17)
    assert {b.value.n for b in psnr.bars} == {2} and all(b.value.value for b in speedup.bars)


def test_costs_of_passes_are_measured_over_a_full_one(study: Path) -> None:
    made = tokens.costs_of(lines(load(study)))
    assert len(made.samples) == 12
    assert (5, 11 / 17, pytest.approx(0.5)) in [(k, r, c) for k, r, c in made.samples]
    ratios, costs = np.array(made.curve).T
    assert (np.diff(costs) > 0).all() and (np.diff(costs, 2) > 0).all(), "a quadratic, opening upwards"
    assert (ratios[-1], costs[-1]) == (1, 1)


def test_bounds_projections_and_savings(study: Path) -> None:
    table, counts = lines(load(study)), FlopsOfStudy()
    by_line = {line.title: ps for line, ps in projections(table, counts)}
    for ps in by_line.values():
        for p in ps:
            assert p.projected < p.bound and p.bound > 1
    p = by_line["VGDFR (k=5, θ=0.5)"][0]
    flops = counts.of(p.row.record)
    full, short = flops.count_dit(17), flops.count_dit(11)
    assert p.bound == pytest.approx(50 * full / (5 * full + 45 * short))
    saved = study_savings([p for ps in by_line.values() for p in ps], 4)
    assert saved.alone - saved.prefix_shared == pytest.approx(4 * (5 + 5 + 15) / 50)
    # of the still prompts both thetas have the same schedule
    assert saved.equal_shared is not None
    assert saved.prefix_shared - saved.equal_shared == pytest.approx(2 * 45 / 50 * short / full)


def test_what_the_study_does_not_allow_is_named_and_the_rest_is_drawn_the_same_each_time(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ablation", "tradeoff", "timeline", "content", "tokens")
    before = {f: f.read_bytes() for f in study.rglob("*") if f.is_file()}
    first = figures.draw(figures.of(study), study / "report", names)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    second = figures.draw(figures.of(study), study / "again", names)
    assert first[0].files == () and "the study has no ablations" in (first[0].reason or "")
    for a, b in zip(first[1:], second[1:], strict=True):
        assert [f.suffix for f in a.files] == [".png", ".svg", ".pdf"]
        for one, other in zip(a.files, b.files, strict=True):
            assert one.read_bytes() == other.read_bytes(), one.name
    assert {f: f.read_bytes() for f in before} == before
    assert not list(study.rglob("*.partial"))


def test_the_papers_grid_shows_the_baseline_and_of_each_k_first_middle_and_last_theta(study: Path) -> None:
    titles = [line.title for line, _ in papers_columns(lines(load(study)), "00-still")]
    assert titles == ["Original", "VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.9)", "VGDFR (k=15, θ=0.9)"]


@pytest.mark.parametrize("module", ["figures", "cost", "paper"])
def test_what_is_no_study_is_refused_in_a_line_and_nothing_is_written(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"analysis.{module}", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "is no folder" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_a_master_that_was_not_kept_is_named_with_what_to_do(study: Path, tmp_path: Path) -> None:
    (made,) = figures.draw(figures.of(study), tmp_path / "out", ["qualitative"])
    assert made.files == () and "there is no file" in (made.reason or "") and "keep=all" in (made.reason or "")
    with pytest.raises(StudyError, match="keep=all"):
        figures.main(study, "01-fast", 5, 0.5)
    (study / "baseline" / "01-fast" / "master.mkv").write_bytes(b"cut")
    with pytest.raises(StudyError, match="master.mkv.*: python -m bench.store verify"):
        figures.main(study, "01-fast", 5, 0.5)


def change(study: Path, place: str, how: Callable[[dict[str, Any]], object]) -> None:
    for file in study.glob(f"{place}/record.json"):
        record = json.loads(file.read_text())
        how(record)
        file.write_text(json.dumps(record))


def test_latencies_of_isolated_runs_are_never_compared_with_others(study: Path) -> None:
    """One prompt was timed alone, and slower by far; only its latencies count, in every figure and report."""
    change(study, "*/00-still", lambda r: r.update(timing="isolated"))
    change(study, "baseline/00-still", lambda r: r.update(latency_s=28.0))
    change(study, "vgdfr-k5-theta0.5/00-still", lambda r: r.update(latency_s=7.0))
    table = lines(load(study))
    of = {line.title: line for line in table}
    assert of["VGDFR (k=5, θ=0.5)"].means["speedup"].value == 4
    point = tradeoff.panels(table)[0].points[0]
    assert (point.speedup.value, point.speedup.n, point.metric.n) == (4, 1, 4)
    _, (_, speedups, *_) = content.panels(table)
    values = {(bar.content, bar.theta): bar.value for bar in speedups.bars}
    assert (values["still", 0.5].value, values["still", 0.5].n) == (4, 1) and values["fast", 0.5].value is None
    projected = {line.title: ps for line, ps in projections(table, FlopsOfStudy())}["VGDFR (k=5, θ=0.5)"]
    assert [p.speedup for p in projected] == [4, None, None, None]
    assert [p.measured_cost_ratio is None for p in projected] == [False, True, True, True]
    text, samples = study_cost(study)
    row = next(line for line in text.splitlines() if line.startswith("| VGDFR (k=5, θ=0.5)"))
    assert row.split("|")[2].strip() == "1" and " 4.00 ▲" in row and "9 samples were not timed as the others" in text
    assert [line.split(",")[-2] for line in samples.splitlines()[1:5]] == ["4", "", "", ""]


def twin(study: Path, name: str, how: Callable[[dict[str, Any]], object], slugs: str = "*") -> None:
    """Every sample once more, changed: another seed, another video setting, another condition."""
    for file in [*study.glob(f"{slugs}/*/record.json")]:
        record = json.loads(file.read_text())
        how(record)
        folder = study / record["slug"] / f"{file.parent.name}{name}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "scores.json").write_bytes((file.parent / "scores.json").read_bytes())


def test_a_sample_is_shown_beside_the_baseline_of_its_own_video_setting(study: Path) -> None:
    twin(study, "-33", lambda r: r["identity"]["spec"].update(num_frames=33))
    baseline, made = find(lines(load(study)), "01-fast", 5, 0.5)
    assert [r.record["identity"]["spec"]["num_frames"] for r in (baseline, made)] == [33, 33]
    shown = papers_columns(lines(load(study)), "01-fast")
    assert {r.record["identity"]["spec"]["num_frames"] for _, r in shown} == {33} and len(shown) == 4


def test_of_several_seeds_a_grid_shows_the_first_that_all_conditions_have(study: Path) -> None:
    twin(study, "-again", lambda r: r.update(seed_index=1))
    (study / "baseline" / "00-still" / "record.json").unlink()
    for choose in (papers_columns, conditions_of):
        assert [r.sample_id for _, r in choose(lines(load(study)), "00-still")] == [("00-still", 1)] * 4
        assert [r.sample_id for _, r in choose(lines(load(study)), "01-fast")] == [("01-fast", 0)] * 4
    change(study, "vgdfr-k5-theta0.5/01-fast-again", lambda r: r["similarity"].update(lag1=[0.3] * (FRAMES - 1)))
    (study / "vgdfr-k5-theta0.9" / "01-fast" / "record.json").unlink()
    assert timeline.timeline_of(lines(load(study)), "01-fast").lags[0][0] == 0.3, "one seed's for all thetas"
    (study / "vgdfr-k15-theta0.9" / "00-still-again" / "record.json").unlink()
    with pytest.raises(StudyError, match="no seed of prompt 00-still is finished under all of Original, VGDFR"):
        conditions_of(lines(load(study)), "00-still")
    with pytest.raises(StudyError, match="no sample of prompt 9; prompts: 00-still, 01-fast"):
        conditions_of(lines(load(study)), "9")


def test_settings_beyond_k_and_theta_are_points_of_their_own_with_a_label(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    sample(folder, "00-still", clipsim=0.5)
    for ratio, step in ((0.5, 0.5), (0.7, 0.8)):
        sample(folder, "00-still", 5, 0.5, 6, step, psnr=30 * ratio)
        (folder / "vgdfr-k5-theta0.5").rename(folder / f"vgdfr-k5-token_ratio={ratio}")
        asked = {"slug": f"vgdfr-k5-token_ratio={ratio}"}
        change(folder, f"*={ratio}/*", lambda r, asked=asked: (r.update(asked), r["method"].update(theta=None)))
    (psnr,) = tradeoff.panels(lines(load(folder)))
    assert [p.other for p in psnr.points] == ["token_ratio=0.5", "token_ratio=0.7"]
    texts = [text.get_text() for text in tradeoff.tradeoff([psnr]).axes[0].texts]
    assert texts == ["token_ratio=0.5", "token_ratio=0.7"]
    figure = tradeoff.tradeoff([psnr], "a banner of what must not be overlooked in this figure, longer than it is wide")
    FigureCanvasAgg(figure).draw()
    for artist in (figure._supxlabel, *figure.legends):  # one panel: the small print and the legend are wrapped
        box = artist.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1
    with pytest.raises(StudyError, match="by threshold alone"):
        content.panels(lines(load(folder)))


def test_figures_say_how_many_samples_a_mean_is_of_and_what_is_missing(study: Path) -> None:
    names = ("tradeoff", "content")
    whole = [figures.FIGURES[name].draw(figures.of(study)).get_supxlabel() for name in names]
    assert "Means of 4 samples;" in whole[0] and "Means of 2 samples;" in whole[1]
    assert "Incomplete" not in "".join(whole)
    (study / "vgdfr-k5-theta0.5" / "01-fast" / "record.json").unlink()
    partial = [figures.FIGURES[name].draw(figures.of(study)).get_supxlabel() for name in names]
    assert "Means of 3 to 4 samples" in partial[0] and "Means of 1 to 2 samples" in partial[1]
    assert all(text.startswith("Incomplete: 15 of 16 samples, 0 failed.") for text in partial)


@pytest.mark.parametrize("slugs", ["vgdfr-k15-theta0.9", "vgdfr-*"])
def test_conditions_identical_to_the_baseline_are_named_below_the_trade_off(study: Path, slugs: str) -> None:
    folders = sorted(study.glob(slugs))
    for file in (file for folder in folders for file in folder.glob("*/scores.json")):
        document = json.loads(file.read_text())
        document["scores"]["psnr"]["value"] = float("inf")
        file.write_text(json.dumps(document))
    panels = tradeoff.panels(lines(load(study)))
    assert [len(panel.points) for panel in panels] == [3, 3 - len(folders), 3]
    text = tradeoff.tradeoff(panels).get_supxlabel().replace("\n", " ")
    assert f"{len(folders)} at infinite PSNR, not drawn: VGDFR (k=" in text and "VGDFR (k=15, θ=0.9)" in text


def test_different_devices_are_drawn_together_where_that_is_asked_for(study: Path) -> None:
    change(study, "baseline/*", lambda r: r["identity"]["model"].update(device_type="cuda"))
    with pytest.raises(StudyError, match="--allow-mixed"):
        figures.of(study)
    assert figures.of(study, allow_mixed=True).table and study_cost(study, allow_mixed=True)


def test_flops_are_of_the_checkpoint_that_made_the_study(study: Path, tmp_path: Path) -> None:
    conf = FlopsOfStudy().of(load(study)[0].record)
    folder = tmp_path / "checkpoint"
    for part, config in conf.configuration.items():
        (folder / part).mkdir(parents=True)
        config = dict(config) | (
            {"num_single_layers": config["num_single_layers"] + 2} if part == "transformer" else {}
        )
        (folder / part / "config.json").write_text(json.dumps(config))
    layers = {"dual": conf.configuration["transformer"]["num_layers"]}
    layers["single"] = conf.configuration["transformer"]["num_single_layers"] + 2
    change(study, "*/*", lambda r: r.update(checkpoint={"path": str(folder)}, layers=layers))
    record = load(study)[0].record
    assert FlopsOfStudy().of(record).count_dit(5) > conf.count_dit(5)
    folder.rename(tmp_path / "gone")
    with pytest.raises(StudyError, match=r"single layers, made from .*checkpoint; the configuration at hand has"):
        FlopsOfStudy().of(record)


def test_figures_and_costs_of_light_records_are_those_of_whole_ones(study: Path) -> None:
    """Lists of frames are read of the samples that are shown alone: of 100,000 records they would fill the memory."""
    light, heavy = figures.of(study), figures.Study(lines(load(study)))
    for line in light.table:
        assert all("similarity" not in r.record for r in line.rows)
        assert all(not r.record["schedule"]["kept_frames"] for r in line.rows if r.record["schedule"])
    prompt = light.chosen_prompt
    assert prompt == heavy.chosen_prompt
    assert timeline.timeline_of(light.table, prompt) == timeline.timeline_of(heavy.table, prompt)
    assert tokens.costs_of(light.table) == tokens.costs_of(heavy.table)
    assert find(light.table, prompt, 5, 0.5)[1].record["similarity"]["lag1"]
    assert content.panels(light.table) == content.panels(heavy.table)
