"""The way to VBench's own scorer and back: names, files, one test per form of result file, columns and totals."""

import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from analysis import Study, table1
from analysis.columns import columns
from analysis.complete import unscored
from analysis.gate import Bound, gate
from analysis.table import table_of
from bench import export, import_scores
from bench.plan import prompts as prompts_module
from bench.plan.prompts import id_of
from bench.store.place import Place
from bench.store.record import Record
from bench.store.scores import scores_of, write_scores
from bench.store.study import Store
from bench.vbench.layout import manifest_in, read_manifest
from bench.vbench.results import read_results
from bench.vbench.total import DIMENSIONS, QUALITY, SEMANTIC, official
from bench.work.files import files_of
from metrics.video_file import read

DOG, CAT, OTHER = "a dog runs, oil painting", "a cat", "a red circle stays still over sand"
LISTED = {DOG: ["subject_consistency", "color"], CAT: ["imaging_quality", "subject_consistency"]}


def put(study: Path, slug: str, prompt: str, seed: int = 0, **other: Any) -> Place:
    key = hashlib.sha256(f"{slug}{prompt}{seed}".encode()).hexdigest()
    spec = {"prompt": prompt, "seed": seed, "fps": 12, "num_frames": 4, "height": 18, "width": 32}
    record = Record(
        status="done", key=key, slug=slug, model_name="hunyuan_video", method={"name": slug.partition("-")[0]},
        prompt_id=id_of(prompt), seed_index=seed, reference_key=None, environment={}, created="2026-01-01",
        identity={"spec": spec, "model": {}, "generator_version": 1}, prompt_dimensions=LISTED.get(prompt, []),
    )  # fmt: skip
    frames = np.random.default_rng(int(key[:8], 16)).integers(256, size=(4, 18, 32, 3), dtype=np.uint8)
    place = Place(study, f"{slug}/{record.prompt_id}-s{seed}-{key[:8]}")
    Store(study).put(place, replace(record, **other), files_of(frames, 12))
    return place


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for slug in ("baseline", "vgdfr-k5-theta0.5"):
        for prompt in (DOG, CAT):
            for seed in (0, 3):
                put(tmp_path / "study", slug, prompt, seed)
    return tmp_path / "study"


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a list in VBench's form, pinned in place of the real list."""
    file = tmp_path / "VBench_full_info.json"
    file.write_text(json.dumps([{"prompt_en": text, "dimension": d} for text, d in LISTED.items()]))
    monkeypatch.setattr(prompts_module, "VBENCH_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def runs(command: Any, *arguments: object) -> Any:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        return command.command()

    return runs


# -- the official total


LEADERBOARD = {  # rows of VBench's public leaderboard: 16 dimensions in its order, then quality, semantic and total
    "VideoCrafter-2.0": (
        [96.85, 98.22, 98.41, 97.73, 42.50, 63.13, 67.22],
        [92.55, 40.66, 95.00, 92.92, 35.86, 55.29, 25.13, 25.84, 28.23], (82.20, 73.42, 80.44),
    ),
    "LaVie": (
        [91.41, 97.47, 98.30, 96.38, 49.72, 54.94, 61.90],
        [91.82, 33.32, 96.80, 86.39, 34.09, 52.69, 23.56, 25.93, 26.41], (78.78, 70.31, 77.08),
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", LEADERBOARD)
def test_the_total_is_the_leaderboards(model: str) -> None:
    quality, semantic, printed = LEADERBOARD[model]
    order = list(QUALITY)
    assert order[-2:] == ["aesthetic_quality", "imaging_quality"] and len(DIMENSIONS) == 16
    scores = dict(zip((*order, *SEMANTIC), (v / 100 for v in (*quality, *semantic)), strict=True))
    found = official(scores)
    assert found is not None and [100 * value for value in found] == pytest.approx(printed, abs=0.0051)


def test_a_total_has_all_dimensions_and_its_own_ends() -> None:
    scales = {**QUALITY, **SEMANTIC}
    assert official({name: scale.zero for name, scale in scales.items()}) == (0, 0, 0)
    assert official({name: scale.one for name, scale in scales.items()}) == pytest.approx((1, 1, 1))
    one = {name: scale.zero for name, scale in scales.items()} | {"dynamic_degree": 1.0}
    assert official(one) == pytest.approx((0.5 / 6.5, 0, 0.8 * 0.5 / 6.5)), "it counts half in the quality score"
    assert official({name: 1.0 for name in scales if name != "scene"}) is None, "never as if it were 0"


# -- the export


def test_videos_decode_to_the_masters_frames_everywhere(study: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    out = tmp_path / "out"
    assert run(export, "vbench", study, out) == 0
    condition = out / "vgdfr-k5-theta0.5"
    assert sorted(file.name for file in condition.iterdir()) == sorted(
        f"{id_of(prompt)}-{index}.mp4" for prompt in (DOG, CAT) for index in (0, 1)
    ), "VBench takes each file for a video"
    manifest = json.loads((out / "manifest.json").read_text())["videos"]
    assert len(manifest) == 8 and read_manifest(manifest_in(study, "custom")) == read_manifest(out / "manifest.json")
    for video in manifest:
        master = read(study / video["sample"] / "master.mkv")
        file = out / video["condition"] / video["file"]
        ours, capture = read(file), cv2.VideoCapture(str(file))
        assert ours.fps == master.fps and np.array_equal(ours.frames, master.frames)
        for frame in master.frames:
            there, theirs = capture.read()
            assert there and np.array_equal(theirs[..., ::-1], frame), "OpenCV, as VBench reads some dimensions"
        assert not capture.read()[0]
    prompts = json.loads((out / "prompts-baseline.json").read_text())
    assert prompts == {f"{id_of(p)}-{i}.mp4": p for p in (DOG, CAT) for i in (0, 1)}


def test_standard_mode_names_a_video_by_its_prompt(
    study: Path, listed: Path, tmp_path: Path, run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out, choice = tmp_path / "out", ("--mode", "standard", "--prompts", listed)
    assert run(export, "vbench", study, out, *choice, "--condition", "baseline") == 0
    assert sorted(file.name for file in (out / "baseline").iterdir()) == [
        f"{CAT}-0.mp4", f"{CAT}-1.mp4", f"{DOG}-0.mp4", f"{DOG}-1.mp4",
    ]  # fmt: skip
    assert not list(out.glob("prompts-*")) and "4 videos written, 0 there before, 1 cond" in capsys.readouterr().out
    for seed in range(4, 9):
        put(study, "ceiling", DOG, seed)
    other = tmp_path / "other"
    with pytest.raises(ValueError, match="there is no condition mine; there are baseline, ceiling, vgdfr"):
        run(export, "vbench", study, other, *choice, "--condition", "mine")
    run(export, "vbench", study, other, *choice, "--condition", "ceiling")
    assert "2 videos have an index above 4" in capsys.readouterr().out
    with pytest.raises(OSError, match="standard mode needs VBench's list of prompts, and there is none at .*nowhere"):
        run(export, "vbench", study, tmp_path / "third", "--mode", "standard", "--prompts", tmp_path / "nowhere.json")
    put(study, "baseline", OTHER)
    with pytest.raises(ValueError, match="1 of 3 prompts are not in VBench's list, such as 'a red circle"):
        run(export, "vbench", study, tmp_path / "third", *choice)
    assert not (tmp_path / "third").exists()


def test_an_export_continues_and_touches_no_other_files(study: Path, tmp_path: Path, run: Callable[..., Any],
                                                        capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    out = tmp_path / "out"
    run(export, "vbench", study, out)
    first, *others = sorted(out.glob("*/*.mp4"))
    times = [file.stat().st_mtime_ns for file in others]
    first.unlink()
    capsys.readouterr()
    assert run(export, "vbench", study, out) == 0 and "1 videos written, 7 there before" in capsys.readouterr().out
    assert first.is_file() and times == [file.stat().st_mtime_ns for file in others]
    foreign = tmp_path / "foreign" / "baseline" / first.name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    for _ in range(2):  # a refused export leaves nothing behind that a second one could take for its own
        with pytest.raises(ValueError, match="is there and not of an earlier export; choose another folder"):
            run(export, "vbench", study, tmp_path / "foreign")
    assert foreign.read_text() == "mine" and list((tmp_path / "foreign").rglob("*.*")) == [foreign]


def test_a_name_never_passes_to_another_sample(study: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    run(export, "vbench", study, tmp_path / "out")
    put(study, "baseline", DOG, 1)  # the seeds 0, 3 become 0, 1, 3
    with pytest.raises(ValueError, match="-1.mp4 was exported as the sample .*-s3-.* and would now be .*-s1-"):
        run(export, "vbench", study, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_two_videos_of_one_prompt_and_seed_are_refused(study: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    place = put(study, "baseline", DOG)
    (study / "baseline" / "longer").mkdir()
    for file in place.folder.iterdir():
        (study / "baseline" / "longer" / file.name).write_bytes(file.read_bytes())
    record = json.loads((study / "baseline" / "longer" / "record.json").read_text()) | {"key": "f" * 64}
    (study / "baseline" / "longer" / "record.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="have one prompt and seed, and VBench can tell only one"):
        run(export, "vbench", study, tmp_path / "out")


def test_samples_without_frames_are_counted_with_the_reason(study: Path, tmp_path: Path, run: Callable[..., Any],
                                                            capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    place = next(place for place in Store(study).places() if place.condition == "baseline")
    record = Store(study).recorded(place)
    assert record is not None
    Store(study).drop(place, record, ["master.mkv"])
    assert run(export, "vbench", study, tmp_path / "out") == 1
    said = capsys.readouterr().out
    assert "7 videos written" in said and "no frames of 1 sample: neither master nor latents were kept" in said


# -- result files, in the forms that VBench's public code writes


def entry(path: str, value: object, **other: object) -> dict[str, object]:
    return {"video_path": path, "video_results": value, **other}


def results(folder: Path, values: dict[str, Any], name: str = "results_eval_results.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(values, indent=4))
    return file


def test_a_result_file_of_vbench(tmp_path: Path) -> None:
    file = results(tmp_path, {
        "subject_consistency": [0.95, [entry("v/a-0.mp4", 0.9), entry("v/b-0.mp4", 1.0)]],
        "dynamic_degree": [0.5, [entry("v/a-0.mp4", True), entry("v/b-0.mp4", False)]],
        "imaging_quality": [0.65, [entry("v/a-0.mp4", 60.0), entry("v/b-0.mp4", 70.0)]],
        "human_action": [1.0, [entry("v/a-0.mp4", True, cor_num_per_video=1)]],
    })  # fmt: skip
    subject, dynamic, imaging, action = read_results(file)
    assert (subject.dimension, subject.score, subject.is_long) == ("subject_consistency", 0.95, False)
    assert subject.values == (("v/a-0.mp4", 0.9), ("v/b-0.mp4", 1.0))
    assert [v for _, v in dynamic.values] == [1.0, 0.0] and action.values == (("v/a-0.mp4", 1.0),)
    assert [v for _, v in imaging.values] == [0.6, 0.7], "VBench prints these in percent and their score as a share"


def test_a_result_file_of_vbench_long(tmp_path: Path) -> None:
    """The path of a mean holds the clip's path, so a video of two clips has two means there."""
    clips = [f"v/split_clip/a-0/a-0_00{i}.mp4" for i in (0, 1)]
    means = [entry(f"{clip}/a-0.mp4", value) for clip, value in zip(clips, (50.0, 60.0), strict=True)]
    file = results(tmp_path, {
        "imaging_quality": [0.55, [entry(clip, 1.0) for clip in clips], means],
        "temporal_flickering": [
            0.9, [entry("v/temporal_filtered_cilps/filtered_videos/filtered_clips/a-0_000.mp4", 0.9)],
            [entry("v/temporal_filtered_cilps/filtered_videos/a-0.mp4", 0.9), {"long_video_cnt": 1}],
        ],
        "background_consistency": [0.8, [entry(f"{clips[0]}/a-0.mp4", 0.8, inclip_score=0.9, clip2clip_score=0.7)]],
        "subject_consistency": [0.7, [entry(f"{clips[0]}/a-0.mp4", 0.7)]],
    })  # fmt: skip
    imaging, flickering, background, subject = read_results(file)
    assert all(result.is_long for result in (imaging, flickering, background, subject))
    assert [value for _, value in imaging.values] == [0.5, 0.6] and background.values[0][1] == 0.8
    assert flickering.values == (("v/temporal_filtered_cilps/filtered_videos/a-0.mp4", 0.9),)


def test_a_zip_file_as_packed_for_the_leaderboard(tmp_path: Path) -> None:
    one = results(tmp_path, {"scene": [0.5, [entry("v/a-0.mp4", 0.5)]]})
    with zipfile.ZipFile(tmp_path / "evaluation_results.zip", "w") as archive:
        for name in ("scene_eval_results.json", "more/scene2.json", "__MACOSX/._scene.json", "notes.txt"):
            archive.write(one, name)
    found = read_results(tmp_path / "evaluation_results.zip")
    assert [result.source.rpartition("zip/")[2] for result in found] == ["scene_eval_results.json", "more/scene2.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "must hold VBench's results, .*got list; NAME_full_info.json is its input"),
        ('{"beauty": [1, []]}', "has beauty, which is no dimension of VBench; there are subject_consistency"),
        ('{"scene": 0.5}', "scene is not of the form"),
        ('{"scene": [0.5]}', "scene is not of the form"),
        ('{"scene": [NaN, []]}', "the score of .*scene must be a finite number, got nan; VBench may have found no"),
        (
            '{"scene": [0.5, [{"video_path": "a", "video_results": null}]]}',
            "scene of a must be a finite number, got No",
        ),
    ],
)
def test_other_files_are_refused_with_the_fault(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ValueError, match=said):
        read_results(tmp_path / "r.json")


# -- the import


def path_of(condition: str, prompt: str, index: int, root: str = "/elsewhere/baseline/out") -> str:
    return f"{root}/{condition}/{id_of(prompt)}-{index}.mp4"


def scored(condition: str, dimension: str, score: float, *values: tuple[str, int, object]) -> dict[str, Any]:
    return {dimension: [score, [entry(path_of(condition, p, i), value) for p, i, value in values]]}


def test_values_become_columns_of_their_prompts_with_intervals(
    study: Path, tmp_path: Path, run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(export, "vbench", study, tmp_path / "out")
    own = next(place for place in Store(study).places() if place.condition == "baseline")
    write_scores(own, {"psnr": {"id": "psnr-v2", "value": 1.0}})
    both = [(DOG, 0), (DOG, 1), (CAT, 0), (CAT, 1)]
    files = []
    for condition, add in (("baseline", 0.0), ("vgdfr-k5-theta0.5", 0.1)):
        subject = scored(condition, "subject_consistency", 0.65 + add,
                         *((p, i, 0.5 + add + 0.1 * n) for n, (p, i) in enumerate(both)))  # fmt: skip
        color = scored(condition, "color", 1.0, (DOG, 0, 1.0))
        files.append(results(tmp_path, subject | color, f"{condition}_eval_results.json"))
    capsys.readouterr()
    run(import_scores, study, *files, "--tool-version", "0.1.5")
    assert capsys.readouterr().out.splitlines()[:2] == [
        "baseline: subject_consistency 0.6500, mean of 4 videos 0.6500",
        "baseline: color 1.0000, mean of 1 videos 1.0000, 1 without a value",
    ]
    assert scores_of(own)["psnr"]["value"] == 1.0, "other scores stay"
    table = table_of(Study(study))
    subject, color = columns(table.samples, ["vbench_subject_consistency", "vbench_color"])
    assert (subject.title, subject.shown_with, color.dimension) == ("VBench subject consistency", "motion", "color")
    assert [row.mean(subject.name).value for row in table.rows] == pytest.approx([0.65, 0.75])
    assert set(table.samples["vbench_color.id"].dropna()) == {"vbench_color-v1-vbench-0.1.5"}
    missing = Study(study).missing
    assert list(missing["metric"].unique()) == ["vbench_color"] and len(missing) == 2
    assert missing["reason"].iloc[0].startswith("VBench has no value of this video; it leaves out videos in which")
    assert unscored(table, [subject, color]) == (
        "Samples without a score: VBench color for 2 of 4; see python -m bench.score."
    ), "color is for the dog's prompt alone"
    sheet = table1.table_sheet(table, ["vbench_subject_consistency", "vbench_total"], intervals=True)
    assert [cell.text for cell in sheet.rows[1][2:]] == ["0.7500", "–"], "two prompts have no interval, nor a total"
    needs = "not computed. VBench total needs VBench's results of all 16 dimensions, each from one result file"
    assert any(needs in note for note in sheet.notes)
    assert not gate(Study(study), [Bound("min", "vbench_subject_consistency", 0.7)], by_mean=True).failed


def test_the_official_total_is_of_one_result_of_all_dimensions(
    study: Path, tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for place in Store(study).places():  # prompts of all dimensions
        record = Store(study).recorded(place)
        assert record is not None
        Store(study).update(place, replace(record, prompt_dimensions=[]))
    run(export, "vbench", study, tmp_path / "out")
    videos = [(DOG, 0), (DOG, 1), (CAT, 0), (CAT, 1)]
    scale = {**QUALITY, **SEMANTIC}
    content: dict[str, Any] = {}
    for dimension in DIMENSIONS:
        half = (scale[dimension].zero + scale[dimension].one) / 2
        value = 100 * half if dimension == "imaging_quality" else half
        content |= scored("baseline", dimension, half, *((p, i, value) for p, i in videos))
    capsys.readouterr()
    run(import_scores, study, results(tmp_path, content))
    assert capsys.readouterr().out.splitlines()[-1] == "baseline: total 0.5000 (quality 0.5000, semantic 0.5000)"
    baseline, other = table_of(Study(study)).rows
    found = baseline.mean("vbench_total")
    assert found.value == pytest.approx(0.5) and (found.low, found.n) == (None, 4)
    assert baseline.mean("vbench_quality").value == baseline.mean("vbench_semantic").value == pytest.approx(0.5)
    assert other.mean("vbench_total").value is None
    # a sample that this result did not score, or scored in another run, leaves the condition without a total
    run(import_scores, study, results(tmp_path, scored("baseline", "scene", 0.9, (DOG, 0, 0.9)), "again.json"))
    assert table_of(Study(study)).rows[0].mean("vbench_total").value is None
    scene = [scores_of(place)["vbench_scene"] for place in Store(study).places() if place.condition == "baseline"]
    assert sorted(score["value"] for score in scene) == pytest.approx([0.4111] * 3 + [0.9]), "no value was lost"


def test_clips_of_a_long_video_count_as_one(study: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    run(export, "vbench", study, tmp_path / "out")
    stem = f"{id_of(DOG)}-1"
    paths = [f"/x/baseline/split_clip/{stem}/{stem}_00{i}.mp4/{stem}.mp4" for i in (0, 1)]
    means = [entry(path, value) for path, value in zip(paths, (0.2, 0.4), strict=True)]
    run(import_scores, study, results(tmp_path, {"color": [0.3, [], means]}))
    (score,) = (own["vbench_color"] for place in Store(study).places() if (own := scores_of(place))
                and own["vbench_color"]["value"] is not None)  # fmt: skip
    assert score["value"] == pytest.approx(0.3) and score["id"] == "vbench_color-v1-vbench-long-unstated"


def test_videos_that_the_static_filter_renamed_are_found_again(
    study: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    run(export, "vbench", study, tmp_path / "out")
    path = f"/x/baseline/filter_results/filtered_videos/{id_of(DOG)}-0.mp4"
    file = results(tmp_path, {"subject_consistency": [0.7, [entry(path, 0.7)]]})
    with pytest.raises(ValueError, match="was renamed by VBench's static filter; name its filtered_static_video.json"):
        run(import_scores, study, file)
    kept = {id_of(DOG): {"static_count": 1, "static_path": [path_of("baseline", DOG, 1)]}}
    (tmp_path / "filtered_static_video.json").write_text(json.dumps(kept))
    run(import_scores, study, file, "--static-filter", tmp_path / "filtered_static_video.json")
    found = {p.name: own["vbench_subject_consistency"]["value"] for p in Store(study).places() if (own := scores_of(p))}
    assert [name.split("-s")[1][0] for name, value in found.items() if value == 0.7] == ["3"], "index 1 is seed 3"


def test_results_that_do_not_fit_leave_the_study_as_it_was(
    study: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    good = scored("baseline", "color", 1.0, (DOG, 0, 1.0))
    with pytest.raises(ValueError, match="has no export; make one first: python -m bench.export vbench"):
        run(import_scores, study, results(tmp_path, good))
    run(export, "vbench", study, tmp_path / "out")
    alone = {"color": [1.0, [entry(f"./{id_of(DOG)}-0.mp4", 1.0)]]}
    for content, said in (
        (alone, "names no condition of the export (baseline, vgdfr-k5-theta0.5)"),
        (scored("baseline", "color", 1.0, (OTHER, 0, 1.0)), "is no video of the export: there is no baseline/a-red"),
        ({"color": [1.0, []]}, "color has no video"),
        (scored("baseline", "color", 1.0, (DOG, 0, 1.0), (DOG, 0, 1.0)), "has .*-0.mp4 twice"),
        ({"color": [1.0, good["color"][1] + scored("vgdfr-k5-theta0.5", "color", 1, (DOG, 0, 1))["color"][1]]},
         "is over several conditions (baseline, vgdfr-k5-theta0.5)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(said).replace(r"\.\*", ".*")):
            run(import_scores, study, results(tmp_path, good, "good.json"), results(tmp_path, content))
    two = [results(tmp_path, scored("baseline", "color", 1.0, (DOG, 0, v)), f"{v}.json") for v in (0.5, 1.0)]
    with pytest.raises(ValueError, match="has two values of color: 0.5 and 1.0"):
        run(import_scores, study, *two)
    assert not list(study.glob("*/*/scores.json"))
    run(import_scores, study, results(tmp_path, alone), "--condition", "baseline")
    assert len(list(study.glob("*/*/scores.json"))) == 2
    with pytest.raises(ValueError, match="no condition mine was exported; there are baseline, vgdfr"):
        run(import_scores, study, results(tmp_path, alone), "--condition", "mine")


def test_a_sample_that_was_replaced_gets_no_score_of_its_predecessor(
    study: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    run(export, "vbench", study, tmp_path / "out")
    place = next(place for place in Store(study).places() if place.condition == "baseline")
    record = Store(study).recorded(place)
    assert record is not None
    Store(study).update(place, replace(record, key="0" * 64))
    with pytest.raises(ValueError, match="is no longer the sample that was exported; export it again"):
        run(import_scores, study, results(tmp_path, scored("baseline", "color", 1.0, (DOG, 0, 1.0))))
