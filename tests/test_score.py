"""Scoring a small stored study in this process; test_end_to_end.py scores a real one by several processes."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import score
from bench.record import Record
from bench.store import Store
from metrics import METRICS
from metrics.video_file import read

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
