"""HunyuanVideo on diffusers' components: the 13B model, the embedded one, any checkpoint of the same folder format."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoTransformer3DModel,
)
from diffusers.utils import logging as diffusers_logging
from jaxtyping import Float
from torch import Tensor
from transformers.utils import logging as transformers_logging

from vgdfr.assets import Asset, missing_of_hub
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.checkpoint import Architecture, architecture_of, check_parts, folder_of, weights_sha256
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec, Tiling
from vgdfr.denoise import Velocity
from vgdfr.dyrope import blocks_of, dyrope, prepare, without_mask
from vgdfr.schedule import FrameSchedule
from vgdfr.text import TextEncoding, check_tokenizer, tokenizer_was_misread
from vgdfr.video import VideoSpec

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class HunyuanVideo:
    """Which checkpoint to run and how; `load` makes the backbone.

    path: a folder in diffusers' format or a repository on the Hugging Face hub (then with its `revision`).
    dtype: of the DiT's weights and forward passes, and of whatever has no dtype of its own; the latent itself is always
        float32.
    vae_dtype, text_dtype: of the VAE and of the text encoders; None for `dtype`. (HunyuanVideo's own code and the
        paper's run both in float16 and the DiT in bfloat16.)
    device: "cpu", "cuda", "cuda:1", or "auto" for a GPU where there is one.
    execution: memory, kernels and compilation of the DiT.
    min_gpu_gib: memory the GPU must have in all, in GiB; None to leave it to chance. It decides nothing else.
    """

    # Rises when a change of this class alters the pixels of every checkpoint it runs.
    version: ClassVar[int] = 1

    path: str
    revision: str | None = None
    dtype: str = "bfloat16"
    device: str = "auto"
    tiling: Tiling = Tiling()
    execution: Execution = Execution()
    min_gpu_gib: float | int | None = field(default=None, compare=False)
    vae_dtype: str | None = None
    text_dtype: str | None = None

    def __post_init__(self) -> None:
        for name in ("vae_dtype", "text_dtype"):  # equal models are equal
            if getattr(self, name) == self.dtype:
                object.__setattr__(self, name, None)

    def check(self) -> None:
        """Raise ValueError or FileNotFoundError for what cannot run here, or a missing part; loads nothing."""
        self.check_machine()
        self.check_folder()

    def check_settings(self) -> None:
        """Raise ValueError for a dtype, device or execution that there is on no machine, or a hw profile for a CPU."""
        for name in ("dtype", "vae_dtype", "text_dtype"):
            value = getattr(self, name)
            if value not in DTYPES and (value is not None or name == "dtype"):
                raise ValueError(f"{name} must be float32, bfloat16 or float16, got {value!r}")
        if self.device_type not in ("cpu", "cuda"):
            raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:N", got {self.device!r}')
        self.execution.check_settings()
        if self.min_gpu_gib is not None and self.device_type != "cuda":
            raise ValueError(
                f"this hw profile is for a GPU of {self.min_gpu_gib:g} GiB, but the model runs on {self.device_type}; "
                "leave hw out, or choose a device (model.backbone.device=cuda)"
            )

    def check_machine(self) -> None:
        """Raise ValueError as `check_settings` does, and for a device or kernel that is not here."""
        self.check_settings()
        if self.device_type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"the model's device (model.backbone.device) is {self.device!r}, but PyTorch finds no GPU here; run it "
                "on a machine with one, or choose cpu or auto (--dry-run says what it would take)"
            )
        self.execution.check(self.torch_device, getattr(torch, self.dtype))
        self._check_gpu()

    def check_folder(self) -> None:
        """Raise FileNotFoundError for a part of the checkpoint that is not there, ValueError for a file that is wrong.

        Wrong are weights that were cut short and a tokenizer that does not fit the prompt template.
        """
        folder = self.folder()
        check_parts(folder)
        check_tokenizer(folder)

    def folder(self) -> Path:
        """Return where the checkpoint lies; never downloads. Raises FileNotFoundError."""
        return folder_of(self.path, self.revision)

    def missing(self) -> list[Asset]:
        """Files of the hub repository that are to be downloaded; none of a folder, or of a repository unknown here."""
        return [] if Path(self.path).is_dir() else missing_of_hub(self.path, self.revision)

    @property
    def device_type(self) -> str:
        """The device's kind, such as "cpu" or "cuda", with "auto" resolved."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device.split(":")[0]

    def _check_gpu(self) -> None:
        if self.min_gpu_gib is None:
            return
        there = torch.cuda.get_device_properties(self.torch_device).total_memory / 2**30
        if there < self.min_gpu_gib:
            raise ValueError(
                f"this hw profile needs a GPU of {self.min_gpu_gib:g} GiB, {self.torch_device} has {there:.1f}; "
                "take a smaller one"
            )

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device_type if self.device == "auto" else self.device)

    def architecture(self) -> Architecture:
        """Return the configuration of each part, without weights. Raises FileNotFoundError."""
        return architecture_of(self.path, self.revision)

    def num_layers(self) -> int:
        """DiT layers, read from the configuration alone."""
        config = self.architecture()["transformer"]
        return config["num_layers"] + config["num_single_layers"]

    def num_spatial_levels(self) -> int:
        """How often the VAE halves height and width, read from the configuration alone."""
        return int(math.log2(self.architecture()["vae"].get("spatial_compression_ratio", 8)))

    def latents_bytes(self, spec: VideoSpec) -> int:
        """What a sample's final latents take at most, uncompressed in time; from the configuration alone."""
        architecture = self.architecture()
        channels, vae = architecture["transformer"]["in_channels"], architecture["vae"]
        time, space = vae.get("temporal_compression_ratio", 4), vae.get("spatial_compression_ratio", 8)
        return 4 * channels * ((spec.num_frames - 1) // time + 1) * (spec.height // space) * (spec.width // space)

    def identity(self, device_type: str | None = None) -> dict[str, Any]:
        """Return everything of the model that decides pixels, for a sample's key, on a device of the given type.

        Some entries are there for some models only. Each of them stands for a way of computing that gives those models
        other pixels than version 0.1.0 of this project did, or for a class of somebody's own.
        """
        device_type = device_type or self.device_type
        identity: dict[str, Any] = {
            "weights_sha256": weights_sha256(self.folder()),
            "dtype": self.dtype,
            "device_type": device_type,
            "tiling": asdict(self.tiling),
            "execution": asdict(self.execution),
        }
        for name in ("vae_dtype", "text_dtype"):
            if getattr(self, name) is not None:
                identity[name] = getattr(self, name)
        if self.architecture()["vae"].get("mid_block_add_attention", True):
            identity["vae_attention"] = "by_frame"
        if tokenizer_was_misread(self.folder()):
            identity["tokenizer"] = "tokenizer.json"
        if device_type != "cpu":
            identity["float32"] = "ieee"
        if type(self) is not HunyuanVideo or self.version != 1:
            kind = type(self)
            identity["class"] = {"name": f"{kind.__module__}.{kind.__qualname__}", "version": self.version} | {
                f.name: repr(getattr(self, f.name)) for f in fields(self) if f.name not in HunyuanVideo.__slots__
            }
        return identity

    def text(self) -> TextEncoding:
        """The checkpoint's text encoders; `text().embed(prompts)` before `load` spares memory for both at once."""
        return TextEncoding(self.folder(), getattr(torch, self.text_dtype or self.dtype), self.torch_device)

    def load(self) -> "HunyuanVideoBackbone":
        """Load DiT and VAE. The one loader: all rows of a table run on what it returns."""
        self.check()
        transformer = HunyuanVideoTransformer3DModel.from_pretrained(
            self.folder(), subfolder="transformer", torch_dtype=getattr(torch, self.dtype), local_files_only=True
        )
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_pretrained(
            self.folder(), subfolder="scheduler", local_files_only=True
        )
        self.execution.apply(transformer, getattr(torch, self.dtype), self.torch_device)
        return HunyuanVideoBackbone(
            self._codec(), transformer, scheduler, self.text(), getattr(torch, self.dtype),
            compiled=self.execution.compile is not None,
        )  # fmt: skip

    def load_codec(self) -> HunyuanVideoCodec:
        """Load the VAE alone, which decodes and encodes as that of `load` does; the checkpoint must be whole."""
        self.check()
        return self._codec()

    def _codec(self) -> HunyuanVideoCodec:
        vae = AutoencoderKLHunyuanVideo.from_pretrained(
            self.folder(), subfolder="vae", torch_dtype=getattr(torch, self.vae_dtype or self.dtype),
            local_files_only=True,
        )  # fmt: skip
        return HunyuanVideoCodec(vae, self.tiling, self.torch_device)


def hide_loading_bars() -> None:
    """Switch off the libraries' own progress bars, which would tear a program's output."""
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()


class HunyuanVideoBackbone(Backbone):
    """A HunyuanVideoPipeline's loaded DiT and VAE under the project's own loop; prompts are embedded by `text`."""

    def __init__(
        self,
        codec: HunyuanVideoCodec,
        transformer: HunyuanVideoTransformer3DModel,
        scheduler: FlowMatchEulerDiscreteScheduler,
        text: TextEncoding,
        dtype: torch.dtype,
        compiled: bool = False,
    ) -> None:
        self.codec = codec
        self.dtype = dtype
        self.device = text.device
        self.scheduler_config = scheduler.config
        self.text = text
        self.transformer = transformer.eval().requires_grad_(False)
        self.num_layers = len(blocks_of(self.transformer))
        self.num_dual_layers = len(self.transformer.transformer_blocks)
        for block in blocks_of(self.transformer):
            block.attn.register_forward_pre_hook(without_mask, with_kwargs=True)
        prepare(self.transformer)
        self._to_compile = compiled

    def noise(self, spec: VideoSpec) -> Float[Tensor, "1 c n h w"]:
        vae = self.codec.vae
        time, space = vae.temporal_compression_ratio, vae.spatial_compression_ratio
        shape = (
            1,
            self.transformer.config.in_channels,
            (spec.num_frames - 1) // time + 1,
            spec.height // space,
            spec.width // space,
        )
        return torch.randn(shape, generator=torch.Generator().manual_seed(spec.seed)).to(self.device)

    def sigmas(self, spec: VideoSpec) -> list[float]:
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler_config, shift=spec.flow_shift)
        steps = spec.num_inference_steps
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
        return scheduler.sigmas.tolist()

    def velocity(self, spec: VideoSpec) -> Velocity:
        embedding, dtype = self.text.of(spec.prompt), self.dtype
        tokens = embedding.tokens.to(self.device, dtype)
        text = {
            "encoder_hidden_states": tokens,
            "encoder_attention_mask": torch.ones(tokens.shape[:2], dtype=dtype, device=self.device),
            "pooled_projections": embedding.pooled.to(self.device, dtype),
            "guidance": torch.tensor([1000.0 * spec.guidance_scale], dtype=dtype, device=self.device),
        }

        # made here, since a copy from the host in each pass would make the host wait for the device
        timesteps = self._timesteps(self.sigmas(spec))

        def velocity(x: Float[Tensor, "1 c n h w"], sigma: float) -> Float[Tensor, "1 c n h w"]:
            if sigma not in timesteps:  # of a trajectory with other steps
                timesteps.update(self._timesteps([sigma]))
            inputs = {"hidden_states": x.to(dtype), "timestep": timesteps[sigma], **text}
            return self.transformer(return_dict=False, **inputs)[0].float()

        if self._to_compile:
            self._compile(velocity, spec)
        return velocity

    def notes(self, spec: VideoSpec) -> tuple[str, ...]:
        return self.text.of(spec.prompt).notes

    def _timesteps(self, sigmas: Sequence[float]) -> dict[float, Float[Tensor, "1"]]:
        values = torch.tensor([1000.0 * sigma for sigma in sigmas], device=self.device)
        return dict(zip(sigmas, values.split(1), strict=True))

    def _compile(self, velocity: Velocity, spec: VideoSpec) -> None:
        """Make the graphs now, with and without DyRoPE, so that no sample's latency holds a compilation."""
        self._to_compile = False
        x = self.noise(spec)
        velocity(x, 1.0)
        for every, layers in product((2, 3), ((), range(self.num_layers))):  # every layer with either RoPE, two sizes
            kept = tuple(range(0, x.shape[2], every))
            with dyrope(self.transformer, kept, x.shape[2], layers):
                velocity(x[:, :, list(kept)], 1.0)
        velocity(x, 1.0)

    def dyrope(self, schedule: FrameSchedule, global_layers: Sequence[int]) -> AbstractContextManager[None]:
        return dyrope(self.transformer, schedule.kept_latents, schedule.num_latents, global_layers)
