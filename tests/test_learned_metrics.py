"""Compares metrics that use a network with the public packages' own code, and checks known mistakes."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import open_clip
import pytest
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from bench.embedded.world import Attributes, render
from metrics import METRICS, Metric, clip, devices, embedded, named, perceptual
from metrics.clip import ClipModel
from metrics.weights import ALEXNET, CLIP_VIT_B_32

SCENE = Attributes("red", "cross", "sand", "slow", "left")
VIDEO = render(SCENE, 1).frames[:40]
EMBEDDED = [m for m in METRICS.values() if m.embedded]


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return clip.embedded()


@torch.no_grad()
def test_clipsim_and_clip_temp_are_cosines_frame_by_frame() -> None:
    """The reference embeds one frame at a time with open_clip, as the public tools do."""
    name = f"local-dir:{embedded.CLIP}"
    network, _, preprocess = open_clip.create_model_and_transforms(name)
    network = network.eval()
    assert isinstance(network, open_clip.CLIP) and callable(preprocess)
    text = network.encode_text(open_clip.get_tokenizer(name)([SCENE.caption]))
    images = torch.cat([network.encode_image(torch.as_tensor(preprocess(Image.fromarray(f)))[None]) for f in VIDEO])
    fit = torch.nn.functional.cosine_similarity(images, text)
    steps = torch.nn.functional.cosine_similarity(images[:-1], images[1:])
    clipsim = METRICS["clipsim_embedded"](VIDEO, prompt=SCENE.caption)
    assert clipsim.per_frame == pytest.approx(fit.numpy(), abs=1e-5)
    assert clipsim.value == pytest.approx(float(fit.mean()), abs=1e-5) and clipsim.extra == {"truncated": 0.0}
    assert METRICS["clip_temp_embedded"](VIDEO).per_frame == pytest.approx(steps.numpy(), abs=1e-5)


def test_the_right_prompt_fits_better_than_a_wrong_one() -> None:
    metric = METRICS["clipsim_embedded"]
    wrong = Attributes("blue", "circle", "water", "slow", "left").caption
    assert metric(VIDEO, prompt=SCENE.caption).value > metric(VIDEO, prompt=wrong).value + 0.2


def test_a_prompt_that_is_cut_is_said(model: ClipModel) -> None:
    longest = "red " * (model.model.context_length - 2)
    assert [clip.clipsim(model, VIDEO[:2], text).extra["truncated"] for text in (longest, longest + "red")] == [0, 1]


def test_one_pass_serves_all_of_a_videos_metrics(model: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encode = open_clip.CLIP.encode_image
    monkeypatch.setattr(open_clip.CLIP, "encode_image", lambda *a, **k: seen.append(len(a[1])) or encode(*a, **k))
    video = VIDEO.copy()
    video.flags.writeable = False  # like the frames that are read from a file
    for name in ("clipsim_embedded", "clip_temp_embedded", "vqa_embedded"):
        METRICS[name](video, prompt=SCENE.caption)
    assert sum(seen) == len(video) and max(seen) <= clip.BATCH
    other = VIDEO[::-1].copy()
    assert METRICS["clip_temp_embedded"](other).per_frame == pytest.approx(
        METRICS["clip_temp_embedded"](video).per_frame[::-1], abs=1e-5
    )


def test_a_frozen_video_does_not_change_in_clips_eyes() -> None:
    assert METRICS["clip_temp_embedded"](VIDEO[[0] * 5]).value == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="at least two"):
        METRICS["clip_temp_embedded"](VIDEO[:1])


def test_lpips_takes_minus_one_to_one_and_the_mean_over_frames_not_batches() -> None:
    noise = np.random.default_rng(0).normal(0, 20, VIDEO.shape) * np.linspace(0, 1, len(VIDEO))[:, None, None, None]
    noisy = np.clip(VIDEO + noise, 0, 255).astype(np.uint8)
    score = METRICS["lpips_embedded"](noisy, VIDEO)
    assert score.per_frame is not None and len(score.per_frame) == 40 and 40 % perceptual.BATCH
    assert score.value == pytest.approx(score.per_frame.mean())
    network = perceptual.embedded()
    with torch.no_grad():
        one = float(network(*(perceptual.to_tensor(v[-1:]) for v in (noisy, VIDEO))))
        wrong = float(network(*(perceptual.to_tensor(v[-1:]) / 2 + 0.5 for v in (noisy, VIDEO))))
    assert score.per_frame[-1] == pytest.approx(one, rel=1e-4) and abs(wrong - one) > 0.1 * one
    assert perceptual.to_tensor(VIDEO).min() < -0.5


@pytest.mark.parametrize("metric", EMBEDDED, ids=lambda m: m.name)
def test_embedded_metrics_say_so_and_are_known_by_their_weights(metric: Metric) -> None:
    assert metric.name.endswith("_embedded") and len(metric.id.rsplit("-", 1)[1]) == 64


@torch.no_grad()
def test_openais_clip_with_its_own_and_with_evalcrafters_preprocessing(public: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        loaded = open_clip.load_openai_model(str(CLIP_VIT_B_32.file), precision="fp32", device="cpu")
    text = torch.nn.functional.normalize(loaded.encode_text(open_clip.tokenize([SCENE.caption])), dim=-1)[0]
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    for name, size, normalise in (("clipsim", 64, True), ("clipsim_evalcrafter", 32, False)):
        frames = render(SCENE, 1, size=size).frames[:3] if normalise else VIDEO[:3]
        if normalise:  # CLIP's own preprocessing resizes bicubically to the model's size
            images = [np.asarray(Image.fromarray(f).resize((32, 32), Image.Resampling.BICUBIC)) for f in frames]
            pixels = [(torch.from_numpy(i.copy()).permute(2, 0, 1) / 255 - mean) / std for i in images]
        else:
            whole = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
            pixels = list(torch.nn.functional.interpolate(whole, (32, 32), mode="bilinear"))
        images = torch.nn.functional.normalize(loaded.encode_image(torch.stack(pixels)), dim=-1)
        score = METRICS[name](frames, prompt=SCENE.caption)
        assert score.per_frame == pytest.approx((images @ text).numpy(), abs=1e-5)


@torch.no_grad()
def test_evalcrafters_clip_temp_sees_what_its_clipsim_sees(public: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        loaded = open_clip.load_openai_model(str(CLIP_VIT_B_32.file), precision="fp32", device="cpu")
    whole = torch.from_numpy(VIDEO[:3]).permute(0, 3, 1, 2).float()
    images = loaded.encode_image(torch.nn.functional.interpolate(whole, (32, 32), mode="bilinear"))
    steps = torch.nn.functional.cosine_similarity(images[:-1], images[1:])
    assert METRICS["clip_temp_evalcrafter"](VIDEO[:3]).per_frame == pytest.approx(steps.numpy(), abs=1e-5)
    assert METRICS["clip_temp_evalcrafter"].id != METRICS["clip_temp"].id


@torch.no_grad()
def test_the_embedded_vqa_is_clips_choice_among_opposites(model: ClipModel) -> None:
    texts = ["a clear video", "a blurred video", "a noisy video", "a ghosted video"]
    tokens = open_clip.get_tokenizer(f"local-dir:{embedded.CLIP}")(texts)
    logits = model.model.get_logits(torch.stack([model.preprocess(f) for f in VIDEO[:4]]), tokens)[0]
    expected = 100 * logits.softmax(-1)[:, 0]
    assert METRICS["vqa_embedded"](VIDEO[:4]).per_frame == pytest.approx(expected.numpy(), abs=1e-2)


def test_opposites_are_compared_on_one_device_for_a_model_on_a_gpu() -> None:
    """Fake tensors have a device and no content. They refuse to mix devices, as a GPU does, and need none."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            vision = open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32)
            network = open_clip.CLIP(16, vision, open_clip.CLIPTextCfg(layers=1, width=64, heads=1), quick_gelu=True)
        tokenizer = open_clip.SimpleTokenizer(context_length=network.context_length)
        small = ClipModel(network.eval(), lambda frame: torch.zeros(3, 32, 32), tokenizer, len)
        chances = clip.probabilities(small, VIDEO[:4], ["a clear video", "a blurred video", "a noisy video"])
        assert network.logit_scale.device.type == "cuda" and chances.device.type == "cpu" and chances.shape == (4, 3)


def test_a_file_that_is_not_the_pinned_one_is_not_taken(public: Path) -> None:
    assert METRICS["lpips"].missing is None
    torch.save({"features.0.weight": torch.zeros(1)}, ALEXNET.file)
    assert METRICS["lpips"].missing == ALEXNET
    assert "python -m bench.prefetch" in str(METRICS["lpips"].attempt(METRICS["lpips"].id, VIDEO[:2], VIDEO[:2]))


def test_lpips_has_its_own_heads_on_torchvisions_alexnet(public: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    stored = torch.load(ALEXNET.file)
    for name, value in torch.nn.Module.state_dict(reference.net).items():
        value.copy_(stored[f"features.{name.split('.', 1)[1]}"])
    pair = VIDEO[:3], VIDEO[10:13]
    with torch.no_grad():
        expected = reference.eval()(*(perceptual.to_tensor(v) for v in pair)).flatten()
    assert METRICS["lpips"](*pair).per_frame == pytest.approx(expected.numpy(), rel=1e-4)


def test_weights_that_are_not_there_are_named_and_change_the_id(
    public: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = METRICS["lpips"].id
    monkeypatch.setenv("VGDFR_CACHE", str(tmp_path / "nothing"))
    assert METRICS["lpips"].missing == ALEXNET and METRICS["lpips"].id != there
    with pytest.raises(FileNotFoundError, match="no AlexNet weights at"):
        METRICS["lpips"](VIDEO[:2], VIDEO[:2])


def test_a_metric_that_needs_a_prompt_says_so() -> None:
    with pytest.raises(ValueError, match="clipsim_embedded compares with the prompt, got none"):
        METRICS["clipsim_embedded"](VIDEO)


def test_a_users_own_clip_model_goes_by_its_path(tmp_path: Path, public: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(embedded.CLIP, folder)
    clipsim, clip_temp = named([f"clipsim:{folder}", f"clip_temp:{folder}"])
    assert clipsim(VIDEO, prompt=SCENE.caption).value == METRICS["clipsim_embedded"](VIDEO, prompt=SCENE.caption).value
    assert clip_temp(VIDEO).value == METRICS["clip_temp_embedded"](VIDEO).value
    assert clipsim.name == f"clipsim:{folder}" and len(clipsim.id.rsplit("-", 1)[1]) == 64 and not clipsim.embedded
    weights = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("RN50-quickgelu", pretrained=None).state_dict(), weights)
    (by_name,) = named([f"clip_temp:RN50-quickgelu@{weights}"])
    assert (
        abs(by_name(VIDEO[:2]).value) <= 1 + 1e-6 and "RN50-quickgelu" in by_name.id
    )  # cosines in float32 may exceed 1 slightly
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(RuntimeError, match="[Pp]retrained weights"):  # random weights are never used instead
        clipsim(VIDEO, prompt=SCENE.caption)
    with pytest.raises(ValueError, match="clipsim:nowhere needs a folder in open_clip's local-dir format"):
        named(["clipsim:nowhere"])


def test_ids_on_a_gpu_say_so_and_those_on_the_cpu_are_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids keep scores of different devices apart. Ids for float32 on the CPU have no addition."""
    names = ["psnr", "lpips_embedded", "clipsim_embedded", "vqa_embedded", "clip_temp", "lpips", "vqa"]
    on_cpu = {name: METRICS[name].id for name in names}
    assert not any("cpu" in id or "float32" in id for id in on_cpu.values())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices, "dover_device", lambda: "cuda")
    on_gpu = {name: METRICS[name].id for name in names}
    always_on_the_cpu = {"psnr", "lpips_embedded"}
    assert {name for name in names if on_gpu[name] == on_cpu[name]} == always_on_the_cpu
    assert all(on_gpu[name] == f"{on_cpu[name]}-cuda-float32" for name in names if name not in always_on_the_cpu)


class SeenTF32(TorchFunctionMode):
    """Records for each convolution and matrix product whether cuDNN was allowed to use TF32."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.nn.functional.conv2d, torch.conv2d, torch.nn.functional.linear):
            self.allowed.append(torch.backends.cudnn.allow_tf32)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["lpips_embedded", "clipsim_embedded"])
def test_the_networks_see_no_tf32(name: str) -> None:
    assert torch.backends.cudnn.allow_tf32, "this is PyTorch's default"
    video = VIDEO[:2].copy()
    with SeenTF32() as seen:
        METRICS[name](video, video[::-1].copy(), "a red circle")
    assert seen.allowed and not any(seen.allowed)
