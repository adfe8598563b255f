"""The whole story of a sample on one screen."""

import dataclasses
import hashlib
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.backbones.base import Backbone, Codec
from vgdfr.compression import compress
from vgdfr.denoise import euler, multi_step_denoise, one_step_denoise, renoise
from vgdfr.dyrope import global_layers_of
from vgdfr.interpolation import fill, interpolator_of
from vgdfr.method import BaselineRerun, FewerSteps, Method, Vgdfr, refuse_unknown
from vgdfr.numerics import exact_float32
from vgdfr.schedule import FrameSchedule, Similarity
from vgdfr.shared import Account, Shared
from vgdfr.video import GeneratedVideo, VideoSpec, to_uint8


@torch.inference_mode()
@exact_float32()
def generate(backbone: Backbone, spec: VideoSpec, method: Method, shared: Shared | None = None) -> GeneratedVideo:
    """Generate the video `spec` describes on `backbone`, as the model does it (`Baseline`) or with another method.

    Frames are uint8 RGB `[num_frames, height, width, 3]`. The same arguments on the same machine give the same bytes,
    also with what other samples of the spec have left in `shared`; seconds are then those measured when it was made.
    Where nothing can merge, a VGDFR sample continues the baseline's trajectory bit for bit, and its notes say so.
    Raises ValueError when `method` is of a class that vgdfr.method does not have, or does not fit `spec` or the model,
    BrokenVideo for a video that is not finite or all of one colour. Whatever is raised, the backbone is as before.
    """
    refuse_unknown(method)
    method.check(spec, backbone.num_layers, backbone.codec.num_spatial_levels)
    shared = Shared(spec) if shared is None else shared
    if shared.spec != spec:
        raise ValueError(f"what is shared is of another video: {shared.spec}, got {spec}")
    if isinstance(method, BaselineRerun):
        shared = Shared(spec)
    account = Account(shared, backbone.device)
    velocity = account.part("encode_prompt", ("velocity",), lambda: backbone.velocity(spec))
    noise = backbone.noise(spec)
    steps = method.steps if isinstance(method, FewerSteps) else spec.num_inference_steps
    sigmas = backbone.sigmas(dataclasses.replace(spec, num_inference_steps=steps))

    def state(step: int) -> tuple[Tensor, Tensor]:
        """The baseline's latent after `step` steps and the last step's velocity, by way of the stops before."""
        stops = shared.stops if steps == spec.num_inference_steps else ()
        before = max((stop for stop in stops if 0 < stop < step), default=0)
        x = state(before)[0] if before else noise
        key, passes = ("state", steps, before, step), float(step - before)
        return account.part("denoise_full", key, lambda: euler(velocity, x, sigmas[before : step + 1]), passes)

    def finished() -> UInt8[np.ndarray, "t h w 3"]:
        """The baseline's frames."""
        x = state(steps)[0]
        return account.part("decode", ("decoded", steps), lambda: to_uint8(backbone.codec.decode(x)))

    if not isinstance(method, Vgdfr):
        return _video(account, noise, state(steps)[0], finished(), notes=backbone.notes(spec))

    k = method.k
    shared.stops.add(k)
    x, v = state(k)
    stage = "borrow_schedule" if method.borrows_schedule else "compress"
    clean_key = ("clean", k, method.preview_steps, method.preview_latent)

    def cleaned() -> Tensor:
        if method.preview_steps == 1:
            return one_step_denoise(x, v, sigmas[k])
        as_released = method.preview_latent == "as_released"
        return multi_step_denoise(velocity, x, v, sigmas, k, method.preview_steps, as_released)

    def once(key: tuple[Hashable, ...], compute: Callable[[], Any]) -> Any:
        return account.part(stage, (key[0], clean_key, *key[1:]), compute, latest=key[0] == "preview")

    clean = account.part(stage, clean_key, cleaned, method.preview_steps - 1.0)
    merged, schedule, similarity = compress(backbone, clean, x, method, once)
    layers = global_layers_of(method.global_layers, backbone.num_layers)
    interpolator = interpolator_of(method, backbone.device)
    if merged is None:
        y, kept = state(steps)[0], finished()
    else:
        merging = (clean_key, method.merge_space, method.denoise_renoise, method.spatial_levels, layers)
        key = (*merging, schedule.segments)

        def denoised() -> Tensor:
            y = merged
            if method.renoises:
                y = renoise(merged, noise[:, :, list(schedule.kept_latents)], sigmas[k])
            with backbone.dyrope(schedule, layers):
                return euler(velocity, y, sigmas[k:])[0]

        y = account.part("denoise_compressed", ("denoised", *key), denoised, (steps - k) * schedule.token_ratio)
        if interpolator.of_floats:  # four times as large as bytes: the latest alone is kept
            kept = account.part("decode", ("floats", *key), lambda: backbone.codec.decode(y), latest=True)
        else:
            kept = account.part("decode", ("decoded", *key), lambda: to_uint8(backbone.codec.decode(y)))
    with account.watch.stage("interpolate"):
        frames = fill(kept, schedule, interpolator)
    notes = [*backbone.notes(spec)]
    if merged is None:
        notes.append("nothing merged: continued the baseline trajectory")
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
    return _video(account, noise, y, frames, schedule, similarity, tuple(notes))


@torch.inference_mode()
@exact_float32()
def frames_of(
    codec: Codec, latents: Float[Tensor, "1 c n y x"], method: Method, schedule: FrameSchedule | None
) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of a sample from its final `latents`, byte for byte those `generate` gave on the same machine."""
    kept = codec.decode(latents.to(codec.device))
    if schedule is None or not isinstance(method, Vgdfr):
        return to_uint8(kept)
    return fill(kept, schedule, interpolator_of(method, codec.device))


def _video(
    account: Account,
    noise: Tensor,
    latents: Tensor,
    frames: UInt8[np.ndarray, "t h w 3"],
    schedule: FrameSchedule | None = None,
    similarity: Similarity | None = None,
    notes: tuple[str, ...] = (),
) -> GeneratedVideo:
    return GeneratedVideo(
        frames, schedule, similarity, account.watch.seconds, account.watch.peak_bytes, notes,
        tuple(sorted(account.found)), account.passes, account.passes_done,
        hashlib.sha256(noise.cpu().numpy().tobytes()).hexdigest(), latents.cpu(),
    )  # fmt: skip
