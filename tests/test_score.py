"""Scoring a small stored study in this process; test_end_to_end.py scores a real one by several processes."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import keep, score
from bench.record import Record
from bench.store import Store
from metrics import METRICS
from metrics.video_file import VideoFile, read

SPEC = {"prompt": "a red circle stays still over sand"}


def put(study: Path, slug: str, key: str, reference_key: str | None) -> Path:
    record = Record(
        status="done", key=key, slug=slug, model_name="embedded", method={"name": slug}, prompt_id="00", seed_index=0,
        identity={"spec": SPEC}, reference_key=reference_key, environment={}, created="2026-01-01",
    )  # fmt: skip
    frames = np.random.default_rng(len(slug)).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    Store(study).put(f"{slug}/00-s0-{key[:8]}", record, frames, 12)
    return study / slug / f"00-s0-{key[:8]}"


def test_groups_and_names_are_scored_and_what_is_missing_is_null_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline, own = put(tmp_path, "baseline", "a" * 64, None), put(tmp_path, "vgdfr", "b" * 64, "a" * 64)
    assert score.main(tmp_path, "pixel,lpips,clip_temp_embedded") == 1
    said = capsys.readouterr().out
    assert "2 samples scored for psnr, " in said and "lpips: no value for 1 samples: torchvision AlexNet" in said
    scores = json.loads((own / "scores.json").read_text())["scores"]
    videos = [read(folder / "master.mkv").frames for folder in (own, baseline)]
    for name in ("psnr", "ssim", "flicker", "motion", "clip_temp_embedded"):
        metric = METRICS[name]
        assert scores[name]["id"] == metric.id and scores[name]["reason"] is None
        assert scores[name]["value"] == pytest.approx(
            metric(videos[0], videos[1] if metric.needs_reference else None).value, rel=1e-6
        )
    assert scores["lpips"]["value"] is None and "bench.prefetch metrics=paper" in scores["lpips"]["reason"]
    assert "psnr" not in json.loads((baseline / "scores.json").read_text())["scores"], "nothing to differ from"


def test_the_toy_judge_scores_another_models_study_only_when_asked(tmp_path: Path) -> None:
    put(tmp_path, "baseline", "a" * 64, None)
    own = put(tmp_path, "vgdfr", "b" * 64, "a" * 64)
    assert score.default_metrics(tmp_path) == "embedded"
    record = json.loads((own / "record.json").read_text())
    (own / "record.json").write_text(json.dumps(record | {"model_name": "hunyuan_video"}))
    message = "say which metrics, such as --metrics paper: .* is of embedded and hunyuan_video$"
    with pytest.raises(ValueError, match=message):
        score.main(tmp_path, None)
    assert not list(tmp_path.glob("*/*/scores.json"))
    assert score.main(tmp_path, "vqa_embedded") == 0


def test_a_baseline_is_decoded_once_for_all_that_are_compared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the last metric looks at the sample alone."""
    baseline = put(tmp_path, "baseline", "a" * 64, None)
    others = [put(tmp_path, slug, slug[-1] * 64, "a" * 64) for slug in ("vgdfr-b", "vgdfr-cc", "vgdfr-ddd")]
    record, decoded = Store.read(baseline), []
    assert record is not None

    def counted(file: Path) -> VideoFile:
        decoded.append(file.parent)
        return read(file)

    monkeypatch.setattr(score, "read", counted)
    score.score(baseline, SPEC["prompt"], None, ["psnr", "flicker"])
    for folder in others:
        score.score(folder, SPEC["prompt"], (baseline, record), ["psnr", "flicker"])
    assert decoded == [baseline, *others]


def test_why_a_master_cannot_be_had_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path, "baseline", "e" * 64, None)
    place = str(folder.relative_to(tmp_path))
    record, tried = Store(tmp_path).recorded(place), []
    assert record is not None
    Store(tmp_path).drop(place, record, ("master.mkv",))
    rebuilt = keep.rebuilt
    monkeypatch.setattr(keep, "rebuilt", lambda *given: tried.append(1) or rebuilt(*given))
    scores = score.score(folder, SPEC["prompt"], None, ["flicker", "clip_temp_embedded"])
    assert all("neither master nor latents" in value["reason"] for value in scores.values()) and len(tried) == 1
