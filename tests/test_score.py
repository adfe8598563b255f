"""Scores a small stored study in this process. test_end_to_end.py scores a real study with several processes."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import score as command
from bench.store.place import Place
from bench.store.record import Record
from bench.store.study import Store
from bench.work import rebuild, scoring
from bench.work.files import files_of
from metrics import METRICS
from metrics.video_file import VideoFile, read

SPEC = {"prompt": "a red circle stays still over sand"}


def put(study: Path, slug: str, key: str, reference_key: str | None) -> Place:
    record = Record(
        status="done", key=key, slug=slug, model_name="embedded", method={"name": slug}, prompt_id="00", seed_index=0,
        identity={"spec": SPEC}, reference_key=reference_key, environment={}, created="2026-01-01",
    )  # fmt: skip
    frames = np.random.default_rng(len(slug)).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    place = Place(study, f"{slug}/00-s0-{key[:8]}")
    Store(study).put(place, record, files_of(frames, 12))
    return place


def test_groups_and_names_are_scored_and_what_is_missing_is_null_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline, own = put(tmp_path, "baseline", "a" * 64, None), put(tmp_path, "vgdfr", "b" * 64, "a" * 64)
    assert command.main(tmp_path, "pixel,lpips,clip_temp_embedded") == 1
    said = capsys.readouterr().out
    assert "2 samples scored for psnr, " in said and "lpips: no value for 1 sample: torchvision AlexNet" in said
    scores = json.loads(own.file("scores.json").read_text())["scores"]
    videos = [read(place.file("master.mkv")).frames for place in (own, baseline)]
    for name in ("psnr", "ssim", "flicker", "motion", "clip_temp_embedded"):
        metric = METRICS[name]
        assert scores[name]["id"] == metric.id and scores[name]["reason"] is None
        assert scores[name]["value"] == pytest.approx(
            metric(videos[0], videos[1] if metric.needs_reference else None).value, rel=1e-6
        )
    assert scores["lpips"]["value"] is None and "bench.prefetch metrics=paper" in scores["lpips"]["reason"]
    assert "psnr" not in json.loads(baseline.file("scores.json").read_text())["scores"], "a baseline has no baseline"


def test_the_toy_judge_scores_another_models_study_only_when_asked(tmp_path: Path) -> None:
    put(tmp_path, "baseline", "a" * 64, None)
    own = put(tmp_path, "vgdfr", "b" * 64, "a" * 64)
    assert command.default_metrics(tmp_path) == "embedded"
    record = json.loads(own.file("record.json").read_text())
    own.file("record.json").write_text(json.dumps(record | {"model_name": "hunyuan_video"}))
    message = "say which metrics, such as --metrics paper: .* is of embedded and hunyuan_video$"
    with pytest.raises(ValueError, match=message):
        command.main(tmp_path, None)
    assert not list(tmp_path.glob("*/*/scores.json"))
    assert command.main(tmp_path, "vqa_embedded") == 0


def test_a_baseline_is_decoded_once_for_all_that_are_compared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This also holds if the last metric reads the sample alone."""
    baseline = put(tmp_path, "baseline", "a" * 64, None)
    others = [put(tmp_path, slug, slug[-1] * 64, "a" * 64) for slug in ("vgdfr-b", "vgdfr-cc", "vgdfr-ddd")]
    record, decoded = Store.read(baseline), []
    assert record is not None

    def counted(file: Path) -> VideoFile:
        decoded.append(file.parent)
        return read(file)

    monkeypatch.setattr(rebuild, "read", counted)
    scoring.score(baseline, SPEC["prompt"], None, ["psnr", "flicker"])
    for place in others:
        scoring.score(place, SPEC["prompt"], scoring.Stored(baseline, record), ["psnr", "flicker"])
    assert decoded == [place.folder for place in (baseline, *others)]


def test_why_a_master_cannot_be_had_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = put(tmp_path, "baseline", "e" * 64, None)
    record, tried = Store(tmp_path).recorded(place), []
    assert record is not None
    Store(tmp_path).drop(place, record, ("master.mkv",))
    rebuilt = rebuild.rebuilt
    monkeypatch.setattr(rebuild, "rebuilt", lambda *given: tried.append(1) or rebuilt(*given))
    scores = scoring.score(place, SPEC["prompt"], None, ["flicker", "clip_temp_embedded"])
    assert all("neither master nor latents" in value["reason"] for value in scores.values()) and len(tried) == 1
