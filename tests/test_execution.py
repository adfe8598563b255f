"""Memory profiles, kernels and compilation: what leaves the pixels alone leaves them alone to the bit."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.condition import Condition, VideoSettings
from bench.prompts import Prompt
from vgdfr import Baseline, HunyuanVideo, Vgdfr, VideoSpec, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.execution import Execution

MERGING = Vgdfr(k=1, theta=0.01, global_layers=(1, 4), interpolator="linear")


def loaded(checkpoint: Path, **execution: Any) -> Backbone:
    return HunyuanVideo(str(checkpoint), dtype="float32", device="cpu", execution=Execution(**execution)).load()


@pytest.mark.parametrize("execution", [{"offload": "blocks"}, {"compile": "eager"}, {"attention": "_native_math"}])
def test_the_same_video_in_another_way(
    tiny_checkpoint: Path, backbone: Backbone, spec: VideoSpec, execution: dict[str, Any]
) -> None:
    other = loaded(tiny_checkpoint, **execution)
    for method in (Baseline(), MERGING, Vgdfr(k=2, theta=0.01, max_merge=2, global_layers="all"), Baseline()):
        expected, got = generate(backbone, spec, method).frames, generate(other, spec, method).frames
        if "attention" in execution:  # another order of summing
            assert np.abs(got.astype(int) - expected).max() <= 1
        else:
            assert np.array_equal(got, expected)


COUNT_GRAPHS = """
import sys, torch
from vgdfr import HunyuanVideo, VideoSpec
from vgdfr.backbones.execution import Execution
from vgdfr.dyrope import dyrope

model = HunyuanVideo(sys.argv[1], dtype="float32", device="cpu", execution=Execution(compile="eager"))
backbone = model.load()
spec = VideoSpec("a red circle", 3, 32, 32, 33, 4, 6.0, 7.0, 12)
with torch.inference_mode():
    velocity, x = backbone.velocity(spec), backbone.noise(spec)
    print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    for kept in ([0, 1, 4, 7], [0, 2, 3, 5, 7], None, [0, 1, 2, 4, 5, 8], [0, 3, 8], None):
        if kept is None:
            velocity(x, 0.5)
        else:
            with dyrope(backbone.transformer, kept, 9, (1, 4)):
                velocity(x[:, :, kept], 0.5)
        print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


def test_a_compiled_dit_has_its_graphs_before_the_first_step(tiny_checkpoint: Path) -> None:
    """So no latency holds a compilation, whatever the schedule, with the baseline between.

    In a process of its own: the tests' type checks are traced along and are compiled anew for each shape.
    """
    command = [sys.executable, "-c", COUNT_GRAPHS, str(tiny_checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    counts = [int(line) for line in done.stdout.split()]
    assert counts[0] > 0 and len(counts) == 7 and len(set(counts)) == 1


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
    assert sized == model  # so it is in no key


def test_a_kernel_that_is_not_installed_is_refused(tiny_checkpoint: Path) -> None:
    model = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu")
    with pytest.raises(ValueError, match="execution.attention=sage cannot run here"):
        dataclasses.replace(model, execution=Execution(attention="sage")).check()
    if importlib.util.find_spec("flash_attn") is None:
        with pytest.raises(ValueError, match="flash-attn"):
            dataclasses.replace(model, execution=Execution(attention="flash")).check()
