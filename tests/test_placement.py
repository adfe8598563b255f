"""Blocks placed for the least error: against every schedule of a clip, and against the merged frames themselves."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures.style import FACTOR_COLOURS, factor_legend
from bench.store.runs import COMPUTED
from vgdfr import Interpolated, Vgdfr, VideoSpec, generate
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone
from vgdfr.methods.compression import merge, merging_errors, operation_of
from vgdfr.methods.trajectory import Trajectory
from vgdfr.sampling import sampling
from vgdfr.schedule import FACTORS, FrameSchedule, Similarity, least_error, possible_blocks

Blocks = list[tuple[int, int]]


def every_schedule(f: int, max_merge: int, group: int, at: int = 1) -> Iterator[Blocks]:
    """Yields the blocks of every possible schedule. A block may start at any latent group."""
    if at >= f:
        yield []
        return
    yield from every_schedule(f, max_merge, group, at + group)
    for factor in (2, 4, 8):
        if factor <= max_merge and at < f - group * factor - 1:
            for rest in every_schedule(f, max_merge, group, at + group * factor):
                yield [(at, factor), *rest]


def error_of(frames: torch.Tensor, schedule: FrameSchedule) -> float:
    """Returns the squared error of the merged frames, each repeated for the frames that it stands for."""
    sizes = [s.factor for s in schedule.segments for _ in range(s.length // s.factor)]
    repeated = merge(frames, schedule).repeat_interleave(torch.tensor(sizes), dim=0)
    return float((frames - repeated).double().square().mean((1, 2, 3)).sum())


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 11), st.sampled_from([2, 4, 8]), st.sampled_from([1, 2, 4]), st.integers(0, 2**32 - 1))
def test_no_schedule_with_as_many_latent_frames_has_a_smaller_error(
    groups: int, max_merge: int, group: int, seed: int
) -> None:
    f, rng = groups * group + 1, np.random.default_rng(seed)
    pace = rng.choice([0.0, 0.1, 3.0], f).cumsum()
    frames = torch.from_numpy((pace[:, None, None, None] + rng.normal(0, 0.05, (f, 1, 2, 2))).astype(np.float32))
    errors = merging_errors(frames, max_merge, group)
    least: dict[int, float] = {}
    for blocks in every_schedule(f, max_merge, group):
        schedule = FrameSchedule.of_factors(f, blocks, group)
        kept = len(schedule.kept_latents)
        least[kept] = min(least.get(kept, np.inf), error_of(frames, schedule))
    for wanted in range(1, groups + 2):
        found = least_error(errors, wanted, f, frames_per_latent=group)
        assert len(found.kept_latents) == min(kept for kept in least if kept >= wanted)
        assert error_of(frames, found) == pytest.approx(least[len(found.kept_latents)], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("max_merge", [2, 4, 8])
def test_a_block_s_error_is_that_of_the_frames_that_it_merges(max_merge: int) -> None:
    frames = torch.rand(49, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    errors = merging_errors(frames, max_merge, 4)
    assert list(errors) == possible_blocks(49, max_merge, frames_per_latent=4, step=1)
    for block, error in errors.items():
        assert error == pytest.approx(error_of(frames, FrameSchedule.of_factors(49, [block], 4)), rel=1e-5)
    assert {start for start, _ in errors} == set(range(1, 40, 4)), "two frames follow the last block"
    assert merging_errors(frames[:5], max_merge, 4) == {}, "too short to merge anything"


def test_a_still_stretch_off_the_grid_is_found() -> None:
    """Frames 5 to 20 stand still. No aligned block of factor 4 lies within them, and a free one does."""
    position = torch.cat([torch.arange(5), torch.full((16,), 5), torch.arange(6, 18)]).float()
    frames = (position / 20)[:, None, None, None].expand(-1, 3, 8, 8)
    found = least_error(merging_errors(frames, 4, 4), 6, 33, frames_per_latent=4)
    assert [(s.start, s.factor) for s in found.segments if s.factor > 1] == [(5, 4)]


@pytest.mark.parametrize("num_kept", [0, -1, 10])
def test_an_impossible_number_of_latent_frames_is_refused(num_kept: int) -> None:
    with pytest.raises(ValueError, match="num_kept must be between 1 and the 9 latent frames, got"):
        least_error({}, num_kept, 33, frames_per_latent=4)


@pytest.mark.parametrize("rule", [{"theta": 0.5}, {"schedule": "token_ratio", "token_ratio": 0.66}])
@pytest.mark.parametrize("method", [Vgdfr, Interpolated])
def test_a_method_keeps_as_many_latent_frames_with_the_least_error_of_its_preview(
    method: Any, rule: dict[str, Any], backbone: Backbone, spec: VideoSpec
) -> None:
    aligned, free = (
        generate(backbone, spec, method(k=2, placement=name, **rule)).schedule for name in ("aligned", "least_error")
    )
    assert aligned is not None and free is not None and not aligned.keeps_everything
    assert len(free.kept_latents) == len(aligned.kept_latents)
    reference = Vgdfr(k=2, placement="least_error", **rule)
    with torch.inference_mode(), sampling(backbone, Shared(spec), "reference") as run:
        clean = reference.preview.clean(Trajectory(run), 2)
        frames = (reference.preview.frames(run, clean) / 2 + 0.5).clamp(0, 1)
    all_of_them = (
        FrameSchedule.of_factors(spec.num_frames, blocks, 4) for blocks in every_schedule(spec.num_frames, 4, 4)
    )
    alike = [error_of(frames, s) for s in all_of_them if len(s.kept_latents) == len(free.kept_latents)]
    assert error_of(frames, free) == pytest.approx(min(alike), rel=1e-4)
    assert free != aligned and error_of(frames, free) < error_of(frames, aligned)


def test_the_errors_are_timed_as_a_kind_of_work_that_can_be_done_again(backbone: Backbone, spec: VideoSpec) -> None:
    shared = Shared(spec)
    with torch.inference_mode(), sampling(backbone, shared, "reference") as run:
        method = Vgdfr(k=2, theta=0.5, placement="least_error", max_merge=2)
        method.sample(run)
        (kind,) = {kind for kind, _ in run.account.observed if kind.startswith("merges ")}
        again = operation_of(kind, backbone.codec, run.noise)
        assert again is not None and again.kind == kind and kind.startswith(COMPUTED)
        assert list(again.compute()) == possible_blocks(33, 2, frames_per_latent=4, step=1)


def test_factor_8_keeps_as_many_latent_frames_as_factor_4(backbone: Backbone, spec: VideoSpec) -> None:
    long = replace(spec, num_frames=49)
    four, eight = (
        generate(backbone, long, Vgdfr(k=2, theta=0.01, placement="least_error", max_merge=most)).schedule
        for most in (4, 8)
    )
    assert four is not None and eight is not None and len(eight.kept_latents) == len(four.kept_latents)
    still = torch.zeros(49, 3, 8, 8)
    still[33:] = torch.arange(16)[:, None, None, None]
    found = least_error(merging_errors(still, 8, 4), 6, 49, frames_per_latent=4)
    assert [(s.start, s.factor) for s in found.segments if s.factor > 1] == [(1, 8)]
    with pytest.raises(ValueError, match="max_merge must be 2 or 4, or 8 with placement=least_error, got 8"):
        Vgdfr(k=2, theta=0.5, max_merge=8)


@pytest.mark.parametrize("options", [{}, {"residual": "mean", "noise": "own_mean", "anchor": 3.0}, {"full_steps": 1}])
@pytest.mark.parametrize("interpolator", ["flow", "linear"])
def test_eight_frames_become_one_and_eight_again(
    options: dict[str, Any], interpolator: Any, backbone: Backbone, spec: VideoSpec
) -> None:
    method = Vgdfr(
        k=2, schedule="token_ratio", token_ratio=1e-11, placement="least_error", max_merge=8,
        interpolator=interpolator, **options,
    )  # fmt: skip
    made = generate(backbone, replace(spec, num_frames=49), method)
    assert made.schedule is not None and 8 in {s.factor for s in made.schedule.segments}
    assert len(made.schedule.kept_latents) == 5 and made.frames.shape[0] == 49


def test_every_factor_has_its_look() -> None:
    css = files("analysis.gallery").joinpath("gallery.css").read_text(encoding="utf-8")
    assert set(FACTOR_COLOURS) == {1, *FACTORS}
    assert all(f".f{factor} {{" in css for factor in FACTOR_COLOURS)
    labels = [patch.get_label() for patch in factor_legend([(0, 1, 1), (1, 32, 8)])]
    assert labels == ["kept", "2 merged into 1", "4 merged into 1", "8 merged into 1"]
    assert len(factor_legend([(0, 1, 1)])) == 3


@pytest.mark.parametrize(("most", "kept"), [(2, 8), (4, 6), (8, 5)])
def test_a_token_ratio_is_reached_with_large_blocks_where_they_are_allowed(most: int, kept: int) -> None:
    """Of 13 latent frames the first and the last stay. 11 are left: 5 pairs and 1, 4 + 4 + 2 + 1, or 8 + 2 + 1."""
    rule = Vgdfr(k=1, schedule="token_ratio", token_ratio=0.01, placement="least_error", max_merge=most).rule
    assert rule.kept(49, 4, token_ratio=0.6) == (kept, kept)
    errors = merging_errors(torch.zeros(49, 3, 8, 8), most, 4)
    similarity = Similarity(np.ones(48), np.ones(47), np.ones(46))
    found = least_error(errors, rule.num_kept(similarity, 4), 49, frames_per_latent=4)
    assert len(found.kept_latents) == kept
    assert rule.notes(found) == (f"asked for 0.01 of the tokens, kept {kept / 13:.2f}: all blocks merged",)
