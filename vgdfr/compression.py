"""The compression module: preview, compare, schedule, merge, encode (paper, section 3.2, steps 2 to 4)."""

from typing import NamedTuple

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from vgdfr.backbones.base import Backbone
from vgdfr.method import Vgdfr
from vgdfr.schedule import FrameSchedule, Similarity, by_threshold
from vgdfr.similarity import frame_similarity


class Compressed(NamedTuple):
    """What the compression module hands on; `clean` is None when the schedule keeps everything."""

    clean: Float[Tensor, "1 c n h w"] | None
    schedule: FrameSchedule
    similarity: Similarity


def compress(backbone: Backbone, clean: Float[Tensor, "1 c n h w"], method: Vgdfr) -> Compressed:
    """Merge similar frames of a one-step denoised latent: D_comp, SSIM, schedule, means, E_comp.

    A schedule that keeps everything is not encoded: there is nothing to gain from the round trip.
    """
    with backbone.reduced(method.spatial_levels):
        preview = backbone.decode(clean)
        similarity = frame_similarity((preview / 2 + 0.5).clamp(0, 1), getattr(torch, method.similarity_dtype))
        schedule = by_threshold(similarity, method.theta, method.max_merge)
        if schedule.keeps_everything:
            return Compressed(None, schedule, similarity)
        return Compressed(backbone.encode(merge(preview, schedule)), schedule, similarity)


def merge(frames: Float[Tensor, "t c h w"], schedule: FrameSchedule) -> Float[Tensor, "kept c h w"]:
    """Replace each group of frames that `schedule` merges by its mean."""
    return torch.cat(
        [
            reduce(frames[s.start : s.start + s.length], "(g f) c h w -> g c h w", "mean", f=s.factor)
            for s in schedule.segments
        ]
    )
