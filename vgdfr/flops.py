"""FLOPs of every stage of a model, counted on the meta device: exact, without weights and without a GPU.

diffusers' own classes are built from the model's configuration and run on tensors that have a shape and no content;
PyTorch counts the operations of matrix products, convolutions and attention, a multiplication with its addition as two.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vgdfr.backbones.checkpoint import Architecture
from vgdfr.backbones.hunyuan_vae import Tiling
from vgdfr.dyrope import blocks_of
from vgdfr.on_meta import ENCODER_TOKENS, TEXT_TOKENS, Run, codec_of, dit_pass, meta, text_pass
from vgdfr.schedule import GROUP


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

        def build() -> tuple[Sequence[nn.Module], Run]:
            latents = (kept_latents, self.height // 8, self.width // 8)
            dit, run = dit_pass(self.architecture, latents, self.text_tokens)
            return blocks_of(dit) if each_block_once else (), run

        return self._counted(("dit", kept_latents, each_block_once), build)

    def decode(self, kept_latents: int | None = None, levels: int = 0, each_tile_once: bool = True) -> int:
        """The VAE's decoder on so many latent frames (all by default); with `levels` the compression decoder."""
        return self._vae("decode", self.num_latents if kept_latents is None else kept_latents, levels, each_tile_once)

    def encode(self, kept_latents: int, levels: int, each_tile_once: bool = True) -> int:
        """The compression encoder on the frames of so many latent frames."""
        return self._vae("encode", kept_latents, levels, each_tile_once)

    def text(self) -> int:
        """Both text encoders, once per prompt."""

        def build(part: str) -> tuple[Sequence[nn.Module], Run]:
            return (), text_pass(self.architecture, part)[1]

        return sum(self._counted((part,), partial(build, part)) for part in ENCODER_TOKENS)

    def _vae(self, stage: str, latents: int, levels: int, each_tile_once: bool) -> int:
        def build() -> tuple[Sequence[nn.Module], Run]:
            codec = codec_of(self.architecture, self.tiling)
            z = torch.empty(1, codec.vae.config.latent_channels, latents, self.height // 8, self.width // 8)
            frames = torch.empty(GROUP * (latents - 1) + 1, 3, self.height >> levels, self.width >> levels)

            def run() -> object:
                with codec.reduced(levels) if levels else nullcontext():
                    return codec.decode(z) if stage == "decode" else codec.encode(frames)

            return [codec.vae.decoder, codec.vae.encoder] if each_tile_once else (), run

        return self._counted((stage, latents, levels, each_tile_once), build)

    def _counted(self, key: tuple[Any, ...], build: Callable[[], tuple[Sequence[nn.Module], Run]]) -> int:
        """What `build`'s forward pass costs; of its modules those that are equal and see equal shapes run once."""
        if key not in self._counts:
            with meta():
                repeated, forward = build()
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
