"""Computes LPIPS with the `lpips` package: distances between frames in a network's features (Zhang et al. 2018)."""

import warnings
from pathlib import Path
from typing import Literal

import lpips as package
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from metrics.base import Score, Video, mean
from metrics.embedded import TRUNK
from metrics.precision import device, exact_float32
from metrics.weights import ALEXNET, by_content

BATCH = 16  # frames, or pairs of frames, computed at a time


def embedded() -> nn.Module:
    """Returns LPIPS on the AlexNet trunk that ships with the package. All channels of a layer have the same weight."""
    return _embedded(TRUNK)


@by_content
def _embedded(trunk: Path) -> nn.Module:
    network = _on_trunk(load_file(trunk), heads=False)
    for head in network.lins:
        for weight in head.parameters():
            nn.init.constant_(weight, 1 / weight.shape[1])
    return network


@by_content
def alexnet(file: Path, spatial: bool = False) -> nn.Module:
    """Returns LPIPS v0.1 with its own heads on torchvision's AlexNet, on a GPU if there is one.

    If `spatial`, each layer's distances are enlarged to the frame's size before they are averaged, which changes the
    value slightly. Raises FileNotFoundError if AlexNet's file is missing.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no AlexNet weights at {file}")
    stored = torch.load(file, map_location="cpu", weights_only=True)
    features = {name.removeprefix("features."): v for name, v in stored.items() if name.startswith("features.")}
    return _on_trunk(features, heads=True, spatial=spatial).to(device())


def _on_trunk(features: dict[str, Tensor], heads: bool, spatial: bool = False) -> package.LPIPS:
    """Returns the package's network on these weights of AlexNet's `features`.

    If `heads`, the layers are weighed by the heads that the package ships. Raises RuntimeError if it did not load them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls torchvision in a deprecated way
        network = package.LPIPS(
            net="alex", pretrained=heads, pnet_rand=True, use_dropout=heads, spatial=spatial, verbose=False
        )
    if heads:  # the package ignores errors when it loads them
        file = Path(package.__file__).parent / "weights" / "v0.1" / "alex.pth"
        state = network.state_dict()
        for name, value in torch.load(file, map_location="cpu", weights_only=True).items():
            if not torch.equal(state[name], value):
                raise RuntimeError(f"the lpips package did not load its own {name} from {file}")
    # the package cuts AlexNet's features into slices and keeps the layers' numbers
    network.net.load_state_dict({name: features[name.split(".", 1)[1]].float() for name in network.net.state_dict()})
    return network.eval()


def lpips_score(network: Literal["embedded", "alexnet", "alexnet_spatial"], video: Video, reference: Video) -> Score:
    """Returns `lpips` with one of the networks of this package's metrics.

    Raises FileNotFoundError if the network's weights are missing.
    """
    chosen = embedded() if network == "embedded" else alexnet(ALEXNET.file, spatial=network == "alexnet_spatial")
    return lpips(chosen, video, reference)


@torch.no_grad()
@exact_float32()
def lpips(network: nn.Module, video: Video, reference: Video) -> Score:
    """Returns the mean over frames of the LPIPS distance, from 0 upwards. It is 0 for equal videos."""
    place = next(network.parameters()).device
    per_frame = []
    for i in range(0, len(video), BATCH):
        pair = (to_tensor(frames[i : i + BATCH]).to(place) for frames in (video, reference))
        per_frame.append(network(*pair).mean((1, 2, 3)).double().cpu().numpy())
    return mean(np.concatenate(per_frame))


def to_tensor(frames: Video) -> Float[Tensor, "t 3 h w"]:
    """Returns the frames' bytes scaled to [-1, 1]."""
    return rearrange(torch.tensor(frames), "t h w c -> t c h w").float() / 127.5 - 1
