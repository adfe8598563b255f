"""HunyuanVideo on diffusers' components: the 13B model, the embedded model, and checkpoints of the same format."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
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

from vgdfr.architecture import Architecture
from vgdfr.backbones.base import Backbone, Velocity, class_of
from vgdfr.backbones.checkpoint import Checkpoint, check_parts, weights_sha256
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_dit import blocks_of, leaves_of, rope_site_of, without_mask
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec, Tiling
from vgdfr.backbones.rope import PositionsPerLayer, prepare, shortened
from vgdfr.backbones.text import TextEncoding, check_tokenizer, tokenizer_was_misread
from vgdfr.flops import TEXT_TOKENS, Flops
from vgdfr.passes import Leaf
from vgdfr.schedule import FrameSchedule
from vgdfr.solver import Euler
from vgdfr.video import VideoSpec


@dataclass(frozen=True)
class HunyuanVideo(Checkpoint):
    """Settings of a HunyuanVideoPipeline's checkpoint and of its execution. `load` makes the backbone.

    tiling: the VAE's tiles. `Checkpoint` explains the other settings.
    """

    known_on_meta: ClassVar[bool] = True

    tiling: Tiling = Tiling()

    def check_files(self) -> None:
        """Raises FileNotFoundError for a missing part of the checkpoint.

        Raises ValueError for weights that are cut short, and for a tokenizer that does not fit the prompt template.
        """
        folder = self.folder()
        check_parts(folder)
        check_tokenizer(folder)

    def architecture(self) -> Architecture:
        """Returns the model's facts from its configuration alone. Raises FileNotFoundError if that is missing."""
        configuration = self.configuration()
        return architecture_of(configuration["transformer"], configuration["vae"])

    def identity(self, device_type: str | None = None) -> dict[str, Any]:
        """Returns all facts of the model that decide pixels on a device of the given type, for a sample's key.

        The entries "vae_attention", "tokenizer" and "float32" are there only for models that got other pixels in
        version 0.1.0 of this project. The entry "class" is there only for a class from outside this package.
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
        if self.configuration()["vae"].get("mid_block_add_attention", True):
            identity["vae_attention"] = "by_frame"
        if tokenizer_was_misread(self.folder()):
            identity["tokenizer"] = "tokenizer.json"
        if device_type != "cpu":
            identity["float32"] = "ieee"
        if own := class_of(self):
            known = {f.name for f in fields(HunyuanVideo)}
            own["class"] |= {f.name: repr(getattr(self, f.name)) for f in fields(self) if f.name not in known}
        return identity | own

    def loaded_from(self) -> dict[str, Any]:
        """Returns path, revision and device; a class that derives from this one also gives its path and its fields."""
        if type(self) is not HunyuanVideo:
            return super().loaded_from()
        return {name: getattr(self, name) for name in ("path", "revision", "device")}

    @classmethod
    def restored(cls, checkpoint: dict[str, Any], identity: dict[str, Any]) -> "HunyuanVideo":
        place = {name: value for name, value in checkpoint.items() if name != "class"}
        return cls(**place | {
            "dtype": identity["dtype"],
            "vae_dtype": identity.get("vae_dtype"),
            "text_dtype": identity.get("text_dtype"),
            "tiling": Tiling(**identity["tiling"]),
            "execution": Execution(**identity["execution"]),
        })  # fmt: skip

    def text(self) -> TextEncoding:
        """Returns the text encoders. After `text().embed(prompts)`, the DiT and the encoders need not share memory."""
        return TextEncoding(self.folder(), self.torch_dtype("text"), self.torch_device)

    def load(self) -> "HunyuanVideoBackbone":
        """Returns the loaded DiT and VAE. All rows of a table run on this one loader's backbone."""
        self.check()
        transformer = HunyuanVideoTransformer3DModel.from_pretrained(
            self.folder(), subfolder="transformer", torch_dtype=self.torch_dtype(), local_files_only=True
        )
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_pretrained(
            self.folder(), subfolder="scheduler", local_files_only=True
        )
        self.execution.apply(transformer, self.torch_dtype(), self.torch_device)
        backbone = HunyuanVideoBackbone(
            self._codec(), transformer, scheduler, self.text(), self.torch_dtype(), self.compiles
        )
        if self.execution.offload != "none":
            backbone.settle()
        return backbone

    def load_codec(self) -> HunyuanVideoCodec:
        """Returns the VAE alone, exactly as `load` loads it. Raises as `check` does: the checkpoint must be whole."""
        self.check()
        return self._codec()

    def _codec(self) -> HunyuanVideoCodec:
        vae = AutoencoderKLHunyuanVideo.from_pretrained(
            self.folder(), subfolder="vae", torch_dtype=self.torch_dtype("vae"), local_files_only=True
        )
        return HunyuanVideoCodec(vae, self.tiling, self.torch_device)

    def flops(self, height: int, width: int, num_frames: int, text_tokens: int | None = None) -> Flops:
        """Returns the FLOPs of each stage for videos of the given size, from the configuration alone."""
        tokens = TEXT_TOKENS if text_tokens is None else text_tokens
        return Flops(self.configuration(), self.tiling, height, width, num_frames, tokens)


def architecture_of(dit: Mapping[str, Any], vae: Mapping[str, Any]) -> Architecture:
    """Returns the facts in the configurations of a HunyuanVideo's DiT and VAE."""
    return Architecture(
        num_layers=dit["num_layers"] + dit["num_single_layers"],
        num_dual_layers=dit["num_layers"],
        frames_per_latent=vae.get("temporal_compression_ratio", 4),
        num_spatial_levels=int(math.log2(vae.get("spatial_compression_ratio", 8))),
        patch_size=dit.get("patch_size", 2),
        latent_channels=dit["in_channels"],
    )


def hide_loading_bars() -> None:
    """Switches off the progress bars of diffusers and transformers, which would disturb a program's output."""
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()


class HunyuanVideoBackbone(Backbone):
    """A HunyuanVideoPipeline's loaded DiT and VAE, run by this project's own loop. `text` embeds the prompts."""

    def __init__(
        self,
        codec: HunyuanVideoCodec,
        transformer: HunyuanVideoTransformer3DModel,
        scheduler: FlowMatchEulerDiscreteScheduler,
        text: TextEncoding,
        dtype: torch.dtype,
        compiled: bool = False,
    ) -> None:
        self.codec: HunyuanVideoCodec = codec  # pyright: ignore[reportIncompatibleVariableOverride]
        self.dtype = dtype
        self.device = text.device
        self.architecture = architecture_of(transformer.config, codec.vae.config)
        self.can_be_accelerated = not compiled
        self.scheduler_config = scheduler.config
        self.text = text
        dit = transformer.eval().requires_grad_(False)
        self.transformer: HunyuanVideoTransformer3DModel = dit  # pyright: ignore[reportIncompatibleVariableOverride]
        for block in blocks_of(self.transformer):
            block.attn.register_forward_pre_hook(without_mask, with_kwargs=True)
        self.rope_site = rope_site_of(self.transformer)
        prepare(self.rope_site)
        self._to_compile = compiled

    @torch.inference_mode()
    def settle(self) -> None:
        """Runs the DiT once on the smallest latent.

        Offloaded blocks learn their order in the first forward and change their hooks after it. That forward must be a
        plain one: an accelerator may skip blocks, and its end puts back the modules as they were at its beginning.
        """
        config, where = self.transformer.config, {"device": self.device, "dtype": self.dtype}
        self.transformer(
            hidden_states=torch.zeros(
                1, config.in_channels, config.patch_size_t, config.patch_size, config.patch_size, **where
            ),
            timestep=torch.ones(1, device=self.device),
            encoder_hidden_states=torch.zeros(1, 1, config.text_embed_dim, **where),
            encoder_attention_mask=torch.ones(1, 1, **where),
            pooled_projections=torch.zeros(1, config.pooled_projection_dim, **where),
            guidance=torch.ones(1, **where),
        )

    def leaves(self) -> Sequence[Leaf]:
        # compiled blocks take no hooks that count
        return leaves_of(self.transformer) if self.can_be_accelerated else ()

    def noise(self, spec: VideoSpec) -> Float[Tensor, "1 c n h w"]:
        shape = self.architecture.latent_shape(spec)
        return torch.randn(shape, generator=torch.Generator().manual_seed(spec.seed)).to(self.device)

    def solver(self, spec: VideoSpec, steps: int | None = None, shift: float | None = None) -> Euler:
        steps = spec.num_inference_steps if steps is None else steps
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(
            self.scheduler_config, shift=spec.flow_shift if shift is None else shift
        )
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
        return Euler(tuple(scheduler.sigmas.tolist()))

    def velocity(self, spec: VideoSpec) -> "HunyuanVideoVelocity":
        velocity = HunyuanVideoVelocity(self, spec)
        if self._to_compile:
            self._compile(velocity, spec)
        return velocity

    def notes(self, spec: VideoSpec) -> tuple[str, ...]:
        return self.text.of(spec.prompt).notes

    def _compile(self, velocity: "HunyuanVideoVelocity", spec: VideoSpec) -> None:
        """Compiles the graphs with and without DyRoPE now, so that no sample's latency contains a compilation.

        The graphs cover layers with one or two distinct rotary tables, as in VGDFR. Graphs for a third table are
        compiled in its first pass.
        """
        self._to_compile = False
        x = self.noise(spec)
        velocity(x, 1.0)
        for every in (2, 3):  # two sizes; all layers use one table, then each layer uses either of two
            kept = range(0, x.shape[2], every)
            local = range(len(kept))
            for pair in ((local, local), (local, kept), (kept, local)):
                positions = [pair[layer % 2] for layer in range(self.architecture.num_layers)]
                with shortened(self.transformer, self.rope_site, positions, x.shape[2]):
                    velocity(x[:, :, ::every], 1.0)
        velocity(x, 1.0)

    def shortened(
        self, schedule: FrameSchedule, positions_per_layer: PositionsPerLayer
    ) -> AbstractContextManager[None]:
        return shortened(self.transformer, self.rope_site, positions_per_layer, schedule.num_latents)


class HunyuanVideoVelocity(Velocity):
    """The DiT's velocity for one prompt, which is encoded here. Each call is one forward."""

    def __init__(self, backbone: HunyuanVideoBackbone, spec: VideoSpec) -> None:
        embedding, device, dtype = backbone.text.of(spec.prompt), backbone.device, backbone.dtype
        tokens = embedding.tokens.to(device, dtype)
        self.text_tokens = tokens.shape[1]
        self._transformer, self._dtype, self._device = backbone.transformer, dtype, device
        self._text = {
            "encoder_hidden_states": tokens,
            "encoder_attention_mask": torch.ones(tokens.shape[:2], dtype=dtype, device=device),
            "pooled_projections": embedding.pooled.to(device, dtype),
            "guidance": torch.tensor([1000.0 * spec.guidance_scale], dtype=dtype, device=device),
        }
        # the timesteps are copied here, since a copy in each pass would make the host wait for the device
        self._timesteps = self._made(backbone.solver(spec).sigmas)

    def __call__(
        self,
        x: Float[Tensor, "1 c n h w"],
        sigma: float,
        step: int | None = None,
        num_inference_steps: int | None = None,
    ) -> Float[Tensor, "1 c n h w"]:
        if sigma not in self._timesteps:  # a solver with other steps has other noise levels
            self._timesteps.update(self._made([sigma]))
        inputs = {"hidden_states": x.to(self._dtype), "timestep": self._timesteps[sigma], **self._text}
        with self._where(sigma, step, num_inference_steps):
            return self._transformer(return_dict=False, **inputs)[0].float()

    def _where(self, sigma: float, step: int | None, num_inference_steps: int | None) -> AbstractContextManager[None]:
        """Tells diffusers' caches where in the trajectory the pass stands."""
        if step is None:
            return nullcontext()
        return self._transformer.cache_context(
            "cond", step_index=step, sigma=sigma, num_inference_steps=num_inference_steps
        )

    def _made(self, sigmas: Sequence[float]) -> dict[float, Float[Tensor, "1"]]:
        values = torch.tensor([1000.0 * sigma for sigma in sigmas], device=self._device)
        return dict(zip(sigmas, values.split(1), strict=True))
