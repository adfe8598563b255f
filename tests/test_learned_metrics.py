"""Metrics that look through a network: against the packages' own ways, and the known mistakes."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from bench.embedded.world import Attributes, render
from metrics import METRICS, clip, embedded, perceptual
from metrics.clip import ClipModel

SCENE = Attributes("red", "cross", "sand", "slow", "left")
VIDEO = render(SCENE, 1).frames[:40]
LEARNED = [m for m in METRICS.values() if m.weights]


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return clip.embedded()


@torch.no_grad()
def test_clipsim_and_clip_temp_are_cosines_frame_by_frame() -> None:
    """One frame at a time through open_clip, as the public tools do it."""
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
    longest = "red " * (model.tokenizer.context_length - 2)
    assert [clip.clipsim(model, VIDEO[:2], text).extra["truncated"] for text in (longest, longest + "red")] == [0, 1]


def test_one_pass_serves_all_of_a_videos_metrics(model: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encode = open_clip.CLIP.encode_image
    monkeypatch.setattr(open_clip.CLIP, "encode_image", lambda *a, **k: seen.append(len(a[1])) or encode(*a, **k))
    video = VIDEO.copy()
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


@pytest.mark.parametrize("metric", LEARNED, ids=lambda m: m.name)
def test_learned_metrics_are_marked_and_named_by_their_weights(metric: object) -> None:
    assert isinstance(metric, type(METRICS["psnr"]))
    assert metric.embedded and metric.name.endswith("_embedded") and "no-weights" not in metric.id


def test_a_metric_that_needs_a_prompt_says_so() -> None:
    with pytest.raises(ValueError, match="clipsim_embedded compares with the prompt, got none"):
        METRICS["clipsim_embedded"](VIDEO)
