"""HunyuanVideo's DiT as diffusers builds it: its layers, their rotary tables and their leaf modules.

The leaves see these rows in diffusers 0.42: a dual-stream block projects image and text separately, so its `to_q` and
`ff` see image tokens alone. A single-stream block joins both before `proj_mlp`, and its attention before `to_q`.
"""

from typing import Any

from diffusers import HunyuanVideoTransformer3DModel
from torch import nn

from vgdfr.backbones.rope import RopeSite
from vgdfr.passes import Kind, Leaf


def blocks_of(transformer: HunyuanVideoTransformer3DModel) -> list[nn.Module]:
    """Returns the DiT layers in the paper's numbering: dual-stream blocks, then single-stream blocks."""
    return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]


def rope_site_of(transformer: HunyuanVideoTransformer3DModel) -> RopeSite:
    """Returns the place of the rotary tables: a keyword of each attention, with two tables [tokens, features]."""
    return RopeSite(
        attentions=tuple(block.attn for block in blocks_of(transformer)),  # type: ignore[misc]
        argument="image_rotary_emb",
        token_dim=0,
        temporal_features=transformer.config.rope_axes_dim[0],
        theta=transformer.config.rope_theta,
    )


def leaves_of(transformer: HunyuanVideoTransformer3DModel) -> list[Leaf]:
    """Returns one leaf per block and kind, for a `PassCounter`."""
    dual, single = _blocks(transformer)
    leaves = []
    for block in dual:
        leaves += [Leaf(block.attn.to_q, "attention", False), Leaf(block.ff.net[0].proj, "feed_forward", False)]
    for block in single:
        leaves += [Leaf(block.attn.to_q, "attention", True), Leaf(block.proj_mlp, "feed_forward", True)]
    return leaves


def layers_of(transformer: HunyuanVideoTransformer3DModel) -> dict[Kind, list[nn.Module]]:
    """Returns every module of the blocks that computes attention or feed-forward, for image and text, by kind.

    A single-stream block's `proj_out` projects both results at once. It counts as feed-forward, since 4 of its 5 inputs
    come from there.
    """
    dual, single = _blocks(transformer)
    return {
        "attention": [block.attn for block in dual + single],
        "feed_forward": [
            *(module for block in dual for module in (block.ff, block.ff_context)),
            *(module for block in single for module in (block.proj_mlp, block.proj_out)),
        ],
    }


def drop_attention_mask(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """A pre-hook that removes the attention mask. A prompt without padding needs none, and fast kernels take none."""
    return args, {**kwargs, "attention_mask": None}


def _blocks(transformer: HunyuanVideoTransformer3DModel) -> tuple[list[Any], list[Any]]:
    return list(transformer.transformer_blocks), list(transformer.single_transformer_blocks)
