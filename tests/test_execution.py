"""Memory profiles, kernels and compilation. Settings that must not change pixels give the same bits."""

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers.hooks.group_offloading import ModuleGroup
from processes import run
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from vgdfr import Baseline, HunyuanVideo, Vgdfr, VideoSpec, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.backbones.hunyuan_dit import blocks_of

MERGING = Vgdfr(k=1, theta=0.01, global_layers=(1, 4), interpolator="linear")


def loaded(checkpoint: Path, **execution: Any) -> Backbone:
    return HunyuanVideo(str(checkpoint), dtype="float32", device="cpu", execution=Execution(**execution)).load()


METHODS = (Baseline(), MERGING, Vgdfr(k=2, theta=0.01, max_merge=2, global_layers="all"), Baseline())


def test_another_kernel_gives_the_same_video_but_for_rounding(
    tiny_checkpoint: Path, backbone: Backbone, spec: VideoSpec
) -> None:
    other = loaded(tiny_checkpoint, attention="_native_math")
    for method in METHODS:
        expected, got = generate(backbone, spec, method).frames, generate(other, spec, method).frames
        assert np.abs(got.astype(int) - expected).max() <= 1


class Elsewhere:
    """A main memory apart from the device. Offloaded weights become NaN, so that nothing can compute with them."""

    def __init__(self) -> None:
        self.out: dict[nn.Parameter, Tensor] = {}

    def offload(self, group: ModuleGroup) -> None:
        for parameter in self.parameters(group):
            if parameter not in self.out:
                self.out[parameter] = parameter.data.clone()
                parameter.data.fill_(float("nan"))

    def onload(self, group: ModuleGroup) -> None:
        for parameter in self.parameters(group):
            if parameter in self.out:
                parameter.data.copy_(self.out.pop(parameter))

    @staticmethod
    def parameters(group: ModuleGroup) -> Iterator[nn.Parameter]:
        yield from (p for module in group.modules for p in module.parameters())
        yield from group.parameters


def test_offloaded_blocks_come_in_one_at_a_time_when_their_turn_comes(
    tiny_checkpoint: Path, backbone: Backbone, spec: VideoSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test uses diffusers' own hooks. Here a device and a main memory are kept apart, as on a GPU."""
    memory = Elsewhere()
    monkeypatch.setattr(ModuleGroup, "_offload_to_memory", lambda group: memory.offload(group))
    monkeypatch.setattr(ModuleGroup, "_onload_from_memory", lambda group: memory.onload(group))
    other = loaded(tiny_checkpoint, offload="blocks")
    assert isinstance(other, HunyuanVideoBackbone)
    blocks, seen = blocks_of(other.transformer), []

    def is_in(block: nn.Module) -> bool:
        return not any(p.isnan().any() for p in block.parameters())

    assert not any(is_in(block) for block in blocks), "all blocks wait in main memory"
    for i, block in enumerate(blocks):
        block.attn.register_forward_hook(lambda *_, i=i: seen.append((i, [is_in(block) for block in blocks])))
    for method in METHODS:
        assert np.array_equal(generate(other, spec, method).frames, generate(backbone, spec, method).frames)
    assert seen and all(place == [n == i for n in range(len(blocks))] for i, place in seen)
    assert not any(is_in(block) for block in blocks)


COMPILED = """
import sys, torch
from safetensors.torch import save_file
from torch._inductor import config
from vgdfr import Baseline, HunyuanVideo, Vgdfr, VideoSpec, generate
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.rope import shortened
from vgdfr.methods.layers import positions_per_layer

checkpoint, file, compiler = sys.argv[1:]
config.compile_threads, config.cpp.simdlen, config.cpp.cxx = 1, 1, (compiler,)
model = HunyuanVideo(checkpoint, dtype="float32", device="cpu", execution=Execution(compile="inductor"))
backbone, spec = model.load(), VideoSpec("a red circle stays still over sand", 3, 32, 32, 33, 4, 6.0, 7.0, 12)
with torch.inference_mode():
    velocity, x = backbone.velocity(spec), backbone.noise(spec)
    print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    for kept, layers in (
        ([0, 1, 4, 7], (1, 4)), ([0, 2, 3, 5, 7], (0, 1, 2)), (None, ()), ([0, 1, 2, 4, 5, 8], ()), ([0, 3, 8], (4,)),
        ([0, 2, 3, 5], (0, 1, 2, 3, 4)), (None, ()),
    ):
        if kept is None:
            velocity(x, 0.5)
        else:
            with shortened(backbone.transformer, backbone.rope_site, positions_per_layer(kept, layers, 5), 9):
                velocity(x[:, :, kept], 0.5)
        print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
methods = {
    "baseline": Baseline(), "merging": Vgdfr(k=1, theta=0.01, global_layers=(1, 4), interpolator="linear"),
}
save_file({name: generate(backbone, spec, method).latents for name, method in methods.items()}, file)
"""


@pytest.fixture(scope="module")
def compiled(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], list[int]]:
    """Returns latents that blocks compiled by inductor gave, and the number of graphs before and after each pass.

    The code is really generated and compiled, without the compiler's optimizations, which take most of its time. This
    happens in a process of its own, because the tests' type checks would be traced, too, and compiled again for each
    shape.
    """
    folder = tmp_path_factory.mktemp("compiled")
    file, compiler = folder / "latents.safetensors", folder / "compiler"
    compiler.write_text('#!/bin/sh\nexec "${CXX:-g++}" "$@" -O0\n')
    compiler.chmod(0o755)
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    done = run("-c", COMPILED, str(tiny_checkpoint), str(file), str(compiler), **cache)
    assert done.returncode == 0, done.stderr
    assert list((folder / "inductor").rglob("*.so")), "something was compiled"
    return load_file(file), [int(line) for line in done.stdout.split()]


def test_blocks_compiled_by_inductor_give_the_same_latents_but_for_rounding(
    compiled: tuple[dict[str, Tensor], list[int]], backbone: Backbone, spec: VideoSpec
) -> None:
    for name, method in (("baseline", Baseline()), ("merging", MERGING)):
        expected = generate(backbone, spec, method).latents
        assert expected is not None and 0 < (compiled[0][name] - expected).abs().max() < 1e-5


def test_a_compiled_dit_has_its_graphs_before_the_first_step(compiled: tuple[dict[str, Tensor], list[int]]) -> None:
    """No latency holds a compilation, for any schedule and with the baseline in between."""
    counts = compiled[1]
    assert counts[0] > 0 and len(counts) == 8 and len(set(counts)) == 1


def test_float8_weights_change_the_pixels_a_little(tiny_checkpoint: Path, backbone: Backbone, spec: VideoSpec) -> None:
    frames = generate(backbone, spec, Baseline()).frames.astype(int)
    coarse = generate(loaded(tiny_checkpoint, quantization="float8"), spec, Baseline()).frames
    assert 0 < np.abs(coarse - frames).mean() < 8


@pytest.mark.parametrize(
    "change", [{"offload": "blocks"}, {"quantization": "float8"}, {"attention": "_native_math"}, {"compile": "eager"}]
)
def test_how_it_ran_is_in_the_key(tiny_checkpoint: Path, change: dict[str, Any]) -> None:
    settings = VideoSettings(32, 32, 33, 4, 6.0, 7.0, 12)
    keys = [
        Condition("tiny", model, settings, Baseline()).sample(Prompt("p", "a prompt", 0), model.identity("cpu")).key
        for execution in ({}, change)
        for model in [HunyuanVideo(str(tiny_checkpoint), execution=Execution(**execution))]
    ]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        ({"attention": "flash_hub"}, "execution.attention must be one of flash, .*got 'flash_hub'"),
        ({"compile": "fast"}, "execution.compile must be one of null, eager, .*got 'fast'"),
        ({"attention": "_native_cudnn"}, "attention=_native_cudnn needs a GPU; a CPU has native, _native_math"),
        ({"compile": "eager", "offload": "blocks"}, "compile goes with neither offload nor quantization"),
        ({"compile": "eager", "quantization": "float8"}, "compile goes with neither offload nor quantization"),
    ],
)
def test_what_cannot_run_here_is_refused_before_loading(
    tiny_checkpoint: Path, execution: dict[str, Any], message: str
) -> None:
    model = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu", execution=Execution(**execution))
    with pytest.raises(ValueError, match=message):
        model.check()


def test_a_gpu_of_some_size_is_asked_for_but_is_no_part_of_the_model(tiny_checkpoint: Path) -> None:
    model = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu")
    sized = dataclasses.replace(model, min_gpu_gib=22.0)
    with pytest.raises(ValueError, match="for a GPU of 22 GiB, but the model runs on cpu"):
        sized.check()
    assert sized == model  # the setting changes no pixels, so it is in no key


def test_a_kernel_that_is_not_installed_is_refused(tiny_checkpoint: Path) -> None:
    model = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu")
    with pytest.raises(ValueError, match="execution.attention=sage cannot run here"):
        dataclasses.replace(model, execution=Execution(attention="sage")).check()
    if importlib.util.find_spec("flash_attn") is None:
        with pytest.raises(ValueError, match="flash-attn"):
            dataclasses.replace(model, execution=Execution(attention="flash")).check()


def test_an_offloaded_dit_has_run_before_any_accelerator_is_applied(tiny_checkpoint: Path) -> None:
    """The hooks of offloading rearrange themselves in the first forward, which must be a plain one of all blocks."""
    ran: list[str] = []

    class Watched(HunyuanVideo):
        def load(self) -> HunyuanVideoBackbone:
            forward = HunyuanVideoBackbone.settle

            def settle(backbone: HunyuanVideoBackbone) -> None:
                hooks = [
                    block.register_forward_hook(lambda *_: ran.append("block"))
                    for block in blocks_of(backbone.transformer)
                ]
                forward(backbone)
                for hook in hooks:
                    hook.remove()

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(HunyuanVideoBackbone, "settle", settle)
                return super().load()

    for execution, count in ((Execution(), 0), (Execution(offload="blocks"), 5)):
        ran.clear()
        Watched(str(tiny_checkpoint), dtype="float32", device="cpu", execution=execution).load()
        assert len(ran) == count
