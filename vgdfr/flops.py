"""FLOPs of every stage of a model. They are counted on the meta device and need neither weights nor a GPU.

diffusers' own classes are built from the model's configuration and run on tensors that have a shape and no content.
PyTorch counts matrix products, convolutions and attention exactly; a multiplication with its addition counts as two.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vgdfr.backbones.checkpoint import Configuration, compression_of
from vgdfr.backbones.hunyuan_dit import blocks_of, layers_of
from vgdfr.backbones.tiling import Tiling
from vgdfr.on_meta import ENCODER_TOKENS, TEXT_TOKENS, Run, codec_of, dit_pass, meta, text_pass
from vgdfr.passes import Kind

Coefficients = tuple[Fraction, Fraction, Fraction]


class Parts(NamedTuple):
    """FLOPs of the DiT's attention layers, of its feed-forward layers, and of everything else."""

    attention: int
    feed_forward: int
    rest: int


@dataclass(frozen=True)
class Flops:
    """FLOPs of a model at one size of video: `num_frames` of `height` x `width` pixels, prompts of `text_tokens`.

    A DiT pass depends on the number of latent frames that the DiT sees. The VAE's stages are counted as they run, with
    their tiles. `levels` are the spatial levels that the compression module's decoder and encoder leave out.
    """

    configuration: Configuration = field(hash=False)
    tiling: Tiling
    height: int
    width: int
    num_frames: int
    text_tokens: int = TEXT_TOKENS
    _counts: dict[tuple[Any, ...], Parts] = field(default_factory=dict, compare=False, repr=False)

    @property
    def frames_per_latent(self) -> int:
        return compression_of(self.configuration)[0]

    @property
    def num_latents(self) -> int:
        return (self.num_frames - 1) // self.frames_per_latent + 1

    @cached_property
    def part_coefficients(self) -> tuple[Coefficients, Coefficients, Coefficients]:
        """Returns c0, c1, c2 of each of a DiT pass's `Parts`: n latent frames cost c0 + c1 n + c2 n^2, exactly."""

        def through(f1: int, f2: int, f3: int) -> Coefficients:
            c2 = Fraction(f3 - 2 * f2 + f1, 2)
            c1 = f2 - f1 - 3 * c2
            return f1 - c1 - c2, c1, c2

        attention, feed_forward, rest = zip(*(self.count_parts(n) for n in (1, 2, 3)), strict=True)
        return through(*attention), through(*feed_forward), through(*rest)

    @cached_property
    def dit_coefficients(self) -> Coefficients:
        """Returns c0, c1, c2 of a whole DiT pass: mainly text, work per token, and attention between tokens."""
        return self._coefficients(1, 1)

    def _coefficients(self, attention: float | int, feed_forward: float | int) -> Coefficients:
        shares = Fraction(attention), Fraction(feed_forward), Fraction(1)
        c0, c1, c2 = (
            sum((share * c for share, c in zip(shares, by_part, strict=True)), Fraction())
            for by_part in zip(*self.part_coefficients, strict=True)
        )
        return c0, c1, c2

    def dit(self, kept_latents: float | int) -> float:
        """Returns the FLOPs of one DiT pass on `kept_latents` latent frames. Fractions are allowed, for curves."""
        return _polynomial(self.dit_coefficients, kept_latents)

    def of_pass(self, row: Sequence[int | float]) -> float:
        """Returns the FLOPs of one evaluation of the velocity: of a `Pass`, or of a row of the record's histogram.

        The row's count is ignored. A latent of another height and width costs as much as the same number of tokens in
        frames of this size.
        """
        frames, height, width, forwards, attention, feed_forward = row[:6]
        if not forwards:
            return 0.0
        space, patch = compression_of(self.configuration)[1], self.configuration["transformer"].get("patch_size", 2)
        here = (self.height // space // patch) * (self.width // space // patch)
        tokens = Fraction(frames) * (height // patch) * (width // patch)
        return forwards * _polynomial(self._coefficients(attention, feed_forward), float(tokens / here))

    def of_passes(self, rows: Sequence[Sequence[int | float]]) -> float:
        """Returns the FLOPs of a record's histogram, given as the rows of `vgdfr.passes.to_rows`."""
        return sum((row[6] * self.of_pass(row) for row in rows), 0.0)

    def projected(self, rows: Sequence[Sequence[int | float]], full: Sequence[int]) -> float:
        """Returns the FLOPs if another model's passes ran here, as rows of its record's histogram.

        A pass sees the share of this model's tokens that it saw of `full`, the latent frames, height and width of the
        other model's full pass. It has as many forwards, and computes the same share of layers.
        """
        space, whole = compression_of(self.configuration)[1], math.prod(full)
        size = (self.height // space, self.width // space)
        frames = [self.num_latents * math.prod(row[:3]) / whole for row in rows]
        return self.of_passes([(n, *size, *row[3:]) for n, row in zip(frames, rows, strict=True)])

    def dit_work(self, rows: Sequence[Sequence[int | float]], baseline_forwards: int) -> float:
        """Returns a record's FLOPs over the FLOPs of the baseline's forwards, which run on all latent frames."""
        return self.of_passes(rows) / (baseline_forwards * self.dit(self.num_latents))

    def cost_ratio(self, kept_latents: float | int) -> float:
        """Returns the FLOPs of a pass on `kept_latents` latent frames over those of a full pass."""
        return self.dit(kept_latents) / self.dit(self.num_latents)

    def latents_of_cost(self, ratio: float | int) -> float:
        """Returns the number of latent frames that a pass of cost `ratio` sees. This inverts `cost_ratio`."""
        c0, c1, c2 = (float(c) for c in self.dit_coefficients)
        missing = c0 - ratio * self.dit(self.num_latents)
        return (-c1 + (c1**2 - 4 * c2 * missing) ** 0.5) / (2 * c2)

    def count_dit(self, kept_latents: int, each_block_once: bool = True) -> int:
        """Returns the FLOPs of one DiT pass, counted by running it.

        With `each_block_once` only one block of each kind runs, and its FLOPs stand for the equal blocks.
        """
        return sum(self.count_parts(kept_latents, each_block_once))

    def count_parts(self, kept_latents: int, each_block_once: bool = True) -> Parts:
        """Returns the FLOPs of `count_dit`, split by the kind of layer."""

        def build() -> _Counted:
            space = compression_of(self.configuration)[1]
            latents = (kept_latents, self.height // space, self.width // space)
            dit, run = dit_pass(self.configuration, latents, self.text_tokens)
            return _Counted(run, blocks_of(dit) if each_block_once else (), layers_of(dit))

        return self._counted(("dit", kept_latents, each_block_once), build)

    def decode(self, kept_latents: int | None = None, levels: int = 0, each_tile_once: bool = True) -> int:
        """Returns the FLOPs of the VAE's decoder on `kept_latents` latent frames; None means all of them.

        With `levels` above 0 the compression decoder is counted.
        """
        return self._vae("decode", self.num_latents if kept_latents is None else kept_latents, levels, each_tile_once)

    def encode(self, kept_latents: int, levels: int, each_tile_once: bool = True) -> int:
        """Returns the FLOPs of the compression encoder on the frames of `kept_latents` latent frames."""
        return self._vae("encode", kept_latents, levels, each_tile_once)

    def text(self) -> int:
        """Returns the FLOPs of both text encoders for one prompt."""

        def build(part: str) -> _Counted:
            return _Counted(text_pass(self.configuration, part)[1])

        return sum(sum(self._counted((part,), partial(build, part))) for part in ENCODER_TOKENS)

    def _vae(self, stage: str, latents: int, levels: int, each_tile_once: bool) -> int:
        def build() -> _Counted:
            codec, (time, space) = codec_of(self.configuration, self.tiling), compression_of(self.configuration)
            if each_tile_once:
                for blend in ("blend_t", "blend_v", "blend_h"):  # thousands of small operations without counted FLOPs
                    setattr(codec.vae, blend, lambda _, tile, __: tile)
            z = torch.empty(1, codec.vae.config.latent_channels, latents, self.height // space, self.width // space)
            frames = torch.empty(time * (latents - 1) + 1, 3, self.height >> levels, self.width >> levels)

            def run() -> object:
                with codec.reduced(levels) if levels else nullcontext():
                    return codec.decode(z) if stage == "decode" else codec.encode(frames)

            return _Counted(run, [codec.vae.decoder, codec.vae.encoder] if each_tile_once else ())

        return sum(self._counted((stage, latents, levels, each_tile_once), build))

    def _counted(self, key: tuple[Any, ...], build: Callable[[], "_Counted"]) -> Parts:
        """Returns the FLOPs of the forward pass that `build` makes; equal modules with equal shapes run once."""
        if key not in self._counts:
            with meta():
                counted = build()
                with FlopCounterMode(display=False) as counter:
                    tally = _Tally(counter)
                    tally.split(counted.layers)
                    tally.run_once(counted.repeated)  # after `split`, so that the layers' FLOPs are repeated as well
                    counted.run()
                self._counts[key] = tally.parts()
        return self._counts[key]


def _polynomial(coefficients: Coefficients, n: float | int) -> float:
    c0, c1, c2 = (float(c) for c in coefficients)
    return c0 + c1 * n + c2 * n**2


@dataclass(frozen=True)
class _Counted:
    """A forward pass to count: modules that may run once if they are equal, and layers to count apart, by kind."""

    run: Run
    repeated: Sequence[nn.Module] = ()
    layers: Mapping[Kind, Sequence[nn.Module]] = field(default_factory=dict)


class _Tally:
    """Adds up FLOPs by part: the FLOPs that `counter` saw, and the FLOPs of modules that an equal module stood for."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self.counter = counter
        self.spent: dict[str, int] = {"attention": 0, "feed_forward": 0}
        self.spared = 0
        self._seen: dict[tuple[Any, ...], tuple[Any, int, dict[str, int]]] = {}

    def parts(self) -> Parts:
        total = self.counter.get_total_flops() + self.spared
        return Parts(**self.spent, rest=total - sum(self.spent.values()))

    def split(self, layers: Mapping[Kind, Sequence[nn.Module]]) -> None:
        """Counts every later call of `layers` under the layer's kind."""
        for kind, modules in layers.items():
            for module in modules:
                module.forward = self._of_kind(kind, module.forward)

    def run_once(self, modules: Sequence[nn.Module]) -> None:
        """Lets `modules` of equal structure run once per input shape from now on. Every call still counts."""
        for module in modules:
            module.forward = self._remembered(repr(module), module.forward)

    def _of_kind(self, kind: Kind, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before = self.counter.get_total_flops()
            out = forward(*args, **kwargs)
            self.spent[kind] += self.counter.get_total_flops() - before
            return out

        return call

    def _remembered(self, structure: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            key = (structure, *_shapes([*args, *kwargs.values()]))
            if key not in self._seen:
                before, spent = self.counter.get_total_flops(), dict(self.spent)
                out = forward(*args, **kwargs)
                by_kind = {kind: self.spent[kind] - spent[kind] for kind in spent}
                self._seen[key] = out, self.counter.get_total_flops() - before, by_kind
                return out
            out, flops, by_kind = self._seen[key]
            self.spared += flops
            for kind, its in by_kind.items():
                self.spent[kind] += its
            return out  # the shape is right, and a meta tensor has no content

        return call


def _shapes(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, Tensor):
            yield tuple(value.shape)
        elif isinstance(value, tuple | list):
            yield from _shapes(value)
