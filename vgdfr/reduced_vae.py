"""The compression decoder and encoder: the one VAE with fewer spatial levels (paper, section 3.2, steps 2 and 4)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from diffusers import AutoencoderKLHunyuanVideo


@contextmanager
def reduced(vae: AutoencoderKLHunyuanVideo, levels: int) -> Iterator[AutoencoderKLHunyuanVideo]:
    """The same `vae`, decoding to and encoding from frames `2**levels` times smaller per side, until the block ends.

    The first `levels` spatial up-samplers of the decoder and the last `levels` spatial down-samplers of the encoder
    keep their convolution but no longer change height and width: the released code's choice, and the cheapest, since
    everything after an early up-sampler works on fewer pixels. Time keeps its full frame rate, and tiles keep their
    size in pixels, so they cover more latents (also as released). Weights are shared, so no memory is added; every
    changed attribute is restored when the block ends, also by an exception.

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
