"""Stage `trunk`: AlexNet's convolutions for the embedded LPIPS, trained to name a frame's content and quality."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import alexnet

from bench.embedded.frames import LABELS, draw, pool
from bench.embedded.training import autocast, device, fit


class Trunk(nn.Module):
    """torchvision's AlexNet `features`, which LPIPS compares, and linear heads. The heads are for training only."""

    def __init__(self) -> None:
        super().__init__()
        self.features = alexnet(weights=None).features
        self.heads = nn.ModuleDict({name: nn.Linear(256, len(values)) for name, values in LABELS.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Returns logits per attribute of images `[b, 3, h, w]` in [-1, 1], which are scaled as LPIPS does."""
        pooled = self.features(lpips_scaled(images)).mean((2, 3))
        return {name: head(pooled) for name, head in self.heads.items()}


def lpips_scaled(images: Tensor) -> Tensor:
    """Applies LPIPS v0.1's scaling layer (Zhang et al. 2018), so that the trunk is trained on the inputs of LPIPS."""
    shift = images.new_tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = images.new_tensor([0.458, 0.448, 0.450])[:, None, None]
    return (images - shift) / scale


def train(s: dict[str, Any], folder: Path) -> Trunk:
    """Trains for the settings' steps, continuing from `folder`."""
    torch.manual_seed(0)
    trunk = Trunk().to(device())

    def loss_of_step(step: int) -> dict[str, Tensor]:
        frames = draw(np.random.default_rng([step, 3]), pool(s["clips"]), s["batch_size"])
        with autocast():
            logits = trunk(frames.images.to(device()))
        labels = {name: label.to(device()) for name, label in frames.labels.items()}
        losses = [F.cross_entropy(logits[name].float(), labels[name]) for name in LABELS]
        right = {name: (logits[name].argmax(-1) == labels[name]).float().mean() for name in LABELS}
        return {"loss": torch.stack(losses).mean(), **right}

    fit(trunk, loss_of_step, folder, s["steps"], s["muon_lr"], s["adamw_lr"])
    return trunk
