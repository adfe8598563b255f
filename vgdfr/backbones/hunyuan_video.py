"""HunyuanVideo on diffusers' components: the 13B model, the embedded one, any checkpoint of the same folder format."""

import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.errors import LocalEntryNotFoundError
from jaxtyping import Float
from torch import Tensor
from transformers.utils import logging as transformers_logging

from vgdfr.assets import Asset, hub_folder, missing_of_hub
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec, Tiling
from vgdfr.denoise import Velocity
from vgdfr.dyrope import blocks_of, dyrope, prepare
from vgdfr.files import safetensors_bytes
from vgdfr.schedule import FrameSchedule
from vgdfr.text import ENCODERS, TextEncoding
from vgdfr.video import VideoSpec

# what each part of a checkpoint folder must hold
PARTS = {
    "scheduler": ("scheduler_config.json",),
    "text_encoder": ("config.json", "*.safetensors"),
    "text_encoder_2": ("config.json", "*.safetensors"),
    "tokenizer": ("tokenizer_config.json",),
    "tokenizer_2": ("tokenizer_config.json",),
    "transformer": ("config.json", "*.safetensors"),
    "vae": ("config.json", "*.safetensors"),
}


@dataclass(frozen=True, slots=True)
class HunyuanVideo:
    """Which checkpoint to run and how; `load` makes the backbone.

    path: a folder in diffusers' format or a repository on the Hugging Face hub (then with its `revision`).
    dtype: of weights and forward passes; the latent itself is always float32.
    device: "cpu", "cuda", "cuda:1", or "auto" for a GPU where there is one.
    execution: memory, kernels and compilation of the DiT.
    min_gpu_gib: memory the GPU must have in all, in GiB; None to leave it to chance. It decides nothing else.
    """

    path: str
    revision: str | None = None
    dtype: str = "bfloat16"
    device: str = "auto"
    tiling: Tiling = Tiling()
    execution: Execution = Execution()
    min_gpu_gib: float | None = field(default=None, compare=False)

    def check(self) -> None:
        """Raise ValueError or FileNotFoundError for what cannot run here, or a missing part; loads nothing."""
        self.check_machine()
        self.check_folder()

    def check_machine(self) -> None:
        """Raise ValueError for a dtype, device or execution that there is not, or not here."""
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"dtype must be float32, bfloat16 or float16, got {self.dtype!r}")
        if self.device_type not in ("cpu", "cuda"):
            raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:N", got {self.device!r}')
        if self.device_type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device is {self.device!r}, but PyTorch finds no GPU here; choose cpu or auto")
        self.execution.check(self.torch_device, getattr(torch, self.dtype))
        self._check_gpu()

    def check_folder(self) -> None:
        """Raise FileNotFoundError for a part of the checkpoint that is not there, ValueError for a file cut short."""
        folder = self.folder()
        missing = [] if (folder / "model_index.json").is_file() else ["model_index.json"]
        for part, patterns in PARTS.items():
            if not (folder / part).is_dir():
                missing.append(part)
            else:
                missing += [f"{part}/{p}" for p in patterns if not any((folder / part).glob(p))]
        for index in folder.glob("*/*.safetensors.index.json"):
            shards = set(json.loads(index.read_text())["weight_map"].values())
            missing += [f"{index.parent.name}/{s}" for s in sorted(shards) if not (index.parent / s).is_file()]
        if missing:
            raise FileNotFoundError(
                f"checkpoint folder {self.path} lacks {', '.join(missing)}; "
                f"expected a HunyuanVideoPipeline folder with {', '.join(PARTS)}"
            )
        for file in sorted(folder.glob("*/*.safetensors")):
            there, expected = file.stat().st_size, safetensors_bytes(file)
            if there < expected:
                raise ValueError(
                    f"{file.parent.name}/{file.name} is cut short: {there} bytes of {expected}; get it again"
                )

    def folder(self) -> Path:
        """Where the checkpoint lies: `path`, or where the hub repository was downloaded to; never downloads."""
        folder = Path(self.path)
        if folder.is_dir():
            return folder
        if folder.is_absolute() or self.path.startswith((".", "~")) or self.path.count("/") != 1:
            raise FileNotFoundError(f"no checkpoint folder at {self.path}; give a folder or a hub repository")
        try:
            return hub_folder(self.path, self.revision)
        except LocalEntryNotFoundError as error:
            how = f"hf download {self.path}" + (f" --revision {self.revision}" if self.revision else "")
            raise FileNotFoundError(
                f"{self.path} is neither a folder nor in the Hugging Face cache; get it with: {how}"
            ) from error

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
        if self.device_type != "cuda":
            raise ValueError(
                f"this hw profile is for a GPU of {self.min_gpu_gib:g} GiB, but the model runs on {self.device_type}; "
                "leave hw out, or choose a device (model.backbone.device=cuda)"
            )
        there = torch.cuda.get_device_properties(self.torch_device).total_memory / 2**30
        if there < self.min_gpu_gib:
            raise ValueError(
                f"this hw profile needs a GPU of {self.min_gpu_gib:g} GiB, {self.torch_device} has {there:.1f}; "
                "take a smaller one"
            )

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device_type if self.device == "auto" else self.device)

    def text(self) -> TextEncoding:
        """The checkpoint's text encoders; `text().embed(prompts)` before `load` spares memory for both at once."""
        return TextEncoding(self.folder(), getattr(torch, self.dtype), self.torch_device)

    def num_layers(self) -> int:
        """DiT layers, read from the checkpoint's configuration alone."""
        config = json.loads((self.folder() / "transformer" / "config.json").read_text())
        return config["num_layers"] + config["num_single_layers"]

    def num_spatial_levels(self) -> int:
        """How often the VAE halves height and width, read from the checkpoint's configuration alone."""
        config = json.loads((self.folder() / "vae" / "config.json").read_text())
        return int(math.log2(config.get("spatial_compression_ratio", 8)))

    def latents_bytes(self, spec: VideoSpec) -> int:
        """What a sample's final latents take at most, uncompressed in time; from the configuration alone."""
        configs = (json.loads((self.folder() / part / "config.json").read_text()) for part in ("transformer", "vae"))
        channels, vae = next(configs)["in_channels"], next(configs)
        time, space = vae.get("temporal_compression_ratio", 4), vae.get("spatial_compression_ratio", 8)
        return 4 * channels * ((spec.num_frames - 1) // time + 1) * (spec.height // space) * (spec.width // space)

    def load(self) -> "HunyuanVideoBackbone":
        """Load DiT and VAE. The one loader: all rows of a table run on what it returns."""
        self.check()
        device, dtype = self.torch_device, getattr(torch, self.dtype)
        pipeline = HunyuanVideoPipeline.from_pretrained(
            self.folder(), **dict.fromkeys(ENCODERS), dtype=dtype, local_files_only=True
        )
        self.execution.apply(pipeline.transformer, dtype, device)
        return HunyuanVideoBackbone(
            HunyuanVideoCodec(pipeline.vae, self.tiling, device), pipeline.transformer, pipeline.scheduler, self.text(),
            compiled=self.execution.compile is not None,
        )  # fmt: skip

    def load_codec(self) -> HunyuanVideoCodec:
        """Load the VAE alone, which decodes and encodes as that of `load` does; the checkpoint must be whole."""
        self.check()
        vae = AutoencoderKLHunyuanVideo.from_pretrained(
            self.folder(), subfolder="vae", torch_dtype=getattr(torch, self.dtype), local_files_only=True
        )
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
        compiled: bool = False,
    ) -> None:
        self.codec = codec
        self.device = text.device
        self.scheduler_config = scheduler.config
        self.text = text
        self.transformer = transformer.eval().requires_grad_(False)
        self.num_layers = len(blocks_of(self.transformer))
        self.num_dual_layers = len(self.transformer.transformer_blocks)
        for block in blocks_of(self.transformer):
            block.attn.register_forward_pre_hook(_without_mask, with_kwargs=True)
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
        embedding, dtype = self.text.of(spec.prompt), self.text.dtype
        tokens = embedding.tokens.to(self.device, dtype)
        text = {
            "encoder_hidden_states": tokens,
            "encoder_attention_mask": torch.ones(tokens.shape[:2], dtype=dtype, device=self.device),
            "pooled_projections": embedding.pooled.to(self.device, dtype),
            "guidance": torch.tensor([1000.0 * spec.guidance_scale], dtype=dtype, device=self.device),
        }

        def velocity(x: Float[Tensor, "1 c n h w"], sigma: float) -> Float[Tensor, "1 c n h w"]:
            timestep = torch.tensor([1000.0 * sigma], device=self.device)
            return self.transformer(hidden_states=x.to(dtype), timestep=timestep, return_dict=False, **text)[0].float()

        if self._to_compile:
            self._compile(velocity, spec)
        return velocity

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


def _without_mask(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    return args, {**kwargs, "attention_mask": None}
