"""Times and memory of samples of HunyuanVideo 13B with random weights on a GPU, as records and tables have them.

`VGDFR_GPU_TESTS_ON=cuda python -m pytest -n 0 -s tests/gpu` prints the measurements, see `large_model`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from large_model import NEEDS_A_GPU, REHEARSAL, SPEC, finish, say

from vgdfr import Accelerator, Baseline, GeneratedVideo, Running, Vgdfr, generate
from vgdfr.account import Shared
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.numerics import exact_float32
from vgdfr.sampling import sampling

pytestmark = NEEDS_A_GPU
SHORT = Vgdfr(k=2, schedule="uniform", spatial_levels=1, interpolator="linear")
FULL_PASS = f"dit 25x{SPEC.height // 8}x{SPEC.width // 8}"


class Peak:
    """The largest memory of the block in bytes. The account resets PyTorch's own counter at each part's ends."""

    bytes = 0


@contextmanager
def whole_peak(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peak]:
    peak, reset = Peak(), torch.cuda.reset_peak_memory_stats

    def keep(*args: Any) -> None:
        peak.bytes = max(peak.bytes, torch.cuda.max_memory_allocated())
        reset(*args)

    if REHEARSAL:
        yield peak
        return
    reset()
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "reset_peak_memory_stats", keep)
        yield peak
    peak.bytes = max(peak.bytes, torch.cuda.max_memory_allocated())


def check_sums(video: GeneratedVideo) -> None:
    """The times by kind and the times of no kind are the whole latency."""
    kinds = sum(took.wall_s for _, took in video.timed.values())
    assert kinds + sum(took.wall_s for took in video.unpooled.values()) == pytest.approx(video.latency_s)
    assert all(took.cpu_s is None for _, took in video.observed) or REHEARSAL


@torch.inference_mode()
@exact_float32()
def test_events_time_the_passes_and_nothing_waits_between_them(
    backbone: HunyuanVideoBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[None] = []
    wait: Callable[..., None] = torch.cuda.synchronize

    def counted(*args: Any) -> None:
        waits.append(None)
        wait(*args)

    with sampling(backbone, Shared(SPEC), "test") as run:
        start = run.solver.restart(run.noise)
        run.solve(start, 0, 1)  # loads kernels
        before = len(run.account.observed)
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "synchronize", counted)
            began = time.perf_counter()
            run.solve(start, 0, 3)
            seconds = time.perf_counter() - began
        observed = run.account.observed[before:]
    passes = [took.wall_s for _, took in observed]
    say(what="a loop of 3 passes", seconds=seconds, passes_s=sum(passes), passes=passes, waits=len(waits))
    assert [kind for kind, _ in observed] == [FULL_PASS] * 3
    assert len(waits) == (0 if REHEARSAL else 2), "the loop's ends wait for the GPU, and no pass does"
    assert sum(passes) <= seconds * 1.001 and (REHEARSAL or sum(passes) > 0.95 * seconds)


def test_the_peak_of_a_sample_is_the_same_alone_and_among_others(
    backbone: HunyuanVideoBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish()
    resident = 0 if REHEARSAL else torch.cuda.memory_allocated()
    with whole_peak(monkeypatch) as measured:
        alone = generate(backbone, SPEC, SHORT)
    shared = Shared(SPEC, {SHORT.k})
    with whole_peak(monkeypatch) as among_measured:
        baseline = generate(backbone, SPEC, Baseline(), shared)
        other = generate(backbone, SPEC, Vgdfr(k=2, theta=0.5, spatial_levels=1, interpolator="linear"), shared)
        among = generate(backbone, SPEC, SHORT, shared)
        again = generate(backbone, SPEC, Baseline(), shared)
    for video in (alone, baseline, other, among, again):
        check_sums(video)
        say(peak_bytes=video.peak_bytes, latency_s=video.latency_s, shared=video.shared_stages,
            timed={kind: (count, round(took.wall_s, 3)) for kind, (count, took) in video.timed.items()},
            unpooled={stage: round(took.wall_s, 4) for stage, took in video.unpooled.items()})  # fmt: skip
    say(resident_bytes=resident, torch_alone=measured.bytes, torch_among=among_measured.bytes)
    assert not alone.shared_stages and {"denoise_full", "decode"} <= set(again.shared_stages)
    assert "denoise_full" in among.shared_stages and np.array_equal(alone.frames, among.frames)
    assert {kind: count for kind, (count, _) in alone.timed.items()} == {k: n for k, (n, _) in among.timed.items()}
    if REHEARSAL:
        assert alone.peak_bytes is None is among.peak_bytes
        return
    assert alone.peak_bytes is not None and among.peak_bytes is not None and baseline.peak_bytes is not None
    assert resident < among.peak_bytes == pytest.approx(alone.peak_bytes, rel=0.03)
    assert 0.95 * measured.bytes < alone.peak_bytes <= measured.bytes and among.peak_bytes <= among_measured.bytes
    assert again.peak_bytes == pytest.approx(baseline.peak_bytes, rel=0.001), "rises of found parts count"


@dataclass(frozen=True)
class EverySecond(Accelerator):
    """Computes every second pass and repeats the velocity of the pass before in the others."""

    @contextmanager
    def applied(self, transformer: Any) -> Iterator[Running]:
        forward, kept, calls = transformer.forward, [], {"gate_asked": 0, "calls_skipped": 0}

        def patched(*args: Any, **kwargs: Any) -> Any:
            calls["gate_asked"] += 1
            if kept:
                calls["calls_skipped"] += 1
                return kept.pop()
            kept.append(forward(*args, **kwargs))
            return kept[0]

        transformer.forward = patched
        try:
            yield Running(kept.clear, lambda: calls)
        finally:
            transformer.forward = forward


def test_an_accelerated_sample_has_the_times_of_skipped_and_of_whole_passes(backbone: HunyuanVideoBackbone) -> None:
    video = generate(backbone, SPEC, Baseline(accelerators=(EverySecond(),)))
    check_sums(video)
    (whole, whole_took), (skipped, skipped_took) = video.timed[FULL_PASS], video.timed[f"{FULL_PASS} 0.00 0.00"]
    say(accelerated=video.accelerated, whole_s=whole_took.wall_s / whole, skipped_s=skipped_took.wall_s / skipped)
    assert (whole, skipped) == (2, 2) and list(video.accelerated.values()) == [{"gate_asked": 4, "calls_skipped": 2}]
    assert skipped_took.wall_s < whole_took.wall_s / (1 if REHEARSAL else 20)
