"""RIFE 4.26 heavy ("Large"), the network that the paper interpolates with (section 4.1), and its strict loading.

The architecture matches the published weights (Huang et al., ECCV 2022; later releases at hzwer/Practical-RIFE). Five
blocks from coarse to fine refine two flows and a mask. Their inputs are both frames, features of them and the time.
"""

import pickle
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vgdfr.assets import Asset
from vgdfr.files import cache_folder

URL = "https://github.com/EutropicAI/ccvfi/releases/download/model_zoo/RIFE_IFNet_v426_heavy.pkl"
SHA256 = "4cc518e172156ad6207b9c7a43364f518832d83a4325d484240493a9e2980537"
MULTIPLE = 64  # sides are padded to multiples of 64: the coarsest block works at 1/16 and halves twice
FEATURES, CARRIED = 16, 8  # channels of a frame's features, and of the state that a block hands to the next
WIDTHS, SCALES = (192, 128, 96, 64, 32), (16, 8, 4, 2, 1)
TRAINING_ONLY = ("teacher.", "caltime.")  # these published weights are not used to interpolate


class IFNet(nn.Module):
    """Intermediate flow estimation. Its parameter names are the names in the published weights."""

    def __init__(self) -> None:
        super().__init__()
        first = 2 * 3 + 2 * FEATURES + 1
        for i, width in enumerate(WIDTHS):
            # later blocks also see the mask, the state of the block before, and the flows so far
            self.add_module(f"block{i}", _Block(first if i == 0 else first + 1 + CARRIED + 4, width))
        self.encode = _Features()

    def forward(
        self, before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"], time: float
    ) -> Float[Tensor, "b 3 h w"]:
        """Returns the frame at `time` in (0, 1). Frames are in [0, 1], and their sides are multiples of 64."""
        features = self.encode(before), self.encode(after)
        at = torch.full_like(before[:, :1], time)
        flow: Tensor | None = None
        mask = carried = torch.empty(0)
        for i, scale in enumerate(SCALES):
            block = getattr(self, f"block{i}")
            if flow is None:
                flow, mask, carried = block(torch.cat([before, after, *features, at], 1), None, scale)
                continue
            halves = flow[:, :2], flow[:, 2:]
            frames = [warp(frame, half) for frame, half in zip((before, after), halves, strict=True)]
            warped = [warp(feature, half) for feature, half in zip(features, halves, strict=True)]
            step, mask, carried = block(torch.cat([*frames, *warped, at, mask, carried], 1), flow, scale)
            flow = flow + step
        assert flow is not None
        share = mask.sigmoid()
        return warp(before, flow[:, :2]) * share + warp(after, flow[:, 2:]) * (1 - share)


class _Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, FEATURES, 3, 2, 1)
        self.cnn1 = nn.Conv2d(FEATURES, FEATURES, 3, 1, 1)
        self.cnn2 = nn.Conv2d(FEATURES, FEATURES, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(FEATURES, FEATURES, 4, 2, 1)

    def forward(self, frame: Tensor) -> Tensor:
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            frame = F.leaky_relu(layer(frame), 0.2)
        return self.cnn3(frame)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(x) * self.beta + x, 0.2)


class _Block(nn.Module):
    """Returns a change of both flows (4 channels), a mask (1) and a state (8), computed at 1/`scale` of the size."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(
            nn.Sequential(nn.Conv2d(channels, width // 2, 3, 2, 1), nn.LeakyReLU(0.2)),
            nn.Sequential(nn.Conv2d(width // 2, width, 3, 2, 1), nn.LeakyReLU(0.2)),
        )
        self.convblock = nn.Sequential(*(_Residual(width) for _ in range(8)))
        self.lastconv = nn.Sequential(nn.ConvTranspose2d(width, 4 * (4 + 1 + CARRIED), 4, 2, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor, flow: Tensor | None, scale: int) -> tuple[Tensor, Tensor, Tensor]:
        x = _resized(x, 1 / scale)
        if flow is not None:
            x = torch.cat([x, _resized(flow, 1 / scale) / scale], 1)
        out = _resized(self.lastconv(self.convblock(self.conv0(x))), scale)
        return out[:, :4] * scale, out[:, 4:5], out[:, 5:]


def warp(x: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Returns `x` sampled bilinearly at each pixel plus `flow` (pixels: right, down). Borders continue outwards."""
    height, width = x.shape[-2:]
    down, right = torch.meshgrid(
        torch.arange(height, device=x.device), torch.arange(width, device=x.device), indexing="ij"
    )
    at = torch.stack([2 * (right + flow[:, 0]) / (width - 1) - 1, 2 * (down + flow[:, 1]) / (height - 1) - 1], -1)
    return F.grid_sample(x, at.to(x), mode="bilinear", padding_mode="border", align_corners=True)


def _resized(x: Tensor, factor: float | int) -> Tensor:
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def load(weights: Path, device: torch.device | str = "cpu") -> IFNet:
    """Returns the network with the weights of the published file, in float32.

    Raises ValueError if the file does not fit exactly: if a weight is missing, has another shape, or is unknown.
    Training-only parts may be there.
    """
    try:
        stored = torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{weights} cannot be read as a PyTorch file of weights: {error}") from error
    if not isinstance(stored, Mapping):
        raise ValueError(f"{weights} holds a {type(stored).__name__}, expected a mapping of names to weights")
    given = {name.removeprefix("module."): value for name, value in stored.items()}
    given = {name: value for name, value in given.items() if not name.startswith(TRAINING_ONLY)}
    network = IFNet()
    expected = network.state_dict()
    wrong = [f"lacks {name}" for name in expected if name not in given]
    wrong += [f"has an unknown {name}" for name in given if name not in expected]
    wrong += [
        f"has {name} of shape {list(given[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{weights} is not RIFE 4.26 heavy: it {', '.join(wrong[:3])}{more}; expected {URL}")
    network.load_state_dict({name: value.float() for name, value in given.items()})
    return network.eval().requires_grad_(False).to(device)


def cached() -> Path:
    """Returns the path of the pinned weights after their download."""
    return cache_folder() / "RIFE_IFNet_v426_heavy.pkl"


def download() -> Path:
    """Returns the path of the pinned weights, and downloads them if needed. Raises ValueError for another hash."""
    import pooch  # only a download needs it

    return Path(pooch.retrieve(URL, f"sha256:{SHA256}", fname=cached().name, path=cached().parent))


def missing() -> list[Asset]:
    """Returns the pinned weights as an asset if they are not in the cache; empty otherwise."""
    return [] if cached().is_file() else [Asset("RIFE 4.26 heavy", URL, None, download)]


def weights_file(given: str | None) -> Path:
    """Returns the given file, or else the pinned file in the cache. Raises FileNotFoundError if it is missing."""
    file = Path(given) if given else cached()
    if not file.is_file():
        how = "check the path" if given else "download them: python -m bench.prefetch interpolator=rife"
        raise FileNotFoundError(f"no RIFE weights at {file}; {how}")
    return file


@cache
def load_once(file: Path, device: torch.device) -> IFNet:
    """Returns `load(file, device)`, which runs once per process."""
    return load(file, device)


@torch.inference_mode()
def interpolate(
    network: IFNet, before: Float[Tensor, "3 h w"], after: Float[Tensor, "3 h w"], times: list[float]
) -> list[Float[np.ndarray, "h w 3"]]:
    """Returns the frames at `times` in (0, 1) between two frames in [-1, 1], in levels from 0 to 255.

    Frames of any size are padded to multiples of 64 and cropped again. As in the released code, the network sees
    decoded frames that are clamped but not rounded. The caller rounds the result.
    """
    device = next(network.parameters()).device
    height, width = before.shape[1:]
    pad = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
    pair = [F.pad((frame[None].to(device).float() / 2 + 0.5).clamp(0, 1), pad) for frame in (before, after)]
    frames = [network(*pair, time)[0, :, :height, :width].clamp(0, 1) for time in times]
    return [rearrange(frame * 255, "c h w -> h w c").cpu().numpy() for frame in frames]
