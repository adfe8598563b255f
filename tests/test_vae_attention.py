"""The VAE's attention by frame equals diffusers' masked attention, needs no mask, and ends with its context."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo
from diffusers.models.autoencoders import autoencoder_kl_hunyuan_video as diffusers_vae
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec, attend_by_frame, attention_by_frame

HALF_SIDE = 16  # the size of the previews below, in pixels


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLHunyuanVideo:
    """Returns a VAE in which each mid block attends with one head, as in the 13B model."""
    torch.manual_seed(7)
    return AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 16, 16),  # type: ignore[arg-type]
        layers_per_block=1,
        norm_num_groups=2,
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2])
def test_a_mid_block_gives_what_the_masked_one_gives(vae: AutoencoderKLHunyuanVideo, batch: int) -> None:
    """The attention also decides much here: its output is made 30 times as strong."""
    block: Any = vae.decoder.mid_block
    x = torch.randn(batch, 16, 5, 6, 4, generator=torch.Generator().manual_seed(batch))
    attention = block.attentions[0]
    before = attention.to_out[0].weight.clone()
    attention.to_out[0].weight.mul_(30)
    attention.to_q.weight.mul_(5)
    try:
        masked = block(x)
        with attention_by_frame(vae):
            by_frame = block(x)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            alone = attend_by_frame(attention, x)
        frames = attend_by_frame(attention, x[:, :, :2])
    finally:
        attention.to_out[0].weight.copy_(before)
        attention.to_q.weight.div_(5)
    assert (by_frame - masked).abs().max() < 1e-4 * masked.abs().max() and not torch.equal(by_frame, x)
    assert alone.shape == x.shape
    assert frames.shape == (batch, 16, 2, 6, 4)


@torch.no_grad()
def test_previews_encodings_and_full_decodes_are_equal_to_the_masked_ones(backbone: Backbone) -> None:
    codec = backbone.codec
    assert isinstance(codec, HunyuanVideoCodec)
    latents = torch.randn(1, 4, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    z = latents / codec.vae.config.scaling_factor
    masked = codec.vae.decode(z).sample[0].transpose(0, 1)
    assert (codec.decode(latents) - masked).abs().max() < 4e-7 * 10
    with codec.reduced(1):
        preview = codec.vae.decode(z).sample
        assert preview.shape[-1] == HALF_SIDE
        assert (codec.decode(latents) - preview[0].transpose(0, 1)).abs().max() < 4e-7 * 10
        encoded = codec.vae.encode(preview).latent_dist.mode() * codec.vae.config.scaling_factor
        assert (codec.encode(preview[0].transpose(0, 1)) - encoded).abs().max() < 4e-7 * 10


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation made."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return out


def decode(codec: HunyuanVideoCodec) -> object:
    return codec.decode(torch.randn(1, 4, 13, 16, 16))


def preview(codec: HunyuanVideoCodec) -> object:
    with codec.reduced(1):
        return codec.decode(torch.randn(1, 4, 13, 16, 16))


def encode(codec: HunyuanVideoCodec) -> object:
    with codec.reduced(1):
        return codec.encode(torch.randn(49, 3, 64, 64))


@torch.inference_mode()
@pytest.mark.parametrize("stage", [decode, preview, encode])
def test_nothing_is_as_large_as_all_pairs_of_tokens(
    backbone: Backbone, stage: Callable[[HunyuanVideoCodec], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 13 latent frames of 16 x 16 a mask would hold (13 * 256)^2 elements, more than any activation here."""
    codec, tokens = backbone.codec, 13 * 16 * 16
    assert isinstance(codec, HunyuanVideoCodec)
    with Largest() as plain:
        codec.vae.decode(torch.randn(1, 4, 13, 16, 16))
    assert plain.elements >= tokens**2, "diffusers' own attention makes the mask"

    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the mask was built")

    monkeypatch.setattr(diffusers_vae, "prepare_causal_attention_mask", never)
    with Largest() as seen:
        stage(codec)
    assert 0 < seen.elements < tokens**2


@torch.no_grad()
def test_the_vae_is_diffusers_own_again_afterwards(vae: AutoencoderKLHunyuanVideo) -> None:
    blocks = [vae.encoder.mid_block, vae.decoder.mid_block]
    with pytest.raises(RuntimeError, match="in the middle"), attention_by_frame(vae):
        assert all("forward" in vars(block) for block in blocks)
        raise RuntimeError("in the middle")
    assert not any("forward" in vars(block) for block in blocks)


def test_a_forward_that_a_hook_had_put_there_comes_back(vae: AutoencoderKLHunyuanVideo) -> None:
    block, calls = vae.decoder.mid_block, []
    assert block is not None

    def hooked(x: Tensor) -> Tensor:
        calls.append(x)
        return x

    block.forward = hooked
    try:
        with attention_by_frame(vae), attention_by_frame(vae):
            pass
        assert block.forward is hooked
    finally:
        del block.forward
