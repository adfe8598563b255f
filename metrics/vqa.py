"""Video quality without a reference, frame by frame (`dover` sees whole videos)."""

from functools import cache
from typing import Any

import torch

from metrics.base import Score, Video, mean
from metrics.clip import ClipModel, antonyms
from metrics.perceptual import BATCH, to_tensor
from metrics.precision import device, exact_float32

# What the embedded CLIP model's training captions call quality, and its opposites.
CLEAR, UNCLEAR = "a clear video", ("a blurred video", "a noisy video", "a ghosted video")

# Of what pyiqa calls no-reference, the networks that take more than frames one by one, and what they are.
_NOT_OF_ONE_FRAME = {
    "FID": "compares sets of images",
    "InceptionScore": "is of a set of images",
    "CLIPScore": "compares with a text, as clipsim does",
}


def embedded_vqa(clip: ClipModel, video: Video) -> Score:
    """100 times the embedded CLIP's probability that a frame is clear, not blurred, noisy or ghosted; in [0, 100]."""
    return mean(100 * antonyms(clip, video, CLEAR, UNCLEAR))


def pyiqa_facts(name: str) -> tuple[str, bool]:
    """pyiqa's version and whether more is better.

    Raises ValueError without pyiqa, and for all but its metrics of one frame without a reference.
    """
    package = _package()
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    kinds = {other: config["metric_opts"]["type"] for other, config in DEFAULT_CONFIGS.items()}
    allowed = [other for other in package.list_models(metric_mode="NR") if kinds[other] not in _NOT_OF_ONE_FRAME]
    if name not in allowed:
        why = "is none of pyiqa's"
        if name in kinds:
            why = _NOT_OF_ONE_FRAME.get(kinds[name], "compares with a reference")
        raise ValueError(f"pyiqa:{name} {why}; allowed are its no-reference metrics of one frame: {', '.join(allowed)}")
    return package.__version__, not DEFAULT_CONFIGS[name].get("lower_better", False)


@torch.no_grad()
@exact_float32()
def pyiqa_frames(name: str, video: Video) -> Score:
    """Mean over frames of a no-reference metric of pyiqa, which sees frames in [0, 1], on a GPU where there is one."""
    network, per_frame = _network(name), []
    for i in range(0, len(video), BATCH):
        frames = (to_tensor(video[i : i + BATCH]) + 1) / 2
        values = network(frames.to(network.device)).flatten().double().tolist()
        if len(values) != len(frames):
            raise ValueError(f"pyiqa:{name} gave {len(values)} values for {len(frames)} frames")
        per_frame += values
    return mean(per_frame)


@cache
def _network(name: str) -> Any:
    return _package().create_metric(name, device=device())


def _package() -> Any:
    try:
        import pyiqa
    except ImportError as error:
        raise ValueError("pyiqa is not installed; for noncommercial use: pip install 'vgdfr[pyiqa]'") from error
    return pyiqa
