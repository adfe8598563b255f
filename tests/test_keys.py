"""A sample's key changes with every setting that decides its pixels, and with nothing else."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from bench.plan.command_line import CONF
from bench.plan.condition import Condition, VideoSettings
from bench.plan.job import Job
from bench.plan.prompts import Prompt, embedded
from bench.plan.settings import job_of
from vgdfr import Baseline, BaselineRerun, FewerSteps, HunyuanVideo, Method, Model, Vgdfr
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.tiling import Tiling
from vgdfr.embedded import CHECKPOINT
from vgdfr.files import sha256
from vgdfr.presets import PRESETS

VIDEO = VideoSettings(
    height=64, width=64, num_frames=33, num_inference_steps=50, guidance_scale=6.0, flow_shift=7.0, fps=12
)
CONDITION = Condition("a", HunyuanVideo(str(CHECKPOINT), dtype="float32"), VIDEO, Vgdfr(k=5, theta=0.5))
RATIO = replace(CONDITION, method=Vgdfr(k=5, schedule="token_ratio", token_ratio=0.7))
PROMPT = Prompt("p", "a prompt", 0)
OTHER_VIDEO = {
    "height": 96, "width": 96, "num_frames": 37, "num_inference_steps": 30, "guidance_scale": 1.0, "flow_shift": 1.0,
    "fps": 24,
}  # fmt: skip
# Another value of each setting of Vgdfr, together with the settings that it needs.
OTHER_METHOD: dict[str, dict[str, Any]] = {
    "k": {"k": 10}, "theta": {"theta": 0.6}, "max_merge": {"max_merge": 2}, "global_layers": {"global_layers": "none"},
    "spatial_levels": {"spatial_levels": 2}, "similarity_dtype": {"similarity_dtype": "float16"},
    "interpolator": {"interpolator": "linear"}, "preview_steps": {"preview_steps": 2},
    "preview_latent": {"preview_steps": 2, "preview_latent": "as_released"}, "merge_space": {"merge_space": "latent"},
    "denoise_renoise": {"denoise_renoise": False}, "schedule_from": {"schedule_from": "noisy"},
    "schedule": {"schedule": "uniform", "theta": None}, "steps": {"steps": 25},
    "residual": {"residual": "mean"}, "keep_unmerged": {"keep_unmerged": True}, "noise": {"noise": "own"},
    "positions": {"positions": "centre"}, "anchor": {"anchor": 4.0}, "full_steps": {"full_steps": 5},
    "full_from": {"full_steps": 5, "full_from": "preview"}, "placement": {"placement": "least_error"},
}  # fmt: skip
OTHER_MODEL: dict[str, Any] = {
    "dtype": "bfloat16", "tiling": Tiling(frames=32), "execution": Execution(offload="blocks"),
    "vae_dtype": "float16", "text_dtype": "float16",
}  # fmt: skip


def key(condition: Condition = CONDITION, prompt: Prompt = PROMPT, device: str = "cpu") -> str:
    return condition.sample(prompt, condition.model.identity(device)).key


def test_every_setting_is_looked_at_here() -> None:
    assert set(OTHER_VIDEO) == {f.name for f in fields(VideoSettings)}
    elsewhere = {"token_ratio", "search", "interpolator_weights", "accelerators"}
    assert {*OTHER_METHOD, *elsewhere} == {f.name for f in fields(Vgdfr)}
    elsewhere = {
        "path",
        "revision",
        "device",
        "min_gpu_gib",
    }  # the key holds the weights' hash and the kind of device instead
    assert {*OTHER_MODEL, *elsewhere} == {f.name for f in fields(HunyuanVideo)}


@pytest.mark.parametrize("name", OTHER_VIDEO)
def test_another_video_setting_is_another_sample(name: str) -> None:
    assert key(replace(CONDITION, video=replace(VIDEO, **{name: OTHER_VIDEO[name]}))) != key()


@pytest.mark.parametrize("name", OTHER_MODEL)
def test_another_setting_of_the_model_is_another_sample(name: str) -> None:
    assert key(replace(CONDITION, model=replace(CONDITION.model, **{name: OTHER_MODEL[name]}))) != key()


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


def test_other_weights_devices_methods_prompts_and_seeds_are_other_samples(tmp_path: Path) -> None:
    other = replace(CONDITION.model, path=str(changed(tmp_path, "vae/config.json", _comment="another file")))
    keys = [
        key(), key(replace(CONDITION, model=other)), key(device="cuda"),
        *(key(replace(CONDITION, method=method)) for method in (Baseline(), BaselineRerun(), FewerSteps(25))),
        key(prompt=replace(PROMPT, text="another")), key(prompt=replace(PROMPT, seed_index=1)),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def changed(folder: Path, name: str, **values: Any) -> Path:
    """Returns the embedded checkpoint in `folder`, with `values` changed in its file `name`."""
    for file in (file for file in CHECKPOINT.rglob("*") if file.is_file()):
        place = folder / file.relative_to(CHECKPOINT)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(file)
    (folder / name).unlink()
    (folder / name).write_text(json.dumps(json.loads((CHECKPOINT / name).read_text()) | values))
    return folder


BASELINE = Condition("embedded", PRESETS["embedded"].model, VideoSettings(**PRESETS["embedded"].video), Baseline())


@pytest.mark.parametrize(
    ("method", "stored"),
    [
        (Baseline(), "5c4849a465705f9f9f100c3eb62f8d1ebf5e9e45545c8571b7415cff0a38058f"),
        (Vgdfr(k=5, theta=0.5), "cdcd87c6b030eb178743e77135c33e9562fb1b4621b25665726948b975b5e593"),
        (Vgdfr(k=15, theta=0.9), "3369f90fb9b0f9a83990d13a0dc7cc9305cf88dcbd1a5e4ad8717186d6b56c68"),
    ],
)
def test_samples_of_the_embedded_model_that_version_0_1_0_stored_are_found(method: Method, stored: str) -> None:
    """The keys are those of `+exp=table1` at commit ff29262. The pixels are the same, so no sample is made again."""
    prompt = next(Prompt(id, text, 0) for id, text in embedded() if id == "00-still")
    assert key(replace(BASELINE, method=method), prompt) == stored


def test_what_gives_a_model_other_pixels_than_before_is_in_its_key_and_in_no_others(tmp_path: Path) -> None:
    plain = CONDITION.model
    known = {"weights_sha256", "dtype", "device_type", "tiling", "execution"}
    assert set(plain.identity("cpu")) == known

    def added(model: Model, device: str = "cpu") -> dict[str, Any]:
        return {name: value for name, value in model.identity(device).items() if name not in known}

    assert added(plain, "cuda") == {"float32": "ieee"}
    assert added(replace(plain, vae_dtype="float16", text_dtype="float32")) == {"vae_dtype": "float16"}
    llama = changed(tmp_path / "llama", "model_index.json", tokenizer=["transformers", "LlamaTokenizerFast"])
    assert added(replace(plain, path=str(llama))) == {"tokenizer": "tokenizer.json"}
    attending = changed(tmp_path / "attending", "vae/config.json", mid_block_add_attention=True)
    assert added(replace(plain, path=str(attending))) == {"vae_attention": "by_frame"}


class OtherModel(HunyuanVideo):
    """A user's model class, whose pixels may be anything."""


class OtherVersion(HunyuanVideo):
    version = 2


@dataclass(frozen=True, slots=True)
class WithAField(HunyuanVideo):
    knob: int = 3


def test_a_field_of_a_class_of_ones_own_is_in_its_key() -> None:
    models = [WithAField(CONDITION.model.path, dtype="float32", knob=knob) for knob in (3, 4)]
    assert len({key(replace(CONDITION, model=model)) for model in models}) == 2


def test_another_class_or_version_of_a_model_is_another_sample() -> None:
    own, second = (kind(CONDITION.model.path, dtype="float32") for kind in (OtherModel, OtherVersion))
    keys = {key(), *(key(replace(CONDITION, model=model)) for model in (own, second))}
    assert len(keys) == 3
    assert own.identity("cpu")["class"] == {"name": f"{__name__}.OtherModel", "version": 1}


def test_settings_of_the_method_that_gave_other_pixels_before_have_an_entry(tmp_path: Path) -> None:
    weights = tmp_path / "flownet.pkl"
    weights.write_bytes(b"weights")
    known = {"name", *(f.name for f in fields(Vgdfr))} - {"interpolator_weights"}

    def added(**settings: Any) -> dict[str, Any]:
        condition = replace(CONDITION, method=Vgdfr(k=5, theta=0.5, **settings))
        identity = condition.sample(PROMPT, {}).identity["method"]
        return {name: value for name, value in identity.items() if name not in known}

    assert added() == added(preview_steps=2) == {}
    assert added(similarity_dtype="float16") == {"ssim": "pytorch_msssim"}
    assert added(preview_steps=2, preview_latent="as_released") == {"preview_at_steps": [28]}, (
        "the earlier index was 27"
    )
    assert added(preview_steps=3, preview_latent="as_released") == {}, "the indices 20 and 35 have not changed"
    assert added(interpolator="rife", interpolator_weights=str(weights)) == {
        "rife_sha256": sha256(weights), "rife_input": "floats"
    }  # fmt: skip


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
    """Every field of a job except the condition is changed through the real configuration, and no key changes."""

    def composed(*overrides: str) -> Job:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return job_of(compose("config", ["method.k=5", "method.theta=0.5", *overrides]))

    plain, other = composed(), composed(setting)
    assert plain != other and key(plain.condition) == key(other.condition)
    assert other.condition == plain.condition


def test_every_setting_of_a_job_is_looked_at_here() -> None:
    # the number of threads and the CPU may change last bits; a record names both
    decide_nothing = {"metrics", "study", "keep", "timing", "threads", "tracker"}
    assert {"condition", "prompts"} | decide_nothing == {f.name for f in fields(Job)}
    assert {f.name for f in fields(Condition)} == {"model_name", "model", "video", "method"}
    assert {f.name for f in fields(Prompt)} == {"id", "text", "seed_index", "dimensions"}
    identity = CONDITION.sample(PROMPT, CONDITION.model.identity()).identity
    assert set(identity) == {"generator_version", "model", "method", "spec"}


def test_names_places_and_what_a_prompt_is_for_decide_nothing(tmp_path: Path) -> None:
    (tmp_path / "y").symlink_to(CHECKPOINT)
    elsewhere = replace(CONDITION.model, path=str(tmp_path / "y"), revision="r", device="cpu", min_gpu_gib=24.0)
    assert key(replace(CONDITION, model_name="b", model=elsewhere)) == key()
    assert key(prompt=replace(PROMPT, dimensions=("scene",))) == key()
    assert key(replace(CONDITION, method=Vgdfr(k=5, theta=0.5, global_layers="paper"))) == key()
