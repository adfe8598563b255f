"""DyRoPE: each DiT layer has its own rotary positions (paper, section 3.3), on diffusers models with a `rope` module.

The model's forward pass is not copied. While a latent is shortened, `transformer.rope` returns all distinct tables side
by side on the feature axis, and a hook on each layer's attention takes that layer's slice.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

PositionsPerLayer = Sequence[Sequence[float | int]]
Positions = tuple[float, ...]  # the positions of one layer
Tables = tuple[Tensor, Tensor]  # cos and sin, each with tokens on `RopeSite.token_dim` and features last


@dataclass(frozen=True, eq=False)
class RopeSite:
    """The place of a DiT's rotary tables, and their encoding of time.

    The module `transformer.rope` turns a latent [b, c, n, h, w] into the tables (cos, sin). Their tokens are in the
    order frame, row, column. Each latent frame has its own tokens, since patches do not span time. Features come in
    equal pairs, one pair per frequency.

    attentions: the self-attention of each layer, in the paper's numbering (dual-stream layers first).
    argument: the attention's argument that holds the tables: a keyword, or a position if the model passes it so.
    token_dim: the dimension of a table that counts tokens.
    temporal_features: the number of leading features, which encode time. The others encode the place in the frame.
    theta: the base of the frequencies. Temporal pair j turns by position * theta^(-2j / temporal_features).
    """

    attentions: tuple[nn.Module, ...]
    argument: str | int
    token_dim: int
    temporal_features: int
    theta: float


def prepare(site: RopeSite) -> None:
    """Puts the idle hooks on. `shortened` does so itself, but a model needs them before it is compiled."""
    for attention in site.attentions:
        if not hasattr(attention, "rope_slice"):
            hook = functools.partial(_take_slice, argument=site.argument)
            attention.register_forward_pre_hook(hook, with_kwargs=True)
            attention.rope_slice = None  # type: ignore[assignment]


@contextmanager
def shortened(
    transformer: nn.Module, site: RopeSite, positions_per_layer: PositionsPerLayer, num_latents: int
) -> Iterator[None]:
    """Within the block, forward passes run on a shortened latent and each layer sees its own temporal positions.

    `positions_per_layer[l]` holds the positions of the kept latent frames in layer l, on the scale of the `num_latents`
    original latent frames. At a whole number the layer sees the bits of the model's own table. At a fraction the
    temporal features are computed. Spatial positions stay. The transformer computes as before afterwards, also after an
    exception. The hooks stay and are idle, since every new or removed hook would compile a compiled layer again. They
    are also idle in the block if all layers see the same positions.

    Raises ValueError for a wrong number of layers, for layers with different numbers of positions, and for a position
    outside 0..num_latents-1. A pass with another number of latent frames also raises ValueError. Raises RuntimeError
    within another such block.
    """
    layers = tuple(tuple(float(p) for p in positions) for positions in positions_per_layer)
    _check(layers, len(site.attentions), num_latents)
    plain: nn.Module = transformer.rope  # type: ignore[assignment]
    if isinstance(plain, _SideBySide):
        raise RuntimeError("the transformer runs on a shortened latent already; leave that block first")
    prepare(site)
    # sorted, so that a layer's slice and the compiled graphs do not depend on the order of the layers
    distinct = tuple(sorted(set(layers)))
    for attention, positions in zip(site.attentions, layers, strict=True):
        where = (distinct.index(positions), len(distinct))
        attention.rope_slice = where if len(distinct) > 1 else None  # type: ignore[assignment]
    transformer.rope = _SideBySide(plain, site, distinct, num_latents)
    try:
        yield
    finally:
        transformer.rope = plain
        for attention in site.attentions:
            attention.rope_slice = None  # type: ignore[assignment]


def _check(layers: tuple[Positions, ...], num_layers: int, num_latents: int) -> None:
    if len(layers) != num_layers:
        raise ValueError(f"positions_per_layer must have one entry for each of {num_layers} layers, got {len(layers)}")
    lengths = sorted({len(positions) for positions in layers})
    if len(lengths) > 1:
        raise ValueError(f"every layer must have as many positions as latent frames remain, got lengths {lengths}")
    for layer, positions in enumerate(layers):
        wrong = [p for p in positions if not 0 <= p <= num_latents - 1]
        if wrong:
            raise ValueError(
                f"positions must be between 0 and {num_latents - 1}, the last of {num_latents} latent frames, "
                f"got {wrong} for layer {layer}"
            )


class _SideBySide(nn.Module):
    """Returns rotary tables of a shortened latent, one per entry of `distinct`, side by side on the feature axis.

    The tables are made in the first pass and kept for later passes of the same size.
    """

    def __init__(self, plain: nn.Module, site: RopeSite, distinct: tuple[Positions, ...], num_latents: int) -> None:
        super().__init__()
        self.plain = plain
        self.site = site
        self.distinct = distinct
        self.num_latents = num_latents
        self._tables: tuple[tuple[Any, ...], Tables] | None = None

    def forward(self, hidden_states: Tensor) -> Tables:
        kept = len(self.distinct[0])
        if hidden_states.shape[2] != kept:
            raise ValueError(f"expected {kept} latent frames as in the schedule, got {hidden_states.shape[2]}")
        seen = (hidden_states.shape[3:], hidden_states.device, hidden_states.dtype)
        if self._tables is None or self._tables[0] != seen:
            self._tables = seen, self._made(hidden_states)
        return self._tables[1]

    def _made(self, hidden_states: Tensor) -> Tables:
        cos, sin = self.plain(hidden_states.new_empty(1, 1, self.num_latents, *hidden_states.shape[3:]))
        return self._packed(cos, torch.cos), self._packed(sin, torch.sin)

    def _packed(self, full: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the distinct tables side by side. `full` is the model's table for all original latent frames."""
        site, dim = self.site, self.site.token_dim
        by_frame = full.unflatten(dim, (self.num_latents, -1)).movedim(dim, 0)

        def at(positions: Positions) -> Tensor:
            nearest = torch.tensor([int(p) for p in positions], device=full.device)
            table = by_frame[nearest]  # indexing copies, so the write below is safe
            fractions = [i for i, p in enumerate(positions) if p != int(p)]
            if fractions:
                angles = temporal_angles([positions[i] for i in fractions], site.temporal_features, site.theta)
                computed = function(angles).reshape(len(fractions), *[1] * (table.ndim - 2), -1)
                table[fractions, ..., : site.temporal_features] = computed.to(full)
            return table.movedim(0, dim).flatten(dim, dim + 1)

        return torch.cat([at(positions) for positions in self.distinct], dim=-1)


def temporal_angles(positions: Sequence[float | int], features: int, theta: float) -> Tensor:
    """Returns the angles [positions, features] of the temporal features, float64 on the CPU.

    Two neighbouring features share an angle, as in diffusers' `get_1d_rotary_pos_embed` with its defaults.
    """
    frequencies = theta ** (-torch.arange(0, features, 2, dtype=torch.float64, device="cpu") / features)
    angles = torch.outer(torch.tensor(positions, dtype=torch.float64, device="cpu"), frequencies)
    return angles.repeat_interleave(2, dim=1)


def _take_slice(attention: nn.Module, args: tuple, kwargs: dict, argument: str | int) -> tuple[tuple, dict]:
    where: tuple[int, int] | None = attention.rope_slice  # type: ignore[assignment]  # set by `shortened`
    if where is None:
        return args, kwargs
    index, count = where
    tables = kwargs[argument] if isinstance(argument, str) else args[argument]
    own = tuple(table.chunk(count, dim=-1)[index] for table in tables)
    if isinstance(argument, str):
        return args, {**kwargs, argument: own}
    return (*args[:argument], own, *args[argument + 1 :]), kwargs
