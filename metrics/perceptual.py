"""LPIPS: distance between frames in the features of a network (Zhang et al. 2018), by the `lpips` package."""

import warnings
from pathlib import Path

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
from metrics.weights import by_content

BATCH = 16  # pairs of frames at a time


def embedded() -> nn.Module:
    """LPIPS on the AlexNet trunk that ships with the package, every channel of a layer with the same weight."""
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
    """LPIPS v0.1 with its own heads on torchvision's AlexNet, on a GPU where there is one.

    If `spatial`, each layer's distances are enlarged to the frame's size before their mean: close, but not the same.
    Raises FileNotFoundError where AlexNet's file is not there.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no AlexNet weights at {file}")
    stored = torch.load(file, map_location="cpu", weights_only=True)
    features = {name.removeprefix("features."): v for name, v in stored.items() if name.startswith("features.")}
    return _on_trunk(features, heads=True, spatial=spatial).to(device())


def _on_trunk(features: dict[str, Tensor], heads: bool, spatial: bool = False) -> package.LPIPS:
    """The package's network on these weights of AlexNet's `features`; `heads` are those the package brings along."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision the old way
        network = package.LPIPS(
            net="alex", pretrained=heads, pnet_rand=True, use_dropout=heads, spatial=spatial, verbose=False
        )
    if heads:  # which the package loads leniently
        file = Path(package.__file__).parent / "weights" / "v0.1" / "alex.pth"
        state = network.state_dict()
        for name, value in torch.load(file, map_location="cpu", weights_only=True).items():
            if not torch.equal(state[name], value):
                raise RuntimeError(f"the lpips package did not load its own {name} from {file}")
    # the package cuts AlexNet's features into slices and keeps the layers' numbers
    network.net.load_state_dict({name: features[name.split(".", 1)[1]].float() for name in network.net.state_dict()})
    return network.eval()


@torch.no_grad()
@exact_float32()
def lpips(network: nn.Module, video: Video, reference: Video) -> Score:
    """Mean over frames of the LPIPS distance, inputs in [-1, 1]; 0 for equal videos."""
    place = next(network.parameters()).device
    per_frame = []
    for i in range(0, len(video), BATCH):
        pair = (to_tensor(frames[i : i + BATCH]).to(place) for frames in (video, reference))
        per_frame.append(network(*pair).mean((1, 2, 3)).double().cpu().numpy())
    return mean(np.concatenate(per_frame))


def to_tensor(frames: Video) -> Float[Tensor, "t 3 h w"]:
    """Bytes to [-1, 1]."""
    return rearrange(torch.tensor(frames), "t h w c -> t c h w").float() / 127.5 - 1
