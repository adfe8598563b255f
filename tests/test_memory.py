"""Compares memory that is followed on the meta device with the allocator of a real run, and with the hw profiles."""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bench.plan.command_line import CONF
from bench.plan.settings import condition_of
from vgdfr import HunyuanVideo
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_dit import blocks_of
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec
from vgdfr.backbones.tiling import Tiling
from vgdfr.memory import LiveBytes, Memory, memory_of
from vgdfr.on_meta import codec_of, dit_pass, meta
from vgdfr.presets import PRESETS

GIB = 2**30
PAGE = Path(__file__).parent.parent / "docs" / "hunyuan_video.md"
ARCHITECTURE: dict[str, dict[str, Any]] = {
    "vae": {
        "latent_channels": 4, "block_out_channels": [32, 64, 64, 64], "layers_per_block": 1, "norm_num_groups": 4,
        "mid_block_add_attention": True,
    },
    "transformer": {
        "in_channels": 4, "out_channels": 4, "num_attention_heads": 4, "attention_head_dim": 32, "num_layers": 2,
        "num_single_layers": 3, "num_refiner_layers": 1, "text_embed_dim": 64, "pooled_projection_dim": 32,
        "rope_axes_dim": [8, 12, 12],
    },
}  # fmt: skip
TILING = Tiling(frames=32, frames_stride=24, pixels=96, pixels_stride=72)  # several tiles in each direction
STAGES = {"decode": 0, "preview": 1, "encode": 1}


def stage(codec: HunyuanVideoCodec, name: str, latents: torch.Tensor, frames: torch.Tensor) -> Callable[[], object]:
    def run() -> object:
        with codec.reduced(STAGES[name]) if STAGES[name] else nullcontext():
            return codec.encode(frames) if name == "encode" else codec.decode(latents)

    return run


def estimated(run: Callable[[], object], once: Sequence[nn.Module] = ()) -> int:
    with meta(), LiveBytes() as live, live.equal_modules_once(once):
        run()
    return live.peak


def measured(run: Callable[[], object]) -> int:
    """Returns the most bytes that PyTorch's allocator had given out at once, from its own events."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events: Any = seen.profiler
    memory = sorted(
        (event for event in events.kineto_results.events() if event.name() == "[memory]"), key=lambda e: e.start_ns()
    )
    now = most = 0
    for event in memory:
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("name", STAGES)
def test_the_vaes_peak_is_the_allocators(name: str) -> None:

    def run_on(device: str) -> tuple[HunyuanVideoCodec, Callable[[], object]]:
        with torch.device(device):
            codec = codec_of(ARCHITECTURE, TILING, torch.device(device))
            return codec, stage(codec, name, torch.zeros(1, 4, 10, 16, 16), torch.zeros(37, 3, 64, 64))

    codec, run = run_on("meta")
    each, once = estimated(run), estimated(run, [codec.vae.decoder, codec.vae.encoder])
    assert each == once, "equal tiles are run once, and each counts"
    assert each == pytest.approx(measured(run_on("cpu")[1]), rel=0.1)


def test_a_dit_passs_peak_is_the_allocators() -> None:
    with meta():
        dit, run = dit_pass(ARCHITECTURE, (9, 16, 16))
    each, once = estimated(run), estimated(run, blocks_of(dit))
    assert each == once
    with torch.inference_mode(), torch.device("cpu"):
        _, real_run = dit_pass(ARCHITECTURE, (9, 16, 16))
        assert each == pytest.approx(measured(real_run), rel=0.1)


def test_a_caller_in_inference_mode_gets_the_same_numbers() -> None:
    memory = Memory(PRESETS["embedded"].model, 64, 64, 9)
    outside = memory.rise_of("preview")
    with torch.inference_mode():
        assert memory.rise_of("preview") == outside


def test_memory_is_known_of_a_model_that_can_be_built_from_its_configuration() -> None:
    model = PRESETS["embedded"].model
    assert memory_of(model, 64, 64, 9, levels=2) == Memory(model, 64, 64, 9, levels=2)

    class Unknown(HunyuanVideo):
        known_on_meta = False

    assert memory_of(Unknown(model.path), 64, 64, 9) is None


@pytest.mark.parametrize("module", ["flops", "memory", "passes", "backbones.hunyuan_video"])
def test_each_module_is_imported_first_without_a_circle(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import vgdfr.{module}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_13b_preview_needs_no_mask() -> None:
    """In diffusers' own way, the mask of one tile alone takes 29 GB for a moment."""
    model = PRESETS["hunyuan_video"].model
    with meta(torch.float16):
        codec = codec_of(model.configuration(), model.tiling)
    with meta():
        z = torch.empty(1, 16, 25, 68, 120)

    def masked() -> object:
        with codec.reduced(1):
            return codec.vae.decode(z.half()).sample

    def by_frame() -> object:
        with codec.reduced(1):
            return codec.decode(z)

    assert estimated(masked, [codec.vae.decoder]) > 29e9
    assert estimated(by_frame, [codec.vae.decoder]) < 15e9


# Bytes that tests/gpu measured on an NVIDIA H200 with torch 2.11.0+cu130 on 2026-11-26, without the weights.
ON_AN_H200 = {"denoise": 5663066624, "preview": 14191612928, "encode": 7817334272, "decode": 14361416704}


def test_the_13b_stages_are_estimated_within_one_percent_of_a_gpus_allocator() -> None:
    memory = Memory(PRESETS["hunyuan_video"].model, 544, 960, 97)
    stages = stages_of(memory.model)
    resting = stages["decode"] - memory.rise_of("decode")
    rises = {name: stages[name] - resting for name in ON_AN_H200}
    assert rises == pytest.approx(ON_AN_H200, rel=0.01)


@cache
def stages_of(model: HunyuanVideo) -> dict[str, int]:
    """Returns the peaks in the paper's setting. Equal models are counted once."""
    return Memory(model, 544, 960, 97).stages()


@pytest.mark.parametrize(("profile_name", "largest_gib"), [("24g", 16.0), ("48g", 39.0), ("80g", 39.0), ("141g", 39.0)])
def test_every_stage_fits_the_hw_profile(profile_name: str, largest_gib: float) -> None:
    """2 GiB must be left for CUDA and its allocator, and no stage may exceed the documented number."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["model=hunyuan_video", f"hw={profile_name}", "method.k=5", "method.theta=0.5"])
    condition = condition_of(config)
    video, model = condition.video, condition.model
    assert (video.height, video.width, video.num_frames) == (544, 960, 97)
    stages = stages_of(model)
    assert model.min_gpu_gib is not None
    assert max(stages.values()) < (model.min_gpu_gib - 2) * GIB
    assert max(stages.values()) < largest_gib * GIB
    assert list(stages) == ["text", "denoise", "preview", "similarity", "encode", "decode", "interpolate"]
    said = ", ".join(f"{peak / GIB:.1f}" for peak in stages.values())
    row = re.search(rf"^\| `hw={profile_name}` \| (\d+) GiB or more \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert row and row[2].replace(" | ", ", ") == said and int(row[1]) == model.min_gpu_gib


def test_a_return_to_the_full_length_encodes_the_whole_video() -> None:
    memory = Memory(PRESETS["embedded"].model, 64, 64, 9)
    plain, lengthens = memory.stages(rife=False), memory.stages(rife=False, lengthens=True)
    assert {**lengthens, **plain} == lengthens and lengthens.keys() - plain.keys() == {"lengthen"}
    assert lengthens["lengthen"] > lengthens["encode"], "the module's encoder works on half the height and width"


def test_offloaded_blocks_take_two_blocks_room_and_float8_less_than_two_thirds() -> None:
    model = PRESETS["hunyuan_video"].model
    plain, offloaded, coarse = (
        Memory(replace(model, execution=execution), 64, 64, 5).stages(rife=False)["denoise"]
        for execution in (Execution(), Execution(offload="blocks"), Execution(quantization="float8"))
    )
    assert plain - offloaded > 20 * GIB
    assert plain - coarse == pytest.approx(0.36 * 24 * GIB, rel=0.1)
