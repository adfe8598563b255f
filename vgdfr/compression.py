"""The compression module: preview, compare, schedule, merge, encode (paper, section 3.2, steps 2 to 4)."""

from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from vgdfr.backbones.base import Backbone
from vgdfr.method import Vgdfr
from vgdfr.schedule import (
    GROUP,
    FrameSchedule,
    Similarity,
    by_threshold,
    by_token_ratio,
    by_token_ratio_as_released,
    uniform,
)
from vgdfr.similarity import frame_similarity
from vgdfr.video import refuse_not_finite

Once = Callable[[tuple[Hashable, ...], Callable[[], Any]], Any]


class Compressed(NamedTuple):
    """What the compression module hands on; `latent` is None when the schedule keeps everything.

    `similarity` is None where no schedule depends on it (uniform).
    """

    latent: Float[Tensor, "1 c n h w"] | None
    schedule: FrameSchedule
    similarity: Similarity | None


def compress(
    backbone: Backbone,
    clean: Float[Tensor, "1 c n h w"],
    noisy: Float[Tensor, "1 c n h w"],
    method: Vgdfr,
    once: Once = lambda key, compute: compute(),
) -> Compressed:
    """Merge similar frames of a `clean` denoised latent: D_comp, SSIM, schedule, means, E_comp.

    The ablations work on the `noisy` latent it was denoised from: `denoise_renoise=False` puts that through D_comp and
    E_comp, `merge_space="latent"` averages its frames directly; `schedule_from` says which of the two is compared.
    A schedule that keeps everything is not encoded: there is nothing to gain from the round trip. `once` gives what was
    computed for its key before, from the same latents, and otherwise computes it.
    """
    levels = method.spatial_levels

    def preview_of(source: Literal["clean", "noisy"]) -> Float[Tensor, "t 3 h2 w2"]:
        def decoded() -> Float[Tensor, "t 3 h2 w2"]:
            with backbone.codec.reduced(levels):
                frames = backbone.codec.decode(clean if source == "clean" else noisy)
            refuse_not_finite(frames)
            return frames

        return once(("preview", source, levels), decoded)

    similarity = None
    if method.schedule == "uniform":
        schedule = uniform(GROUP * (clean.shape[2] - 1) + 1, method.max_merge)
    else:
        preview, dtype = preview_of(method.schedule_from), method.similarity_dtype
        similarity = once(
            ("similarity", method.schedule_from, levels, dtype),
            lambda: frame_similarity((preview / 2 + 0.5).clamp(0, 1), getattr(torch, dtype)),
        )
        schedule = schedule_of(similarity, method)
    if schedule.keeps_everything:
        return Compressed(None, schedule, similarity)
    if method.merge_space == "latent":
        return Compressed(merge_latents(noisy, schedule), schedule, similarity)
    source = "clean" if method.denoise_renoise else "noisy"
    merged = preview_of(source)

    def encoded() -> Float[Tensor, "1 c kept h w"]:
        with backbone.codec.reduced(levels):
            return backbone.codec.encode(merge(merged, schedule))

    return Compressed(once(("merged", source, levels, schedule.segments), encoded), schedule, similarity)


def schedule_of(similarity: Similarity, method: Vgdfr) -> FrameSchedule:
    """The schedule that `method` asks for, by similarity."""
    if method.schedule == "threshold":
        assert method.theta is not None
        return by_threshold(similarity, method.theta, method.max_merge)
    assert method.token_ratio is not None
    if method.search == "released":
        return by_token_ratio_as_released(similarity, method.token_ratio)
    return by_token_ratio(similarity, method.token_ratio, method.max_merge)


def merge(frames: Float[Tensor, "t c h w"], schedule: FrameSchedule) -> Float[Tensor, "kept c h w"]:
    """Replace each group of frames that `schedule` merges by its mean."""
    return torch.cat(
        [
            reduce(frames[s.start : s.start + s.length], "(g f) c h w -> g c h w", "mean", f=s.factor)
            for s in schedule.segments
        ]
    )


def merge_latents(latent: Float[Tensor, "1 c n h w"], schedule: FrameSchedule) -> Float[Tensor, "1 c kept h w"]:
    """Replace the latent frames that `schedule` turns into one by their mean (Fig. 4: without the module)."""
    parts, at = [], 0
    for s in schedule.segments:
        length = -(-s.length // GROUP)  # the first frame has a latent frame of its own
        parts.append(reduce(latent[:, :, at : at + length], "b c (g f) h w -> b c g h w", "mean", f=s.factor))
        at += length
    return torch.cat(parts, dim=2)
