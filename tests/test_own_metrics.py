"""Checks a user's own metrics by dotted path: names, ids and titles, in scores.json, commands and sweeps."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import Finished, run
from test_score import put

from bench import score
from bench.plan import mismatch
from bench.plan.compose import configs_of
from bench.plan.prompts import EMBEDDED, OPEN, Prompts
from bench.plan.settings import metrics_of
from bench.store.scores import NOTHING
from metrics import METRICS, Metric, Score, about, named
from metrics.base import About
from metrics.groups import names_of
from metrics.video_file import read
from vgdfr.video_file import write_master

ROOT = Path(__file__).parent.parent
CODE = """
from pathlib import Path

import numpy as np
from metrics import Metric, Score, mean


def edges(video):
    return mean([np.abs(np.diff(frame.astype(float), axis=0)).mean() for frame in video])


def far(video, reference, prompt):
    return Score(float(np.abs(video.astype(float) - reference).mean()), extra={"letters": float(len(prompt))})


def small_numbers(video):
    return Score(np.float32(0.5), [np.float32(0.5)] * len(video), {"large": np.float32("inf")})


def broken(video):
    raise RuntimeError("no such camera")


def few(video):
    return mean([1.0, 2.0])


def failing_pool(values):
    raise KeyError("pool")


sharpness = Metric("sharpness", 1, "levels", True, edges, title="Sharpness", digits=1)
distance = Metric("psnr", 2, "", False, far, needs_reference=True, needs_prompt=True)
still = Metric("still", 1, "", None, edges, group="Difference")
fails = Metric("fails", 1, "", True, broken)
plain = Metric("plain", 1, "", True, lambda video: 1.0)
numbers = Metric("numbers", 1, "", True, small_numbers)
short = Metric("short", 1, "", True, few)
pooled = Metric("pooled", 1, "", True, edges, pool=failing_pool)
weighty = Metric("weighty", 1, "", True, edges, weights=Path("no_such_file.onnx"))
judge = Metric("judge", 1, "", True, edges, embedded=True)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my_metrics.py").write_text(CODE)
    (folder / "other_metrics.py").write_text("from my_metrics import sharpness\n")
    (folder / "lacking.py").write_text("import no_such_module\n")
    (folder / "raising.py").write_text("from metrics import Metric\n\nfine = 1\nbad = Metric('bad', 1)\n")
    (folder / "wrong.py").write_text("from metrics import Metric\n\nm = Metric('m', 1, '', True, len, group='Mine')\n")
    (folder / "direction.py").write_text("from metrics import Metric\n\nm = Metric('m', 1, '', 'lower', len)\n")
    return folder


@pytest.fixture
def outside(mine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(mine)
    yield import_module("my_metrics")


def in_folder(folder: Path, *arguments: str) -> Finished:
    before = f"import os, sys; os.chdir({str(folder)!r}); sys.path.insert(0, {str(folder)!r})"
    return run(*arguments, before=before)


def scores_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text())["scores"]


def test_the_dotted_path_is_the_name_and_begins_the_id(outside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sharp, other, distance = named(["my_metrics.sharpness", "other_metrics.sharpness", "my_metrics.distance"])
    assert [metric.name for metric in (sharp, other)] == ["my_metrics.sharpness", "other_metrics.sharpness"]
    assert sharp.id == "my_metrics.sharpness-v1-uint8-rgb-no-weights" and sharp.id != other.id
    assert distance.id.startswith("my_metrics.distance-v2-") and distance.name not in METRICS
    monkeypatch.setattr(outside, "sharpness", Metric("sharpness", 2, "", True, outside.edges))
    assert named(["my_metrics.sharpness"])[0].id.startswith("my_metrics.sharpness-v2-")


def test_its_title_is_its_own_or_else_the_path(outside: Any) -> None:
    sharp, distance, still = (named([f"my_metrics.{name}"])[0].about for name in ("sharpness", "distance", "still"))
    assert sharp == About("my_metrics.sharpness", "Sharpness", "levels", 1, 1, "Video Quality")
    assert distance == About(
        "my_metrics.distance", "my_metrics.distance", "", 3, -1, "Difference", needs_reference=True
    )
    assert (still.better, still.group) == (0, "Difference")


def test_groups_names_and_paths_go_together(outside: Any) -> None:
    assert names_of("pixel,my_metrics.sharpness,psnr") == [*names_of("pixel"), "my_metrics.sharpness"]


REFUSED = [
    ("nowhere.sharpness", "there is no metric nowhere.sharpness to be imported (No module named 'nowhere'); put the "),
    ("nowhere.sharpness", "on PYTHONPATH, or run `python -m` in that folder"),
    ("my_metrics.sharpnes", "there is no metric sharpnes in my_metrics; did you mean my_metrics.sharpness?"),
    (
        "my_metrics.edges",
        "my_metrics.edges must be an instance of metrics.Metric, got a function; write NAME = Metric(",
    ),
    ("my_metrics.Metric", "must be an instance of metrics.Metric, got the class Metric"),
    ("lacking.sharpness", "lacking cannot be imported: it needs no_such_module, which is not there"),
    ("raising.fine", "raising cannot be imported: TypeError: "),
    ("raising.fine", "raising.py, line 4)"),
    ("wrong.m", "ValueError: group of the metric m must be 'Video Quality' or 'Difference', got 'Mine'"),
    ("my_metrics.weighty", "my_metrics.weighty needs its weights, and there is nothing at no_such_file.onnx"),
    ("my_metrics.", "unknown metric my_metrics.; there are "),
    (".sharpness", "unknown metric .sharpness; there are "),
]


@pytest.mark.parametrize(("name", "message"), REFUSED)
def test_what_is_no_metric_is_refused_with_what_came_and_what_to_do(name: str, message: str, outside: Any) -> None:
    with pytest.raises(ValueError) as caught:
        names_of(f"psnr,{name}")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": "Mine"}, "group of the metric m must be 'Video Quality' or 'Difference', got 'Mine'"),
        ({"digits": -1}, "digits of the metric m must be 0 to 9, got -1"),
    ],
)
def test_a_metric_that_tables_cannot_show_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Metric("m", 1, "", True, lambda video: Score(0.0), **settings)
    assert str(caught.value) == message


def test_scores_hold_how_to_show_it_and_ours_stay_as_they_are(outside: Any, tmp_path: Path) -> None:
    baseline = put(tmp_path, "baseline", "a" * 64, None).folder
    own = put(tmp_path, "vgdfr", "b" * 64, "a" * 64).folder
    names = ["psnr", "my_metrics.sharpness", "my_metrics.distance"]
    assert score.main(tmp_path, ",".join(names)) == 0
    scores = scores_in(own)
    frames, reference = (read(folder / "master.mkv").frames.astype(float) for folder in (own, baseline))
    sharp, distance = scores["my_metrics.sharpness"], scores["my_metrics.distance"]
    assert sharp["value"] == pytest.approx(np.abs(np.diff(frames, axis=1)).mean()) and len(sharp["per_frame"]) == 4
    assert sharp["about"] == {
        "title": "Sharpness", "unit": "levels", "digits": 1, "better": 1, "group": "Video Quality",
        "needs_reference": False, "shown_with": "",
    }  # fmt: skip
    assert distance["value"] == pytest.approx(np.abs(frames - reference).mean()) and distance["extra"] == {
        "letters": 34
    }
    assert distance["about"]["title"] == "my_metrics.distance" and distance["reference_sha256"]
    assert set(scores["psnr"]) == {"id", "reference_sha256", *NOTHING}
    assert set(scores_in(baseline)) == {"my_metrics.sharpness"}
    told = about("my_metrics.sharpness", sharp["about"])
    assert told == named(["my_metrics.sharpness"])[0].about


def test_a_changed_title_is_refreshed_without_reading_a_video(
    outside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path, "baseline", "a" * 64, None).folder
    assert score.main(tmp_path, "my_metrics.sharpness,flicker") == 0
    before = scores_in(folder)
    written = (folder / "scores.json").stat().st_mtime_ns
    (folder / "master.mkv").unlink()
    assert score.main(tmp_path, "my_metrics.sharpness,flicker") == 0
    assert (folder / "scores.json").stat().st_mtime_ns == written, "no file was written again"
    renamed = Metric("sharpness", 1, "", True, outside.edges, title="Edges", digits=2)
    monkeypatch.setattr(outside, "sharpness", renamed)
    assert score.main(tmp_path, "my_metrics.sharpness,flicker") == 0
    sharp = before["my_metrics.sharpness"]
    assert scores_in(folder) == before | {"my_metrics.sharpness": sharp | {"about": renamed.about.stored()}}


def test_scores_of_another_version_are_computed_again(
    outside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path, "baseline", "a" * 64, None).folder
    assert score.main(tmp_path, "my_metrics.sharpness") == 0
    monkeypatch.setattr(outside, "sharpness", Metric("sharpness", 2, "", True, lambda video: Score(7.0)))
    assert score.main(tmp_path, "my_metrics.sharpness") == 0
    assert scores_in(folder)["my_metrics.sharpness"]["value"] == 7


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fails", "RuntimeError: no such camera"),
        ("plain", "TypeError: my_metrics.plain must return a metrics.Score, got float; return Score(value)"),
        ("short", "ValueError: per_frame of my_metrics.short must have a value for each of the 4 frames, or for each "),
        ("pooled", "pool of my_metrics.pooled failed: KeyError: 'pool'"),
    ],
)
def test_one_that_fails_is_null_with_the_reason_and_the_others_go_on(
    name: str, reason: str, outside: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path, "vgdfr", "a" * 64, None).folder
    record = json.loads((folder / "record.json").read_text())
    schedule = {"segments": [[0, 1, 1], [1, 2, 1], [3, 1, 1]], "kept_frames": [0, 1, 2], "kept_latents": [0]}
    (folder / "record.json").write_text(json.dumps(record | {"schedule": schedule}))
    assert score.main(tmp_path, f"my_metrics.{name},my_metrics.sharpness,flicker") == 1
    scores = scores_in(folder)
    assert scores[f"my_metrics.{name}"]["value"] is None
    assert scores[f"my_metrics.{name}"]["reason"].startswith(reason)
    assert scores[f"my_metrics.{name}"]["about"]["title"] == f"my_metrics.{name}"
    assert scores["my_metrics.sharpness"]["kept"] is not None and scores["flicker"]["value"] is not None
    assert f"my_metrics.{name}: no value for 1 sample: {reason}" in capsys.readouterr().out


def test_a_small_judge_of_ones_own_is_of_the_embedded_world_too(outside: Any) -> None:
    prompts = Prompts("prompts.txt")
    mismatch.check("mine", EMBEDDED, prompts, ["my_metrics.judge"])
    with pytest.raises(ValueError, match="the metrics my_metrics.judge look through the small judge"):
        mismatch.check("mine", OPEN, prompts, ["my_metrics.sharpness", "my_metrics.judge"])


@pytest.mark.parametrize("form", ["metrics=[pixel,my_metrics.sharpness]", "metrics.names=[pixel,my_metrics.sharpness]"])
def test_a_sweeps_list_takes_groups_names_and_paths(form: str) -> None:
    (config,) = configs_of([form, "method=baseline"])
    assert metrics_of(config) == (*names_of("pixel"), "my_metrics.sharpness")


def test_a_name_that_is_no_group_is_told_how_to_be_listed() -> None:
    said = (
        r"there is no metrics=my_metrics.sharpness. There are consistency, consistency_embedded, embedded, paper, "
        r"pixel; a list names any metrics: metrics=\[my_metrics.sharpness\]"
    )
    with pytest.raises(ValueError, match=said):
        configs_of(["metrics=my_metrics.sharpness"])


SMALL = [
    "method=baseline", "prompts.limit=1", "model.video.num_frames=17", "model.video.num_inference_steps=2",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_metrics.edges", "my_metrics.edges must be an instance of metrics.Metric, got a function"),
        ("nowhere.sharpness", "there is no metric nowhere.sharpness to be imported"),
        ("direction.m", "higher_is_better of the metric m must be True or False or None, got 'lower' ("),
    ],
)
def test_a_sweep_refuses_what_is_no_metric_before_a_model_loads(name: str, message: str, mine: Path) -> None:
    for more in ([], ["--dry-run"]):
        ended = in_folder(mine, "bench.sweep", *SMALL, f"metrics=[psnr,{name}]", "study=refused", *more)
        said = ended.stdout + ended.stderr
        assert ended.returncode == 1 and said.startswith("error: ") and said.count("\n") == 1, ended
        assert message in said
    assert not list(mine.glob("runs/refused/*/*/record.json"))


def test_a_file_of_a_users_configuration_lists_groups_names_and_paths(mine: Path) -> None:
    (mine / "my_conf" / "metrics").mkdir(parents=True)
    (mine / "my_conf" / "metrics" / "mine.yaml").write_text("names: [my_metrics.sharpness, motion_flow, pixel]\n")
    ended = in_folder(mine, "bench.sweep", *SMALL, "--config-dir", "my_conf", "metrics=mine", "study=configured")
    assert ended.returncode == 0, ended
    (folder,) = (file.parent for file in mine.glob("runs/configured/*/*/scores.json"))
    of_a_baseline = {name for name in names_of("pixel") if not METRICS[name].needs_reference}
    assert set(scores_in(folder)) == {"my_metrics.sharpness", *of_a_baseline} and len(of_a_baseline) == 2


def test_a_sweep_says_which_metrics_gave_no_value_and_why(mine: Path) -> None:
    ended = in_folder(mine, "bench.sweep", *SMALL, "metrics=[flicker,my_metrics.fails]", "study=failing")
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0 and "flicker: no value" not in ended.stdout
    assert "my_metrics.fails: no value for 1 sample: RuntimeError: no such camera" in lines


def test_launched_workers_and_scoring_processes_find_it_in_the_current_folder(mine: Path) -> None:
    """The test starts real programs with `python -m` and the repository on PYTHONPATH."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def python(*arguments: str) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=mine, env=environment, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done
        return done.stdout

    python("bench.launch", "-n", "1", *SMALL, "metrics=[flicker,my_metrics.sharpness]", "study=launched")
    (folder,) = (file.parent for file in mine.glob("runs/launched/*/*/scores.json"))
    assert set(scores_in(folder)) == {"flicker", "my_metrics.sharpness"}
    said = python("bench.score", "runs/launched", "--metrics", "my_metrics.still,my_metrics.numbers")
    assert "1 samples scored for my_metrics.still, my_metrics.numbers" in said
    scores = scores_in(folder)
    assert scores["my_metrics.still"]["about"]["group"] == "Difference"
    numbers = scores["my_metrics.numbers"]
    assert (numbers["value"], numbers["per_frame"], numbers["extra"]) == (0.5, [0.5] * 17, {"large": "inf"})


def test_python_m_metrics_takes_it(mine: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    files = [tmp_path / name for name in ("a.mkv", "b.mkv")]
    for file in files:
        write_master(file, frames, 12)
    ended = in_folder(mine, "metrics", *map(str, files), "--metrics", "ssim,my_metrics.sharpness", "--json")
    assert ended.returncode == 0, ended
    out = json.loads(ended.stdout)
    (video,) = out["videos"]
    assert video["ssim"] == 1 and video["my_metrics.sharpness"] > 50
    assert out["metrics"]["my_metrics.sharpness"] == "my_metrics.sharpness-v1-uint8-rgb-no-weights"
    refused = in_folder(tmp_path, "metrics", *map(str, files), "--metrics", "my_metrics.sharpness")
    assert refused.returncode == 1 and refused.stderr.startswith("error: there is no metric my_metrics.sharpness")
