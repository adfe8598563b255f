"""The metrics that look through a network, by name.

Each imports its module, and so PyTorch, when it is computed: those who ask for pixel metrics do without.
"""

from functools import partial
from typing import Literal

from metrics.base import Metric, Score, Video
from metrics.embedded import CLIP, TRUNK
from metrics.weights import ALEXNET, CLIP_VIT_B_32

Eyes = Literal["embedded", "openai", "evalcrafter"]


def _clip(eyes: Eyes, name: Literal["clipsim", "clip_temp", "embedded_vqa"], video: Video, *prompt: str) -> Score:
    from metrics import clip, vqa

    model = {
        "embedded": clip.embedded,
        "openai": partial(clip.openai, CLIP_VIT_B_32.file),
        "evalcrafter": partial(clip.evalcrafter, CLIP_VIT_B_32.file),
    }[eyes]()
    return {"clipsim": clip.clipsim, "clip_temp": clip.clip_temp, "embedded_vqa": vqa.embedded_vqa}[name](
        model, video, *prompt
    )


def _lpips(eyes: Literal["embedded", "alexnet"], video: Video, reference: Video) -> Score:
    from metrics import perceptual

    network = perceptual.embedded() if eyes == "embedded" else perceptual.alexnet(ALEXNET.file)
    return perceptual.lpips(network, video, reference)


def _clip_pair(suffix: str, eyes: Eyes) -> tuple[Metric, Metric]:
    judge = eyes == "embedded"
    weights = CLIP if judge else CLIP_VIT_B_32
    return (
        Metric(
            f"clipsim{suffix}", 1, "", True, partial(_clip, eyes, "clipsim"),
            needs_prompt=True, weights=weights, embedded=judge,
        ),
        Metric(
            f"clip_temp{suffix}", 1, "", True, partial(_clip, eyes, "clip_temp"), weights=weights, embedded=judge
        ),
    )  # fmt: skip


LEARNED = (
    *_clip_pair("", "openai"),
    *_clip_pair("_evalcrafter", "evalcrafter"),
    Metric("lpips", 1, "", False, partial(_lpips, "alexnet"), needs_reference=True, weights=ALEXNET),
    *_clip_pair("_embedded", "embedded"),
    Metric(
        "vqa_embedded", 1, "0-100", True, partial(_clip, "embedded", "embedded_vqa"),
        weights=CLIP, embedded=True,
    ),
    Metric(
        "lpips_embedded", 1, "", False, partial(_lpips, "embedded"),
        needs_reference=True, weights=TRUNK, embedded=True,
    ),
)  # fmt: skip
