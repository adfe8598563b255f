"""What a model must offer for VGDFR to run on it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor

from vgdfr.denoise import Velocity
from vgdfr.schedule import FrameSchedule
from vgdfr.video import VideoSpec


class Codec(ABC):
    """A causal video VAE: 4x in time, the first frame alone."""

    device: torch.device
    num_spatial_levels: int
    """How often the VAE halves height and width."""

    @abstractmethod
    def reduced(self, levels: int) -> AbstractContextManager[object]:
        """Within the block `decode` and `encode` work at `2**levels` times less height and width, time in full."""

    @abstractmethod
    def decode(self, latents: Float[Tensor, "1 c n y x"]) -> Float[Tensor, "t 3 h w"]:
        """Frames in [-1, 1], not clamped, float32."""

    @abstractmethod
    def encode(self, frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "1 c n y x"]:
        """The posterior's mode for frames in [-1, 1], float32."""


class Backbone(ABC):
    """A latent video diffusion model: a flow-matching DiT and its VAE."""

    device: torch.device
    codec: Codec
    num_layers: int
    """DiT layers, dual-stream and single-stream together."""
    num_dual_layers: int
    """Those of them that are dual-stream; they come first."""

    @abstractmethod
    def noise(self, spec: VideoSpec) -> Float[Tensor, "1 c n h w"]:
        """The seed's noise, float32, drawn on the CPU so that it is the same on every device."""

    @abstractmethod
    def sigmas(self, spec: VideoSpec) -> list[float]:
        """Noise levels from 1 down to 0, one more than there are steps."""

    @abstractmethod
    def velocity(self, spec: VideoSpec) -> Velocity:
        """Encode the prompt once and return the DiT's velocity as a function of latent and sigma."""

    @abstractmethod
    def notes(self, spec: VideoSpec) -> tuple[str, ...]:
        """What a reader of a sample's record should know of how its prompt was encoded."""

    @abstractmethod
    def dyrope(self, schedule: FrameSchedule, global_layers: Sequence[int]) -> AbstractContextManager[None]:
        """Within the block the velocity is that of the latent shortened by `schedule`."""
