"""Generates a sample: checks, the method's loop, decoding, and the account of its cost."""

import hashlib

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.accelerator import notes_of
from vgdfr.account import Shared, passes_in
from vgdfr.backbones.base import Backbone, Codec
from vgdfr.method import Method, calibrated, check_frames, check_method, check_sampled
from vgdfr.naming import is_built_in, path_of
from vgdfr.numerics import exact_float32
from vgdfr.sampling import Watch, sampling
from vgdfr.schedule import FrameSchedule
from vgdfr.video import GeneratedVideo, VideoSpec


@torch.inference_mode()
@exact_float32()
def generate(
    backbone: Backbone, spec: VideoSpec, method: Method, shared: Shared | None = None, watch: Watch | None = None
) -> GeneratedVideo:
    """Generates the video that `spec` describes on `backbone` with `method`.

    Frames are uint8 RGB `[num_frames, height, width, 3]`. The same arguments on the same machine give the same bytes,
    whether or not `shared` holds parts of other samples. A reused part counts with the seconds of its computation.

    `watch` sees each step after it is taken. The time that `watch` takes counts in the step's stage. Steps of parts
    that `shared` holds are not taken again, so `watch` does not see them.

    Raises ValueError if `method` is no Method or does not fit `spec` or the model, if an accelerator's calibration
    belongs to another model, if `shared` belongs to another spec, and if an accelerator never made a decision. Raises
    BrokenVideo if the video is not finite or has one colour only.
    The backbone is as before afterwards, also after an exception.
    """
    check_method(method)
    backbone.architecture.check(spec)
    method = calibrated(method, backbone.model, spec)
    for each in (method, *method.accelerators):
        each.check(spec, backbone.architecture)
    if shared is not None and shared.spec != spec:
        raise ValueError(f"`shared` holds parts of another video: expected {shared.spec}, got {spec}")
    mine = shared if shared is not None and method.shares else Shared(spec)
    with sampling(backbone, mine, path_of(type(method)), method.stops(), method.accelerators, watch) as run:
        # "other" is the work of a loop outside its stages, which also counts; only our own loops are known to do little
        kind = f"other {method.name}" if is_built_in(type(method)) else None
        with run.account.sample(), backbone.counter.guarding(), run.stage("other", kind=kind):
            sampled = method.sample(run)
        measured = run.accelerated.measured()
    check_sampled(method, sampled)
    frames = None
    if sampled.latents is not None:
        decoded = run.decoded(sampled.latents)
        with run.account.sample(), run.account.stage("interpolate"):
            frames = method.fill(decoded, sampled.schedule, spec)
        check_frames(frames, spec)
    total = run.account.total()
    full_shape = tuple(run.noise.shape[-3:])
    return GeneratedVideo(
        made=frames,
        schedule=sampled.schedule,
        similarity=sampled.similarity,
        seconds=total.seconds,
        peak_bytes=total.peak_bytes,
        notes=(*backbone.notes(spec), *sampled.notes, *notes_of(measured)),
        shared_stages=tuple(sorted(total.found)),
        passes=passes_in(total.passes, full_shape),
        passes_done=passes_in(run.account.done, full_shape),
        noise_sha256=None if method.own_noise else hashlib.sha256(run.noise.cpu().numpy().tobytes()).hexdigest(),
        latents=None if sampled.latents is None else sampled.latents.cpu(),
        dit_passes=total.passes,
        outside_latency=total.outside_latency,
        timed=total.timed,
        unpooled=total.unpooled,
        observed=tuple(run.account.observed),
        accelerated=measured,
        data=sampled.data,
    )


@torch.inference_mode()
@exact_float32()
def frames_of(
    codec: Codec,
    latents: Float[Tensor, "1 c n y x"],
    method: Method,
    schedule: FrameSchedule | None,
    spec: VideoSpec,
) -> UInt8[np.ndarray, "t h w 3"]:
    """Returns a sample's frames from its final `latents`, byte for byte those of `generate` on the same machine."""
    return method.fill(codec.decode(latents.to(codec.device)), schedule, spec)
