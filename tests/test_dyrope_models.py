"""Compares DyRoPE's tables with each model's own tables, and tests it on a Wan transformer.

Wan's blocks receive the tables in another way.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import HunyuanVideoTransformer3DModel, WanTransformer3DModel
from torch import Tensor, nn

from vgdfr.backbones.hunyuan_dit import rope_site_of
from vgdfr.backbones.rope import RopeSite, shortened, temporal_angles

N, KEPT, LOCAL = 9, (0, 1, 5, 7, 8), (0, 1, 2, 3, 4)


@pytest.fixture(scope="module")
def wan() -> WanTransformer3DModel:
    """Returns a Wan transformer with random weights, 3 layers and 18 + 14 + 14 rotary features.

    The features of the axes differ, so that no axis can pass for another.
    """
    torch.manual_seed(0)
    return WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=46, in_channels=4, out_channels=4, text_dim=32, freq_dim=32,
        ffn_dim=64, num_layers=3,
    ).eval()  # fmt: skip


def site_of(wan: WanTransformer3DModel) -> RopeSite:
    """Returns the place of Wan's tables, which are [1, tokens, 1, features].

    They are the fourth positional argument of each self-attention.
    """
    attentions: Any = tuple(block.attn1 for block in wan.blocks)
    return RopeSite(attentions, argument=3, token_dim=1, temporal_features=wan.rope.t_dim, theta=10000.0)


def velocity(wan: WanTransformer3DModel, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    x = torch.randn(1, 4, frames, 4, 6, generator=generator)
    text = torch.randn(1, 7, 32, generator=generator)
    return wan(x, timestep=torch.tensor([700]), encoder_hidden_states=text, return_dict=False)[0]


class Chosen(nn.Module):
    """Wan's own tables of all `N` frames, cut down to the frames `kept`."""

    def __init__(self, plain: nn.Module, kept: Sequence[int]) -> None:
        super().__init__()
        self.plain, self.kept = plain, list(kept)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        tables = self.plain(torch.empty(1, 4, N, *x.shape[3:]))
        return tuple(torch.stack(t.chunk(N, dim=1))[self.kept].permute(1, 0, 2, 3, 4).flatten(1, 2) for t in tables)


@torch.no_grad()
def test_keeping_all_positions_is_the_plain_pass(wan: WanTransformer3DModel) -> None:
    plain = velocity(wan, N)
    with shortened(wan, site_of(wan), [range(N)] * 3, N):
        assert torch.equal(velocity(wan, N), plain)


@torch.no_grad()
def test_kept_positions_in_all_layers_are_the_models_tables_cut_down(wan: WanTransformer3DModel) -> None:
    rope = wan.rope
    wan.rope = Chosen(rope, KEPT)  # type: ignore[assignment]
    expected = velocity(wan, len(KEPT))
    wan.rope = rope
    with shortened(wan, site_of(wan), [KEPT] * 3, N):
        assert torch.equal(velocity(wan, len(KEPT)), expected)
    assert not torch.allclose(velocity(wan, len(KEPT)), expected)


@torch.no_grad()
def test_mixed_layers_take_each_their_own_table(wan: WanTransformer3DModel) -> None:
    """Compares the tables that each self-attention receives with the model's. Cross-attention receives none."""
    layers, plain = [KEPT, LOCAL, (0, 2, 4, 6, 8)], wan.rope
    seen: list[Any] = []
    attentions: Any = [attention for block in wan.blocks for attention in (block.attn1, block.attn2)]
    before, handles = velocity(wan, len(KEPT)), []
    with shortened(wan, site_of(wan), layers, N):  # hooks run in the order of their registration
        handles += [
            attention.register_forward_pre_hook(lambda _, args: seen.append(args[3])) for attention in attentions
        ]
        mixed = velocity(wan, len(KEPT))
    for handle in handles:
        handle.remove()
    for tables, kept in zip(seen[::2], layers, strict=True):
        own = Chosen(plain, kept)(torch.empty(1, 4, len(kept), 4, 6))
        assert all(torch.equal(a, b) for a, b in zip(tables, own, strict=True))
    assert seen[1::2] == [None] * 3
    alike = [before]
    for positions in layers[::2]:
        with shortened(wan, site_of(wan), [positions] * 3, N):
            alike.append(velocity(wan, len(KEPT)))
    assert all(not torch.allclose(mixed, other) for other in alike)


@torch.no_grad()
def test_the_model_computes_as_before_after_a_block_and_after_an_exception(wan: WanTransformer3DModel) -> None:
    before = velocity(wan, 4)
    with pytest.raises(ValueError, match="expected 5 latent frames as in the schedule, got 4"):
        with shortened(wan, site_of(wan), [KEPT, LOCAL, LOCAL], N):
            velocity(wan, len(KEPT))
            velocity(wan, 4)
    assert torch.equal(velocity(wan, 4), before)
    assert not any(hasattr(block.attn2, "rope_slice") for block in wan.blocks), "cross-attention has no hook"


def hunyuan() -> HunyuanVideoTransformer3DModel:
    return HunyuanVideoTransformer3DModel(
        num_attention_heads=1, attention_head_dim=24, num_layers=1, num_single_layers=1, num_refiner_layers=1,
        text_embed_dim=8, pooled_projection_dim=8, rope_axes_dim=(12, 8, 4),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["hunyuan", "wan"])
@torch.no_grad()
def test_the_formula_is_the_models_own(name: str, wan: WanTransformer3DModel) -> None:
    """At whole positions the computed temporal features equal the model's, up to the rounding of its float32 angles."""
    model: Any = wan if name == "wan" else hunyuan()
    site, frames = site_of(wan) if name == "wan" else rope_site_of(model), 33
    computed = temporal_angles(range(frames), site.temporal_features, site.theta)
    for table, function in zip(model.rope(torch.empty(1, 4, frames, 4, 6)), (torch.cos, torch.sin), strict=True):
        own = table.movedim(site.token_dim, 0).reshape(frames, 6, -1)[..., : site.temporal_features]
        expected = function(computed)[:, None].expand(-1, 6, -1)
        torch.testing.assert_close(own.double(), expected, atol=frames * 2**-23, rtol=0)
        assert (own[1] != own[2]).any()


@torch.no_grad()
def test_a_fraction_is_computed_between_rows_that_are_copied(wan: WanTransformer3DModel) -> None:
    """Next to a fraction, the rows of whole positions and all spatial features equal the model's bit by bit."""
    x, site = torch.empty(1, 4, 3, 4, 6), site_of(wan)
    own = Chosen(wan.rope, (0, 4, 8))(x)
    with shortened(wan, site, [(0, 4.5, 8)] * 3, N):
        mixed = wan.rope(x)
    t = site.temporal_features
    angles = 4.5 * 10000.0 ** (-torch.arange(0, t, 2, dtype=torch.float64) / t)
    for table, expected, function in zip(mixed, own, (torch.cos, torch.sin), strict=True):
        assert table.shape == expected.shape and table.dtype == expected.dtype
        table, expected = (a.reshape(3, 6, -1) for a in (table, expected))
        assert torch.equal(table[::2], expected[::2]) and torch.equal(table[1, :, t:], expected[1, :, t:])
        for features in (slice(0, t, 2), slice(1, t, 2)):
            torch.testing.assert_close(table[1, :, features], function(angles).float().expand(6, -1))
