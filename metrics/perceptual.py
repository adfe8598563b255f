"""LPIPS: distance between frames in the features of a network (Zhang et al. 2018), by the `lpips` package."""

import warnings
from functools import cache

import lpips as package
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from metrics.base import Score, Video
from metrics.embedded import TRUNK

BATCH = 16  # pairs of frames at a time


@cache
def embedded() -> nn.Module:
    """LPIPS on the AlexNet trunk that ships with the package, every channel of a layer with the same weight."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision the old way
        network = package.LPIPS(net="alex", pretrained=False, pnet_rand=True, use_dropout=False, verbose=False)
    stored = load_file(TRUNK)
    # the package cuts AlexNet's features into slices and keeps the layers' numbers
    network.net.load_state_dict({name: stored[name.split(".", 1)[1]].float() for name in network.net.state_dict()})
    for head in network.lins:
        for weight in head.parameters():
            nn.init.constant_(weight, 1 / weight.shape[1])
    return network.eval()


@torch.no_grad()
def lpips(network: nn.Module, video: Video, reference: Video) -> Score:
    """Mean over frames of the LPIPS distance, inputs in [-1, 1]; 0 for equal videos."""
    per_frame = np.concatenate(
        [
            network(to_tensor(video[i : i + BATCH]), to_tensor(reference[i : i + BATCH])).flatten().double().numpy()
            for i in range(0, len(video), BATCH)
        ]
    )
    return Score(float(per_frame.mean()), per_frame)


def to_tensor(frames: Video) -> Float[Tensor, "t 3 h w"]:
    """Bytes to [-1, 1]."""
    return rearrange(torch.from_numpy(frames), "t h w c -> t c h w").float() / 127.5 - 1
