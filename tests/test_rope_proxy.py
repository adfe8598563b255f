"""Layer errors: their values by a computation written out, identities, passes, and the sweep that stores them."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import AS_ANY_USER, run
from studies import stored

from analysis import Study, StudyError
from analysis.rope_sensitivity import proxy_sensitivity
from analysis.table import table_of
from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from bench.store.place import Place
from bench.store.study import Store
from bench.store.upkeep import verify
from bench.work.scoring import score_study
from vgdfr import GeneratedVideo, HunyuanVideo, RopeProxy, VideoSpec, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.methods.layers import positions_per_layer
from vgdfr.methods.rope_proxy import refuse_not_finite, relative_error
from vgdfr.schedule import FrameSchedule
from vgdfr.video import BrokenVideo

PROXY = RopeProxy(k=2, theta=0.01)


def data_of(video: GeneratedVideo) -> tuple[dict[str, Any], FrameSchedule]:
    """Returns the measurements of the proxy and the schedule that it measured. There are no frames."""
    assert video.made is None and video.latents is None and video.data is not None and video.schedule is not None
    return video.data, video.schedule


def dit_passes(backbone: Backbone, run: Any) -> tuple[Any, list[int]]:
    """Returns the result of `run`, and the latent frames of each forward pass of the DiT within it."""
    assert isinstance(backbone, HunyuanVideoBackbone)
    seen: list[int] = []
    hook = backbone.transformer.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["hidden_states"].shape[2]), with_kwargs=True
    )
    try:
        return run(), seen
    finally:
        hook.remove()


@torch.inference_mode()
def test_errors_are_those_computed_from_the_formulas(backbone: Backbone, spec: VideoSpec) -> None:
    """The schedule and all later steps are written out. Frames are merged as in the tests of `generate`."""
    video = generate(backbone, spec, PROXY)
    errors, schedule = data_of(video)
    assert generate(backbone, spec, PROXY.vgdfr).schedule == schedule
    velocity, sigmas, noise = backbone.velocity(spec), backbone.solver(spec).sigmas, backbone.noise(spec)
    x = v = noise
    for i in range(2):
        v = velocity(x, sigmas[i])
        x = x + (sigmas[i + 1] - sigmas[i]) * v
    kept_frames, kept = list(schedule.kept_frames), list(schedule.kept_latents)
    with backbone.codec.reduced(1):
        preview = backbone.codec.decode(x - sigmas[2] * v)
        ends = [*kept_frames[1:], len(preview)]
        merged = torch.stack([preview[a:b].mean(0) for a, b in zip(kept_frames, ends, strict=True)])
        y = sigmas[2] * noise[:, :, kept] + (1 - sigmas[2]) * backbone.codec.encode(merged)
    full = velocity(x, sigmas[2])[:, :, kept]
    every = set(range(5))
    settings = [set(), every, *({n} for n in range(5)), *(every - {n} for n in range(5))]
    expected = []
    for layers in settings:
        with backbone.shortened(schedule, positions_per_layer(kept, sorted(layers), 5)):
            difference = velocity(y, sigmas[2]) - full
        expected.append(((difference**2).sum() / (full**2).sum()).sqrt().item())
    measured = [errors["none"], errors["all"], *errors["only"], *errors["all_but"]]
    assert measured == pytest.approx(expected, rel=1e-4)
    assert len(set(measured)) == len(measured), "every layer's RoPE changes the velocity"


def test_one_forward_pass_a_layer_and_direction(backbone: Backbone, spec: VideoSpec) -> None:
    video, seen = dit_passes(backbone, lambda: generate(backbone, spec, PROXY))
    short = len(data_of(video)[1].kept_latents)
    assert seen == [9] * (2 + 1) + [short] * (2 * 5 + 2)
    assert video.passes == pytest.approx(sum(seen) / 9)
    assert set(video.seconds) == {"encode_prompt", "denoise_full", "compress", "full_velocity", "layers", "other"}


def test_where_nothing_merges_every_error_is_zero_and_no_pass_is_made_for_it(
    backbone: Backbone, spec: VideoSpec
) -> None:
    video, seen = dit_passes(backbone, lambda: generate(backbone, spec, RopeProxy(k=2, theta=1.0)))
    errors, _ = data_of(video)
    assert {errors["none"], errors["all"], *errors["only"], *errors["all_but"]} == {0.0} and seen == [9, 9]
    assert len(errors["only"]) == len(errors["all_but"]) == 5 and "nothing merged" in video.notes[0]


@torch.inference_mode()
def test_with_every_frame_kept_any_assignment_is_the_full_model(backbone: Backbone, spec: VideoSpec) -> None:
    velocity, x = backbone.velocity(spec), backbone.noise(spec)
    for layers in ((), (2,), (0, 1, 3, 4), tuple(range(5))):
        with backbone.shortened(
            FrameSchedule.keep_all(33, frames_per_latent=4), positions_per_layer(range(9), layers, 5)
        ):
            assert relative_error(velocity(x, 0.9), velocity(x, 0.9)) == 0
            inside = velocity(x, 0.9)
        assert relative_error(inside, velocity(x, 0.9)) < 1e-6


def test_relative_error_is_of_lengths_and_must_be_finite() -> None:
    v = torch.tensor([3.0, 4.0]).reshape(1, 1, 2, 1, 1)
    assert relative_error(v, v) == 0 and relative_error(0 * v, v) == 1 and relative_error(3 * v, v) == 2
    with pytest.raises(BrokenVideo, match="1 of 2 layer errors are not finite"):
        refuse_not_finite([relative_error(v, 0 * v), 1.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0, "theta": 0.5}, "k must be at least 1"), ({"k": 1, "theta": 2.0}, r"theta must be in \(0, 1\], got 2"),
        ({"k": 1, "theta": 0.5, "max_merge": 3}, "max_merge must be 2 or 4"),
        ({"k": 1, "theta": 0.5, "max_merge": 8}, "max_merge must be 2 or 4, got 8"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_as_vgdfr_refuses_them(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RopeProxy(**settings)


def test_every_setting_decides_the_key() -> None:
    video = VideoSettings(64, 64, 33, 50, 6.0, 7.0, 12)
    base = {"k": 5, "theta": 0.5}
    changes: list[dict[str, Any]] = [
        {}, {"k": 6}, {"theta": 0.6}, {"max_merge": 2}, {"spatial_levels": 2}, {"similarity_dtype": "float16"}
    ]  # fmt: skip
    settings = {f.name for f in dataclasses.fields(RopeProxy)} - {"accelerators"}
    assert {name for change in changes for name in change} == settings
    keys = {
        Condition("a", HunyuanVideo("x"), video, RopeProxy(**base | change)).sample(Prompt("p", "p", 0), {}).key
        for change in changes
    }
    assert len(keys) == len(changes)


@pytest.fixture(scope="module")
def study(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Runs +exp=rope_proxy by its command on the tiny checkpoint, and returns its arguments and its folder."""
    root = tmp_path_factory.mktemp("runs")
    small = ["model.video.num_frames=17", "model.video.num_inference_steps=3", "model.video.flow_shift=7.0"]
    settings = ["prompts.limit=2", "method.k=1", "method.theta=0.01", f"model.backbone.path={tiny_checkpoint}"]
    arguments = ["+exp=rope_proxy", f"root={root}", *settings, *small]
    made = run("bench.sweep", *arguments)
    assert made.returncode == 0 and "2 made, 0 found, 0 failed of 2 samples" in made.stdout, made
    return arguments, root / "rope_proxy"


def test_the_sweep_stores_layer_errors_that_are_found_verified_and_not_scored(study: tuple[list[str], Path]) -> None:
    _, folder = study
    rows = stored(folder)
    assert len(rows) == 2
    for row in rows:
        assert [f.name for f in row.folder.iterdir()] == ["record.json"] and row.record["latency_s"] is None
        assert {k: len(v) for k, v in row.record["data"].items() if isinstance(v, list)} == {
            "only": 5, "all_but": 5
        }  # fmt: skip
        assert row.record["layers"] == {"dual": 3, "single": 2, "global": None, "paper": [0, 1, 2, 3]}
        assert row.record["reference_key"] is None, "no baseline is made for it"
        place = Place(folder, str(row.folder.relative_to(folder)))
        assert Store(folder).get(place, row.record["key"]) is not None
    assert verify(folder) == (2, [])
    with pytest.raises(ValueError, match="layer errors of .exp=rope_proxy have none"):
        score_study(folder, ["psnr"])


@pytest.mark.parametrize("fault", ["a file in the way", "unwritable", "unreadable", "link loop"])
def test_a_folder_of_layer_errors_that_cannot_be_used_costs_that_sample_only(
    study: tuple[list[str], Path], tmp_path: Path, fault: str
) -> None:
    """The test uses a copy of the finished study with two conditions. The other prompt's sample does not change."""
    arguments, folder = study
    shutil.copytree(folder, tmp_path / "rope_proxy")
    first, second = sorted((tmp_path / "rope_proxy").glob("*/*/record.json"))
    condition, sample = first.parent.parent, first.parent
    arguments = [*arguments, f"root={tmp_path}"]
    if fault in ("a file in the way", "link loop"):
        arguments = [*arguments, "method.theta=0.02,0.01"]
        other = tmp_path / "rope_proxy" / condition.name.replace("0.01", "0.02")
        other.symlink_to(other) if fault == "link loop" else other.write_text("in the way")
        expected = "0 made, 2 found, 2 failed of 4 samples"
    elif fault == "unwritable":
        shutil.rmtree(sample)
        condition.chmod(0o555)
        expected = "0 made, 1 found, 1 failed of 2 samples"
    else:
        sample.chmod(0o000)
        expected = "0 made, 1 found, 1 failed of 2 samples"
    try:
        done = run("bench.sweep", *arguments, before=AS_ANY_USER)
    finally:
        condition.chmod(0o755)
        if sample.exists():
            sample.chmod(0o755)
    assert done.returncode == 1 and expected in done.stdout, done
    assert "Traceback" not in done.stdout + done.stderr and "loading" not in done.stdout and second.is_file()


def test_tables_leave_layer_errors_out(study: tuple[list[str], Path], tmp_path: Path) -> None:
    _, folder = study
    with pytest.raises(
        StudyError, match="RoPE proxy and no videos; .* are read by: python -m analysis.rope_sensitivity"
    ):
        table_of(Study(folder))
    record = json.loads(next(folder.glob("*/*/record.json")).read_text())
    for name, makes_video in (("probe", False), ("video", True)):
        (tmp_path / "a" / name).mkdir(parents=True)
        (tmp_path / "a" / name / "record.json").write_text(json.dumps(record | {"makes_video": makes_video}))
    samples = Study(tmp_path).samples
    assert samples["sample"][samples["makes_video"]].tolist() == ["a/video"]
    assert samples["sample"][~samples["makes_video"]].tolist() == ["a/probe"]
    shutil.copytree(tmp_path / "a" / "video", tmp_path / "videos" / "a" / "video")
    with pytest.raises(StudyError, match="holds no layer errors; they are made by"):
        proxy_sensitivity(Study(tmp_path / "videos"))
    assert len(proxy_sensitivity(Study(tmp_path)).values) == 1, "the sample with a video is left out"
