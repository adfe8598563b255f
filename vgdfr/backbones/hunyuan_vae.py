"""HunyuanVideo's VAE alone: frames to latents and back."""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLHunyuanVideo
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vgdfr.backbones.base import Codec
from vgdfr.reduced_vae import reduced


@dataclass(frozen=True, slots=True)
class Tiling:
    """VAE tiles in pixels and frames: size, and distance between two tiles' starts (the difference is blended).

    The defaults are the original HunyuanVideo's; diffusers' own 16 frames give visibly other output.
    """

    frames: int = 64
    frames_stride: int = 48
    pixels: int = 256
    pixels_stride: int = 192


class HunyuanVideoCodec(Codec):
    """A loaded VAE of HunyuanVideo, in tiles."""

    def __init__(self, vae: AutoencoderKLHunyuanVideo, tiling: Tiling, device: torch.device) -> None:
        t = tiling
        vae.enable_tiling(t.pixels, t.pixels, t.frames, t.pixels_stride, t.pixels_stride, t.frames_stride)
        self.vae = vae.to(device).eval().requires_grad_(False)  # type: ignore[arg-type]
        self.device = device
        self.num_spatial_levels = int(math.log2(self.vae.spatial_compression_ratio))

    def reduced(self, levels: int) -> AbstractContextManager[object]:
        return reduced(self.vae, levels)

    def decode(self, latents: Float[Tensor, "1 c n y x"]) -> Float[Tensor, "t 3 h w"]:
        z = latents / self.vae.config.scaling_factor
        frames = self.vae.decode(z.to(self.vae.dtype), return_dict=False)[0]
        return rearrange(frames, "1 c t h w -> t c h w").float()

    def encode(self, frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "1 c n y x"]:
        video = rearrange(frames, "t c h w -> 1 c t h w").to(self.vae.dtype)
        return self.vae.encode(video, return_dict=False)[0].mode().float() * self.vae.config.scaling_factor
