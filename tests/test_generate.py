"""Identities of the generator as a whole."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import HunyuanVideoPipeline
from hydra import compose, initialize_config_dir
from reference import euler
from transformers import PreTrainedTokenizerFast

from bench.plan.command_line import CONF
from bench.plan.settings import job_of
from vgdfr import Baseline, Vgdfr, VideoSpec, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.backbones.hunyuan_vae import reduced
from vgdfr.method import check_method
from vgdfr.methods.layers import positions_per_layer
from vgdfr.methods.similarity import frame_similarity
from vgdfr.solver import one_step_denoise, renoise
from vgdfr.video import to_uint8

MERGING = Vgdfr(k=1, theta=0.01, spatial_levels=1)


def test_keeping_everything_is_the_baseline(backbone: Backbone, spec: VideoSpec) -> None:
    kept = generate(backbone, spec, Vgdfr(k=1, theta=1.0))
    assert kept.schedule is not None and kept.schedule.keeps_everything and kept.notes
    assert np.array_equal(kept.frames, generate(backbone, spec, Baseline()).frames)


@torch.inference_mode()
def test_the_compressed_path_is_the_method_written_out(backbone: Backbone, spec: VideoSpec) -> None:
    """The test does every step by hand on the pipeline's parts.

    The steps are preview, SSIM, means, encoding, renoise, DyRoPE and interpolation.
    """
    k = 2
    video = generate(backbone, spec, Vgdfr(k=k, theta=0.01, global_layers=(1, 4), interpolator="linear"))
    assert isinstance(backbone, HunyuanVideoBackbone) and video.schedule is not None and video.similarity is not None
    vae, scale = backbone.codec.vae, backbone.codec.vae.config.scaling_factor
    velocity, noise, sigmas = backbone.velocity(spec), backbone.noise(spec), backbone.solver(spec).sigmas
    x, v = noise, noise
    for i in range(k):
        v = velocity(x, sigmas[i])
        x = x + (sigmas[i + 1] - sigmas[i]) * v
    with reduced(vae, 1):
        preview = vae.decode((x - sigmas[k] * v) / scale).sample[0].transpose(0, 1)
        shown = (preview / 2 + 0.5).clamp(0, 1)
        assert np.array_equal(video.similarity.lag2, frame_similarity(shown).lag2)
        # all merges in 33 frames: frame 0 stays, 1-16 are a block of factor 4, 17-24 of factor 2, and 25-32 stay
        parts = [preview[:1]]
        parts += [preview[i : i + 4].mean(0, keepdim=True) for i in range(1, 17, 4)]
        parts += [preview[i : i + 2].mean(0, keepdim=True) for i in range(17, 25, 2)]
        merged = torch.cat([*parts, preview[25:]])
        clean = vae.encode(merged.transpose(0, 1)[None]).latent_dist.mode() * scale
    kept = [0, 1, 5, 7, 8]
    assert list(video.schedule.kept_latents) == kept
    y = sigmas[k] * noise[:, :, kept] + (1 - sigmas[k]) * clean
    with backbone.shortened(video.schedule, positions_per_layer(kept, (1, 4), 5)):
        for i in range(k, 4):
            y = y + (sigmas[i + 1] - sigmas[i]) * velocity(y, sigmas[i])
    frames = to_uint8(vae.decode(y / scale).sample[0].transpose(0, 1)).astype(int)
    at = [0, 1, 5, 9, 13, 17, 19, 21, 23, *range(25, 33)]
    assert np.abs(video.frames[at].astype(int) - frames).max() <= 1
    assert np.abs(video.frames[2] - (3 * frames[1] + frames[2]) / 4).max() <= 1.5


@pytest.mark.parametrize("method", [Baseline(), MERGING])
def test_the_same_sample_twice_is_bit_identical(backbone: Backbone, spec: VideoSpec, method: Baseline | Vgdfr) -> None:
    assert np.array_equal(generate(backbone, spec, method).frames, generate(backbone, spec, method).frames)


def test_a_prompt_that_an_encoder_cuts_is_noted_in_every_sample(backbone: Backbone, spec: VideoSpec) -> None:
    long = dataclasses.replace(spec, prompt="red " * 100)
    for method in (Baseline(), Vgdfr(k=1, theta=1.0)):
        assert (
            generate(backbone, long, method)
            .notes[0]
            .startswith("the prompt is longer than the 77 tokens that the CLIP")
        )
    assert generate(backbone, spec, Baseline()).notes == ()


@pytest.mark.parametrize("interpolator", ["flow", "linear"])
def test_merging_shortens_the_latent_and_restores_the_frame_count(
    backbone: Backbone, spec: VideoSpec, interpolator: str
) -> None:
    video = generate(backbone, spec, dataclasses.replace(MERGING, interpolator=interpolator))
    assert video.schedule is not None and video.schedule.token_ratio < 1
    assert video.frames.shape == (33, 32, 32, 3) and video.frames.dtype == np.uint8
    assert set(video.seconds) >= {"encode_prompt", "denoise_full", "compress", "denoise_compressed", "decode"}
    counted = ("denoise_full", "compress", "denoise_compressed", "other")
    assert video.latency_s == pytest.approx(sum(video.seconds[s] for s in counted))


def test_the_baseline_is_what_the_diffusers_pipeline_generates(
    backbone: Backbone, tiny_checkpoint: Path, spec: VideoSpec
) -> None:
    """The independent reference is diffusers' own loop, scheduler and post-processing, with padded and masked text."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_checkpoint / "tokenizer")
    pipeline = HunyuanVideoPipeline.from_pretrained(tiny_checkpoint, tokenizer=tokenizer, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler.set_shift(spec.flow_shift)
    pipeline.vae.enable_tiling(tile_sample_min_num_frames=64, tile_sample_stride_num_frames=48)
    reference = pipeline(
        prompt=spec.prompt, height=32, width=32, num_frames=33, num_inference_steps=4, guidance_scale=6.0,
        latents=backbone.noise(spec), output_type="pt",
    ).frames[0]  # fmt: skip
    ours = generate(backbone, spec, Baseline()).frames.astype(int)
    assert np.abs(ours - to_uint8(reference * 2 - 1)).max() <= 1


def test_a_straight_flow_is_followed_exactly_and_one_step_denoise_inverts_renoise() -> None:
    clean, noise = torch.randn(2, 1, 4, 3, 2, 2, dtype=torch.float64)
    x, v = euler(lambda x, sigma: noise - clean, noise, [1.0, 0.7, 0.4])
    assert torch.allclose(x, renoise(clean, noise, 0.4))
    assert torch.allclose(one_step_denoise(x, v, 0.4), clean)


@dataclasses.dataclass(frozen=True)
class NoMethod:
    """Has all members of the plain model's class, but does not derive from Method."""

    def check(self, *_: object) -> None:
        """Accepts every video."""


def test_a_class_that_is_no_method_is_refused_and_not_taken_for_the_baseline() -> None:
    with pytest.raises(ValueError, match=r"must be a class that derives from vgdfr.Method, got .*\.NoMethod"):
        check_method(NoMethod())
    with pytest.raises(ValueError, match="must be a value such as Baseline"):
        check_method(Baseline)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["method=custom", f"method._target_={__name__}.NoMethod"])
    with pytest.raises(ValueError, match=r"method._target_ must be a class .* got .*\.NoMethod"):
        job_of(config)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Vgdfr(k=4, theta=0.5), "k must be below num_inference_steps"),
        (Vgdfr(k=1, theta=0.5, global_layers=(5,)), "between 0 and 4"),
    ],
)
def test_a_method_that_does_not_fit_is_refused(
    backbone: Backbone, spec: VideoSpec, method: Vgdfr, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(backbone, spec, method)
