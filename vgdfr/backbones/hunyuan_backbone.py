"""HunyuanVideo loaded: its DiT and VAE behind the interface of a backbone, on diffusers' components."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel
from jaxtyping import Float
from torch import Tensor

from vgdfr.backbones.base import Backbone, Velocity
from vgdfr.backbones.checkpoint import architecture_of
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_dit import blocks_of, drop_attention_mask, leaves_of, rope_site_of
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec
from vgdfr.backbones.rope import PositionsPerLayer, prepare, shortened
from vgdfr.backbones.text import TextEncoding
from vgdfr.passes import Leaf
from vgdfr.schedule import FrameSchedule
from vgdfr.solver import Euler
from vgdfr.video import VideoSpec


def load_backbone(
    folder: Path, codec: HunyuanVideoCodec, text: TextEncoding, dtype: torch.dtype, execution: Execution
) -> "HunyuanVideoBackbone":
    """Returns the backbone with the DiT of the checkpoint in `folder`, in `dtype` on the device of `text`."""
    transformer = HunyuanVideoTransformer3DModel.from_pretrained(
        folder, subfolder="transformer", torch_dtype=dtype, local_files_only=True
    )
    scheduler: Any = FlowMatchEulerDiscreteScheduler.from_pretrained(
        folder, subfolder="scheduler", local_files_only=True
    )
    execution.apply(transformer, dtype, text.device)
    backbone = HunyuanVideoBackbone(codec, transformer, scheduler, text, dtype, execution.compile is not None)
    if execution.offload != "none":
        backbone.settle()
    return backbone


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
            block.attn.register_forward_pre_hook(drop_attention_mask, with_kwargs=True)
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
        return self.text.embedding(spec.prompt).notes

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
        embedding, device, dtype = backbone.text.embedding(spec.prompt), backbone.device, backbone.dtype
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
