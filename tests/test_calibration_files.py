"""Calibrations belong to the weights of one model: their files, the keys of samples with them, and refusals."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_teacache import ONE, in_steps, with_cache

from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from vgdfr import Baseline, HunyuanVideo, Model, VideoSpec, generate
from vgdfr.accelerators import TeaCache
from vgdfr.accelerators.calibration import SHIPPED, Calibration, read, write
from vgdfr.architecture import Architecture
from vgdfr.backbones.base import Backbone, Codec
from vgdfr.methods import method_of
from vgdfr.presets import PRESETS

PROMPT = Prompt("00-still", "a red circle stays still over sand", 0)


def calibration_of(model: HunyuanVideo, file: Path, **changes: Any) -> str:
    write(replace(Calibration("teacache", model.dit_weights(), (3.0, 0.5), 4, 7.0), **changes), file)
    return str(file)


def condition_of(model: HunyuanVideo, spec: VideoSpec, accelerator: TeaCache) -> Condition:
    video = {name: getattr(spec, name) for name in VideoSettings.__slots__}
    return Condition("tiny", model, VideoSettings(**video), Baseline(accelerators=(accelerator,)))


@pytest.fixture
def model(tiny_checkpoint: Path) -> HunyuanVideo:
    return HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu")


def test_a_calibration_gives_its_values_to_the_sample_and_to_its_key(
    backbone: Backbone, model: HunyuanVideo, spec: VideoSpec, tmp_path: Path
) -> None:
    one = calibration_of(model, tmp_path / "one.json", values=ONE)
    same = calibration_of(model, tmp_path / "same.json", values=ONE, origin={"date": "another day"})
    other = calibration_of(model, tmp_path / "other.json", values=(1.5,))
    spec = in_steps(spec, 8)
    given, expected = (generate(backbone, spec, m) for m in (
        Baseline(accelerators=(TeaCache(2.5, one),)), with_cache(Baseline(), 2.5))
    )  # fmt: skip
    assert given.latents is not None and expected.latents is not None and torch.equal(given.latents, expected.latents)
    keys, slugs = {}, {}
    for name, file in (("one", one), ("same", same), ("other", other)):
        condition = condition_of(model, spec, TeaCache(2.5, file))
        condition.check()
        canonical = condition.canonical()
        assert canonical.canonical() == canonical
        sample = canonical.sample(PROMPT, {})
        (setting,) = sample.identity["method"]["accelerators"]
        assert setting["coefficients"] == list(read(Path(file)).values) and setting["calibration"] is None
        assert method_of(json.loads(json.dumps(canonical.method.settings()))) == canonical.method
        keys[name], slugs[name] = sample.key, canonical.slug
    assert keys["one"] == keys["same"] != keys["other"] and slugs["one"] == slugs["same"] != slugs["other"]
    assert slugs["one"].startswith("baseline-teacache.threshold=2.5.calibration=")


def test_a_calibration_of_another_model_is_refused_before_a_model_loads(
    backbone: Backbone, model: HunyuanVideo, spec: VideoSpec, tmp_path: Path
) -> None:
    embedded = PRESETS["embedded"].model
    file = calibration_of(embedded, tmp_path / "embedded.json")
    refused = {
        TeaCache(0.1, file): f"is a calibration of other weights: expected those of {model.path} .sha256:.*make one: ",
        TeaCache(0.1): f"no calibration of teacache ships for the weights of {model.path}; make one: python -m bench.ca"
        r"librate accelerator=teacache model=\.\.\., and name its file: accelerator.calibration=FILE",
        TeaCache(
            0.1, calibration_of(model, tmp_path / "m.json", accelerator="magcache", num_inference_steps=2)
        ): "must be a calibration of teacache, got one of magcache",
    }
    for accelerator, message in refused.items():
        with pytest.raises(ValueError, match=message):
            condition_of(model, spec, accelerator).check_settings()
        with pytest.raises(ValueError, match=message):
            generate(backbone, spec, Baseline(accelerators=(accelerator,)))
    with pytest.raises(FileNotFoundError, match=r"must be a file that bench.calibrate wrote, got nowhere.json, which"):
        condition_of(model, spec, TeaCache(0.1, "nowhere.json")).check_settings()
    with pytest.raises(ValueError, match="the backbone does not tell its model; set `backbone.model = self`"):
        TeaCache(0.1).calibrated(None, spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: "{", "Expecting property name enclosed in double quotes"),
        (lambda entries: [], "expected the entries accelerator, flow_shift, "),
        (lambda entries: {**entries, "more": 1}, "expected the entries accelerator, flow_shift, "),
        (lambda entries: {**entries, "values": []}, r"its values must be a list of finite numbers, got \[\]"),
        (lambda entries: {**entries, "values": [float("nan")]}, r"its values must be .*, got \[nan\]"),
        (lambda entries: {**entries, "num_inference_steps": "4"}, "num_inference_steps must be int, got '4'"),
        (lambda entries: {**entries, "accelerator": "magcache"}, "expected a ratio for each of its 4 steps, got 2"),
        (lambda entries: {**entries, "flow_shift": None}, "flow_shift must be a number, got None"),
    ],
)
def test_a_damaged_calibration_is_refused(
    model: HunyuanVideo, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    file = Path(calibration_of(model, tmp_path / "damaged.json"))
    assert read(file).values == (3.0, 0.5)
    entries = change(json.loads(file.read_text()))
    file.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    with pytest.raises(ValueError, match=f"damaged.json is no calibration: {message}"):
        read(file)


def test_calibrations_ship_for_the_models_that_have_choices() -> None:
    for name in ("embedded", "hunyuan_video"):
        preset = PRESETS[name]
        for model in (preset.model, replace(preset.model, dtype="float16", device="auto")):
            found = TeaCache(0.1).calibrated(model, VideoSpec("a cat", 0, **preset.video))
            assert found.coefficients is not None and len(found.coefficients) == 5
            assert found.words() == ["threshold=0.1"], "only a user's own calibration is named in a row"
    published = (7.33226126e02, -4.01131952e02, 6.75869174e01, -3.14987800e00, 9.61237896e-02)  # TeaCache's repository
    assert TeaCache(0.1).calibrated(PRESETS["hunyuan_video"].model, VideoSpec("a cat", 0, **preset.video)) == TeaCache(
        0.1, coefficients=published
    )
    assert all(read(file).origin for file in SHIPPED.glob("*.json"))


def test_weights_have_one_name_on_any_device_and_in_any_dtype(model: HunyuanVideo, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Softer(HunyuanVideo):
        strength: float = 1.0

    name = model.dit_weights()
    assert replace(model, dtype="bfloat16", device="auto", vae_dtype="float16").dit_weights() == name
    softer = [Softer(str(model.path), strength=strength).dit_weights() for strength in (1.0, 0.5)]
    assert len({name, *softer}) == 3 and all(each.startswith(f"{name} ") for each in softer)
    copy, changed = tmp_path / "copy", tmp_path / "changed"
    for folder in (copy, changed):
        shutil.copytree(Path(model.path) / "transformer", folder / "transformer")
    with (changed / "transformer" / "config.json").open("a") as config:
        config.write("\n")
    assert HunyuanVideo(str(copy)).dit_weights() == name, "the DiT's files alone count"
    assert HunyuanVideo(str(changed)).dit_weights() != name


def test_a_model_of_a_users_own_names_its_weights_by_its_settings() -> None:
    @dataclass(frozen=True)
    class Mine(Model):
        path: str
        device: str = "cpu"
        dtype: str = "float32"
        threads: int = field(default=1, compare=False)

        def architecture(self) -> Architecture:
            return Architecture(1, 1, 1, 1, 1)

        def load(self) -> Backbone:
            raise AssertionError("no model is loaded")

        def load_codec(self) -> Codec:
            raise AssertionError("no model is loaded")

    name = Mine("here").dit_weights()
    assert Mine("here", "cuda", "bfloat16", 2).dit_weights() == name != Mine("there").dit_weights()
    with pytest.raises(ValueError, match="no calibration of teacache ships for the weights of here"):
        TeaCache(0.1).calibrated(Mine("here"), VideoSpec("a cat", 0, **PRESETS["embedded"].video))
