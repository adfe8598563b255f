"""Compares DyRoPE on HunyuanVideo with a forward pass written out by hand, and checks its refusals."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import HunyuanVideoTransformer3DModel
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vgdfr import Vgdfr, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.backbones.hunyuan_dit import rope_site_of
from vgdfr.backbones.rope import RopeSite, shortened
from vgdfr.methods.layers import PAPER_GLOBAL_LAYERS, paper_global_layers, positions_per_layer
from vgdfr.schedule import uniform
from vgdfr.video import VideoSpec

N, KEPT, LOCAL = 9, (0, 1, 5, 7, 8), (0, 1, 2, 3, 4)


@pytest.fixture
def inputs(transformer: HunyuanVideoTransformer3DModel) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "hidden_states": torch.randn(1, 4, len(KEPT), 4, 4, generator=generator),
        "timestep": torch.tensor([700.0]),
        "encoder_hidden_states": torch.randn(1, 6, 32, generator=generator),
        "encoder_attention_mask": torch.ones(1, 6),
        "pooled_projections": torch.randn(1, 32, generator=generator),
        "guidance": torch.tensor([6000.0]),
    }


@pytest.fixture
def transformer(backbone: Backbone) -> HunyuanVideoTransformer3DModel:
    assert isinstance(backbone, HunyuanVideoBackbone)
    return backbone.transformer


@pytest.fixture
def site(transformer: HunyuanVideoTransformer3DModel) -> RopeSite:
    return rope_site_of(transformer)


def axis_table(positions: Sequence[float], dim: int) -> Tensor:
    """Returns the angles of one axis: position / 256^(2i/dim), each for two neighbouring features."""
    frequency = 1 / 256.0 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    return (torch.tensor(positions, dtype=torch.float64)[:, None] * frequency).repeat_interleave(2, dim=1)


def tables(times: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Returns rotary tables of latent frames at `times` with 2 x 2 patches each, written from the definition."""
    angles = [
        torch.cat([t, y, x])
        for t in axis_table(times, 8)
        for y in axis_table(range(2), 8)
        for x in axis_table(range(2), 8)
    ]
    return torch.stack(angles).cos().float(), torch.stack(angles).sin().float()


def by_hand(
    model: HunyuanVideoTransformer3DModel, inputs: dict[str, Tensor], layers: Sequence[Sequence[float]]
) -> Tensor:
    """Returns the transformer's forward pass with the temporal positions chosen per layer."""
    temb, _ = model.time_text_embed(inputs["timestep"], inputs["pooled_projections"], inputs["guidance"])
    x = model.x_embedder(inputs["hidden_states"])
    text = model.context_embedder(inputs["encoder_hidden_states"], inputs["timestep"], inputs["encoder_attention_mask"])
    blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
    for block, positions in zip(blocks, layers, strict=True):
        x, text = block(x, text, temb, None, tables(positions))
    x = model.proj_out(model.norm_out(x, temb))
    x = x.reshape(1, len(KEPT), 2, 2, 4, 1, 2, 2).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.reshape(1, 4, len(KEPT), 4, 4)


@pytest.mark.parametrize(
    "layers",
    [
        *(positions_per_layer(KEPT, layers, 5) for layers in [(), (0,), (1, 3), (4,), (0, 1, 2, 3, 4)]),
        [KEPT, LOCAL, (0.0, 0.5, 3.25, 7.0, 7.75), LOCAL, (0, 2, 4, 6, 8)],
        [(0.0, 1.5, 3.0, 4.5, 8.0)] * 5,
    ],
)
@torch.no_grad()
def test_injected_equals_written_out_by_hand(
    transformer: HunyuanVideoTransformer3DModel,
    site: RopeSite,
    inputs: dict[str, Tensor],
    layers: Sequence[Sequence[float]],
) -> None:
    with shortened(transformer, site, layers, N):
        injected = transformer(**inputs).sample
    torch.testing.assert_close(injected, by_hand(transformer, inputs, layers), atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_layers_differ_and_all_local_is_the_plain_forward(
    transformer: HunyuanVideoTransformer3DModel, site: RopeSite, inputs: dict[str, Tensor]
) -> None:
    plain = transformer(**inputs).sample
    with shortened(transformer, site, [LOCAL] * 5, N):
        assert torch.equal(transformer(**inputs).sample, plain)
    results = []
    for layer in range(5):
        with shortened(transformer, site, positions_per_layer(KEPT, (layer,), 5), N):
            results.append(transformer(**inputs).sample)
    assert all(not torch.allclose(a, b) for i, a in enumerate([plain, *results]) for b in results[i:])


@torch.no_grad()
def test_an_exception_leaves_the_transformer_as_it_was(
    transformer: HunyuanVideoTransformer3DModel, site: RopeSite, inputs: dict[str, Tensor]
) -> None:
    before, rope = transformer(**inputs).sample, transformer.rope
    hooks = [len(attention._forward_pre_hooks) for attention in site.attentions]
    with pytest.raises(ValueError, match="expected 4 latent frames as in the schedule, got 5"):
        with shortened(transformer, site, positions_per_layer(KEPT[:4], (1,), 5), N):
            transformer(**inputs)
    assert transformer.rope is rope
    assert [len(attention._forward_pre_hooks) for attention in site.attentions] == hooks
    assert torch.equal(transformer(**inputs).sample, before)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([KEPT] * 4, "one entry for each of 5 layers, got 4"),
        ([KEPT] * 4 + [KEPT[:3]], r"as many positions as latent frames remain, got lengths \[3, 5\]"),
        ([KEPT] * 3 + [(0, 1, 2, 3, 8.5)] * 2, r"between 0 and 8, .* got \[8.5\] for layer 3"),
        ([(-1, *KEPT[1:])] * 5, r"got \[-1.0\] for layer 0"),
        ([(float("nan"), *KEPT[1:])] * 5, r"got \[nan\] for layer 0"),
    ],
)
def test_wrong_positions_are_refused(
    transformer: HunyuanVideoTransformer3DModel, site: RopeSite, layers: Sequence[Sequence[float]], message: str
) -> None:
    rope = transformer.rope
    with pytest.raises(ValueError, match=message), shortened(transformer, site, layers, N):
        pass
    assert transformer.rope is rope


@torch.no_grad()
def test_a_block_within_a_block_is_refused_and_the_outer_one_goes_on(
    transformer: HunyuanVideoTransformer3DModel, site: RopeSite, inputs: dict[str, Tensor]
) -> None:
    layers = positions_per_layer(KEPT, (1,), 5)
    with shortened(transformer, site, layers, N):
        alone = transformer(**inputs).sample
        with pytest.raises(RuntimeError, match="shortened latent already"):
            with shortened(transformer, site, [KEPT] * 5, N):
                pass
        assert torch.equal(transformer(**inputs).sample, alone)


def test_the_papers_layers_by_relative_depth() -> None:
    assert paper_global_layers(60) == PAPER_GLOBAL_LAYERS
    assert paper_global_layers(12) == (1, 4, 6, 7)
    assert max(paper_global_layers(2)) <= 1


def test_global_layers_see_the_kept_latents_and_the_others_count_on() -> None:
    assert positions_per_layer((0, 3, 8), (1,), 3) == ((0, 1, 2), (0, 3, 8), (0, 1, 2))


@pytest.mark.parametrize("layer", [5, -1])
def test_a_layer_out_of_range_is_refused(layer: int) -> None:
    with pytest.raises(ValueError, match=rf"between 0 and 4 for this model, got \[{layer}\]"):
        positions_per_layer(KEPT, (0, layer), 5)


def test_global_layers_change_the_generated_video(backbone: Backbone, spec: VideoSpec) -> None:
    local, everywhere = (
        generate(backbone, spec, Vgdfr(k=1, theta=0.01, global_layers=layers)) for layers in ((), tuple(range(5)))
    )
    assert local.schedule == everywhere.schedule
    assert (local.frames != everywhere.frames).any()


class HostTensors(TorchFunctionMode):
    """Counts the tensors that are made from Python numbers. On a GPU the host waits for each of them."""

    made = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made += func in (torch.tensor, torch.as_tensor)
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_constants_are_made_once_per_trajectory(backbone: Backbone, spec: VideoSpec) -> None:
    """After the first pass, no pass makes a timestep or a position, on the full latent or a shortened one."""
    velocity, x, sigmas = backbone.velocity(spec), backbone.noise(spec), backbone.solver(spec).sigmas
    velocity(x, sigmas[0])
    with HostTensors() as whole:
        for sigma in sigmas[1:-1]:
            velocity(x, sigma)
    schedule = uniform(33, frames_per_latent=4)
    y, positions = x[:, :, list(schedule.kept_latents)], positions_per_layer(schedule.kept_latents, (1, 4), 5)
    with backbone.shortened(schedule, positions):
        velocity(y, sigmas[0])
        with HostTensors() as short:
            expected = [velocity(y, sigma) for sigma in sigmas[1:-1]]
    assert whole.made == short.made == 0
    with HostTensors() as others:
        velocity(x, 0.123)
        velocity(x, 0.123)
    assert others.made == 1, "another trajectory's noise level is made when it is first seen"
    with backbone.shortened(schedule, positions):
        assert all(torch.equal(velocity(y, s), v) for s, v in zip(sigmas[1:-1], expected, strict=True))
