"""Video quality without a reference, frame by frame (`dover` sees whole videos)."""

from functools import cache
from typing import Any

import torch

from metrics.base import Score, Video, mean
from metrics.clip import ClipModel, antonyms
from metrics.perceptual import BATCH, to_tensor

# What the embedded CLIP model's training captions call quality, and its opposites.
CLEAR, UNCLEAR = "a clear video", ("a blurred video", "a noisy video", "a ghosted video")


def embedded_vqa(clip: ClipModel, video: Video) -> Score:
    """100 times the embedded CLIP's probability that a frame is clear, not blurred, noisy or ghosted; in [0, 100]."""
    return mean(100 * antonyms(clip, video, CLEAR, UNCLEAR))


def pyiqa_facts(name: str) -> tuple[str, bool]:
    """pyiqa's version and whether more is better. Raises ValueError without pyiqa, or for none of its metrics."""
    package = _package()
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    there = package.list_models(metric_mode="NR")
    if name not in there:
        raise ValueError(f"pyiqa has no no-reference metric {name!r}; it has {', '.join(there)}")
    return package.__version__, not DEFAULT_CONFIGS[name].get("lower_better", False)


@torch.no_grad()
def pyiqa_frames(name: str, video: Video) -> Score:
    """Mean over frames of a no-reference metric of pyiqa, which sees frames in [0, 1], on a GPU where there is one."""
    network, per_frame = _network(name), []
    for i in range(0, len(video), BATCH):
        frames = (to_tensor(video[i : i + BATCH]) + 1) / 2
        per_frame += network(frames.to(network.device)).flatten().double().tolist()
    return mean(per_frame)


@cache
def _network(name: str) -> Any:
    return _package().create_metric(name, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _package() -> Any:
    try:
        import pyiqa
    except ImportError as error:
        raise ValueError("pyiqa is not installed; for noncommercial use: pip install 'vgdfr[pyiqa]'") from error
    return pyiqa
