"""The ceiling: the baseline's frames where the schedule keeps them, interpolated frames elsewhere, and no cost."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from studies import stored

from bench.plan.command_line import CONF
from bench.plan.condition import Condition, VideoSettings
from bench.plan.job import Job
from bench.plan.prompts import Prompt
from bench.plan.settings import job_of
from bench.work.progress import Sweep
from bench.work.worker import run
from vgdfr import Baseline, HunyuanVideo, Interpolated, Vgdfr, VideoSpec, frames_of, generate
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone
from vgdfr.methods import method_of
from vgdfr.methods.interpolation import Interpolator, fill

MERGING: list[dict[str, Any]] = [
    {"k": 1, "theta": 0.01}, {"k": 2, "theta": 0.01, "max_merge": 2}, {"k": 1, "schedule": "uniform"},
    {"k": 1, "schedule": "token_ratio", "token_ratio": 0.8}, {"k": 1, "theta": 0.01, "similarity_dtype": "float16"},
    {"k": 1, "theta": 0.01, "interpolator": "linear"}, {"k": 1, "theta": 0.01, "preview_steps": 2},
]  # fmt: skip


def test_without_a_merge_it_is_the_baseline(backbone: Backbone, spec: VideoSpec) -> None:
    made = generate(backbone, spec, Interpolated(k=1, theta=1.0))
    assert made.schedule is not None and made.schedule.keeps_everything
    assert np.array_equal(made.frames, generate(backbone, spec, Baseline()).frames)


@pytest.mark.parametrize("settings", MERGING, ids=str)
def test_kept_frames_are_the_baselines_and_the_schedule_is_vgdfrs(
    settings: dict[str, Any], backbone: Backbone, spec: VideoSpec
) -> None:
    made, baseline = generate(backbone, spec, Interpolated(**settings)), generate(backbone, spec, Baseline())
    vgdfr = generate(backbone, spec, Vgdfr(**settings))
    assert made.schedule is not None and made.schedule == vgdfr.schedule and not made.schedule.keeps_everything
    kept = list(made.schedule.kept_frames)
    assert np.array_equal(made.frames[kept], baseline.frames[kept])
    named = Interpolator.named(settings.get("interpolator", "flow"), None, torch.device("cpu"))
    assert np.array_equal(made.frames, fill(baseline.frames[kept], made.schedule, named))
    assert not np.array_equal(made.frames, baseline.frames)
    assert baseline.latents is not None and made.latents is not None and torch.equal(made.latents, baseline.latents)
    again = frames_of(backbone.codec, made.latents, method_of(Interpolated(**settings).settings()), made.schedule, spec)
    assert np.array_equal(again, made.frames)


def test_it_makes_the_baselines_passes_and_none_of_its_own(backbone: Backbone, spec: VideoSpec) -> None:
    method, shared = Interpolated(k=2, theta=0.01), Shared(spec, {2})
    alone = generate(backbone, spec, method)
    assert (alone.passes, alone.passes_done) == (4, 4)
    baseline = generate(backbone, spec, Baseline(), shared)
    after = generate(backbone, spec, method, shared)
    assert after.passes_done == 0 and {"denoise_full", "decode"} <= set(after.shared_stages)
    assert np.array_equal(after.frames, alone.frames) and baseline.passes_done == 4


def test_every_setting_decides_the_key_and_none_is_unlike_vgdfrs() -> None:
    def key(**settings: Any) -> str:
        video = VideoSettings(64, 64, 33, 50, 6.0, 7.0, 12)
        method = Interpolated(**settings)
        return Condition("a", HunyuanVideo("x"), video, method).sample(Prompt("p", "p", 0), {}).key

    ratio = {"schedule": "token_ratio", "theta": None, "token_ratio": 0.7}
    changes: list[dict[str, Any]] = [
        {}, {"k": 6}, {"theta": 0.6}, ratio, ratio | {"token_ratio": 0.8}, ratio | {"search": "released"},
        {"max_merge": 2}, {"spatial_levels": 2}, {"similarity_dtype": "float16"}, {"interpolator": "linear"},
        {"preview_steps": 2}, {"preview_steps": 2, "preview_latent": "as_released"}, {"placement": "least_error"},
    ]  # fmt: skip
    own = {f.name: f.default for f in dataclasses.fields(Interpolated)}
    assert {name for change in changes for name in change} == set(own) - {"accelerators", "interpolator_weights"}
    keys = {key(**{"k": 5, "theta": 0.5} | change) for change in changes}
    assert len(keys) == len(changes)
    theirs = {f.name: f.default for f in dataclasses.fields(Vgdfr)}
    assert own.items() <= theirs.items() | {("accelerators", own["accelerators"])}, "a default is not that of Vgdfr"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"k": 0, "theta": 0.5}, "k must be at least 1"), ({"k": 1}, "the threshold schedule needs theta")],
)
def test_wrong_settings_are_refused_as_vgdfr_refuses_them(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interpolated(**settings)


def test_settings_that_do_not_fit_the_video_are_refused(spec: VideoSpec, backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="k must be below num_inference_steps"):
        Interpolated(k=4, theta=0.5).check(spec, backbone.architecture)


def jobs(checkpoint: Path, root: Path, *overrides: str) -> list[Job]:
    small = [
        f"root={root}", "study=tiny", f"model.backbone.path={checkpoint}", "model.video.num_frames=17",
        "model.video.height=32", "model.video.width=32", "model.video.num_inference_steps=3", "prompts.limit=1",
        "metrics=pixel", "method=interpolated", "method.k=1", "method.theta=0.01",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [job_of(compose("config", [*small, *overrides]))]


def sweep(asked: list[Job]) -> Sweep:
    display = Sweep(2, 2)
    run(asked, display)
    display.close()
    return display


def test_its_record_has_no_cost_and_its_master_is_rebuilt(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated", "timing.repeats=1")).failed == []
    rows = {row.record["slug"]: row for row in stored(tmp_path / "tiny")}
    record = rows["interpolated-k1-theta0.01"].record
    assert [record[name] for name in ("latency_s", "token_ratio", "passes", "dit_passes")] == [None] * 4
    assert record["timing"] == "shared" and record["repeats"] == [], "a ceiling is not timed alone"
    assert rows["baseline"].record["timing"] == "isolated"
    assert (record["title"], record["role"], record["frame_ratio"] < 1) == ("Ceiling", "diagnostic", True)
    psnr = json.loads((rows["interpolated-k1-theta0.01"].folder / "scores.json").read_text())["scores"]["psnr"]
    assert psnr["kept"] == "inf" and 0 < psnr["interpolated"] < 200
    assert sweep(jobs(tiny_checkpoint, tmp_path, "keep=latents")).failed == []
    master = rows["interpolated-k1-theta0.01"].folder / "master.mkv"
    assert not master.is_file()
    assert sweep(jobs(tiny_checkpoint, tmp_path)).failed == [] and master.is_file()
    again = {row.record["slug"]: row.record for row in stored(tmp_path / "tiny")}
    assert again["interpolated-k1-theta0.01"]["frames_sha256"] == record["frames_sha256"]


def test_accelerators_are_refused(spec: VideoSpec, backbone: Backbone) -> None:
    from test_guards import Patched

    method = Interpolated(k=1, theta=0.5, accelerators=(Patched(),))
    with pytest.raises(ValueError, match="is made of the baseline's video; leave out accelerators"):
        method.check(spec, backbone.architecture)
