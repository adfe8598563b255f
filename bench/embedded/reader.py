"""The attribute reader: a network that names the attributes of a video. It checks generated videos."""

from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.embedded.degrade import Video
from bench.embedded.world import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, SPEEDS
from metrics.perceptual import to_tensor

WEIGHTS = Path(__file__).parent / "reader.safetensors"
APPEARANCE: dict[str, tuple[str, ...]] = {"colour": tuple(COLOURS), "shape": SHAPES, "background": BACKGROUNDS}
MOTION: dict[str, tuple[str | None, ...]] = {"speed": SPEEDS, "direction": (None, *DIRECTIONS)}


class Reader(nn.Module):
    """Reads colour, shape and background from single frames, and speed and direction from all 65 frames.

    The 65 frames have half the size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            _conv2d(3, 32, 2), _conv2d(32, 64, 2), _conv2d(64, 128, 2), _conv2d(128, 128, 1), nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )  # fmt: skip
        self.clip = nn.Sequential(
            _conv3d(3, 24), _conv3d(24, 48), _conv3d(48, 96), _conv3d(96, 96),
            nn.AdaptiveAvgPool3d((5, 1, 1)), nn.Flatten(), nn.Linear(480, 128), nn.SiLU(),
        )  # fmt: skip
        self.appearance = nn.ModuleDict({name: nn.Linear(128, len(values)) for name, values in APPEARANCE.items()})
        self.motion = nn.ModuleDict({name: nn.Linear(128, len(values)) for name, values in MOTION.items()})

    def forward(
        self, frames: Float[Tensor, "b n 3 h w"], clips: Float[Tensor, "b 3 65 h2 w2"]
    ) -> dict[str, Float[Tensor, "b values"]]:
        """Returns logits per attribute, from `n` frames of each video (averaged) and from whole videos at half size."""
        of_frames = self.frame(rearrange(frames, "b n c h w -> (b n) c h w"))
        of_clips = self.clip(clips)
        logits = {
            name: reduce(head(of_frames), "(b n) v -> b v", "mean", b=len(frames))
            for name, head in self.appearance.items()
        }
        return logits | {name: head(of_clips) for name, head in self.motion.items()}


def load() -> Reader:
    """Returns the trained reader. Raises FileNotFoundError that says how to train it if its weights are missing."""
    require(WEIGHTS, "reader")
    reader = Reader()
    reader.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return reader.eval()


@torch.no_grad()
def read(reader: Reader, video: Video) -> dict[str, str | None]:
    """Returns every attribute of one video of 65 frames, by name. `direction` is None for a still video."""
    frames = to_tensor(video)
    logits = reader(frames[None, ::4], halved(frames)[None])
    values = APPEARANCE | MOTION
    return {name: values[name][int(logit[0].argmax())] for name, logit in logits.items()}


def require(weights: Path, stage: str) -> None:
    """Raises FileNotFoundError if the `weights` of a judge are missing."""
    if not weights.exists():
        raise FileNotFoundError(f"no weights at {weights}; train them: python -m bench.embedded.train {stage}")


def halved(frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "3 t h2 w2"]:
    return rearrange(F.avg_pool2d(frames, 2), "t c h w -> c t h w")


def _conv2d(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 5, stride, 2), nn.GroupNorm(4, out), nn.SiLU())


def _conv3d(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(channels, out, (3, 5, 5), 2, (1, 2, 2)), nn.GroupNorm(4, out), nn.SiLU())
