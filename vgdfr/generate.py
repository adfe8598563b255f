"""The whole story of a sample on one screen."""

import dataclasses

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.backbones.base import Backbone
from vgdfr.compression import compress, refuse_not_finite
from vgdfr.denoise import euler, multi_step_denoise, one_step_denoise, renoise
from vgdfr.dyrope import global_layers_of
from vgdfr.interpolation import fill, interpolator_of
from vgdfr.method import FewerSteps, Method, Vgdfr
from vgdfr.stopwatch import Stopwatch
from vgdfr.video import BrokenVideo, GeneratedVideo, VideoSpec


@torch.inference_mode()
def generate(backbone: Backbone, spec: VideoSpec, method: Method) -> GeneratedVideo:
    """Generate the video `spec` describes on `backbone`, as the model does it (`Baseline`) or with another method.

    Frames are uint8 RGB `[num_frames, height, width, 3]`. The same arguments on the same machine give the same bytes.
    Where nothing can merge, a VGDFR sample continues the baseline's trajectory bit for bit, and its notes say so.
    Raises ValueError when `method` does not fit `spec` or the model, BrokenVideo for a video that is not finite or
    all of one colour. Whatever is raised, the backbone is as before.
    """
    method.check(spec, backbone.num_layers, backbone.num_spatial_levels)
    watch = Stopwatch(backbone.device)
    with watch.stage("encode_prompt"):
        velocity = backbone.velocity(spec)
    noise = backbone.noise(spec)

    if not isinstance(method, Vgdfr):
        if isinstance(method, FewerSteps):
            spec = dataclasses.replace(spec, num_inference_steps=method.steps)
        with watch.stage("denoise_full"):
            x, _ = euler(velocity, noise, backbone.sigmas(spec))
        with watch.stage("decode"):
            frames = to_uint8(backbone.decode(x))
        return GeneratedVideo(frames, None, None, watch.seconds, watch.peak_bytes)

    k, sigmas = method.k, backbone.sigmas(spec)
    with watch.stage("denoise_full"):
        x, v = euler(velocity, noise, sigmas[: k + 1])
    with watch.stage("borrow_schedule" if method.borrows_schedule else "compress"):
        if method.preview_steps == 1:
            clean = one_step_denoise(x, v, sigmas[k])
        else:
            stale = method.preview_latent == "as_released"
            clean = multi_step_denoise(velocity, x, v, sigmas[k:], method.preview_steps, stale)
        merged, schedule, similarity = compress(backbone, clean, x, method)
    if merged is None:
        with watch.stage("denoise_full"):
            x, _ = euler(velocity, x, sigmas[k:])
    else:
        layers = global_layers_of(method.global_layers, backbone.num_layers)
        with watch.stage("denoise_compressed"), backbone.dyrope(schedule, layers):
            if method.renoises:
                merged = renoise(merged, noise[:, :, list(schedule.kept_latents)], sigmas[k])
            x, _ = euler(velocity, merged, sigmas[k:])
    with watch.stage("decode"):
        frames = to_uint8(backbone.decode(x))
    interpolator = interpolator_of(method, backbone.device)
    with watch.stage("interpolate"):
        frames = fill(frames, schedule, interpolator)
    notes = ["nothing merged: continued the baseline trajectory"] if merged is None else []
    if (
        method.search == "exact"
        and method.token_ratio
        and schedule.token_ratio > method.token_ratio + 1 / schedule.num_latents
    ):
        notes.append(
            f"asked for {method.token_ratio:g} of the tokens, kept {schedule.token_ratio:.2f}: all blocks merged"
        )
    if method.borrows_schedule:
        notes.append("the schedule is the full method's, and the time to find it is not in the latency")
    return GeneratedVideo(frames, schedule, similarity, watch.seconds, watch.peak_bytes, tuple(notes))


def to_uint8(frames: Float[Tensor, "t 3 h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames in [-1, 1] to bytes, rounded. Raises BrokenVideo where a value is not finite, or all pixels are equal."""
    refuse_not_finite(frames)
    scaled = ((frames / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    if (scaled == scaled[:1, :, :1, :1]).all():
        raise BrokenVideo("constant", f"every pixel of every frame is RGB {scaled[0, :, 0, 0].tolist()}")
    return rearrange(scaled, "t c h w -> t h w c").cpu().numpy()
