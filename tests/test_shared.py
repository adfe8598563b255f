"""Samples that share parts are equal bit by bit to samples made alone, and record the shared parts."""

import dataclasses
import hashlib
import time

import numpy as np
import pytest

from vgdfr import (
    Baseline,
    BaselineRerun,
    Dvg,
    FewerSteps,
    Interpolated,
    Method,
    Sampled,
    Sampling,
    Vgdfr,
    VideoSpec,
    generate,
)
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone

METHODS: tuple[Method, ...] = (
    Baseline(),
    Vgdfr(k=1, theta=0.01),
    Vgdfr(k=1, theta=0.02),  # gives the same schedule
    Vgdfr(k=1, theta=1.0),  # keeps everything
    Vgdfr(k=1, theta=0.01, global_layers="none"),
    Vgdfr(k=1, theta=0.01, interpolator="linear"),
    Vgdfr(k=1, theta=0.01, merge_space="latent"),
    Vgdfr(k=1, theta=0.01, denoise_renoise=False),
    Vgdfr(k=1, theta=0.01, denoise_renoise=False, schedule_from="noisy"),
    Vgdfr(k=1, theta=0.01, preview_steps=2),
    Vgdfr(k=1, theta=0.01, preview_steps=2, preview_latent="as_released"),
    Vgdfr(k=1, theta=0.01, similarity_dtype="float16"),
    Vgdfr(k=1, schedule="uniform"),
    Vgdfr(k=2, theta=0.01),
    Vgdfr(k=2, theta=0.01, max_merge=2),
    Vgdfr(k=1, theta=0.01, steps=3),
    Vgdfr(k=1, theta=0.01, steps=3, preview_steps=2),
    Vgdfr(k=1, theta=0.01, steps=3, denoise_renoise=False, schedule_from="noisy"),
    Vgdfr(k=1, theta=1.0, steps=3),
    Vgdfr(k=2, theta=1.0, steps=3),
    FewerSteps(2),
    Dvg(0.5, switches=(0.1, 0.3, 0.6), tolerance=0.1),
    Interpolated(k=1, theta=0.01),
)


@pytest.fixture(scope="module")
def alone(backbone: Backbone, spec: VideoSpec) -> dict[Method, np.ndarray]:
    return {method: generate(backbone, spec, method).frames for method in METHODS}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("stops", [(), (1, 2)])
def test_sharing_changes_no_pixel(
    backbone: Backbone, spec: VideoSpec, alone: dict[Method, np.ndarray], order: int, stops: tuple[int, ...]
) -> None:
    shared = Shared(spec, set(stops))
    for method in METHODS[::order]:
        video = generate(backbone, spec, method, shared)
        assert np.array_equal(video.frames, alone[method]), method


def test_seconds_and_passes_are_those_of_the_sample_made_alone(backbone: Backbone, spec: VideoSpec) -> None:
    shared = Shared(spec, {1, 2})
    baseline, first, twin, later = (
        generate(backbone, spec, method, shared) for method in (METHODS[0], METHODS[1], METHODS[2], METHODS[13])
    )
    assert (baseline.passes, baseline.passes_done, baseline.shared_stages) == (4, 4, ())
    ratio = first.schedule.token_ratio if first.schedule else 0
    assert first.passes == pytest.approx(1 + 3 * ratio) and first.passes_done == pytest.approx(3 * ratio)
    assert first.shared_stages == ("denoise_full", "encode_prompt")
    assert twin.passes == first.passes and twin.passes_done == 0
    shared_by_both = set(first.seconds) - {"other", "interpolate"}  # each sample computes these stages itself
    assert all(twin.seconds[stage] == first.seconds[stage] for stage in shared_by_both)
    assert "denoise_compressed" in twin.shared_stages
    assert later.passes == pytest.approx(2 + 2 * ratio) and later.passes_done == pytest.approx(2 * ratio)
    assert 0 < first.seconds["denoise_full"] < later.seconds["denoise_full"] < baseline.seconds["denoise_full"]
    by_itself = generate(backbone, spec, METHODS[1])
    assert by_itself.passes == by_itself.passes_done == first.passes and by_itself.shared_stages == ()
    assert set(by_itself.seconds) == set(first.seconds)


def test_a_rerun_of_the_baseline_shares_nothing_and_is_the_baseline(backbone: Backbone, spec: VideoSpec) -> None:
    shared = Shared(spec)
    first = generate(backbone, spec, Baseline(), shared)
    again = generate(backbone, spec, BaselineRerun(), shared)
    assert again.passes_done == again.passes == 4 and again.shared_stages == ()
    assert np.array_equal(first.frames, again.frames)
    expected = hashlib.sha256(backbone.noise(spec).numpy().tobytes()).hexdigest()
    assert first.noise_sha256 == again.noise_sha256 == expected


def test_what_is_shared_belongs_to_one_video(backbone: Backbone, spec: VideoSpec) -> None:
    with pytest.raises(ValueError, match="`shared` holds parts of another video"):
        generate(backbone, dataclasses.replace(spec, seed=spec.seed + 1), Baseline(), Shared(spec))


@dataclasses.dataclass(frozen=True)
class Looks(Method):
    """A method with a shared part in which one stage counts as latency and one stage does not."""

    nothing: int = 0

    def sample(self, run: Sampling) -> Sampled:
        def looked() -> float:
            with run.stage("look", latency=False):
                time.sleep(0.02)
            with run.stage("think"):
                time.sleep(0.02)
            return 1.0

        run.once("own", ("looked",), looked)
        return Sampled(run.baseline(run.steps).x)


def test_a_stage_outside_the_latency_is_so_for_every_sample_that_shares_its_part(
    backbone: Backbone, spec: VideoSpec
) -> None:
    shared = Shared(spec)
    for video in [generate(backbone, spec, Looks(nothing), shared) for nothing in (0, 1)]:
        assert {"look", "decode"} <= video.outside_latency and "think" not in video.outside_latency
        counted = {stage: s for stage, s in video.seconds.items() if stage not in video.outside_latency}
        assert set(counted) == {"denoise_full", "own", "think", "other"}
        assert video.latency_s == pytest.approx(sum(counted.values()))
        assert video.seconds["own"] < 0.02 < video.seconds["think"], "every second counts once"
