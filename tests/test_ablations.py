"""The methods other than the main path: ablations, other schedules, comparison methods, and their failures."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference import euler

from vgdfr import Baseline, BrokenVideo, FewerSteps, HunyuanVideo, Vgdfr, VideoSpec, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.methods.compression import merge_latents
from vgdfr.methods.layers import positions_per_layer
from vgdfr.schedule import FrameSchedule, uniform
from vgdfr.solver import multi_step_denoise, one_step_denoise
from vgdfr.video import to_uint8

MAIN = Vgdfr(k=2, theta=0.01)


def test_merging_latents_takes_means_of_latent_groups() -> None:
    schedule = FrameSchedule.of_factors(33, [(1, 4), (17, 2)], frames_per_latent=4)
    latent = torch.arange(9.0)[None, None, :, None, None]
    assert merge_latents(latent, schedule).flatten().tolist() == [0, 2.5, 5.5, 7, 8]
    assert torch.equal(merge_latents(latent, FrameSchedule.keep_all(33, frames_per_latent=4)), latent)


@torch.inference_mode()
def test_without_the_module_noisy_latents_are_averaged_and_denoised_on(backbone: Backbone, spec: VideoSpec) -> None:
    video = generate(backbone, spec, dataclasses.replace(MAIN, merge_space="latent", global_layers=(1,)))
    velocity, sigmas = backbone.velocity(spec), backbone.solver(spec).sigmas
    x, _ = euler(velocity, backbone.noise(spec), sigmas[:3])
    assert video.schedule is not None and video.schedule == uniform(33, frames_per_latent=4)
    with backbone.shortened(video.schedule, positions_per_layer(video.schedule.kept_latents, (1,), 5)):
        x, _ = euler(velocity, merge_latents(x, video.schedule), sigmas[2:])
    assert np.array_equal(video.frames[list(video.schedule.kept_frames)], to_uint8(backbone.codec.decode(x)))


def test_a_borrowed_schedule_costs_the_ablation_nothing(backbone: Backbone, spec: VideoSpec) -> None:
    latent = dataclasses.replace(MAIN, merge_space="latent")
    borrowed, own = (
        generate(backbone, spec, dataclasses.replace(latent, schedule_from=source)) for source in ("clean", "noisy")
    )
    assert "borrow_schedule" in borrowed.seconds and borrowed.notes
    counted = ("denoise_full", "denoise_compressed", "other")
    assert borrowed.latency_s == pytest.approx(sum(borrowed.seconds[s] for s in counted))
    assert "compress" in own.seconds and not own.notes


@torch.inference_mode()
def test_without_denoise_and_renoise_the_noisy_latent_goes_through_the_module(
    backbone: Backbone, spec: VideoSpec
) -> None:
    video = generate(backbone, spec, dataclasses.replace(MAIN, denoise_renoise=False, global_layers=(1,)))
    velocity, sigmas = backbone.velocity(spec), backbone.solver(spec).sigmas
    x, _ = euler(velocity, backbone.noise(spec), sigmas[:3])
    assert video.schedule is not None
    with backbone.codec.reduced(1):
        noisy = backbone.codec.decode(x)
        groups = np.split(np.arange(33), list(video.schedule.kept_frames)[1:])
        x = backbone.codec.encode(torch.stack([noisy[g].mean(0) for g in groups]))
    with backbone.shortened(video.schedule, positions_per_layer(video.schedule.kept_latents, (1,), 5)):
        x, _ = euler(velocity, x, sigmas[2:])
    frames = to_uint8(backbone.codec.decode(x)).astype(int)
    assert np.abs(video.frames[list(video.schedule.kept_frames)] - frames).max() <= 1


def test_ablations_use_the_full_methods_schedule_or_the_noisy_latents(backbone: Backbone, spec: VideoSpec) -> None:
    of_main = generate(backbone, spec, MAIN).similarity
    assert of_main is not None
    for change in ({"merge_space": "latent"}, {"denoise_renoise": False}):
        ablated = dataclasses.replace(MAIN, **change)
        own = dataclasses.replace(ablated, schedule_from="noisy")
        shared, noisy = (generate(backbone, spec, method).similarity for method in (ablated, own))
        assert shared is not None and noisy is not None
        assert np.array_equal(shared.lag1, of_main.lag1) and not np.array_equal(noisy.lag1, of_main.lag1)


def test_several_preview_steps_down_a_straight_flow_arrive_exactly() -> None:
    clean, noise = torch.randn(2, 1, 4, 3, 2, 2, dtype=torch.float64)
    sigmas, v = [0.8, 0.6, 0.5, 0.1, 0.0], noise - clean
    x = 0.8 * noise + 0.2 * clean
    for stale in (False, True):
        for steps in (1, 2, 3, 4):
            assert torch.allclose(multi_step_denoise(lambda x, s: v, x, v, [1.0, *sigmas], 1, steps, stale), clean)
        with pytest.raises(ValueError, match="between 1 and the 4 left, got 5"):
            multi_step_denoise(lambda x, s: x, x, v, [1.0, *sigmas], 1, 5, stale)


def test_one_preview_step_is_the_one_step_denoise() -> None:
    x, v = torch.randn(2, 1, 1, 4, 3, 2)
    assert torch.equal(multi_step_denoise(lambda x, s: x, x, v, [0.7, 0.4, 0.0], 0, 1), one_step_denoise(x, v, 0.7))


def test_the_stale_preview_sees_one_latent_and_the_other_its_own_at_shifted_noise_levels() -> None:
    """With flow shift 7 the steps are far from equal, but the released code's steps stay equal."""
    seen: list[tuple[float, float]] = []

    def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
        seen.append((float(x), sigma))
        return torch.full_like(x, 2.0)

    x, v = torch.ones(1, 1, 1, 1, 1), torch.full((1, 1, 1, 1, 1), 1.0)
    sigmas = [7 * s / (1 + 6 * s) for s in (0.8, 0.6, 0.4, 0.2, 0.0)]
    latest = multi_step_denoise(velocity, x, v, sigmas, 0, 2)
    after_one = 1 + (sigmas[2] - sigmas[0]) * 1
    assert seen == [(pytest.approx(after_one), sigmas[2])]
    assert float(latest) == pytest.approx(after_one - sigmas[2] * 2)
    seen.clear()
    stale = multi_step_denoise(velocity, x, v, sigmas, 0, 2, as_released=True)
    assert seen == [(1.0, sigmas[2])]
    assert float(stale) == pytest.approx(1 - sigmas[0] / 2 * 1 - sigmas[0] / 2 * 2)


def test_the_stale_preview_is_at_the_released_codes_noise_levels() -> None:
    """The index is round(k + left / steps * i), so 28 for k = 5 and 2 of 50 steps.

    k + round(i * left / steps) would give 27.
    """
    seen: list[float] = []

    def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
        seen.append(sigma)
        return x

    x, sigmas = torch.ones(1, 1, 1, 1, 1), [1 - i / 50 for i in range(51)]
    for k, steps, expected in ((5, 2, [28]), (10, 3, [23, 37]), (5, 4, [16, 28, 39]), (15, 2, [32])):
        seen.clear()
        multi_step_denoise(velocity, x, x, sigmas, k, steps, as_released=True)
        assert seen == [sigmas[i] for i in expected]


def test_more_preview_steps_change_the_preview_alone(backbone: Backbone, spec: VideoSpec) -> None:
    one, latest, stale = (
        generate(backbone, spec, dataclasses.replace(MAIN, preview_steps=n, preview_latent=latent)).similarity
        for n, latent in ((1, "latest"), (2, "latest"), (2, "as_released"))
    )
    assert one is not None and latest is not None and stale is not None
    assert not np.array_equal(one.lag1, latest.lag1) and not np.array_equal(latest.lag1, stale.lag1)


def test_uniform_and_a_low_threshold_are_the_same_video(backbone: Backbone, spec: VideoSpec) -> None:
    every = generate(backbone, spec, Vgdfr(k=2, schedule="uniform"))
    assert np.array_equal(every.frames, generate(backbone, spec, MAIN).frames)
    assert every.similarity is None  # nothing depends on the similarity, so it is not computed


def test_a_token_ratio_is_kept_to(backbone: Backbone, spec: VideoSpec) -> None:
    video = generate(backbone, spec, Vgdfr(k=1, schedule="token_ratio", token_ratio=0.7))
    assert video.schedule is not None and video.schedule.token_ratio == pytest.approx(7 / 9)


def test_a_token_ratio_out_of_reach_is_said(backbone: Backbone, spec: VideoSpec) -> None:
    video = generate(backbone, spec, Vgdfr(k=1, schedule="token_ratio", token_ratio=0.2))
    assert video.schedule == uniform(33, frames_per_latent=4)
    assert video.notes == ("asked for 0.2 of the tokens, kept 0.56: all blocks merged",)


def test_fewer_steps_are_a_baseline_of_fewer_steps(backbone: Backbone, spec: VideoSpec) -> None:
    fewer = generate(backbone, spec, FewerSteps(2)).frames
    assert np.array_equal(
        fewer, generate(backbone, dataclasses.replace(spec, num_inference_steps=2), Baseline()).frames
    )
    with pytest.raises(ValueError, match=r"steps .* must be below num_inference_steps \(4\), got 4"):
        generate(backbone, spec, FewerSteps(4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 1}, "the threshold schedule needs theta"),
        ({"k": 1, "schedule": "token_ratio"}, "the token_ratio schedule needs token_ratio"),
        ({"k": 1, "schedule": "uniform", "theta": 0.5}, "the uniform schedule has no theta"),
        ({"k": 1, "schedule": "uniform", "max_merge": 8}, "max_merge must be 2 or 4, got 8"),
        ({"k": 1, "schedule": "uniform", "theta": 0.5}, "has no theta, got 0.5; set theta to null"),
        ({"k": 1, "schedule": "uniform", "schedule_from": "noisy"}, "schedule_from has no effect in the uniform"),
        ({"k": 1, "schedule": "uniform", "similarity_dtype": "float16"}, "similarity_dtype has no effect in the uni"),
        ({"k": 1, "theta": 0.5, "search": "released"}, "search belongs to the token_ratio schedule"),
        ({"k": 1, "theta": 0.5, "merge_space": "latent", "denoise_renoise": False}, "no denoise and renoise"),
        ({"k": 1, "theta": 0.5, "preview_steps": 0}, "preview_steps must be at least 1"),
        ({"k": 1, "theta": 0.5, "preview_latent": "as_released"}, "needs preview_steps of 2 or more"),
        ({"k": 1, "schedule": "token_ratio", "token_ratio": 0.5, "search": "released", "max_merge": 2}, "must be 4"),
        (
            {"k": 1, "schedule": "uniform", "placement": "least_error"},
            "merges every block; leave out placement=least_error",
        ),
        (
            {"k": 1, "schedule": "token_ratio", "token_ratio": 0.5, "search": "released", "placement": "least_error"},
            "search=released places blocks as the released code; leave out placement=least_error",
        ),
        ({"k": 1, "schedule": "token_ratio", "token_ratio": 1.2}, r"token_ratio must be in \(0, 1\]"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vgdfr(**settings)


def test_settings_that_do_not_fit_the_video_are_refused(backbone: Backbone, spec: VideoSpec) -> None:
    with pytest.raises(ValueError, match=r"spatial_levels must be one of \[1\] .* 32x32 .* 11 pixels"):
        generate(backbone, spec, Vgdfr(k=1, theta=0.5, spatial_levels=2))
    with pytest.raises(ValueError, match="preview_steps must be at most the 3 steps left after k, got 4"):
        generate(backbone, spec, Vgdfr(k=1, theta=0.5, preview_steps=4))


def test_output_of_one_colour_is_an_error_that_says_so() -> None:
    blue = torch.zeros(5, 3, 8, 8)
    blue[:, 2] = 1
    with pytest.raises(BrokenVideo, match=r"RGB \[128, 128, 255\]") as caught:
        to_uint8(blue)
    assert caught.value.kind == "constant"
    blue[4, 0, 3, 3] = 1
    to_uint8(blue)


@pytest.mark.parametrize("method", [Baseline(), MAIN, Vgdfr(k=2, theta=1.0)])
def test_a_dit_that_gives_nan_is_an_error_that_says_so(
    tiny_checkpoint: Path, spec: VideoSpec, method: Baseline | Vgdfr
) -> None:
    broken = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu").load()
    broken.transformer.proj_out.weight.fill_(float("nan"))
    with pytest.raises(BrokenVideo, match="not finite") as caught:
        generate(broken, spec, method)
    assert caught.value.kind == "nan"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), torch.OutOfMemoryError("no memory")])
@pytest.mark.parametrize("passes", [1, 3])
def test_an_exception_within_a_sample_leaves_the_backbone_as_it_was(
    backbone: Backbone, spec: VideoSpec, error: BaseException, passes: int
) -> None:
    """The DiT raises before and after compression, and the next sample is bit-identical to an undisturbed one."""
    assert isinstance(backbone, HunyuanVideoBackbone)
    expected = [generate(backbone, spec, method).frames for method in (MAIN, Baseline())]
    seen = 0

    def broken(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > passes:
            raise error

    hook = backbone.transformer.single_transformer_blocks[0].register_forward_pre_hook(broken)
    with pytest.raises(type(error)):
        generate(backbone, spec, MAIN)
    hook.remove()
    again = [generate(backbone, spec, method).frames for method in (MAIN, Baseline())]
    assert all(np.array_equal(a, b) for a, b in zip(expected, again, strict=True))
