"""Runs HunyuanVideo 13B with random weights through our own loop on a GPU: seconds, peak bytes, TF32, bits.

`VGDFR_GPU_TESTS_ON=cuda python -m pytest -n 0 -s tests/gpu` prints the measurements. Without this variable all tests
are skipped. VGDFR_GPU_TESTS_ON=cpu rehearses them on the CPU with a small model and small videos.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
import pytest
import pytorch_msssim
import torch
from large_model import DEVICE, MODEL, NEEDS_A_GPU, REHEARSAL, SPEC, finish, peak_bytes, reset_peak, say

from vgdfr import Baseline, Vgdfr, generate
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.memory import Memory
from vgdfr.methods.layers import positions_per_layer
from vgdfr.methods.rife import MULTIPLE, IFNet
from vgdfr.methods.similarity import frame_similarity
from vgdfr.numerics import exact_float32
from vgdfr.schedule import FrameSchedule

pytestmark = NEEDS_A_GPU


@cache
def estimated_rises(offload: Literal["none", "blocks"] = "none") -> dict[str, int]:
    """Returns the bytes that `vgdfr.memory` estimates per stage, without the bytes that stay between stages."""
    model = replace(MODEL, execution=Execution(offload=offload))
    memory = Memory(model, SPEC.height, SPEC.width, SPEC.num_frames)
    stages = memory.stages()
    resting = stages["decode"] - memory.rise_of("decode")
    return {stage: peak - resting for stage, peak in stages.items()}


def measured_rise(stage: str, run: Callable[[], object]) -> int:
    """Runs `run` twice, since the first run also loads kernels. Returns the rise of the second run in bytes."""
    rises = []
    for which in ("first", "second"):
        finish()
        reset_peak()
        resting, start = peak_bytes(), time.perf_counter()
        run()
        finish()
        rises.append(peak_bytes() - resting)
        seconds, estimated = time.perf_counter() - start, estimated_rises()[stage]
        say(stage=stage, run=which, seconds=seconds, rise_bytes=rises[-1], estimated=estimated)
    return rises[-1]


def check_rise(rise: int, estimated: int) -> None:
    """cuDNN's workspaces differ between versions and GPUs, so a tenth more or less than the estimate is allowed."""
    assert REHEARSAL or 0.9 * estimated < rise < 1.1 * estimated


@torch.inference_mode()
@exact_float32()
@pytest.mark.parametrize("kept", [25, 19, 13, 9])  # 9 is the fewest that a schedule of 97 frames can keep
def test_seconds_and_bytes_of_a_pass(backbone: HunyuanVideoBackbone, kept: int) -> None:
    schedule = FrameSchedule.of_factors(97, _merges(kept), frames_per_latent=4)
    assert len(schedule.kept_latents) == kept
    velocity, x = backbone.velocity(SPEC), backbone.noise(SPEC)[:, :, list(schedule.kept_latents)]
    global_layers = (4, 19) if not REHEARSAL else (1,)
    positions = positions_per_layer(schedule.kept_latents, global_layers, backbone.architecture.num_layers)
    with backbone.shortened(schedule, positions):
        velocity(x, 0.9)
        finish()
        reset_peak()
        resting, start = peak_bytes(), time.perf_counter()
        for sigma in (0.8, 0.7, 0.6):
            v = velocity(x, sigma)
        finish()
    seconds, rise, estimated = (time.perf_counter() - start) / 3, peak_bytes() - resting, estimated_rises()["denoise"]
    say(stage="dit pass", kept=kept, seconds=seconds, peak_bytes=peak_bytes(), rise_bytes=rise, estimated=estimated)
    assert v.shape == x.shape and bool(v.isfinite().all())
    if kept == 25:  # the estimate is for a latent of which nothing merges
        check_rise(rise, estimated)


def _merges(kept: int) -> list[tuple[int, int]]:
    """Blocks that leave so many of 25 latents: of factor 2 save one latent each, of factor 4 three."""
    fours, twos = divmod(25 - kept, 3)
    return [(16 * i + 1, 4) for i in range(fours)] + [(16 * fours + 8 * i + 1, 2) for i in range(twos)]


@torch.inference_mode()
@exact_float32()
@pytest.mark.parametrize("stage", ["preview", "encode", "decode"])
def test_seconds_and_bytes_of_the_vae(
    backbone: HunyuanVideoBackbone, stage: Literal["preview", "encode", "decode"]
) -> None:
    codec, latents = backbone.codec, backbone.noise(SPEC)
    frames = torch.rand(97, 3, SPEC.height // 2, SPEC.width // 2, device=DEVICE) * 2 - 1

    def run() -> None:
        if stage == "decode":
            codec.decode(latents)
            return
        with codec.reduced(1):
            codec.decode(latents) if stage == "preview" else codec.encode(frames)

    check_rise(measured_rise(stage, run), estimated_rises()[stage])


@torch.inference_mode()
@exact_float32()
def test_seconds_and_bytes_of_the_similarity() -> None:
    shown = torch.rand(97, 3, SPEC.height // 2, SPEC.width // 2, device=DEVICE) * 2 - 1
    rise = measured_rise("similarity", lambda: frame_similarity((shown / 2 + 0.5).clamp(0, 1)))
    check_rise(rise, estimated_rises()["similarity"])


@torch.inference_mode()
@exact_float32()
def test_seconds_and_bytes_of_rife() -> None:
    sides = [side + -side % MULTIPLE for side in (SPEC.height, SPEC.width)]
    before, after = torch.rand(2, 1, 3, *sides, device=DEVICE)
    network = IFNet().to(DEVICE).eval()
    weights = sum(parameter.nbytes for parameter in network.parameters())
    rise = measured_rise("interpolate", lambda: network(before, after, 0.5))
    check_rise(weights + rise, estimated_rises()["interpolate"])


def test_a_few_steps_through_the_whole_loop_twice_give_the_same_bits(backbone: HunyuanVideoBackbone) -> None:
    for method in (Baseline(), Vgdfr(k=2, schedule="uniform", spatial_levels=1, interpolator="linear")):
        reset_peak()
        first = generate(backbone, SPEC, method)
        say(method=type(method).__name__, seconds=first.seconds, peak_bytes=peak_bytes())
        again = generate(backbone, SPEC, method)
        assert first.latents is not None and again.latents is not None
        assert torch.equal(first.latents, again.latents) and np.array_equal(first.frames, again.frames)


@torch.inference_mode()
def test_tf32_does_not_reach_the_similarity() -> None:
    """The frames are the clear sky of tests/test_similarity.py. The usual formula with TF32 allowed is also printed."""
    sky = torch.tensor([0.9468, 0.9404, 0.9623, 0.955, 0.9473])[:, None, None, None]
    frames = (sky + 0.0005 * torch.linspace(0, 1, 32)[:, None]).expand(5, 3, 32, 32).contiguous()
    exact, here = frame_similarity(frames), frame_similarity(frames.to(DEVICE))
    usual = pytorch_msssim.ssim(frames[:-1].to(DEVICE), frames[1:].to(DEVICE), data_range=1.0, size_average=False)
    say(cpu=exact.lag1.tolist(), here=here.lag1.tolist(), usual_formula_with_tf32_allowed=usual.tolist())
    np.testing.assert_allclose(here.lag1, exact.lag1, atol=2e-2)


@torch.inference_mode()
@exact_float32()
def test_blocks_that_wait_in_main_memory_give_the_same_bits(backbone: HunyuanVideoBackbone) -> None:
    """This test comes last, because the DiT stays offloaded afterwards."""
    velocity, x = backbone.velocity(SPEC), backbone.noise(SPEC)
    resident = velocity(x, 0.9)
    Execution(offload="blocks").apply(backbone.transformer, backbone.dtype, DEVICE)
    backbone.settle()
    for which in ("first", "second", "third"):
        finish()
        reset_peak()
        resting, start = peak_bytes(), time.perf_counter()
        offloaded = velocity(x, 0.9)
        finish()
        rise, estimated = peak_bytes() - resting, estimated_rises("blocks")["denoise"]
        say(stage="dit pass, blocks offloaded", run=which, seconds=time.perf_counter() - start,
            peak_bytes=peak_bytes(), rise_bytes=rise, estimated=estimated)  # fmt: skip
        assert torch.equal(resident, offloaded)
        check_rise(rise, estimated)
