"""The reduced VAE has the right sizes, equals a VAE with layers really removed, and ends with its context."""

import copy
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import nn

from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.backbones.hunyuan_vae import reduced


@pytest.fixture
def vae(backbone: Backbone) -> AutoencoderKLHunyuanVideo:
    assert isinstance(backbone, HunyuanVideoBackbone)
    return backbone.codec.vae


def state(vae: AutoencoderKLHunyuanVideo) -> list[Any]:
    """Returns every attribute and parameter that could differ."""
    attributes = [
        (name, module.stride if isinstance(module, nn.Conv3d) else getattr(module, "upsample_factor", None))
        for name, module in vae.named_modules()
    ]
    own = {k: v for k, v in vars(vae).items() if isinstance(v, int | float | bool)}  # ratios, tile sizes
    return [attributes, own, [(name, p.data_ptr(), p.clone()) for name, p in vae.named_parameters()]]


def same(a: list[Any], b: list[Any]) -> bool:
    pairs = zip(a[2], b[2], strict=True)
    return a[:2] == b[:2] and all(x[:2] == y[:2] and torch.equal(x[2], y[2]) for x, y in pairs)


@pytest.mark.parametrize(("levels", "side"), [(1, 16), (2, 8), (3, 4)])
@torch.no_grad()
def test_sizes_time_in_full_and_the_way_back(vae: AutoencoderKLHunyuanVideo, levels: int, side: int) -> None:
    latents = torch.randn(1, 4, 5, 4, 4)
    with reduced(vae, levels):
        frames = vae.decode(latents).sample
        assert frames.shape == (1, 3, 17, side, side)
        assert vae.encode(frames).latent_dist.mode().shape == latents.shape


@torch.no_grad()
def test_equals_a_second_vae_without_the_layers_scaling(vae: AutoencoderKLHunyuanVideo) -> None:
    second = copy.deepcopy(vae)
    second.decoder.up_blocks[0].upsamplers[0].upsample_factor = (1, 1, 1)
    second.encoder.down_blocks[2].downsamplers[0].conv.conv.stride = (2, 1, 1)
    latents = torch.randn(1, 4, 3, 4, 4)
    with reduced(vae, 1):
        frames = vae.decode(latents).sample
        encoded = vae.encode(frames).latent_dist.mode()
    assert torch.equal(frames, second.decoder(second.post_quant_conv(latents)))
    assert torch.equal(encoded, second.quant_conv(second.encoder(frames)).chunk(2, dim=1)[0])


@torch.no_grad()
def test_the_vae_is_unchanged_afterwards(vae: AutoencoderKLHunyuanVideo) -> None:
    before, latents = state(vae), torch.randn(1, 4, 3, 4, 4)
    decoded = vae.decode(latents).sample
    with reduced(vae, 2):
        assert not same(state(vae), before)
    assert same(state(vae), before)
    with pytest.raises(RuntimeError, match="in the middle"), reduced(vae, 1):
        raise RuntimeError("in the middle")
    assert same(state(vae), before)
    assert torch.equal(vae.decode(latents).sample, decoded)


@pytest.mark.parametrize("levels", [0, 4])
def test_levels_out_of_range_are_refused(vae: AutoencoderKLHunyuanVideo, levels: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 3 for this VAE, got {levels}"), reduced(vae, levels):
        pass
