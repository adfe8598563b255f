"""The recipes of docs/extending.md, copied into an empty folder. The commands run, and all reports show the samples."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import processes
import pytest
from processes import Finished

from analysis import cost
from analysis.figures import tradeoff
from analysis.gallery.data import gallery_data
from analysis.study import Study
from analysis.table import table_of
from metrics.video_file import read

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
            for line in block.splitlines()]  # fmt: skip
SMALL = {
    "bench.sweep": [
        "prompts.limit=1", "model.video.num_frames=33", "model.video.num_inference_steps=8", "metrics=pixel",
        "model.video.height=32", "model.video.width=32",
    ],
    "vgdfr.conform": ["--height=32", "--width=32", "--num-frames=17", "--num-inference-steps=4"],
}  # fmt: skip
SKIPPED = {"SkipSteps (every=2)", "EveryOther (k=3)", "SkipCalls (every=2)", "VGDFR + SkipCalls (k=3, θ=0.7, every=2)"}


def arguments_of(command: str) -> list[str]:
    """Returns the words after `python -m`, with settings of a small video if the command makes videos."""
    python, flag, *words = shlex.split(command)
    assert (python, flag) == ("python", "-m")
    return [*words, *SMALL.get(words[0], [])]


def python(folder: Path, *arguments: str) -> Finished:
    """Runs `python -m arguments` in `folder`, in a forked process. Python looks for modules in that folder first."""
    before = f"import os, sys; os.chdir({str(folder)!r}); sys.path.insert(0, {str(folder)!r})"
    return processes.run(*arguments, before=before)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the page's files, after its commands have run there."""
    folder = tmp_path_factory.mktemp("mine")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    first, *others = COMMANDS
    done = subprocess.run(
        [sys.executable, "-m", *arguments_of(first)],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0 and "2 made, 0 found, 0 failed" in done.stdout, done
    for command in others:
        ended = python(folder, *arguments_of(command))
        assert ended.returncode == 0, (command, ended)
    return folder


def records(study: Path) -> dict[str, dict[str, Any]]:
    """Returns the only record of each condition, by the condition's folder."""
    return {file.parent.parent.name: json.loads(file.read_text()) for file in study.glob("*/*/record.json")}


def test_the_page_has_a_recipe_for_each(mine: Path) -> None:
    assert set(FILES) == {
        "my_pkg.py", "my_merge.py", "my_cache.py", "my_variant.py", "my_model.py", "my_conf/model/mine.yaml",
        "my_prompts.txt", "my_metric.py", "my_conf/method/skip_steps.yaml", "my_conf/exp/mine.yaml",
    }  # fmt: skip
    assert {study.name for study in (mine / "runs").iterdir()} == {"default", "softer", "my_model", "mine"}
    assert len(FILES["my_pkg.py"].splitlines()) < 25 and len(FILES["my_merge.py"].splitlines()) < 45


def test_keys_hold_path_settings_and_version(mine: Path) -> None:
    found = records(mine / "runs" / "default")
    steps, calls = found["my_pkg.SkipSteps-every=2"], found["baseline-skipcalls.every=2"]
    assert steps["identity"]["method"] == {"name": "my_pkg.SkipSteps", "version": 1, "every": 2}
    cache = {"name": "my_cache.SkipCalls", "version": 1, "every": 2}
    assert calls["identity"]["method"] == {"name": "baseline", "accelerators": [cache]}
    model = records(mine / "runs" / "my_model")["baseline"]["identity"]["model"]
    assert model == {
        "class": {"name": "my_model.MyModel", "version": 1}, "num_layers": 3, "weights_seed": 0, "device_type": "cpu",
    }  # fmt: skip
    softer = records(mine / "runs" / "softer")["baseline"]["identity"]["model"]
    assert softer.pop("class") == {"name": "my_variant.Softer", "version": 1, "strength": "0.9"}
    assert softer == found["baseline"]["identity"]["model"]


def test_two_ways_to_reuse_a_velocity_give_the_same_bits(mine: Path) -> None:
    """The step cache in the loop and the cache of calls compute the same steps."""
    found = records(mine / "runs" / "default")
    pixels = {slug: record["frames_sha256"] for slug, record in found.items()}
    assert pixels["my_pkg.SkipSteps-every=2"] == pixels["baseline-skipcalls.every=2"] != pixels["baseline"]
    assert found["my_pkg.SkipSteps-every=2"]["dit_passes"] == [[9, 4, 4, 1, 1.0, 1.0, 4]]
    assert found["baseline-skipcalls.every=2"]["accelerated"] == {"SkipCalls": {"gate_asked": 8, "passes_skipped": 4}}


def test_the_merging_recipe_shows_each_kept_frame_as_often_as_it_stands_for(mine: Path) -> None:
    """Of 33 frames, three blocks of 8 merge. Frame 0 and the last 8 frames stay."""
    folder = mine / "runs" / "default" / "my_merge.EveryOther-k3"
    record = records(folder.parent)[folder.name]
    assert record["schedule"]["segments"] == [[0, 1, 1], [1, 8, 2], [9, 8, 2], [17, 8, 2], [25, 8, 1]]
    assert sorted((row[0], row[-1]) for row in record["dit_passes"]) == [(6, 5), (9, 3)]
    (master,) = folder.glob("*/master.mkv")
    frames = read(master).frames
    assert (frames[1:25:2] == frames[2:25:2]).all() and len(frames) == 33
    assert all((a != b).any() for a, b in zip(frames[24:], frames[25:], strict=False))


def test_a_cache_that_skips_nothing_is_the_baseline(mine: Path) -> None:
    for command in (COMMANDS[0], COMMANDS[2]):
        words = [word.replace("every=2", "every=1") for word in arguments_of(command)]
        ended = python(mine, *words, "study=one")
        assert ended.returncode == 0, ended
    found = records(mine / "runs" / "one")
    assert len(found) == 3 and len({record["frames_sha256"] for record in found.values()}) == 1


def test_each_is_a_row_of_table_1(mine: Path) -> None:
    ended = python(mine, "analysis.table1", "runs/default")
    assert ended.returncode == 0, ended
    with (mine / "runs" / "default" / "report" / "table1.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    combined = rows["VGDFR + SkipCalls (every=2)"]  # k and theta are in their own columns
    assert len(rows) == 5 and (combined["k"], combined["theta"]) == ("3", "0.7")
    for row in (row for title, row in rows.items() if title != "Original"):
        assert float(row["speedup"]) > 0 and float(row["psnr"]) > 10, row
    assert rows["SkipSteps (every=2)"]["psnr"] == rows["SkipCalls (every=2)"]["psnr"]


def test_each_is_a_point_of_the_trade_off(mine: Path) -> None:
    ended = python(mine, "analysis.figures", "runs/default", "--only", "tradeoff")
    assert ended.returncode == 0 and (mine / "runs" / "default" / "report" / "tradeoff.png").is_file(), ended
    panels = tradeoff.panels(table_of(Study(mine / "runs" / "default")))
    assert panels and all({point.row.title for point in panel.points} == SKIPPED for panel in panels)


def test_each_is_a_row_of_costs(mine: Path) -> None:
    made = cost.report(Study(mine / "runs" / "default"))
    samples = str(made.files["cost.csv"])
    bounds = {row["condition"]: float(row["bound"]) for row in csv.DictReader(samples.splitlines())}
    assert bounds["my_pkg.SkipSteps-every=2"] == 2
    assert 1.9 < bounds["baseline-skipcalls.every=2"] < 2, "the parts outside the layers count as computed in each call"
    assert bounds["vgdfr-k3-theta0.7-skipcalls.every=2"] > 1
    accelerators = made.text.split("## Accelerators")[1]
    row = next(line for line in accelerators.splitlines() if line.startswith("| SkipCalls (every=2)"))
    assert [cell.strip() for cell in row.strip("|").split("|")][3:5] == ["8.0", "4.0"]
    for title in SKIPPED:
        assert f"| {title} " in made.text.split("## Accelerators")[0]
    refused = python(mine, "analysis.cost", "runs/my_model")
    assert refused.returncode == 1 and "the FLOPs of MyModel are not known" in refused.stdout + refused.stderr


def test_each_is_a_video_of_the_gallery(mine: Path) -> None:
    for study in ("default", "my_model", "mine"):
        ended = python(mine, "analysis.gallery", f"runs/{study}")
        assert ended.returncode == 0, ended
        folder = mine / "runs" / study
        data = gallery_data(table_of(Study(folder)), lambda sample: str(sample / "preview.mp4"))
        samples = [sample for prompt in data["prompts"] for sample in prompt["samples"]]
        assert len(samples) == len(records(folder)) and all(Path(sample["video"]).is_file() for sample in samples)
        titles = {condition["title"] for condition in data["conditions"]}
        assert study != "default" or titles == {"Original"} | SKIPPED
        assert study != "mine" or titles >= {"SkipSteps (every=2)", "VGDFR (k=5, θ=0.7)"}


def test_the_metric_is_scored_for_each_sample_and_says_how_to_show_it(mine: Path) -> None:
    files = list((mine / "runs" / "default").glob("*/*/scores.json"))
    assert len(files) == 5
    for file in files:
        score = json.loads(file.read_text())["scores"]["my_metric.sharpness"]
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in read(file.parent / "master.mkv").frames]
        assert score["value"] == pytest.approx(np.mean([cv2.Laplacian(frame, cv2.CV_64F).var() for frame in grey]))
        assert score["id"].startswith("my_metric.sharpness-v1-") and len(score["per_frame"]) == 33
        assert score["about"] == {
            "title": "Sharpness", "unit": "", "digits": 1, "better": 1, "group": "Video Quality",
            "needs_reference": False, "shown_with": "",
        }  # fmt: skip


def test_a_second_run_finds_everything(mine: Path) -> None:
    for command in (each for each in COMMANDS if "bench.sweep" in each):
        ended = python(mine, *arguments_of(command))
        assert ended.returncode == 0 and re.search(r"^0 made, \d+ found, 0 failed", ended.stdout, re.MULTILINE), ended


def test_stores_verify_and_masters_that_were_dropped_come_back_bit_for_bit(mine: Path) -> None:
    for command in (
        COMMANDS[1],
        *COMMANDS[3:6],
    ):  # a merged sample, one with an accelerator, one of a variant, one of a user's model
        words = arguments_of(command)
        study = mine / "runs" / next((word[6:] for word in words if word.startswith("study=")), "default")
        before = {file: file.read_bytes() for file in study.glob("*/*/master.mkv")}
        assert before and python(mine, *words, "keep=latents").returncode == 0
        gone = {file for file in before if not file.exists()}
        assert gone
        verified = python(mine, "bench.store", "verify", str(study))
        assert verified.returncode == 0 and " 0 damaged" in verified.stdout, verified
        assert python(mine, *words, "keep=all").returncode == 0
        assert all(file.read_bytes() == before[file] for file in gone)


def test_the_file_may_lie_on_pythonpath(mine: Path, tmp_path: Path) -> None:
    """The command runs in an empty folder as a program of its own. Without PYTHONPATH the class is not found."""
    command = [sys.executable, "-m", *arguments_of(COMMANDS[0]), f"root={tmp_path}", "--dry-run"]
    for path, found in ((f"{ROOT}{os.pathsep}{mine}", True), (str(ROOT), False)):
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=1800
        )
        assert (done.returncode == 0) == found, done
        assert found or done.stderr.startswith("error: there is no class my_pkg.SkipSteps to be imported"), done
        assert not found or "my_pkg.SkipSteps-every=2" in done.stdout
