"""The metrics that look through a network, by name.

Each imports its module, and so PyTorch, when it is computed: those who ask for pixel metrics do without.
"""

from metrics.base import Metric, Score, Video
from metrics.embedded import CLIP, TRUNK

_WEIGHTS = CLIP / "open_clip_model.safetensors"


def _clipsim(video: Video, prompt: str) -> Score:
    from metrics import clip

    return clip.clipsim(clip.embedded(), video, prompt)


def _clip_temp(video: Video) -> Score:
    from metrics import clip

    return clip.clip_temp(clip.embedded(), video)


def _vqa(video: Video) -> Score:
    from metrics import clip, vqa

    return vqa.embedded_vqa(clip.embedded(), video)


def _lpips(video: Video, reference: Video) -> Score:
    from metrics import perceptual

    return perceptual.lpips(perceptual.embedded(), video, reference)


LEARNED = (
    Metric("clipsim_embedded", 1, "", True, _clipsim, needs_prompt=True, weights=_WEIGHTS, embedded=True),
    Metric("clip_temp_embedded", 1, "", True, _clip_temp, weights=_WEIGHTS, embedded=True),
    Metric("vqa_embedded", 1, "0-100", True, _vqa, weights=_WEIGHTS, embedded=True),
    Metric("lpips_embedded", 1, "", False, _lpips, needs_reference=True, weights=TRUNK, embedded=True),
)
