"""HunyuanVideo 13B without weights: the shapes of every stage at the paper's size, on the meta device."""

import json

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel

from vgdfr.assets import MANIFESTS
from vgdfr.backbones.hunyuan_dit import blocks_of, rope_site_of
from vgdfr.backbones.hunyuan_vae import reduced
from vgdfr.backbones.rope import shortened
from vgdfr.backbones.tiling import Tiling
from vgdfr.methods.layers import PAPER_GLOBAL_LAYERS, PAPER_NUM_LAYERS, paper_global_layers, positions_per_layer
from vgdfr.schedule import FrameSchedule, by_token_ratio, uniform
from vgdfr.schedule import Similarity as S

FRAMES, HEIGHT, WIDTH = 97, 544, 960
LATENTS = (1, 16, 25, HEIGHT // 8, WIDTH // 8)
FALLING = S(*(torch.linspace(1, 0.5, FRAMES - lag) for lag in (1, 2, 3)))


@pytest.fixture(scope="module")
def transformer() -> HunyuanVideoTransformer3DModel:
    with torch.device("meta"):
        return HunyuanVideoTransformer3DModel().eval()  # diffusers' defaults are the 13B model's


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLHunyuanVideo:
    with torch.device("meta"):
        vae = AutoencoderKLHunyuanVideo().eval()
    t = Tiling()
    vae.enable_tiling(t.pixels, t.pixels, t.frames, t.pixels_stride, t.pixels_stride, t.frames_stride)
    return vae


def test_it_is_the_model_of_the_paper(transformer: HunyuanVideoTransformer3DModel) -> None:
    assert len(blocks_of(transformer)) == PAPER_NUM_LAYERS
    assert 12.5e9 < sum(p.numel() for p in transformer.parameters()) < 13.5e9
    assert paper_global_layers(PAPER_NUM_LAYERS) == PAPER_GLOBAL_LAYERS


@torch.no_grad()
@pytest.mark.parametrize(
    "schedule",
    [
        FrameSchedule.keep_all(FRAMES, frames_per_latent=4),
        by_token_ratio(FALLING, 0.75, frames_per_latent=4),
        by_token_ratio(FALLING, 0.5, frames_per_latent=4),
        uniform(FRAMES, frames_per_latent=4),
    ],
    ids=lambda s: f"{len(s.kept_latents)} latents",
)
def test_a_velocity_has_the_size_of_every_shortened_latent(
    transformer: HunyuanVideoTransformer3DModel, schedule: FrameSchedule
) -> None:
    kept = len(schedule.kept_latents)
    x = torch.empty(1, 16, kept, *LATENTS[3:], device="meta")
    positions = positions_per_layer(schedule.kept_latents, PAPER_GLOBAL_LAYERS, PAPER_NUM_LAYERS)
    with shortened(transformer, rope_site_of(transformer), positions, schedule.num_latents):
        v = transformer(
            hidden_states=x,
            timestep=torch.empty(1, device="meta"),
            encoder_hidden_states=torch.empty(1, 30, 4096, device="meta"),
            encoder_attention_mask=torch.empty(1, 30, device="meta"),
            pooled_projections=torch.empty(1, 768, device="meta"),
            guidance=torch.empty(1, device="meta"),
            return_dict=False,
        )[0]
    assert v.shape == x.shape


@torch.no_grad()
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_previews_encodings_and_decodes_have_their_sizes(vae: AutoencoderKLHunyuanVideo, levels: int) -> None:
    latents = torch.empty(LATENTS, device="meta")
    with reduced(vae, levels):
        preview = vae.decode(latents, return_dict=False)[0]
        assert preview.shape == (1, 3, FRAMES, HEIGHT >> levels, WIDTH >> levels)
        kept = len(uniform(FRAMES, frames_per_latent=4).kept_frames)
        assert vae.encode(preview[:, :, :kept], return_dict=False)[0].mode().shape == (1, 16, 9, *LATENTS[3:])
    assert vae.decode(latents[:, :, :9], return_dict=False)[0].shape == (1, 3, 33, HEIGHT, WIDTH)


def test_the_pinned_files_hold_these_models(
    transformer: HunyuanVideoTransformer3DModel, vae: AutoencoderKLHunyuanVideo
) -> None:
    """The files hold weights of 2 bytes (DiT) and 4 bytes (VAE), and little more."""
    files = json.loads((MANIFESTS / "hunyuanvideo-community--HunyuanVideo.json").read_text())["files"]
    for part, model, num_bytes in (("transformer", transformer, 2), ("vae", vae, 4)):
        stored = sum(b for f, (b, _) in files.items() if f.startswith(part) and f.endswith(".safetensors"))
        weights = num_bytes * sum(p.numel() for p in model.parameters())
        assert weights < stored < 1.001 * weights
