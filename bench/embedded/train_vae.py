"""Stage `vae`: the small causal video VAE, at full size and with one spatial level fewer.

A large VAE trained on videos of many sizes decodes sensibly after an up-sampler is removed; a small one trained at a
single size does not, so each step also trains the reduced decoder (towards the half-size video) and the reduced encoder
(towards the latents of the full-size video). The weights are the same: there is only one VAE.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLHunyuanVideo
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from bench.embedded.training import device, fit
from bench.embedded.world import training_clip
from vgdfr.reduced_vae import reduced


def build(s: dict[str, Any]) -> AutoencoderKLHunyuanVideo:
    """The VAE before training: zero residual branches, and constants in the residual stream.

    Group normalisation erases a clip's absolute colour; biases of +4 and -4 on the convolutions that write the
    residual stream give it something constant to be measured against.
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
        if not isinstance(module, nn.Conv3d):
            continue
        if "resnets" in name and "conv2" in name:
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif any(part in name for part in ("conv_in", "samplers", "conv_shortcut")):
            with torch.no_grad():
                module.bias[0::2], module.bias[1::2] = 4.0, -4.0
    with torch.no_grad():  # the posterior's standard deviation is a constant
        mean, logvar = vae.quant_conv.weight.chunk(2)
        mean.copy_(torch.eye(mean.shape[0], mean.shape[1])[..., None, None, None])
        logvar.zero_()
        vae.quant_conv.bias.chunk(2)[1].fill_(2 * float(np.log(s["latent_noise"])))
    return vae


def train(s: dict[str, Any], folder: Path) -> AutoencoderKLHunyuanVideo:
    """Train to the end of the settings' steps, continuing from `folder`; returns the VAE in fp32."""
    vae = build(s).to(device())
    pca = Pca.of_world(s["latent_channels"]).to(device())
    direct_steps = int(s["direct_share"] * s["steps"])

    def loss_of_step(step: int) -> dict[str, Tensor]:
        video = batch(step, s["batch_size"], s["num_frames"]).to(device())
        small = F.avg_pool3d(video, (1, 2, 2))
        generator = torch.Generator().manual_seed(step)
        target = pca(video)
        with torch.autocast(device().type, torch.bfloat16):
            z = encode_mean(vae, video)
            shown = target if step < direct_steps else z
            shown = shown + s["latent_noise"] * torch.randn(shown.shape, generator=generator).to(shown)
            decoded = decode(vae, shown)
            with reduced(vae, 1):
                z_small = encode_mean(vae, small)
                decoded_small = decode(vae, shown)
        anchor = F.mse_loss(z.float(), target)
        agree = F.mse_loss(z_small.float(), target if step < direct_steps else z.float().detach())
        full = F.l1_loss(decoded.float(), video)
        half = F.l1_loss(decoded_small.float(), small)
        direct = step < direct_steps
        loss = full + 0.3 * half + 0.1 * agree + (0.1 if direct else s["tether"]) * anchor
        mse = F.mse_loss(decoded.float(), video).detach()
        return {"loss": loss, "l1": full, "l1_small": half, "agree": agree, "anchor": anchor, "psnr": -10 * (mse / 4).log10()}

    fit(vae, loss_of_step, folder, s["steps"], s["muon_lr"], s["adamw_lr"])
    return vae


def batch(step: int, size: int, num_frames: int) -> Float[Tensor, "b 3 t h w"]:
    """Training clips number `step*size ...`, cut to `num_frames` at a random frame, in [-1, 1]."""
    cuts = []
    for seed in range(step * size, (step + 1) * size):
        frames = training_clip(seed).frames
        first = int(np.random.default_rng(seed).integers(len(frames) - num_frames + 1))
        cuts.append(torch.from_numpy(frames[first : first + num_frames]))
    return rearrange(torch.stack(cuts), "b t h w c -> b c t h w").float() / 127.5 - 1


def encode_mean(vae: AutoencoderKLHunyuanVideo, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c n y x"]:
    return vae.quant_conv(vae.encoder(video)).chunk(2, dim=1)[0]


def decode(vae: AutoencoderKLHunyuanVideo, z: Float[Tensor, "b c n y x"]) -> Float[Tensor, "b 3 t h w"]:
    return vae.decoder(vae.post_quant_conv(z))


class Pca(nn.Module):
    """Standardised principal components of 4x8x8 patches: the latents that training starts from."""

    def __init__(self, mean: Float[Tensor, " d"], basis: Float[Tensor, "d c"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)

    @classmethod
    def of_world(cls, channels: int, clips: int = 64) -> "Pca":
        patches = cls.patches(torch.cat([batch(2**30 + i, 1, 33) for i in range(clips)])).flatten(0, 3)
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        return cls(mean, vectors[:, -channels:] / values[-channels:].sqrt())

    @staticmethod
    def patches(video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b n y x d"]:
        first = repeat(video[:, :, :1], "b c 1 h w -> b c 4 h w")
        return rearrange(torch.cat([first, video[:, :, 1:]], 2), "b c (n k) (y p) (x q) -> b n y x (c k p q)", k=4, p=8, q=8)

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c n y x"]:
        return rearrange((self.patches(video) - self.mean) @ self.basis, "b n y x c -> b c n y x")
