"""Computes video quality without a reference, frame by frame. `metrics.dover` judges whole videos instead."""

from functools import cache
from typing import Any

import torch

from metrics.base import Score, Video, mean
from metrics.clip import antonyms, embedded
from metrics.perceptual import BATCH, to_tensor
from metrics.precision import device, exact_float32

# The words of the embedded CLIP model's training captions for quality, and for its opposites.
CLEAR, UNCLEAR = "a clear video", ("a blurred video", "a noisy video", "a ghosted video")


def embedded_vqa_score(video: Video) -> Score:
    """Returns 100 times the embedded CLIP's probability that a frame is clear, not blurred, noisy or ghosted.

    The value is the mean over frames, in [0, 100].
    """
    return mean(100 * antonyms(embedded(), video, CLEAR, UNCLEAR))


@torch.no_grad()
@exact_float32()
def pyiqa_score(name: str, video: Video) -> Score:
    """Returns the mean over frames of pyiqa's no-reference metric `name`, on a GPU if there is one.

    The network gets frames in [0, 1]. Raises ValueError unless it returns one value per frame.
    """
    network, per_frame = _network(name), []
    for i in range(0, len(video), BATCH):
        frames = (to_tensor(video[i : i + BATCH]) + 1) / 2
        values = network(frames.to(network.device)).flatten().double().tolist()
        if len(values) != len(frames):
            raise ValueError(f"pyiqa:{name} returned {len(values)} values for {len(frames)} frames")
        per_frame += values
    return mean(per_frame)


@cache
def _network(name: str) -> Any:
    import pyiqa  # an optional package with another licence, so it is imported only if it is chosen

    return pyiqa.create_metric(name, device=device())
