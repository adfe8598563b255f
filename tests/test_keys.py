"""A sample's key changes with every setting that decides its pixels, and with nothing else."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from bench.condition import Condition, VideoSettings
from bench.config import CONF, Job, job_of
from bench.prompts import Prompt
from vgdfr import Baseline, BaselineRerun, FewerSteps, HunyuanVideo, Vgdfr
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_vae import Tiling

VIDEO = VideoSettings(
    height=64, width=64, num_frames=33, num_inference_steps=50, guidance_scale=6.0, flow_shift=7.0, fps=12
)
CONDITION = Condition("a", HunyuanVideo("x", dtype="float32"), VIDEO, Vgdfr(k=5, theta=0.5))
RATIO = replace(CONDITION, method=Vgdfr(k=5, schedule="token_ratio", token_ratio=0.7))
PROMPT = Prompt("p", "a prompt", 0)
OTHER_VIDEO = {
    "height": 96, "width": 96, "num_frames": 37, "num_inference_steps": 30, "guidance_scale": 1.0, "flow_shift": 1.0,
    "fps": 24,
}  # fmt: skip
# another value of each setting of Vgdfr, with what it needs beside; of the threshold's condition but for the marked
OTHER_METHOD: dict[str, dict[str, Any]] = {
    "k": {"k": 10}, "theta": {"theta": 0.6}, "max_merge": {"max_merge": 2}, "global_layers": {"global_layers": "none"},
    "spatial_levels": {"spatial_levels": 2}, "similarity_dtype": {"similarity_dtype": "float16"},
    "interpolator": {"interpolator": "linear"}, "preview_steps": {"preview_steps": 2},
    "preview_latent": {"preview_steps": 2, "preview_latent": "as_released"}, "merge_space": {"merge_space": "latent"},
    "denoise_renoise": {"denoise_renoise": False}, "schedule_from": {"schedule_from": "noisy"},
    "schedule": {"schedule": "uniform", "theta": None},
}  # fmt: skip
OTHER_MODEL: dict[str, Any] = {
    "dtype": "bfloat16", "tiling": Tiling(frames=32), "execution": Execution(offload="blocks"),
}  # fmt: skip


def key(condition: Condition = CONDITION, prompt: Prompt = PROMPT, weights: str = "w", device: str = "cpu") -> str:
    return condition.sample(prompt, weights, device).key


def test_every_setting_is_looked_at_here() -> None:
    assert set(OTHER_VIDEO) == {f.name for f in fields(VideoSettings)}
    assert {*OTHER_METHOD, "token_ratio", "search", "interpolator_weights"} == {f.name for f in fields(Vgdfr)}
    elsewhere = {"path", "revision", "device", "min_gpu_gib"}  # the weights' hash and the kind of device stand for them
    assert {*OTHER_MODEL, *elsewhere} == {f.name for f in fields(HunyuanVideo)}


@pytest.mark.parametrize("name", OTHER_VIDEO)
def test_another_video_setting_is_another_sample(name: str) -> None:
    assert key(replace(CONDITION, video=replace(VIDEO, **{name: OTHER_VIDEO[name]}))) != key()


@pytest.mark.parametrize("name", OTHER_METHOD)
def test_another_setting_of_the_method_is_another_sample(name: str) -> None:
    assert key(replace(CONDITION, method=replace(CONDITION.method, **OTHER_METHOD[name]))) != key()


@pytest.mark.parametrize("changed", [{"token_ratio": 0.8}, {"search": "released"}])
def test_another_setting_of_the_token_ratio_is_another_sample(changed: dict[str, Any]) -> None:
    assert key(replace(RATIO, method=replace(RATIO.method, **changed))) != key(RATIO)


@pytest.mark.parametrize("field", [f.name for f in fields(Tiling)])
def test_another_tiling_is_another_sample(field: str) -> None:
    tiling = replace(Tiling(), **{field: getattr(Tiling(), field) * 2})
    assert key(replace(CONDITION, model=replace(CONDITION.model, tiling=tiling))) != key()


@pytest.mark.parametrize(
    "changed",
    [{"offload": "blocks"}, {"quantization": "float8"}, {"attention": "_native_cudnn"}, {"compile": "inductor"}],
)
def test_another_execution_is_another_sample(changed: dict[str, Any]) -> None:
    assert key(replace(CONDITION, model=replace(CONDITION.model, execution=Execution(**changed)))) != key()


def test_other_weights_devices_precisions_methods_prompts_and_seeds_are_other_samples() -> None:
    keys = [
        key(), key(weights="v"), key(device="cuda"),
        key(replace(CONDITION, model=replace(CONDITION.model, dtype="bfloat16"))),
        *(key(replace(CONDITION, method=method)) for method in (Baseline(), BaselineRerun(), FewerSteps(25))),
        key(prompt=replace(PROMPT, text="another")), key(prompt=replace(PROMPT, seed_index=1)),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "setting",
    [
        "study=other",
        "root=elsewhere",
        "keep=scores",
        "timing=isolated",
        "metrics=pixel",
        "prompts.limit=1",
        "tracking=wandb",
    ],
)
def test_settings_of_the_study_decide_nothing(setting: str) -> None:
    """Through the real configuration, every field of a job but the condition is one that decides no pixel."""

    def composed(*overrides: str) -> Job:
        with initialize_config_dir(CONF, version_base="1.3"):
            return job_of(compose("config", ["method.k=5", "method.theta=0.5", *overrides]))

    plain, other = composed(), composed(setting)
    assert plain != other and key(plain.condition) == key(other.condition)
    assert other.condition == plain.condition


def test_every_setting_of_a_job_is_looked_at_here() -> None:
    decide_nothing = {"metrics", "study", "keep", "timing", "tracker"}
    assert {"condition", "prompts"} | decide_nothing == {f.name for f in fields(Job)}
    assert {f.name for f in fields(Condition)} == {"model_name", "model", "video", "method"}
    assert {f.name for f in fields(Prompt)} == {"id", "text", "seed_index", "dimensions"}
    identity = CONDITION.sample(PROMPT, "w", "cpu").identity
    assert set(identity) == {"generator_version", "model", "method", "spec"}
    assert set(identity["model"]) == {"weights_sha256", "dtype", "device_type", "tiling", "execution"}


def test_names_places_and_what_a_prompt_is_for_decide_nothing() -> None:
    elsewhere = replace(CONDITION.model, path="y", revision="r", device="cpu", min_gpu_gib=24.0)
    assert key(replace(CONDITION, model_name="b", model=elsewhere)) == key()
    assert key(prompt=replace(PROMPT, dimensions=("scene",))) == key()
    assert key(replace(CONDITION, method=Vgdfr(k=5, theta=0.5, global_layers="paper"))) == key()
