"""HunyuanVideo's VAE, which turns frames into latents and back."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLHunyuanVideo
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vgdfr.backbones.base import Codec
from vgdfr.backbones.tiling import Tiling


@contextmanager
def attention_by_frame(vae: AutoencoderKLHunyuanVideo) -> Iterator[None]:
    """Within the block the VAE's mid blocks attend causally frame by frame, in memory linear in the tile's tokens.

    diffusers' mid block builds a mask over all pairs of tokens before it calls its attention. For one tile of 64x64
    latents and 17 frames the mask has 69,632 x 69,632 values: 4.8 GB as booleans and 19.4 GB in float32. Here the
    tokens of frame i attend to the tokens of frames 0 to i, as the mask demands, in half the FLOPs. The result equals
    the masked attention up to rounding. The VAE is as before afterwards, also after an exception.
    """
    with ExitStack() as restore:
        blocks: list[Any] = [vae.encoder.mid_block, vae.decoder.mid_block]
        for block in blocks:
            if any(attention is not None for attention in block.attentions):
                restore.enter_context(replaced_forward(block, partial(_mid_block, block)))
        yield


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within the block `forward` replaces the module's own forward, or the one that a hook has put on the module."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def _mid_block(block: Any, hidden_states: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
    """Computes diffusers' HunyuanVideoMidBlock3D with `attend_by_frame` instead of the masked attention."""
    hidden_states = block.resnets[0](hidden_states)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        if attention is not None:
            hidden_states = attend_by_frame(attention, hidden_states)
        hidden_states = resnet(hidden_states)
    return hidden_states


def attend_by_frame(attention: Any, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
    """Returns the output of the VAE's `attention` for `x` if each frame sees only itself and earlier frames."""
    _, _, t, h, w = x.shape
    tokens = rearrange(x, "b c t h w -> b (t h w) c")
    normed = attention.group_norm(tokens.transpose(1, 2)).transpose(1, 2)
    query, key, value = (
        rearrange(project(normed), "b n (heads d) -> b heads n d", heads=attention.heads)
        for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    del normed
    attended = torch.empty_like(query)
    for end in range(h * w, t * h * w + 1, h * w):
        frame = slice(end - h * w, end)
        attended[:, :, frame] = F.scaled_dot_product_attention(query[:, :, frame], key[:, :, :end], value[:, :, :end])
    out = attention.to_out[0](rearrange(attended, "b heads n d -> b n (heads d)"))
    out = (out + tokens) / attention.rescale_output_factor
    return rearrange(out, "b (t h w) c -> b c t h w", t=t, h=h, w=w)


@contextmanager
def reduced(vae: AutoencoderKLHunyuanVideo, levels: int) -> Iterator[AutoencoderKLHunyuanVideo]:
    """Within the block `vae` decodes to and encodes from frames that are `2**levels` times smaller per side.

    The first `levels` spatial up-samplers of the decoder and the last `levels` spatial down-samplers of the encoder
    keep their convolution but no longer change height and width. The released code chooses the same ones. This choice
    is the cheapest for the decoder, since all layers after an early up-sampler work on fewer pixels. The frame rate
    stays. Tiles keep their size in pixels, which covers more latents, as in the released code. Weights are shared, so
    no memory is added. Every changed attribute is restored afterwards, also after an exception.

    Raises ValueError unless `1 <= levels <= ` the VAE's number of spatial levels.
    """
    up = [b.upsamplers[0] for b in vae.decoder.up_blocks if b.upsamplers and b.upsamplers[0].upsample_factor[1] > 1]
    down = [b.downsamplers[0].conv.conv for b in vae.encoder.down_blocks if b.downsamplers and _spatial_stride(b) > 1]
    if not 1 <= levels <= len(up):
        raise ValueError(f"levels must be between 1 and {len(up)} for this VAE, got {levels}")
    with ExitStack() as restore:
        for module in up[:levels]:
            _set(restore, module, "upsample_factor", (module.upsample_factor[0], 1, 1))
        for conv in down[-levels:]:
            _set(restore, conv, "stride", (conv.stride[0], 1, 1))
        _set(restore, vae, "spatial_compression_ratio", vae.spatial_compression_ratio // 2**levels)
        yield vae


def _spatial_stride(block: Any) -> int:
    return block.downsamplers[0].conv.conv.stride[1]


def _set(restore: ExitStack, target: Any, name: str, value: Any) -> None:
    restore.callback(setattr, target, name, getattr(target, name))
    setattr(target, name, value)


class HunyuanVideoCodec(Codec):
    """A loaded VAE of HunyuanVideo that works in tiles."""

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
        with attention_by_frame(self.vae):
            frames = self.vae.decode(z.to(self.vae.dtype), return_dict=False)[0]
        return rearrange(frames, "1 c t h w -> t c h w").float()

    def encode(self, frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "1 c n y x"]:
        video = rearrange(frames, "t c h w -> 1 c t h w").to(self.vae.dtype)
        with attention_by_frame(self.vae):
            posterior = self.vae.encode(video, return_dict=False)[0]
        return posterior.mode().float() * self.vae.config.scaling_factor


def load_codec(folder: Path, dtype: torch.dtype, device: torch.device, tiling: Tiling) -> HunyuanVideoCodec:
    """Returns the VAE of the checkpoint in `folder`, in `dtype` on `device`."""
    vae = AutoencoderKLHunyuanVideo.from_pretrained(folder, subfolder="vae", torch_dtype=dtype, local_files_only=True)
    return HunyuanVideoCodec(vae, tiling, device)
