"""The whole story of a sample on one screen."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.backbones.base import Backbone
from vgdfr.compression import compress
from vgdfr.denoise import euler, one_step_denoise, renoise
from vgdfr.dyrope import paper_global_layers
from vgdfr.interpolation import INTERPOLATORS, fill
from vgdfr.method import Baseline, Method
from vgdfr.stopwatch import Stopwatch
from vgdfr.video import GeneratedVideo, VideoSpec


@torch.inference_mode()
def generate(backbone: Backbone, spec: VideoSpec, method: Method) -> GeneratedVideo:
    """Generate the video `spec` describes on `backbone`, as the model does it (`Baseline`) or with `Vgdfr`.

    Frames are uint8 RGB `[num_frames, height, width, 3]`. The same arguments on the same machine give the same bytes.
    Where nothing can merge, a VGDFR sample continues the baseline's trajectory bit for bit, and its notes say so.
    Raises ValueError when `method` does not fit `spec` or the model.
    """
    method.check(spec, backbone.num_layers)
    watch = Stopwatch(backbone.device)
    with watch.stage("encode_prompt"):
        velocity = backbone.velocity(spec)
    noise, sigmas = backbone.noise(spec), backbone.sigmas(spec)

    if isinstance(method, Baseline):
        with watch.stage("denoise_full"):
            x, _ = euler(velocity, noise, sigmas)
        with watch.stage("decode"):
            frames = to_uint8(backbone.decode(x))
        return GeneratedVideo(frames, None, None, watch.seconds, watch.peak_bytes)

    k = method.k
    with watch.stage("denoise_full"):
        x, v = euler(velocity, noise, sigmas[: k + 1])
    with watch.stage("compress"):
        merged, schedule, similarity = compress(backbone, one_step_denoise(x, v, sigmas[k]), method)
    if merged is None:
        with watch.stage("denoise_full"):
            x, _ = euler(velocity, x, sigmas[k:])
    else:
        layers = paper_global_layers(backbone.num_layers) if method.global_layers == "paper" else method.global_layers
        with watch.stage("denoise_compressed"), backbone.dyrope(schedule, layers):
            x = renoise(merged, noise[:, :, list(schedule.kept_latents)], sigmas[k])
            x, _ = euler(velocity, x, sigmas[k:])
    with watch.stage("decode"):
        frames = to_uint8(backbone.decode(x))
    with watch.stage("interpolate"):
        frames = fill(frames, schedule, INTERPOLATORS[method.interpolator])
    notes = ("nothing merged: continued the baseline trajectory",) if merged is None else ()
    return GeneratedVideo(frames, schedule, similarity, watch.seconds, watch.peak_bytes, notes)


def to_uint8(frames: Float[Tensor, "t 3 h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames in [-1, 1] to bytes, rounded."""
    scaled = ((frames / 2 + 0.5).clamp(0, 1) * 255).round()
    return rearrange(scaled.to(torch.uint8), "t c h w -> t h w c").cpu().numpy()
