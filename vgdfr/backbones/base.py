"""The interface of a model: methods run on a `Backbone`, which a `Model` loads."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vgdfr.architecture import Architecture
from vgdfr.assets import Asset
from vgdfr.naming import class_at, is_built_in, path_of, plain
from vgdfr.passes import Leaf, PassCounter
from vgdfr.schedule import FrameSchedule
from vgdfr.solver import Solver
from vgdfr.video import VideoSpec


class Codec(ABC):
    """A causal video VAE. The first frame has a latent frame of its own."""

    device: torch.device

    @abstractmethod
    def reduced(self, levels: int) -> AbstractContextManager[object]:
        """Within the block, frames of `decode` and `encode` are `2**levels` times smaller per side, but not in time."""

    @abstractmethod
    def decode(self, latents: Float[Tensor, "1 c n y x"]) -> Float[Tensor, "t 3 h w"]:
        """Returns float32 frames. The nominal range is [-1, 1]; values are not clamped."""

    @abstractmethod
    def encode(self, frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "1 c n y x"]:
        """Returns the float32 mode of the posterior for frames in [-1, 1]."""


class Velocity(ABC):
    """The DiT's velocity for one prompt, as a function of the latent and the noise level.

    `text_tokens` is the number of prompt tokens that the DiT sees. `step` and `num_inference_steps` give the place of a
    pass in its trajectory. A backbone on diffusers runs each forward within `transformer.cache_context`, which hands
    both to a cache. `step` is None for a pass off any trajectory.
    """

    text_tokens: int = 0

    @abstractmethod
    def __call__(
        self,
        x: Float[Tensor, "1 c n y x"],
        sigma: float,
        step: int | None = None,
        num_inference_steps: int | None = None,
    ) -> Float[Tensor, "1 c n y x"]:
        """Returns the float32 velocity at `x` and noise level `sigma`."""


class Backbone(ABC):
    """A loaded latent video diffusion model: a flow-matching DiT and its VAE."""

    device: torch.device
    transformer: nn.Module
    codec: Codec
    architecture: Architecture
    can_be_accelerated: bool = True
    """Whether the DiT's calls may be patched. The calls of a compiled DiT may not."""
    model: "Model | None" = None
    """The model that loaded this backbone. Accelerators find the calibration of its weights by it."""

    @abstractmethod
    def noise(self, spec: VideoSpec) -> Float[Tensor, "1 c n h w"]:
        """Returns the seed's float32 noise. It is drawn on the CPU, so that it is the same on every device."""

    @abstractmethod
    def solver(self, spec: VideoSpec, steps: int | None = None, shift: float | None = None) -> Solver:
        """Returns the model's solver with its noise levels. `steps` and `shift` replace `spec`'s values."""

    @abstractmethod
    def velocity(self, spec: VideoSpec) -> Velocity:
        """Returns the DiT's velocity for the prompt, which is encoded here, once."""

    @abstractmethod
    def shortened(
        self, schedule: FrameSchedule, positions_per_layer: Sequence[Sequence[float]]
    ) -> AbstractContextManager[None]:
        """Within the block the DiT takes latents shortened by `schedule`.

        Each layer sees the latent frames at its own temporal positions, counted in latent frames of the full video.
        Raises ValueError for positions that do not fit the model or the schedule.
        """

    @cached_property
    def resident_bytes(self) -> int | None:
        """Returns a GPU's memory before the first sample: the model's. None on a CPU."""
        return torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else None

    def notes(self, spec: VideoSpec) -> tuple[str, ...]:
        """Returns sentences for the readers of a record about the encoding of its prompt."""
        return ()

    def leaves(self) -> Sequence[Leaf]:
        """Returns modules that show the computed share of a DiT pass. Without them every pass counts as whole."""
        return ()

    @cached_property
    def counter(self) -> PassCounter:
        """Returns the counter of the DiT's passes, with its hooks in place."""
        patch = self.architecture.patch_size
        return PassCounter(self.transformer, self.leaves(), (1, patch, patch))


class Text(ABC):
    """A model's text encoders."""

    @abstractmethod
    def embed(self, prompts: Iterable[str]) -> None:
        """Computes and stores the embeddings of `prompts` that are missing."""

    @abstractmethod
    def notes(self, prompt: str) -> tuple[str, ...]:
        """Returns sentences for the readers of a record about the encoding of `prompt`."""


@dataclass(frozen=True)
class Model(ABC):
    """Settings of a checkpoint and of its execution: a frozen dataclass. `load` makes the backbone.

    `version` rises when a change of the class alters pixels.
    """

    version: ClassVar[int] = 1
    known_on_meta: ClassVar[bool] = False
    """Whether `vgdfr.memory` can build the model's parts from its configuration alone."""

    @abstractmethod
    def architecture(self) -> Architecture:
        """Returns the model's facts without loading weights. Raises FileNotFoundError if they are not known yet."""

    @abstractmethod
    def load(self) -> Backbone:
        """Returns the loaded DiT and VAE. All rows of a table run on this backbone."""

    @abstractmethod
    def load_codec(self) -> Codec:
        """Returns the VAE alone. It decodes and encodes exactly as the VAE of `load` does."""

    @property
    def place(self) -> str:
        """Returns the checkpoint's path or name, for messages."""
        return str(getattr(self, "path", type(self).__name__))

    @property
    def summary(self) -> str:
        """Returns one line about the checkpoint and its execution, for plans."""
        return f"{self.place} on {getattr(self, 'device', 'cpu')}"

    @property
    def device_type(self) -> str:
        """Returns the type of the model's device, such as "cpu" or "cuda"."""
        return str(getattr(self, "device", "cpu")).split(":")[0]

    @property
    def runs_on_cpu(self) -> bool:
        """Returns whether the settings ask for a CPU. It is False for the device "auto"."""
        return self.device_type == "cpu" and getattr(self, "device", "cpu") != "auto"

    @property
    def gpu_gib(self) -> float | int | None:
        """Returns the memory in GiB that the GPU must have, or None without such a demand."""
        return None

    @property
    def compiles(self) -> bool:
        """Returns whether the DiT is compiled. A compiled DiT takes no accelerator."""
        return False

    def check_settings(self) -> None:  # noqa: B027  a model may have nothing to check
        """Raises ValueError for settings that are wrong on any machine."""

    def check_machine(self) -> None:
        """Raises ValueError as `check_settings` does, and if this machine lacks something, such as a GPU."""
        self.check_settings()

    def check_files(self) -> None:  # noqa: B027  as above
        """Raises FileNotFoundError for a missing part of the checkpoint, and ValueError for a damaged part."""

    def check(self) -> None:
        """Raises ValueError or FileNotFoundError if `load` would fail. Loads nothing."""
        self.check_machine()
        self.check_files()

    def missing(self) -> list[Asset]:
        """Returns the files that must be downloaded before the model can run."""
        return []

    def text(self) -> Text | None:
        """Returns the text encoders, for `embed` before `load`, or None if nothing can be prepared."""
        return None

    def identity(self, device_type: str | None = None) -> dict[str, Any]:
        """Returns the facts of the model that decide the pixels on a device of the given type.

        The default is the device type and all fields, without `device` and fields with compare=False.
        """
        named = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.compare and f.name != "device"}
        return named | {"device_type": device_type or self.device_type}

    def dit_weights(self) -> str:
        """Returns a name of the DiT's weights, for data that holds for them alone, such as a cache's calibration.

        Models of one name have the same weights, on any device and in any dtype. The default names the class and all
        fields, without `device`, `dtype` and fields with compare=False. Raises FileNotFoundError if the name depends on
        files that are missing.
        """
        named = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.compare}
        named = {name: value for name, value in named.items() if name not in ("device", "dtype")}
        return f"{path_of(type(self))} version {self.version} {json.dumps(named, sort_keys=True)}"

    def loaded_from(self) -> dict[str, Any]:
        """Returns the record's field `checkpoint`. `restored` rebuilds the model from it."""
        return {"class": path_of(type(self))} | {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def restored(cls, checkpoint: dict[str, Any], identity: dict[str, Any]) -> "Model":
        """Returns the model of a record: from `loaded_from()` and `identity()` as they were recorded."""
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in checkpoint.items() if name != "class"}
        for f in fields(cls):
            if isinstance(values.get(f.name), dict) and is_dataclass(f.default):
                values[f.name] = type(f.default)(**dict(values[f.name]))
        return cls(**values)

    def flops(self, height: int, width: int, num_frames: int, text_tokens: int | None = None) -> Any:
        """Returns FLOPs of the model's stages as `vgdfr.flops.Flops` or an object like it; None if not known."""
        return None

    def latents_bytes(self, spec: VideoSpec) -> int:
        """Returns the bytes of a sample's final latents in float32, if no frames merge."""
        return 4 * math.prod(self.architecture().latent_shape(spec))


def identity_of(model: Model, device_type: str | None = None) -> dict[str, Any]:
    """Returns the part of a sample's key for its model: `class_of(model)` and `model.identity(device_type)`."""
    return class_of(model) | model.identity(device_type)


def class_of(model: Model) -> dict[str, Any]:
    """Returns the identity's entry for path and version of the class; empty for version 1 of a built-in class."""
    kind = type(model)
    if is_built_in(kind) and model.version == 1:
        return {}
    return {"class": {"name": path_of(kind), "version": model.version}}


def model_of(checkpoint: dict[str, Any], identity: dict[str, Any], otherwise: type[Model]) -> Model:
    """Returns the model of a record. A record without a class gives a model of the class `otherwise`.

    Raises ValueError if the recorded class cannot be imported or is no Model.
    """
    kind = class_at(checkpoint["class"]) if "class" in checkpoint else otherwise
    if not issubclass(kind, Model):
        raise ValueError(f"{path_of(kind)}, the class of the record's model, does not derive from vgdfr.Model")
    return kind.restored(checkpoint, identity)
