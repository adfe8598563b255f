"""DyRoPE against a forward pass written out by hand, and that it leaves the transformer as it was."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import HunyuanVideoTransformer3DModel
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vgdfr import generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_video import HunyuanVideoBackbone
from vgdfr.dyrope import PAPER_GLOBAL_LAYERS, blocks_of, dyrope, paper_global_layers
from vgdfr.method import Vgdfr
from vgdfr.schedule import uniform
from vgdfr.video import VideoSpec

N, KEPT = 9, (0, 1, 5, 7, 8)


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


def axis_table(positions: Sequence[int], dim: int) -> Tensor:
    """Angles of one axis: position / 256^(2i/dim), each for two neighbouring features."""
    frequency = 1 / 256.0 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    return (torch.tensor(positions, dtype=torch.float64)[:, None] * frequency).repeat_interleave(2, dim=1)


def tables(times: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rotary tables of latent frames at `times`, 2 x 2 patches each, written from the definition."""
    angles = [
        torch.cat([t, y, x])
        for t in axis_table(times, 8)
        for y in axis_table(range(2), 8)
        for x in axis_table(range(2), 8)
    ]
    return torch.stack(angles).cos().float(), torch.stack(angles).sin().float()


def by_hand(model: HunyuanVideoTransformer3DModel, inputs: dict[str, Tensor], global_layers: Sequence[int]) -> Tensor:
    """The transformer's forward pass with a table chosen per layer."""
    temb, _ = model.time_text_embed(inputs["timestep"], inputs["pooled_projections"], inputs["guidance"])
    x = model.x_embedder(inputs["hidden_states"])
    text = model.context_embedder(inputs["encoder_hidden_states"], inputs["timestep"], inputs["encoder_attention_mask"])
    local_tables, global_tables = tables(range(len(KEPT))), tables(KEPT)
    for layer, block in enumerate([*model.transformer_blocks, *model.single_transformer_blocks]):
        x, text = block(x, text, temb, None, global_tables if layer in global_layers else local_tables)
    x = model.proj_out(model.norm_out(x, temb))
    x = x.reshape(1, len(KEPT), 2, 2, 4, 1, 2, 2).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.reshape(1, 4, len(KEPT), 4, 4)


@pytest.mark.parametrize("global_layers", [(), (0,), (1, 3), (4,), (0, 1, 2, 3, 4)])
@torch.no_grad()
def test_injected_equals_written_out_by_hand(
    transformer: HunyuanVideoTransformer3DModel, inputs: dict[str, Tensor], global_layers: tuple[int, ...]
) -> None:
    with dyrope(transformer, KEPT, N, global_layers):
        injected = transformer(**inputs).sample
    torch.testing.assert_close(injected, by_hand(transformer, inputs, global_layers), atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_layers_differ_and_all_local_is_the_plain_forward(
    transformer: HunyuanVideoTransformer3DModel, inputs: dict[str, Tensor]
) -> None:
    plain = transformer(**inputs).sample
    with dyrope(transformer, KEPT, N, ()):
        assert torch.equal(transformer(**inputs).sample, plain)
    results = []
    for layer in range(5):
        with dyrope(transformer, KEPT, N, (layer,)):
            results.append(transformer(**inputs).sample)
    assert all(not torch.allclose(a, b) for i, a in enumerate([plain, *results]) for b in results[i:])


@torch.no_grad()
def test_an_exception_leaves_the_transformer_as_it_was(
    transformer: HunyuanVideoTransformer3DModel, inputs: dict[str, Tensor]
) -> None:
    before, rope = transformer(**inputs).sample, transformer.rope
    hooks = [len(block.attn._forward_pre_hooks) for block in blocks_of(transformer)]
    with pytest.raises(ValueError, match="expected 4 latent frames as in the schedule, got 5"):
        with dyrope(transformer, KEPT[:4], N, (1,)):
            transformer(**inputs)
    assert transformer.rope is rope
    assert [len(block.attn._forward_pre_hooks) for block in blocks_of(transformer)] == hooks
    assert torch.equal(transformer(**inputs).sample, before)


def test_the_papers_layers_by_relative_depth() -> None:
    assert paper_global_layers(60) == PAPER_GLOBAL_LAYERS
    assert paper_global_layers(12) == (1, 4, 6, 7)
    assert max(paper_global_layers(2)) <= 1


def test_a_layer_out_of_range_is_refused(transformer: HunyuanVideoTransformer3DModel) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 4, got \[5\]"), dyrope(transformer, KEPT, N, (5,)):
        pass


def test_global_layers_change_the_generated_video(backbone: Backbone, spec: VideoSpec) -> None:
    local, everywhere = (
        generate(backbone, spec, Vgdfr(k=1, theta=0.01, global_layers=layers)) for layers in ((), tuple(range(5)))
    )
    assert local.schedule == everywhere.schedule
    assert (local.frames != everywhere.frames).any()


class HostTensors(TorchFunctionMode):
    """How often a tensor was made of Python numbers, which on a GPU is a copy that the host waits for."""

    made = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made += func in (torch.tensor, torch.as_tensor)
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_constants_are_made_once_per_trajectory(backbone: Backbone, spec: VideoSpec) -> None:
    """No pass after the first makes a timestep or a position, whole or shortened."""
    velocity, x, sigmas = backbone.velocity(spec), backbone.noise(spec), backbone.sigmas(spec)
    velocity(x, sigmas[0])
    with HostTensors() as whole:
        for sigma in sigmas[1:-1]:
            velocity(x, sigma)
    schedule = uniform(33)
    y = x[:, :, list(schedule.kept_latents)]
    with backbone.dyrope(schedule, (1, 4)):
        velocity(y, sigmas[0])
        with HostTensors() as shortened:
            expected = [velocity(y, sigma) for sigma in sigmas[1:-1]]
    assert whole.made == shortened.made == 0
    with HostTensors() as others:
        velocity(x, 0.123)
        velocity(x, 0.123)
    assert others.made == 1, "another trajectory's noise level is made when it is first seen"
    with backbone.dyrope(schedule, (1, 4)):
        assert all(torch.equal(velocity(y, s), v) for s, v in zip(sigmas[1:-1], expected, strict=True))
