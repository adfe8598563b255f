"""Stage `vae` trains the small causal video VAE at full size and with one spatial level fewer.

A large VAE trained on videos of many sizes decodes sensibly after an up-sampler is removed; a small one trained at a
single size does not, so each step also trains the reduced decoder (towards the half-size video) and the reduced encoder
(towards the latents of the full-size video). The weights are the same: there is only one VAE.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLHunyuanVideo
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bench.embedded.training import autocast, device, fit
from bench.embedded.world import DIRECTIONS, render, training_clip
from vgdfr.backbones.hunyuan_vae import reduced


def build(s: dict[str, Any]) -> AutoencoderKLHunyuanVideo:
    """Returns the VAE before training, which only averages colours in the encoder and smooths them in the decoder.

    From random weights a network of this size spends most of its training on learning that. So each convolution that
    writes the residual stream starts by passing on three channels of colour and three of its negative (their SiLUs'
    difference is linear). It also writes two constants of +4 and -4 per norm group, so that colour survives group
    normalisation. Residual branches start at zero, and all other weights are small and random.
    """
    torch.manual_seed(0)
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=s["latent_channels"],
        block_out_channels=tuple(s["block_out_channels"]),
        layers_per_block=s["layers_per_block"],
        norm_num_groups=s["norm_num_groups"],
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv3d) and module.bias is not None:
            nn.init.zeros_(module.bias)
            if "resnets" in name and "conv2" in name:
                nn.init.zeros_(module.weight)
            else:
                nn.init.normal_(module.weight, std=0.5 * module.weight[0].numel() ** -0.5)
            if any(part in name for part in ("conv_in", "samplers", "conv_shortcut")):
                _pass_colour(module, name)
    with torch.no_grad():
        for conv, gain in ((vae.encoder.conv_out.conv, 2.0), (vae.decoder.conv_out.conv, 1.5)):
            for c, (plus, minus) in enumerate(_colour_channels(conv.in_channels)):
                conv.weight[c].zero_()
                conv.weight[c, plus, 2, 1, 1], conv.weight[c, minus, 2, 1, 1] = gain, -gain
        for conv in (vae.quant_conv, vae.post_quant_conv):
            conv.weight.copy_(torch.eye(conv.out_channels)[..., None, None, None])
        channels = s["latent_channels"]  # the posterior's standard deviation is a constant
        vae.quant_conv.weight[channels:].zero_()
        vae.quant_conv.bias[channels:] = 2 * float(np.log(s["latent_noise"]))
    return vae


def _colour_channels(channels: int) -> list[tuple[int, int]]:
    """Returns the channels of each colour and its negative: they follow the two constants, one in either half."""
    return [(2 + c, channels // 2 + 2 + c) for c in range(3)]


@torch.no_grad()
def _pass_colour(conv: nn.Conv3d, name: str) -> None:
    """Makes `conv` pass the colour channels on. A stride averages them, an up-sampler smooths them."""
    size = conv.kernel_size[0]
    line = torch.tensor([1.0])
    time = torch.tensor([1.0])
    if size == 3:
        line, time = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
        if "upsamplers" in name:
            line = torch.tensor([0.25, 0.5, 0.25])
        if conv.stride[1] == 2:
            line = torch.tensor([0.0, 0.5, 0.5])
        if conv.stride[0] == 2:
            time = torch.tensor([0.0, 0.5, 0.5])
    kernel = time[:, None, None] * line[:, None] * line
    for c, (plus, minus) in enumerate(_colour_channels(conv.out_channels)):
        conv.weight[[plus, minus]] = 0
        if "conv_in" in name:  # data: the first three channels are the colours
            conv.weight[plus, c], conv.weight[minus, c] = kernel, -kernel
        else:
            plus_in, minus_in = _colour_channels(conv.in_channels)[c]
            conv.weight[plus, plus_in], conv.weight[minus, minus_in] = kernel, kernel
    half = conv.out_channels // 2
    for first in (0, half):
        conv.weight[first : first + 2] = 0
        conv.bias[first], conv.bias[first + 1] = 4.0, -4.0


def train(s: dict[str, Any], folder: Path, start: AutoencoderKLHunyuanVideo | None = None) -> AutoencoderKLHunyuanVideo:
    """Trains for the settings' steps, continuing from `folder`, else from `start`. Returns the VAE in fp32.

    With `decoder_only` the encoder is frozen, so a DiT that was trained on its latents stays valid.
    """
    vae = build(s) if start is None else start
    vae = vae.to(device())  # type: ignore[arg-type]
    trained: nn.Module = vae
    if s["decoder_only"]:
        vae.requires_grad_(False)
        trained = nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}).requires_grad_(True)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        video = batch(step, s["batch_size"], s["num_frames"], s["fast_share"]).to(device())
        small = F.avg_pool3d(video, (1, 2, 2))
        generator = torch.Generator().manual_seed(step)
        with autocast():
            z = encode_mean(vae, video)
            noisy = z + s["latent_noise"] * torch.randn(z.shape, generator=generator).to(z)
            decoded = decode(vae, noisy)
            with reduced(vae, 1):
                z_small = encode_mean(vae, small)
                decoded_small = decode(vae, noisy)
        full = F.mse_loss(decoded.float(), video)
        half = F.mse_loss(decoded_small.float(), small)
        agree = F.mse_loss(z_small.float(), z.float().detach())
        size = z.float().square().mean()
        loss = full + s["reduced_weight"] * half + s["agree_weight"] * agree + s["size_weight"] * size
        return {"loss": loss, "psnr": _psnr(full), "psnr_reduced": _psnr(half), "agree": agree, "size": size}

    fit(trained, loss_of_step, folder, s["steps"], s["muon_lr"], s["adamw_lr"])
    return vae


def _psnr(mse: Tensor) -> Tensor:
    return -10 * (mse.detach() / 4).log10()


def batch(step: int, size: int, num_frames: int, fast_share: float = 0.0) -> Float[Tensor, "b 3 t h w"]:
    """Returns the training clips from number `step*size` on, cut to `num_frames` at a random frame, in [-1, 1].

    A share `fast_share` of the clips is rendered fast, because fast clips are the hardest to reconstruct.
    """
    cuts = []
    for seed in range(step * size, (step + 1) * size):
        rng, clip = np.random.default_rng(seed), training_clip(seed)
        first = int(rng.integers(len(clip.frames) - num_frames + 1))
        if rng.random() < fast_share:
            direction = clip.attributes.direction or str(rng.choice(list(DIRECTIONS)))
            clip = render(replace(clip.attributes, speed="fast", direction=direction), seed)
        frames = clip.frames
        cuts.append(torch.from_numpy(frames[first : first + num_frames]))
    return rearrange(torch.stack(cuts), "b t h w c -> b c t h w").float() / 127.5 - 1


def encode_mean(vae: AutoencoderKLHunyuanVideo, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c n y x"]:
    return vae.quant_conv(vae.encoder(video)).chunk(2, dim=1)[0]


def decode(vae: AutoencoderKLHunyuanVideo, z: Float[Tensor, "b c n y x"]) -> Float[Tensor, "b 3 t h w"]:
    return vae.decoder(vae.post_quant_conv(z))
