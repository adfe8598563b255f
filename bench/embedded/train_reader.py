"""Stage `reader`: trains the attribute reader on clear clips and on clips with the faults of generated videos.

Such clips are soft, grainy or tinted.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.embedded.degrade import blur, noise
from bench.embedded.frames import pool
from bench.embedded.reader import APPEARANCE, MOTION, Reader, halved
from bench.embedded.training import autocast, device, fit
from metrics.perceptual import to_tensor

FRAMES = 3  # frames per clip


def train(s: dict[str, Any], folder: Path) -> Reader:
    """Trains for the settings' steps, continuing from `folder`."""
    torch.manual_seed(0)
    reader = Reader().to(device())
    clips = pool(s["clips"])
    values = APPEARANCE | MOTION

    def loss_of_step(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([step, 5])
        chosen = [clips[i] for i in rng.integers(len(clips), size=s["batch_size"])]
        videos = [to_tensor(_as_generated(rng, clip.frames)) for clip in chosen]
        frames = torch.stack([v[torch.from_numpy(rng.integers(len(v), size=FRAMES))] for v in videos])
        with autocast():
            logits = reader(frames.to(device()), torch.stack([halved(v) for v in videos]).to(device()))
        losses, right = [], {}
        for name, logit in logits.items():
            truth = torch.tensor([values[name].index(getattr(c.attributes, name)) for c in chosen]).to(logit.device)
            losses.append(F.cross_entropy(logit.float(), truth))
            right[name] = (logit.argmax(-1) == truth).float().mean()
        return {"loss": torch.stack(losses).mean(), **right}

    fit(reader, loss_of_step, folder, s["steps"], s["muon_lr"], s["adamw_lr"])
    return reader


def _as_generated(rng: np.random.Generator, video: np.ndarray) -> np.ndarray:
    if rng.random() < 0.6:
        video = blur(video, rng.uniform(0.3, 1.5))
    tint = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.92, 1.08)
    return noise(np.clip((video * tint).round(), 0, 255).astype(np.uint8), rng.uniform(0, 6), rng)
