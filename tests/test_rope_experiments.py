"""The experiments on RoPE take the model's own layers, make equal sets once, and end in a report."""

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from plans import jobs as planned
from studies import stored

from analysis import Study
from analysis.output import write_and_print
from analysis.rope_sensitivity.__main__ import report as reported
from bench.embedded.world import SPEEDS
from bench.plan.command_line import CONF
from bench.plan.compose.resolvers import RECOMMENDATION, SELECTED_BY
from bench.plan.job import Job
from bench.plan.prompts import Prompt
from bench.plan.settings import job_of
from bench.plan.units import conditions_of, units_of
from bench.work.progress import Sweep
from bench.work.worker import run
from vgdfr import Vgdfr
from vgdfr.methods.layers import global_layers_of, paper_global_layers, shortest_name

SMALL = [
    "model.video.num_frames=17", "model.video.num_inference_steps=3", "method.k=1", "method.theta=0.01",
    "metrics.names=[psnr,ssim]", "prompts.limit=1",
]  # fmt: skip


def layers(jobs: Sequence[Job]) -> list[object]:
    methods = [c.method for job in jobs for c in conditions_of(job)]
    return list(dict.fromkeys(m.global_layers for m in methods if isinstance(m, Vgdfr)))


def report(study: Path, recommended: tuple[int, ...], count: int, prompts: Sequence[str] = ("a prompt",)) -> Path:
    """Writes files with those columns and prompts of analysis.rope_sensitivity that are read."""
    file = study / RECOMMENDATION
    file.parent.mkdir(parents=True)
    rows = [f"{n},single,1,{int(n in recommended)}" for n in range(count)]
    file.write_text("\n".join(["layer,block,rank,recommended", *rows, ""]))
    (study / SELECTED_BY).write_text(json.dumps([*prompts]))
    return file


@given(count=st.integers(1, 64), data=st.data())
def test_every_set_of_layers_has_one_name_that_means_it(count: int, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, count - 1)))
    name = shortest_name(tuple(chosen), count)
    assert set(global_layers_of(name, count)) == chosen
    assert shortest_name(name, count) == name
    assert shortest_name([*chosen, *chosen], count) == name


def test_names_mean_what_they_say() -> None:
    assert global_layers_of("only_3", 5) == (3,) and global_layers_of("all_but_3", 5) == (0, 1, 2, 4)
    assert global_layers_of("none", 5) == () and global_layers_of("all", 5) == (0, 1, 2, 3, 4)
    assert global_layers_of("paper", 60) == paper_global_layers(60)
    assert shortest_name((), 12) == "none" and shortest_name((3,), 12) == "only_3"
    assert shortest_name(tuple(n for n in range(12) if n != 3), 12) == "all_but_3"
    assert shortest_name((1, 4, 6, 7), 12) == "paper" and shortest_name((2, 5), 12) == (2, 5)


@pytest.mark.parametrize("name", ["only_5", "all_but_5", "all_but_60"])
def test_a_layer_that_the_model_has_not_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 4 for this model, got \[\d+\] \(dual-stream blocks"):
        global_layers_of(name, 5)


@pytest.mark.parametrize("name", ["only", "only_x", "only_-1", "all_but_", "most", "only_3 ", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    message = f"global_layers must be paper, all, none, only_N, all_but_N or a list .* got {name!r}"
    with pytest.raises(ValueError, match=message):
        Vgdfr(k=5, theta=0.5, global_layers=name)
    with pytest.raises(ValueError, match=message):
        global_layers_of(name, 5)


def test_true_is_no_layer() -> None:
    with pytest.raises(ValueError, match="global_layers must be paper"):
        Vgdfr(k=5, theta=0.5, global_layers=(True,))


@pytest.mark.parametrize(
    ("same", "slug"),
    [
        (["[]", "none"], "global_layers=none"), (["[3]", "only_3"], "global_layers=only_3"),
        (["[7,6,4,1]", "paper", "[1,4,6,7]"], None), (["[0,1,2,3,4,5,6,7,8,9,10,11]", "all"], "global_layers=all"),
        (["[0,1,2,4,5,6,7,8,9,10,11]", "all_but_3"], "global_layers=all_but_3"),
        (["[5,0]", "[0,5,5]"], "global_layers=0.5"),
    ],
)  # fmt: skip
def test_equal_sets_are_one_sample_in_one_folder(same: list[str], slug: str | None) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        conditions = [job_of(compose("config", [f"method.global_layers={s}"])).condition for s in same]
    samples = [condition.sample(Prompt("p", "a prompt", 0), {}) for condition in conditions]
    assert len({sample.key for sample in samples}) == len({sample.folder for sample in samples}) == 1
    assert conditions[0].slug == "-".join(["vgdfr-k5-theta0.7", *([slug] if slug else [])])


def test_the_sweep_takes_each_layer_of_the_model_it_runs(tiny_checkpoint: Path, tmp_path: Path) -> None:
    tiny = layers(planned("+exp=rope_sensitivity", f"model.backbone.path={tiny_checkpoint}", f"root={tmp_path}"))
    expected = ["none", "all", *(f"{kind}_{n}" for n in range(5) for kind in ("only", "all_but"))]
    assert tiny == [shortest_name(name, 5) for name in expected] and "paper" in tiny, "all_but_4 is the paper's list"


def test_a_model_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    arguments = ["+exp=rope_sensitivity", "model=hunyuan_video", "model.backbone.device=cpu", f"root={tmp_path}"]
    with pytest.raises(OSError, match="are to be downloaded first"):
        planned(*arguments)


def test_the_assignment_includes_the_recommended_layers_where_there_is_a_report(tmp_path: Path) -> None:
    arguments = ["+exp=rope_assignment", f"root={tmp_path}"]
    assert layers(planned(*arguments)) == ["paper", "all", "none"]
    report(tmp_path / "rope_sensitivity", (2, 5, 7), 12)
    assert layers(planned(*arguments)) == ["paper", "all", "none", (2, 5, 7)]
    report(tmp_path / "other", (0,), 12)
    assert layers(planned(*arguments, f"sensitivity_study={tmp_path / 'other'}"))[-1] == "only_0"


def test_a_report_of_another_model_or_a_damaged_one_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = report(tmp_path / "rope_sensitivity", (2,), 12)
    arguments = ["+exp=rope_assignment", f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}"]
    with pytest.raises(ValueError, match="is of a model of 12 layers, this one has 5"):
        planned(*arguments)
    for damaged in ("layer,rank\n0,1\n1,2\n2,3\n3,4\n4,5\n", "", "layer,recommended\n0,0\n1,0\n2,0\n3,0\n4,0\n"):
        file.write_text(damaged)
        with pytest.raises(ValueError, match=r"^[^\n]*rope_sensitivity.csv"):
            planned(*arguments)


def test_the_layers_are_selected_and_judged_on_other_prompts_of_every_speed_profile(tmp_path: Path) -> None:
    taken = {name: planned(f"+exp={name}", f"root={tmp_path}")[0].prompts
             for name in ("rope_sensitivity", "rope_proxy", "rope_assignment")}  # fmt: skip
    assert taken["rope_proxy"] == taken["rope_sensitivity"]
    selecting, judging = ({p.text for p in taken[name]} for name in ("rope_sensitivity", "rope_assignment"))
    assert len(selecting) == len(judging) == 20 and not selecting & judging
    for prompts in taken.values():
        assert Counter(prompt.id.split("-")[1] for prompt in prompts) == dict.fromkeys(SPEEDS, 4)


def test_a_sweep_that_would_judge_on_selecting_prompts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("one\ntwo\nthree\n")
    arguments = ["+exp=rope_assignment", f"root={tmp_path}", "prompts=file", f"prompts.source={tmp_path / 'mine.txt'}"]
    report(tmp_path / "rope_sensitivity", (2, 5), 12, ["two", "five"])
    assert layers(planned(*arguments, "prompts.skip=2"))[-1] == (2, 5)
    assert layers(planned(*arguments, "prompts.skip=0", "prompts.limit=1"))[-1] == (2, 5)
    message = (
        r"1 of the 2 prompts are among the 2 prompts that selected the layers in .*rope_sensitivity, such as 'two'; "
        r"judge the layers on other prompts, such as prompts.skip=2, or leave them out with sensitivity_study=none"
    )
    with pytest.raises(ValueError, match=message):
        planned(*arguments, "prompts.skip=1")
    assert layers(planned(*arguments, "prompts.skip=1", "sensitivity_study=none")) == ["paper", "all", "none"]
    with pytest.raises(ValueError, match="prompts.skip must be below 3, the number of prompts in .*mine.txt, got 20"):
        planned(*arguments)
    with pytest.raises(OSError, match=f"prompts.source.*{tmp_path / 'other.txt'}, which is no file"):
        planned(*arguments[:3], f"prompts.source={tmp_path / 'other.txt'}")
    for damaged in ("{", "3"):
        (tmp_path / "rope_sensitivity" / SELECTED_BY).write_text(damaged)
        with pytest.raises(ValueError, match=r"_prompts.json must hold .*write it again: python -m analysis.rope_sens"):
            planned(*arguments, "prompts.skip=2")


def test_from_sweeps_to_a_report_and_the_assignment(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The samples are real samples of a random model. The numbers mean nothing, but every layer is in the report."""
    common = [f"model.backbone.path={tiny_checkpoint}", f"root={tmp_path}", *SMALL]
    jobs = planned("+exp=rope_sensitivity", *common)
    count = sum(len(unit.samples) for unit in units_of(jobs))
    assert count == 1 + 2 + 2 * 5
    sweep = Sweep(count, count)
    run(jobs, sweep)
    assert (sweep.made, sweep.failed) == (count, [])
    for row in stored(tmp_path / "rope_sensitivity"):
        said, of = row.record["layers"], row.record["method"].get("global_layers")
        if of is None:
            assert said is None
        else:
            expected = list(global_layers_of(of if isinstance(of, str) else tuple(of), 5))
            assert said == {"dual": 3, "single": 2, "global": expected, "paper": [0, 1, 2, 3]}
    probes = planned("+exp=rope_proxy", *common[:2], *(s for s in SMALL if not s.startswith("metrics")))
    run(probes, Sweep(1, 1))
    folder = tmp_path / "rope_sensitivity"
    write_and_print(reported(Study(folder), Study(tmp_path / "rope_proxy"), "psnr", 2), folder, None)
    with (tmp_path / "rope_sensitivity" / RECOMMENDATION).open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    chosen = tuple(int(row["layer"]) for row in rows if row["recommended"] == "1")
    assert [row["block"] for row in rows] == ["dual"] * 3 + ["single"] * 2 and len(chosen) == 2
    assert all(re.fullmatch(r"-?[\d.e-]+", row["proxy_preference"]) for row in rows)
    jobs = planned("+exp=rope_assignment", *common)
    assert chosen in layers(jobs)
    run(jobs, Sweep(5, 5))
    made = reported(Study(folder), None, "psnr", 2, Study(tmp_path / "rope_assignment"))
    assert f"recommended ({chosen[0]}, {chosen[1]})" in made.text and "| all " in made.text and "| none " in made.text
    with pytest.raises(ValueError, match="1 of the 1 prompts are among the 1 prompts that selected the layers"):
        planned("+exp=rope_assignment", *common, "prompts.skip=0")
