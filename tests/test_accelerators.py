"""The built-in caches: what they skip, against plans worked out by hand, and the state that they carry over: none."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from caches import ACTIVE, ALWAYS, NEUTRAL, Watched
from tiny import SPEC
from torch import Tensor

from vgdfr import Accelerator, Backbone, Baseline, GeneratedVideo, HunyuanVideo, Vgdfr, VideoSpec, generate
from vgdfr.accelerators import (
    FasterCache,
    FirstBlockCache,
    MagCache,
    PyramidAttentionBroadcast,
    SeaCache,
    TaylorSeer,
)
from vgdfr.account import Shared
from vgdfr.backbones.execution import Execution
from vgdfr.conform.trial import difference, in_new_process, interrupted_dit, made_first, outcome_of
from vgdfr.methods import method_of

METHODS = (Baseline(), Vgdfr(k=1, theta=0.01))  # the second merges the tiny model's random videos, too
MERGING = METHODS[1]
BLOCKS = 5


def same(one: GeneratedVideo, other: GeneratedVideo) -> bool:
    assert one.latents is not None and other.latents is not None
    return torch.equal(one.latents, other.latents) and np.array_equal(one.frames, other.frames)


@pytest.fixture(scope="module")
def spec() -> VideoSpec:
    return replace(SPEC, num_frames=17)


@pytest.fixture(scope="module")
def plain(backbone: Backbone, spec: VideoSpec) -> list[GeneratedVideo]:
    videos = [generate(backbone, spec, method) for method in METHODS]
    assert videos[1].schedule is not None and not videos[1].schedule.keeps_everything
    return videos


@pytest.fixture(scope="module")
def alone(backbone: Backbone, spec: VideoSpec) -> dict[str, list[GeneratedVideo]]:
    """Returns each cache's samples with both methods, each made alone."""
    return {
        name: [generate(backbone, spec, replace(method, accelerators=(cache,))) for method in METHODS]
        for name, cache in ACTIVE.items()
    }


# Neutral settings


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_settings_give_the_bits_of_the_method_without_the_cache(
    backbone: Backbone, spec: VideoSpec, plain: list[GeneratedVideo], name: str
) -> None:
    cache = NEUTRAL[name]
    for method, expected in zip(METHODS, plain, strict=True):
        video = generate(backbone, spec, replace(method, accelerators=(cache,)))
        assert same(video, expected) and video.dit_passes == expected.dit_passes
        counts = video.accelerated[cache.title]
        assert (counts["passes_skipped"], counts["blocks_skipped"]) == (0, 0)
        assert counts["blocks_computed"] == BLOCKS * spec.num_inference_steps
        asked = counts["gate_asked"]
        note = f"{cache.title} decided {asked:.0f} times and skipped nothing: its settings leave the method as it is"
        assert note in video.notes and note not in expected.notes


@pytest.mark.parametrize("name", ACTIVE)
def test_a_cache_that_skips_changes_the_video_and_has_no_such_note(
    plain: list[GeneratedVideo], alone: dict[str, list[GeneratedVideo]], name: str
) -> None:
    for video, without in zip(alone[name], plain, strict=True):
        assert not same(video, without)
        assert not any("skipped nothing" in note for note in video.notes)


# Plans by hand. Eight steps at flow shift 7 have the timesteps 1000, 980, 955, 921, 875, 808, 700, 500.

RATIOS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 1.0, 1.0)
MAG = MagCache(0.2, ratios=RATIOS, max_skip_steps=2, retention_ratio=0.25)
SEA = SeaCache(1e9, retention_steps=2, cache_end_steps=1, max_consecutive_cached=2)
PLANS: list[tuple[Accelerator, int | None, list[int]]] = [
    # an endless threshold: all but the first pass, and but the first pass on the shorter latent
    (FirstBlockCache(1e9), None, [1, 2, 3, 4, 5, 6, 7]),
    (FirstBlockCache(1e9), 3, [1, 2, 4, 5, 6, 7]),
    # a quarter of 8 steps is kept: 0, 1. Two skips in a row at most: 4 is computed. The ratio 1.5 is an error of 0.5
    # at step 5. Then again two skips.
    (MAG, None, [2, 3, 6, 7]),
    # step 3 has no residual. Step 4 is skipped, 5 has the error, and 6 and 7 are skipped. A count from 0 after the
    # merge would keep 3 and 4, and would place the error at step 8.
    (MAG, 3, [2, 4, 6, 7]),
    # the steps before 2 are computed, then 3, and each third from there
    (TaylorSeer(3, disable_cache_before_step=2), None, [2, 4, 5, 7]),
    # max_order + 1 = 2 passes after the merge are computed: 4, 5. Then 7, and each third from there.
    (TaylorSeer(3, disable_cache_before_step=2), 4, [2, 6]),
    (TaylorSeer(3, disable_cache_before_step=2, lite=True), 4, [2, 6]),
    # 0 and 1 are kept at the start, 7 at the end, and two skips in a row are the most
    (SEA, None, [2, 3, 5, 6]),
    (SEA, 3, [2, 4, 5]),
    # multiples of the range are computed, timesteps outside of the range, and the first pass after the merge
    (PyramidAttentionBroadcast(2, 100, 960), None, [3, 5, 7]),
    (PyramidAttentionBroadcast(2, 100, 960), 3, [5, 7]),
    (PyramidAttentionBroadcast(3, 600, 960), None, [2, 4, 5]),
    (PyramidAttentionBroadcast(3, 600, 960), 4, [2, 5]),
    (FasterCache(2, -1, 810), None, [5, 7]),
    (FasterCache(2, -1, 810), 5, [7]),
    (FasterCache(3, **ALWAYS), 2, [1, 4, 5, 7]),
]


@pytest.mark.parametrize(
    ("cache", "shrinks_at", "steps"), PLANS, ids=[f"{'.'.join([c.title, *c.words()])}-{k}" for c, k, _ in PLANS]
)
def test_a_cache_skips_the_steps_that_were_worked_out_by_hand(
    backbone: Backbone, spec: VideoSpec, cache: Accelerator, shrinks_at: int | None, steps: list[int]
) -> None:
    method = Watched(shrinks_at, accelerators=(cache,))
    video = generate(backbone, replace(spec, num_inference_steps=8), method)
    asks_in_each_block = isinstance(cache, TaylorSeer | PyramidAttentionBroadcast | FasterCache)
    each = BLOCKS - 1 if isinstance(cache, FirstBlockCache) else BLOCKS
    assert method.skipped == [each if step in steps else 0 for step in range(8)]
    assert video.accelerated[cache.title] == {
        "gate_asked": 8 * BLOCKS if asks_in_each_block else 8,
        "passes_skipped": len(steps),
        "blocks_computed": 8 * BLOCKS - each * len(steps),
        "blocks_skipped": each * len(steps),
    }
    # what the record's histogram of passes says of these steps, which is counted in the layers themselves
    of_attention = asks_in_each_block and not (isinstance(cache, TaylorSeer) and cache.lite)
    skipped = (1 - each / BLOCKS, 1.0 if of_attention else 1 - each / BLOCKS)
    shares = [(p.frames, round(p.attention, 6), round(p.feed_forward, 6)) for p in video.dit_passes.elements()]
    expected = [
        (5 if shrinks_at is None or step < shrinks_at else 3, *(map(round_share, skipped) if step in steps else (1, 1)))
        for step in range(8)
    ]
    assert sorted(shares) == sorted(expected)


def round_share(share: float) -> float:
    return round(share, 6)


def test_first_block_cache_decides_by_the_relative_change_of_the_first_residual(
    backbone: Backbone, spec: VideoSpec
) -> None:
    """The changes are computed again here, from the residuals that the first block really had."""
    first, residuals = backbone.transformer.transformer_blocks[0], []  # type: ignore[index]
    forward, spec = first.forward, replace(spec, num_inference_steps=12)

    def seen(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        out = forward(hidden, *args, **kwargs)
        residuals.append((out[0] - hidden).double())
        return out

    def change(now: Tensor, before: Tensor) -> float:
        return float((now - before).abs().mean() / before.abs().mean())

    first.forward = seen  # type: ignore[assignment]
    try:
        generate(backbone, spec, Baseline())
        threshold = float(np.median([change(*pair) for pair in zip(residuals[1:], residuals, strict=False)]))
        residuals.clear()
        method = Watched(accelerators=(FirstBlockCache(threshold),))
        generate(backbone, spec, method)
    finally:
        del first.forward
    kept, expected = residuals[0], [False]
    for residual in residuals[1:]:
        expected.append(change(residual, kept) < threshold)
        kept = kept if expected[-1] else residual
    assert [count > 0 for count in method.skipped] == expected and 1 < sum(expected) < 11, expected


def test_first_block_cache_computes_where_the_change_is_no_number_or_exactly_the_threshold() -> None:
    from vgdfr.accelerators.first_block_cache import _must_compute

    def computes(before: float, now: float, threshold: float) -> bool:
        state = SimpleNamespace(head_block_residual=torch.full((3,), before))
        hook = SimpleNamespace(state_manager=SimpleNamespace(get_state=lambda: state), threshold=threshold)
        return _must_compute(hook, torch.full((3,), now))

    assert computes(1.0, float("nan"), 1e9) and computes(0.0, 0.0, 1e9), "diffusers skips both"
    assert computes(1.0, 1.0, 0.0), "diffusers skips at threshold 0 where nothing changed"
    assert computes(1.0, 1.5, 0.5) and not computes(1.0, 1.5, 0.51)


@pytest.mark.parametrize("order", [0, 1])
def test_taylorseer_lite_predicts_the_velocity_before_and_after_a_merge(
    backbone: Backbone, spec: VideoSpec, order: int
) -> None:
    """The polynomial of the output projection's results is that of the velocity, which holds the same numbers."""
    cache = TaylorSeer(3, disable_cache_before_step=2, max_order=order, factors_dtype="float32", lite=True)
    method = Watched(4, accelerators=(cache,))
    generate(backbone, replace(spec, num_inference_steps=10), method)
    computed: list[int] = []
    for step, (skipped, velocity) in enumerate(zip(method.skipped, method.velocities, strict=True)):
        computed = [] if step == 4 else computed
        if not skipped:
            computed.append(step)
            continue
        last, expected = computed[-1], method.velocities[computed[-1]]
        if order and len(computed) > 1:
            before = method.velocities[computed[-2]]
            expected = expected + (step - last) * (expected - before) / (last - computed[-2])
        torch.testing.assert_close(velocity, expected, rtol=1e-5, atol=1e-6)
    assert [step for step, skipped in enumerate(method.skipped) if skipped] == {0: [2, 5, 7, 8], 1: [2, 6, 8, 9]}[order]


def test_magcache_takes_the_nearest_ratios_on_a_shorter_trajectory(backbone: Backbone, spec: VideoSpec) -> None:
    """Four steps take the ratios 0, 2, 5 and 7 of eight: positions 0, 7/3, 14/3, 7. The third is the large one."""
    method = Watched(accelerators=(MagCache(0.2, ratios=RATIOS, retention_ratio=0.0),))
    generate(backbone, spec, method)
    assert method.skipped == [0, BLOCKS, 0, BLOCKS]


# State


def test_samples_of_a_shared_sweep_are_the_samples_alone(
    backbone: Backbone, spec: VideoSpec, plain: list[GeneratedVideo], alone: dict[str, list[GeneratedVideo]]
) -> None:
    """All caches and the plain methods share one store of parts, which stops at other methods' steps, too."""
    mine = [
        (replace(method, accelerators=(ACTIVE[name],)), video)
        for name, videos in alone.items()
        for method, video in zip(METHODS, videos, strict=True)
    ]
    without = list(zip(METHODS, plain, strict=True))
    shared = Shared(spec, {1, 2, 3})
    for method, expected in [*without, *mine[::-1], *without]:
        video = generate(backbone, spec, method, shared)
        assert same(video, expected) and video.accelerated == expected.accelerated, method
        assert not method.accelerators or set(video.shared_stages) <= {"encode_prompt"}


def test_a_sample_after_an_exception_is_the_sample_alone(
    backbone: Backbone, spec: VideoSpec, plain: list[GeneratedVideo], alone: dict[str, list[GeneratedVideo]]
) -> None:
    for name, videos in alone.items():
        cached = replace(MERGING, accelerators=(ACTIVE[name],))
        with interrupted_dit(backbone, 3):
            generate(backbone, spec, cached)
        assert same(generate(backbone, spec, cached), videos[1]), name
    assert same(generate(backbone, spec, MERGING), plain[1])


def test_the_modules_have_the_forward_of_their_class_again_after_a_cache(backbone: Backbone) -> None:
    for name, cache in ACTIVE.items():
        dit = copy.deepcopy(backbone.transformer)
        for module in dit.modules():
            vars(module).pop("forward", None)  # another test may have replaced it
        with cache.applied(dit):
            assert any("forward" in vars(module) for module in dit.modules()), name
        assert not any("forward" in vars(module) for module in dit.modules()), name


def test_a_pass_off_the_trajectory_is_plain_and_leaves_the_state_untouched(
    backbone: Backbone, spec: VideoSpec, alone: dict[str, list[GeneratedVideo]]
) -> None:
    """A preview of two steps makes a pass between the steps. The first step is computed, so the preview is plain."""
    looking = Vgdfr(k=1, theta=0.01, preview_steps=2)
    without = generate(backbone, spec, looking)
    assert without.similarity is not None
    for name, videos in alone.items():
        video = generate(backbone, spec, replace(looking, accelerators=(ACTIVE[name],)))
        assert video.schedule == without.schedule and video.similarity is not None
        assert np.array_equal(video.similarity.lag1, without.similarity.lag1), name
        assert video.accelerated == videos[1].accelerated, name


def test_samples_are_those_of_a_new_process_in_which_the_records_make_the_methods(
    tiny_checkpoint: Path, spec: VideoSpec, alone: dict[str, list[GeneratedVideo]]
) -> None:
    methods = [replace(MERGING, accelerators=(cache,)) for cache in ACTIVE.values()]
    written = [json.dumps(method.settings()) for method in methods]
    assert [method_of(json.loads(each)) for each in written] == methods
    model = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu")
    there = in_new_process(made_first, model, spec, written)
    for (name, videos), other in zip(alone.items(), there, strict=True):
        assert difference(outcome_of(videos[1]), other) is None, name


def test_offloaded_blocks_give_the_same_bits_and_counts(
    tiny_checkpoint: Path, spec: VideoSpec, alone: dict[str, list[GeneratedVideo]]
) -> None:
    execution = Execution(offload="blocks")
    offloaded = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu", execution=execution).load()
    for name, videos in alone.items():
        video = generate(offloaded, spec, replace(MERGING, accelerators=(ACTIVE[name],)))
        assert same(video, videos[1]) and video.accelerated == videos[1].accelerated, name
        assert video.dit_passes == videos[1].dit_passes, name
