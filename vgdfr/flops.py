"""FLOPs of every stage of a model, counted on the meta device: exact, without weights and without a GPU.

diffusers' own classes are built from the model's configuration and run on tensors that have a shape and no content;
PyTorch counts the operations of matrix products, convolutions and attention, a multiplication with its addition as two.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel

from vgdfr.backbones.checkpoint import Architecture
from vgdfr.backbones.hunyuan_vae import Tiling, attention_by_frame
from vgdfr.dyrope import blocks_of
from vgdfr.reduced_vae import reduced
from vgdfr.schedule import GROUP

# A prompt's tokens as the DiT sees them, padding trimmed; VBench's prompts have 8 to 40.
TEXT_TOKENS = 24
# diffusers' HunyuanVideoPipeline: its template and 256 tokens of prompt, all of which the encoder runs on; CLIP's 77.
ENCODER_TOKENS = {"text_encoder": 95 + 256, "text_encoder_2": 77}


@dataclass(frozen=True)
class Flops:
    """FLOPs of a model at one size of video: `num_frames` of `height` x `width` pixels, prompts of `text_tokens`.

    DiT passes are a function of the latent frames that the DiT sees; the VAE's stages are counted as they run, tiles
    and all. `levels` are the spatial levels that the compression module's decoder and encoder leave out.
    """

    architecture: Architecture = field(hash=False)
    tiling: Tiling
    height: int
    width: int
    num_frames: int
    text_tokens: int = TEXT_TOKENS
    _counts: dict[tuple[Any, ...], int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def num_latents(self) -> int:
        return (self.num_frames - 1) // GROUP + 1

    @cached_property
    def dit_coefficients(self) -> tuple[Fraction, Fraction, Fraction]:
        """c0, c1, c2 of a DiT pass on n latent frames, c0 + c1 n + c2 n^2: text; what each token costs; attention."""
        f1, f2, f3 = (self.count_dit(n) for n in (1, 2, 3))
        c2 = Fraction(f3 - 2 * f2 + f1, 2)
        c1 = f2 - f1 - 3 * c2
        return f1 - c1 - c2, c1, c2

    def dit(self, kept_latents: float | int) -> float:
        """One DiT pass on `kept_latents` latent frames; between whole numbers, too, for curves and inversion."""
        c0, c1, c2 = (float(c) for c in self.dit_coefficients)
        return c0 + c1 * kept_latents + c2 * kept_latents**2

    def cost_ratio(self, kept_latents: float | int) -> float:
        """What a pass on the shortened latent costs, as a share of a full one."""
        return self.dit(kept_latents) / self.dit(self.num_latents)

    def latents_of_cost(self, ratio: float | int) -> float:
        """The inverse of `cost_ratio`: how many latent frames a pass of that cost sees."""
        c0, c1, c2 = (float(c) for c in self.dit_coefficients)
        missing = c0 - ratio * self.dit(self.num_latents)
        return (-c1 + (c1**2 - 4 * c2 * missing) ** 0.5) / (2 * c2)

    def count_dit(self, kept_latents: int, each_block_once: bool = True) -> int:
        """The same counted directly; unless `each_block_once`, all blocks are run, not one of each kind."""
        config = self.architecture["transformer"]

        def forward() -> tuple[nn.Module, Sequence[nn.Module], Callable[[], object]]:
            dit = HunyuanVideoTransformer3DModel.from_config(config).eval()
            for block in blocks_of(dit):
                block.attn.register_forward_pre_hook(_without_mask, with_kwargs=True)
            x = torch.empty(1, dit.config.in_channels, kept_latents, self.height // 8, self.width // 8)
            inputs = {
                "timestep": torch.empty(1),
                "encoder_hidden_states": torch.empty(1, self.text_tokens, dit.config.text_embed_dim),
                "encoder_attention_mask": torch.empty(1, self.text_tokens),
                "pooled_projections": torch.empty(1, dit.config.pooled_projection_dim),
                "guidance": torch.empty(1),
            }
            return dit, blocks_of(dit) if each_block_once else (), lambda: dit(hidden_states=x, **inputs)

        return self._counted(("dit", kept_latents, each_block_once), forward)

    def decode(self, kept_latents: int | None = None, levels: int = 0, each_tile_once: bool = True) -> int:
        """The VAE's decoder on so many latent frames (all by default); with `levels` the compression decoder."""
        return self._vae("decode", self.num_latents if kept_latents is None else kept_latents, levels, each_tile_once)

    def encode(self, kept_latents: int, levels: int, each_tile_once: bool = True) -> int:
        """The compression encoder on the frames of so many latent frames."""
        return self._vae("encode", kept_latents, levels, each_tile_once)

    def text(self) -> int:
        """Both text encoders, once per prompt."""
        total = 0
        for part, tokens in ENCODER_TOKENS.items():

            def forward(part: str = part, tokens: int = tokens) -> tuple[nn.Module, list, Callable[[], object]]:
                encoder = AutoModel.from_config(AutoConfig.for_model(**self.architecture[part])).eval()
                ids = torch.empty(1, tokens, dtype=torch.long)
                mask = torch.empty(1, 1, tokens, tokens)  # given, since a model on meta cannot look for padding
                return encoder, [], lambda: encoder(input_ids=ids, attention_mask=mask)

            total += self._counted((part,), forward)
        return total

    def _vae(self, stage: str, latents: int, levels: int, each_tile_once: bool) -> int:
        def forward() -> tuple[nn.Module, Sequence[nn.Module], Callable[[], object]]:
            vae = AutoencoderKLHunyuanVideo.from_config(self.architecture["vae"]).eval()
            t = self.tiling
            vae.enable_tiling(t.pixels, t.pixels, t.frames, t.pixels_stride, t.pixels_stride, t.frames_stride)
            z = torch.empty(1, vae.config.latent_channels, latents, self.height // 8, self.width // 8)
            frames = torch.empty(
                1, 3, GROUP * (latents - 1) + 1, self.height >> levels, self.width >> levels
            )  # of the compression decoder

            def run() -> object:
                with attention_by_frame(vae):
                    return vae.decode(z) if stage == "decode" else vae.encode(frames)

            def run_reduced() -> object:
                with reduced(vae, levels):
                    return run()

            once = [vae.decoder, vae.encoder] if each_tile_once else []
            return vae, once, run_reduced if levels else run

        return self._counted((stage, latents, levels, each_tile_once), forward)

    def _counted(
        self, key: tuple[Any, ...], build: Callable[[], tuple[nn.Module, Sequence[nn.Module], Callable[[], object]]]
    ) -> int:
        """What `build`'s forward pass costs; of its modules those that are equal and see equal shapes run once."""
        if key not in self._counts:
            with torch.device("meta"), torch.no_grad():
                _, repeated, forward = build()
                with FlopCounterMode(display=False) as counter, _each_once(repeated, counter) as spared:
                    forward()
                self._counts[key] = counter.get_total_flops() + sum(spared)
        return self._counts[key]


@contextmanager
def _each_once(modules: Sequence[nn.Module], counter: FlopCounterMode) -> Iterator[list[int]]:
    """Modules with the same structure, called with the same shapes, run once; what the others would cost is listed."""
    seen: dict[tuple[Any, ...], tuple[Any, int]] = {}
    spared: list[int] = []

    def once(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        kind = repr(module)

        def call(*args: Any, **kwargs: Any) -> Any:
            key = (kind, *_shapes([*args, *kwargs.values()]))
            if key not in seen:
                before = counter.get_total_flops()
                out = forward(*args, **kwargs)
                seen[key] = out, counter.get_total_flops() - before
                return out
            spared.append(seen[key][1])
            return seen[key][0]  # of the right shape, and there is no content

        return call

    for module in modules:
        module.forward = once(module, module.forward)
    yield spared


def _shapes(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, Tensor):
            yield tuple(value.shape)
        elif isinstance(value, tuple | list):
            yield from _shapes(value)


def _without_mask(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    return args, {**kwargs, "attention_mask": None}  # as the backbone does for a prompt without padding
