"""Draws single frames for training the judge.

Clips are rendered once. Then frames are drawn from them, degraded and labelled.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bench.embedded.degrade import QUALITIES, blend, blur, noise
from bench.embedded.world import BACKGROUNDS, COLOURS, SHAPES, Clip, training_clip
from metrics.perceptual import to_tensor

LABELS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "background": BACKGROUNDS,
    "quality": QUALITIES,
}
FIRST_CLIP = 2_000_000  # clips that neither the VAE nor the DiT is trained on
VISIBLE = 2.0  # mean change in grey levels from which a blended frame is labelled ghosted


@dataclass(frozen=True)
class Frames:
    """Images in [-1, 1], and for each image and attribute the index of its value in `LABELS`."""

    images: Float[Tensor, "b 3 h w"]
    labels: dict[str, Int64[Tensor, " b"]]


@cache
def pool(count: int) -> tuple[Clip, ...]:
    """Returns the first `count` clips of the judge's own stream. Each process renders them once (0.8 MB per clip)."""
    return tuple(training_clip(FIRST_CLIP + i) for i in range(count))


def draw(rng: np.random.Generator, clips: tuple[Clip, ...], count: int) -> Frames:
    """Returns `count` frames of random clips, a quarter each clear, blurred, noisy and ghosted.

    A frame that should be ghosted stays clear if nothing moves.
    """
    images, labels = [], {name: [] for name in LABELS}
    for _ in range(count):
        clip = clips[rng.integers(len(clips))]
        image, quality = _degraded(rng, clip)
        images.append(image)
        for name, values in LABELS.items():
            value = quality if name == "quality" else getattr(clip.attributes, name)
            labels[name].append(values.index(value))
    return Frames(to_tensor(np.stack(images)), {name: torch.tensor(v) for name, v in labels.items()})


def _degraded(rng: np.random.Generator, clip: Clip) -> tuple[np.ndarray, str]:
    """Returns a frame of `clip` and its quality. A clear frame may be slightly soft or grainy, as a VAE's output is."""
    quality = QUALITIES[rng.integers(len(QUALITIES))]
    t = int(rng.integers(len(clip.frames)))
    frame = clip.frames[t : t + 1]
    if quality == "ghosted":
        ghost = blend(clip.frames, int(rng.integers(2, 13)))[t : t + 1]
        if cv2.norm(ghost[0], frame[0], cv2.NORM_L1) / frame.size >= VISIBLE:
            frame = ghost
        else:
            quality = "clear"
    if quality == "blurred":
        frame = blur(frame, rng.uniform(1.0, 3.0))
    elif rng.random() < 0.5:
        frame = blur(frame, rng.uniform(0.2, 0.55))
    frame = noise(frame, rng.uniform(8, 40) if quality == "noisy" else rng.uniform(0, 3), rng)
    return frame[0], quality
