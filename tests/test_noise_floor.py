"""The baseline recomputed as a condition of a study gives the machine's noise floor."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from studies import stored

from analysis import Study
from analysis.table import table_of
from bench.plan.command_line import CONF
from bench.plan.settings import job_of
from bench.work.progress import Sweep
from bench.work.worker import run


def test_a_rerun_is_a_row_of_its_own_and_bit_identical_on_a_cpu(tiny_checkpoint: Path, tmp_path: Path) -> None:
    small = [
        f"root={tmp_path}", "study=tiny", f"model.backbone.path={tiny_checkpoint}", "model.video.num_frames=17",
        "model.video.height=32", "model.video.width=32", "model.video.num_inference_steps=3", "prompts.limit=1",
        "metrics=pixel",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        jobs = [
            job_of(compose("config", [*small, *method]))
            for method in (["method=vgdfr", "method.k=1", "method.theta=0.01"], ["method=baseline_rerun"])
        ]
    display = Sweep(3, 3)
    run(jobs, display)
    display.close()
    assert (display.made, display.failed) == (3, [])
    rows = {row.record["slug"]: row for row in stored(tmp_path / "tiny")}
    baseline, again = rows["baseline"].record, rows["baselinererun"].record
    assert again["reference_key"] == baseline["key"] != again["key"]
    assert again["frames_sha256"] == baseline["frames_sha256"] and again["files"] == baseline["files"]
    assert again["passes_done"] == again["passes"] == 3 and again["shared_stages"] == []
    scores = rows["baselinererun"].scores
    assert scores["psnr"] == float("inf") and scores["ssim"] == pytest.approx(1) == scores["cosine"]
    titles = [row.title for row in table_of(Study(tmp_path / "tiny")).rows]
    assert titles[0] == "Original" and any(title.startswith("Original again") for title in titles)
