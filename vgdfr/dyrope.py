"""DyRoPE: Global- or Local-RoPE per DiT layer (paper, section 3.3), injected without touching the forward pass."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import HunyuanVideoTransformer3DModel
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

# The paper's choice for HunyuanVideo's 20 dual-stream and 40 single-stream layers, numbered through.
PAPER_GLOBAL_LAYERS = (4, 19, 23, 31, 35, 36, 37, 40)
PAPER_NUM_LAYERS = 60

Tables = tuple[Float[Tensor, "tokens d"], Float[Tensor, "tokens d"]]


def paper_global_layers(num_layers: int) -> tuple[int, ...]:
    """The paper's Global-RoPE layers for a DiT of `num_layers`, mapped by relative depth; the paper's own for 60."""
    scale = (num_layers - 1) / (PAPER_NUM_LAYERS - 1)
    return tuple(sorted({round(layer * scale) for layer in PAPER_GLOBAL_LAYERS}))


NAMED_LAYERS = re.compile(r"paper|all|none|(only|all_but)_(\d+)")
LAYERS_EXPECTED = "paper, all, none, only_N, all_but_N or a list of layer numbers such as [0,4]"


def global_layers_of(setting: Sequence[int] | str, num_layers: int) -> tuple[int, ...]:
    """The layers that a method's `global_layers` names, in order.

    "paper" is the paper's list, "only_3" and "all_but_3" are what they say, "all" and "none" too. Raises ValueError for
    another name, and for a layer that a DiT of `num_layers` has not.
    """
    if isinstance(setting, str):
        named = NAMED_LAYERS.fullmatch(setting)
        if named is None:
            raise ValueError(f"global_layers must be {LAYERS_EXPECTED}, got {setting!r}")
        if named[1] is None:
            return {"paper": paper_global_layers(num_layers), "all": tuple(range(num_layers)), "none": ()}[setting]
        layers = (int(named[2]),)
    else:
        layers = tuple(sorted(set(setting)))
    wrong = [layer for layer in layers if not 0 <= layer < num_layers]
    if wrong:
        raise ValueError(
            f"global_layers must be between 0 and {num_layers - 1} for this model, got {wrong} "
            "(dual-stream blocks come first, then single-stream)"
        )
    if isinstance(setting, str) and setting.startswith("all_but_"):
        return tuple(layer for layer in range(num_layers) if layer not in layers)
    return layers


def shortest_name(setting: Sequence[int] | str, num_layers: int) -> tuple[int, ...] | str:
    """One way to write the set of layers that `setting` names: the first of its names, else the layers themselves."""
    layers = global_layers_of(setting, num_layers)
    names = ["paper", "none", "all", *(f"{kind}_{n}" for kind in ("only", "all_but") for n in range(num_layers))]
    return next((name for name in names if global_layers_of(name, num_layers) == layers), layers)


def blocks_of(transformer: HunyuanVideoTransformer3DModel) -> list[nn.Module]:
    """The DiT layers in the paper's numbering: dual-stream blocks, then single-stream blocks."""
    return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]


def prepare(transformer: HunyuanVideoTransformer3DModel) -> None:
    """Put the idle hooks on; `dyrope` does so itself, but a model to be compiled wants them before."""
    for block in blocks_of(transformer):
        if not hasattr(block.attn, "global_rope"):
            block.attn.register_forward_pre_hook(_take_half, with_kwargs=True)
            block.attn.global_rope = None  # type: ignore[assignment]


@contextmanager
def dyrope(
    transformer: HunyuanVideoTransformer3DModel,
    kept_latents: Sequence[int],
    num_latents: int,
    global_layers: Sequence[int],
) -> Iterator[None]:
    """Within the block, forward passes on `len(kept_latents)` latent frames use DyRoPE.

    Layers in `global_layers` see the temporal positions `kept_latents` of the `num_latents` original ones; the others
    see 0..N'-1. Spatial positions are untouched and text tokens carry no RoPE. Both tables travel side by side on the
    feature axis in place of the model's one; a hook on each layer's attention takes that layer's half. The transformer
    computes as before when the block ends, also by an exception; the hooks stay, idle, since a compiled layer would be
    compiled anew for each hook that comes or goes.
    """
    blocks = blocks_of(transformer)
    wrong = [layer for layer in global_layers if not 0 <= layer < len(blocks)]
    if wrong:
        raise ValueError(f"global_layers must be between 0 and {len(blocks) - 1}, got {wrong}")
    plain = transformer.rope
    prepare(transformer)
    for layer, block in enumerate(blocks):
        block.attn.global_rope = layer in global_layers  # type: ignore[assignment]
    transformer.rope = _LocalAndGlobal(plain, tuple(kept_latents), num_latents)
    try:
        yield
    finally:
        transformer.rope = plain
        for block in blocks:
            block.attn.global_rope = None  # type: ignore[assignment]


class _LocalAndGlobal(nn.Module):
    """Rotary tables of a shortened latent: local positions in the first half of the features, global in the second.

    The tables are made in the first pass and kept for those that follow, which see the same size.
    """

    def __init__(self, plain: nn.Module, kept_latents: tuple[int, ...], num_latents: int) -> None:
        super().__init__()
        self.plain = plain
        self.kept_latents = kept_latents
        self.num_latents = num_latents
        self._tables: tuple[tuple[Any, ...], Tables] | None = None

    def forward(self, hidden_states: Float[Tensor, "b c n h w"]) -> Tables:
        kept = len(self.kept_latents)
        if hidden_states.shape[2] != kept:
            raise ValueError(f"expected {kept} latent frames as in the schedule, got {hidden_states.shape[2]}")
        seen = (hidden_states.shape[3:], hidden_states.device, hidden_states.dtype)
        if self._tables is None or self._tables[0] != seen:
            self._tables = seen, self._made(hidden_states)
        return self._tables[1]

    def _made(self, hidden_states: Float[Tensor, "b c n h w"]) -> Tables:
        kept = len(self.kept_latents)
        full = hidden_states.new_empty(1, 1, self.num_latents, *hidden_states.shape[3:])
        cos, sin = (rearrange(t, "(n p) d -> n p d", n=self.num_latents) for t in self.plain(full))
        positions = torch.tensor(self.kept_latents, device=cos.device)

        def pack(table: Float[Tensor, "n p d"]) -> Float[Tensor, "tokens d2"]:
            return torch.cat([table[:kept], table[positions]], dim=-1).flatten(0, 1)

        return pack(cos), pack(sin)


def _take_half(attention: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    use_global: bool | None = attention.global_rope  # type: ignore[assignment]  # set by `dyrope`
    if use_global is None:
        return args, kwargs
    tables = kwargs["image_rotary_emb"]
    return args, {**kwargs, "image_rotary_emb": tuple(t.chunk(2, dim=-1)[int(use_global)] for t in tables)}


def without_mask(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """A pre-hook for attention over a prompt without padding: no mask, and so the fast kernels."""
    return args, {**kwargs, "attention_mask": None}
