"""Passes are counted where they happen: plain, shortened, guided, cached, offloaded, skipped and interrupted passes."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig, TaylorSeerCacheConfig
from diffusers.hooks.hooks import HookRegistry, ModelHook
from processes import run
from torch import Tensor

from vgdfr import HunyuanVideo, VideoSpec
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.backbones.hunyuan_dit import blocks_of, leaves_of
from vgdfr.backbones.rope import shortened
from vgdfr.methods.layers import positions_per_layer
from vgdfr.passes import Pass, PassCounter, Passes, from_rows, to_rows

PLAIN = Pass(9, 4, 4, 1, 1.0, 1.0)  # a pass of `spec`, which has 33 frames of 32 x 32


def loaded(checkpoint: Path, **execution: Any) -> HunyuanVideoBackbone:
    model = HunyuanVideo(str(checkpoint), dtype="float32", device="cpu", execution=Execution(**execution))
    return model.load()


@pytest.fixture
def fresh(tiny_checkpoint: Path) -> HunyuanVideoBackbone:
    return loaded(tiny_checkpoint)


class Counted:
    """Counts the DiT's passes. Each call returns the passes that it added."""

    def __init__(self, backbone: Backbone, spec: VideoSpec) -> None:
        assert isinstance(backbone, HunyuanVideoBackbone)
        self.backbone, self.x = backbone, backbone.noise(spec)
        self.velocity = backbone.velocity(spec)
        self.text_tokens = backbone.text.embedding(spec.prompt).tokens.shape[1]

    def __call__(self, x: Tensor | None = None, times: int = 1, context: str | None = None) -> Pass:
        x, passes = self.x if x is None else x, Counter()
        dit = self.backbone.transformer
        with torch.inference_mode(), self.backbone.counter.counting(x.shape, self.text_tokens, passes):
            for _ in range(times):
                with dit.cache_context(context) if context else nullcontext():
                    self.velocity(x, 1.0)
        (one,) = passes.elements()
        return one


def test_a_plain_pass_computes_all_of_it_whatever_its_size(backbone: Backbone, spec: VideoSpec) -> None:
    counted = Counted(backbone, spec)
    assert counted() == PLAIN
    assert counted(counted.x[:, :, :4]) == PLAIN._replace(frames=4)
    assert counted(counted.x[..., :2]) == PLAIN._replace(width=2)
    kept = (0, 1, 4, 7)
    positions = positions_per_layer(kept, (1, 4), 5)
    with shortened(counted.backbone.transformer, counted.backbone.rope_site, positions, 9):
        assert counted(counted.x[:, :, kept]) == PLAIN._replace(frames=4)


def test_guidance_is_two_forwards_in_two_calls_or_one_batch(backbone: Backbone, spec: VideoSpec) -> None:
    counted = Counted(backbone, spec)
    assert counted(times=2) == PLAIN._replace(forwards=2)
    tokens = torch.zeros(2, counted.text_tokens, 32)
    inputs = {
        "timestep": torch.tensor([1000.0, 1000.0]), "encoder_hidden_states": tokens, "guidance": torch.ones(2),
        "encoder_attention_mask": torch.ones(tokens.shape[:2]), "pooled_projections": torch.zeros(2, 32),
    }  # fmt: skip
    passes: Passes = Counter()
    with torch.inference_mode(), counted.backbone.counter.counting(counted.x.shape, counted.text_tokens, passes):
        counted.backbone.transformer(counted.x.expand(2, -1, -1, -1, -1), **inputs)
    assert passes == {PLAIN._replace(forwards=2): 1}


def test_what_first_block_cache_skips_is_not_counted(fresh: HunyuanVideoBackbone, spec: VideoSpec) -> None:
    counted = Counted(fresh, spec)
    fresh.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.5))
    assert counted(context="cond") == PLAIN
    one_of_five = PLAIN._replace(attention=0.2, feed_forward=0.2)
    assert counted(context="cond") == one_of_five, "for the same input again, only the first block runs"
    assert counted(context="cond", times=2) == one_of_five._replace(forwards=2)
    assert counted(context="uncond") == PLAIN
    fresh.transformer.disable_cache()
    assert counted() == PLAIN


def test_what_taylorseer_predicts_is_not_counted(fresh: HunyuanVideoBackbone, spec: VideoSpec) -> None:
    """By default TaylorSeer predicts attention inside blocks that run. In its lite mode it predicts whole blocks."""
    counted = Counted(fresh, spec)
    for lite, predicted in (
        (False, PLAIN._replace(attention=0.0)),
        (True, PLAIN._replace(attention=0, feed_forward=0)),
    ):
        config = TaylorSeerCacheConfig(cache_interval=3, disable_cache_before_step=2, use_lite_mode=lite)
        fresh.transformer.enable_cache(config)
        assert [counted(context="cond") for _ in range(6)] == [*[PLAIN] * 2, predicted, PLAIN, *[predicted] * 2]
        fresh.transformer.disable_cache()
    assert counted() == PLAIN


class Skip(ModelHook):
    """Caches a module's last output in the same way as diffusers' own caches."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Any = None

    def new_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self.last is None:
            assert self.fn_ref.original_forward is not None
            self.last = self.fn_ref.original_forward(*args, **kwargs)
        return self.last


def test_a_replaced_forward_of_the_whole_dit_is_a_forward_that_computes_nothing(
    fresh: HunyuanVideoBackbone, spec: VideoSpec
) -> None:
    counted = Counted(fresh, spec)
    HookRegistry.check_if_exists_or_initialize(fresh.transformer).register_hook(Skip(), "skip")
    assert counted() == PLAIN
    assert counted() == PLAIN._replace(attention=0.0, feed_forward=0.0)


@pytest.mark.parametrize("layer", [1, 3])  # a dual-stream block, and a single-stream block with leaves that see text
def test_one_block_left_out_of_five_is_a_fifth(fresh: HunyuanVideoBackbone, spec: VideoSpec, layer: int) -> None:
    counted = Counted(fresh, spec)
    block: Any = blocks_of(fresh.transformer)[layer]
    block.forward = lambda hidden_states, encoder_hidden_states, *_: (hidden_states, encoder_hidden_states)
    assert counted() == PLAIN._replace(attention=0.8, feed_forward=0.8)


@pytest.mark.parametrize("layer", [1, 3])
def test_half_the_tokens_in_one_layer_are_half_that_layer(
    fresh: HunyuanVideoBackbone, spec: VideoSpec, layer: int
) -> None:
    counted = Counted(fresh, spec)
    block: Any = blocks_of(fresh.transformer)[layer]
    plain, argument = block.forward, {1: "freqs_cis", 3: "image_rotary_emb"}[layer]

    def on_half(hidden: Tensor, text: Tensor, temb: Tensor, mask: Tensor, rope: Any, *_: Any) -> Any:
        half = hidden.shape[1] // 2
        out, text = plain(hidden[:, :half], text, temb, mask, **{argument: tuple(t[:half] for t in rope)})
        return torch.cat([out, hidden[:, half:]], dim=1), text

    block.forward = on_half
    assert counted() == PLAIN._replace(attention=0.9, feed_forward=0.9)


@pytest.mark.parametrize(
    "execution", [{"offload": "blocks"}, {"quantization": "float8"}, {"attention": "_native_math"}]
)
def test_how_the_dit_is_run_changes_no_count(tiny_checkpoint: Path, spec: VideoSpec, execution: dict[str, Any]) -> None:
    backbone = loaded(tiny_checkpoint, **execution)
    counted = Counted(backbone, spec)
    assert counted() == PLAIN
    block: Any = blocks_of(backbone.transformer)[4]
    block.attn.forward = lambda hidden_states, encoder_hidden_states, **_: (hidden_states, encoder_hidden_states)
    assert counted() == PLAIN._replace(attention=0.8)


def test_without_leaves_forwards_are_counted_and_shares_are_one(fresh: HunyuanVideoBackbone, spec: VideoSpec) -> None:
    counted = Counted(fresh, spec)
    fresh.counter = PassCounter(fresh.transformer, (), (1, 2, 2))
    fresh.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.5))
    assert [counted(context="cond") for _ in range(2)] == [PLAIN] * 2
    assert counted(times=0) == Pass(9, 4, 4, 0, 0.0, 0.0)


COMPILED = """
import sys, torch
from collections import Counter
from vgdfr import HunyuanVideo, VideoSpec
from vgdfr.backbones.execution import Execution

backbone = HunyuanVideo(sys.argv[1], dtype="float32", device="cpu", execution=Execution(compile="eager")).load()
spec, passes = VideoSpec("a red circle", 3, 32, 32, 33, 4, 6.0, 7.0, 12), Counter()
with torch.inference_mode():
    velocity, x = backbone.velocity(spec), backbone.noise(spec)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with backbone.counter.counting(x.shape, 5, passes):
        velocity(x, 0.5)
print(graphs, torch._dynamo.utils.counters["stats"]["unique_graphs"] - graphs, *map(tuple, passes))
"""


def test_a_compiled_dit_counts_its_forwards_and_needs_no_other_graph(tiny_checkpoint: Path) -> None:
    """The test runs in a process of its own, because the tests' type checks would be traced, too."""
    done = run("-c", COMPILED, str(tiny_checkpoint))
    assert done.returncode == 0, done.stderr
    graphs, added, counted = done.stdout.strip().split(" ", 2)
    assert int(graphs) > 0 and int(added) == 0
    assert counted == str(tuple(PLAIN))


def test_layers_run_apart_from_the_dit_are_one_forwards_work(fresh: HunyuanVideoBackbone, spec: VideoSpec) -> None:
    passes: Passes = Counter()
    block: Any = blocks_of(fresh.transformer)[0]
    with fresh.counter.counting((1, 4, 9, 4, 4), 7, passes):
        block.ff(torch.zeros(1, 9 * 2 * 2, 48))
    with fresh.counter.counting((1, 4, 9, 4, 4), 7, passes):
        pass
    assert passes == {Pass(9, 4, 4, 1, 0.0, 0.2): 1, Pass(9, 4, 4, 0, 0.0, 0.0): 1}


def broken(counted: Counted) -> None:
    counted.velocity(counted.x, 1.0)
    raise KeyboardInterrupt


def refused(counted: Counted) -> None:
    with counted.backbone.counter.counting(counted.x.shape, counted.text_tokens, Counter()):
        raise AssertionError("never here")


@pytest.mark.parametrize(("inside", "error"), [(broken, KeyboardInterrupt), (refused, RuntimeError)])
def test_an_exception_counts_nothing_and_leaves_no_trace(
    backbone: Backbone, spec: VideoSpec, inside: Callable[[Counted], None], error: type[BaseException]
) -> None:
    counted, passes = Counted(backbone, spec), Counter()
    with pytest.raises(error, match="counting does not nest" if error is RuntimeError else None):
        with counted.backbone.counter.counting(counted.x.shape, counted.text_tokens, passes):
            inside(counted)
    counted.velocity(counted.x, 1.0)  # these calls are outside of the counter
    assert not passes and counted() == PLAIN


def test_equal_passes_add_up_and_rows_read_back(backbone: Backbone, spec: VideoSpec) -> None:
    counted = Counted(backbone, spec)
    passes = Counter([counted(), counted(counted.x[:, :, :4]), counted(), Pass(9, 4, 4, 2, 0.2, 1 / 3)])
    rows = to_rows(passes)
    assert rows == [[4, 4, 4, 1, 1.0, 1.0, 1], [9, 4, 4, 1, 1.0, 1.0, 2], [9, 4, 4, 2, 0.2, 1 / 3, 1]]
    assert from_rows(json.loads(json.dumps(rows))) == passes
    assert to_rows(Counter()) == [] and from_rows([]) == Counter()
    with pytest.raises(ValueError, match=r"must be \[frames, height, .*, count\], got \[9, 4, 4\]"):
        from_rows([[9, 4, 4]])


def test_there_is_one_leaf_per_block_and_kind(backbone: Backbone) -> None:
    assert isinstance(backbone, HunyuanVideoBackbone)
    leaves = leaves_of(backbone.transformer)
    assert Counter((leaf.kind, leaf.sees_text) for leaf in leaves) == {
        (kind, single): 2 if single else 3 for kind in ("attention", "feed_forward") for single in (False, True)
    }
