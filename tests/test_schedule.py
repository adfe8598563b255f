"""The scheduler: properties over random similarities, and cases worked by hand."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgdfr.methods.compression import merge
from vgdfr.schedule import (
    FrameSchedule,
    Segment,
    Similarity,
    by_threshold,
    by_token_ratio,
    by_token_ratio_as_released,
    uniform,
)

# Random similarities, and the schedules that the functions released with the paper make of them.
RELEASED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "released_schedules.json").read_text())


def constant(num_frames: int, value: float) -> Similarity:
    return Similarity(*(np.full(num_frames - lag, value) for lag in (1, 2, 3)))


@st.composite
def similarities(draw: st.DrawFn, most: int = 32) -> Similarity:
    """Random clips. Long stretches are still, so that blocks do merge; in some clips many values are equal."""
    num_frames = 4 * draw(st.integers(1, most)) + 1
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    still = np.repeat(rng.random(num_frames // 8 + 1) < draw(st.floats(0, 1)), 8)[:num_frames]
    base = np.where(still, rng.uniform(0.85, 1, num_frames), rng.uniform(0, 1, num_frames))
    spread, decimals = draw(st.sampled_from([0, 0.1])), draw(st.sampled_from([1, 16]))
    lags = (base - 0.02 * (lag - 1) - rng.uniform(0, spread, num_frames) for lag in (1, 2, 3))
    return Similarity(*(values[: max(num_frames - i, 0)].round(decimals) for i, values in enumerate(lags, 1)))


def similarity_of(case: dict[str, Any]) -> Similarity:
    return Similarity(*(np.array(case[lag]) for lag in ("lag1", "lag2", "lag3")))


def kept(schedule: FrameSchedule) -> dict[str, list[int]]:
    return {"kept_frames": list(schedule.kept_frames), "kept_latents": list(schedule.kept_latents)}


def pair(similarity: Similarity, i: int, j: int) -> float:
    return (similarity.lag1, similarity.lag2, similarity.lag3)[j - i - 1][i]


@given(similarities(), st.floats(0.01, 1), st.sampled_from([2, 4]))
def test_what_a_schedule_promises(similarity: Similarity, theta: float, max_merge: int) -> None:
    schedule = by_threshold(similarity, theta, max_merge, frames_per_latent=4)
    f = schedule.num_frames
    assert f == similarity.num_frames
    # kept frames and kept latents correspond, and are in order
    assert len(schedule.kept_frames) == 4 * (len(schedule.kept_latents) - 1) + 1
    assert list(schedule.kept_frames) == sorted(set(schedule.kept_frames))
    for i, latent in enumerate(schedule.kept_latents):
        first = schedule.kept_frames[max(4 * i - 3, 0)]
        assert latent == (first + 3) // 4, "a kept latent frame contains its first kept frame"
    assert schedule.kept_frames[0] == 0 and schedule.kept_frames[-1] == f - 1, "first and last frame stay"
    # every pair of frames that is averaged is above theta
    for s in schedule.segments:
        assert s.factor <= max_merge
        for group in s.kept_frames:
            for i in range(group, group + s.factor):
                for j in range(i + 1, group + s.factor):
                    assert pair(similarity, i, j) > theta
    # The rule keeps at least frame 0, the frames after the last place where a block may start, and a share.
    most = (f - 2) // 8 * 8  # frames that blocks of factor 2 can cover; blocks of factor 4 lie within them
    assert len(schedule.kept_frames) >= 1 + most / max_merge + (f - 1 - most)
    assert 0 < schedule.token_ratio <= 1


@given(similarities())
def test_a_higher_theta_keeps_no_fewer_frames_with_one_factor(similarity: Similarity) -> None:
    kept = [len(by_threshold(similarity, theta, 2, frames_per_latent=4).kept_frames) for theta in (0.3, 0.6, 0.9, 1.0)]
    assert kept == sorted(kept) and kept[-1] == similarity.num_frames


@pytest.mark.parametrize("max_merge", [2, 4])
def test_a_threshold_s_schedule_is_the_released_one(max_merge: int) -> None:
    for case in RELEASED:
        schedule = by_threshold(similarity_of(case), case["theta"], max_merge, frames_per_latent=4)
        assert kept(schedule) == case[f"max_merge_{max_merge}"], f"{schedule.num_frames} frames, {case['theta']}"


@pytest.mark.parametrize(
    ("max_merge", "kept_latents"), [(4, (0, 1, 5, 9, 13, 17, 21, 23, 24)), (2, (0, *range(1, 23, 2), 23, 24))]
)
def test_a_still_video_of_the_papers_length(max_merge: int, kept_latents: tuple[int, ...]) -> None:
    """In 97 frames, blocks of factor 4 start below 80 and blocks of factor 2 below 88. Frames from 81 or 89 on stay."""
    schedule = by_threshold(constant(97, 1.0), 0.9, max_merge, frames_per_latent=4)
    assert schedule.kept_latents == kept_latents
    assert len(schedule.kept_latents) == {4: 9, 2: 14}[max_merge]  # of 25 latents; the design names the 14


def test_nothing_above_theta_keeps_everything() -> None:
    schedule = by_threshold(constant(33, 0.7), 0.7, frames_per_latent=4)
    assert schedule == FrameSchedule.keep_all(33, frames_per_latent=4) and schedule.keeps_everything
    assert schedule.token_ratio == schedule.frame_ratio == 1
    assert schedule.kept_frames == tuple(range(33)) and schedule.kept_latents == tuple(range(9))


def test_merging_takes_means_of_groups() -> None:
    schedule = FrameSchedule.of_factors(33, [(1, 4), (17, 2)], frames_per_latent=4)
    frames = torch.arange(33.0)[:, None, None, None]
    merged = merge(frames, schedule).flatten().tolist()
    assert merged == [0, 2.5, 6.5, 10.5, 14.5, 17.5, 19.5, 21.5, 23.5, *range(25, 33)]
    assert schedule.kept_frames == (0, 1, 5, 9, 13, 17, 19, 21, 23, *range(25, 33))


def test_torch_similarities_are_taken_too() -> None:
    similarity = Similarity(torch.ones(32), torch.ones(31), torch.ones(30))  # type: ignore[arg-type]
    assert by_threshold(similarity, 0.5, frames_per_latent=4) == by_threshold(
        constant(33, 1.0), 0.5, frames_per_latent=4
    )


@pytest.mark.parametrize("theta", [0.0, -0.1, 1.01])
def test_theta_outside_its_range_is_refused(theta: float) -> None:
    with pytest.raises(ValueError, match=r"theta must be in \(0, 1\]"):
        by_threshold(constant(33, 1.0), theta, frames_per_latent=4)


def test_similarities_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lengths \(32, 31, 30\), got \(32, 31, 31\)"):
        Similarity(np.ones(32), np.ones(31), np.ones(31))
    with pytest.raises(ValueError, match="finite"):
        Similarity(np.full(32, np.nan), np.ones(31), np.ones(30))
    with pytest.raises(ValueError, match="4n\\+1, got 32"):
        by_threshold(constant(32, 1.0), 0.5, frames_per_latent=4)


def test_segments_that_break_latent_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="whole latent groups"):
        FrameSchedule((Segment(0, 1, 1), Segment(1, 4, 2), Segment(5, 4, 1)), frames_per_latent=4)
    with pytest.raises(ValueError, match="last frame is never merged"):
        FrameSchedule((Segment(0, 1, 1), Segment(1, 8, 2)), frames_per_latent=4)


def every_schedule(f: int, max_merge: int, at: int = 1) -> Iterator[list[tuple[int, int]]]:
    """Yields the blocks of every schedule of `f` frames."""
    if at >= f:
        yield []
        return
    yield from every_schedule(f, max_merge, at + 8)
    for factor in (2, 4):
        if factor <= max_merge and at < f - 4 * factor - 1:
            yield from ([(at, factor), *rest] for rest in every_schedule(f, max_merge, at + 4 * factor))


@pytest.mark.parametrize("max_merge", [2, 4])
@settings(max_examples=300)
@given(similarities(most=12), st.floats(0, 0.99))
def test_a_token_ratio_is_reached_from_above_by_the_most_similar_pairs(
    max_merge: int, similarity: Similarity, less: float
) -> None:
    """The test compares with all schedules of the clip, for every number of latents that it may keep."""
    f = similarity.num_frames
    n = (f - 1) // 4 + 1
    lowest = cache(lambda start, factor: similarity.lowest_pair(start, 4 * factor, factor))
    most_similar: dict[int, float] = {}  # the least similar merged pair of the best schedule, by number of kept latents
    for blocks in every_schedule(f, max_merge):
        left = n - sum(factor - 1 for _, factor in blocks)
        least = min((lowest(*block) for block in blocks), default=np.inf)
        most_similar[left] = max(least, most_similar.get(left, -np.inf))
    for latents in range(1, n + 1):
        found = by_token_ratio(similarity, (latents - less) / n, max_merge, frames_per_latent=4)
        assert len(found.kept_latents) == min(left for left in most_similar if left >= latents)
        merged = [(s.start, s.factor) for s in found.segments if s.factor > 1]
        assert min((lowest(*block) for block in merged), default=np.inf) == most_similar[len(found.kept_latents)]


@pytest.mark.parametrize(
    ("num_frames", "max_merge", "latents", "merged"),
    [
        (97, 2, 22, [(65, 2), (73, 2), (81, 2)]),
        (97, 2, 14, [(start, 2) for start in range(1, 88, 8)]),  # 14 / 25 * 25 is above 14 in floating point
        (97, 4, 13, [(1, 4), *((start, 2) for start in range(17, 88, 8))]),
        (49, 4, 6, [(1, 4), (17, 4), (33, 2)]),
    ],
)
def test_equally_similar_blocks_are_chosen_by_a_fixed_rule(
    num_frames: int, max_merge: int, latents: int, merged: list[tuple[int, int]]
) -> None:
    """If all pairs are equal, the rule takes many small blocks before few large ones, and large ones come first."""
    ratio = latents / ((num_frames - 1) // 4 + 1)
    for value in (0.25, 0.75):
        found = by_token_ratio(constant(num_frames, value), ratio, max_merge, frames_per_latent=4)
        assert found == FrameSchedule.of_factors(num_frames, merged, frames_per_latent=4)


def test_beyond_the_least_similar_pair_the_rule_is_fixed_and_no_optimum() -> None:
    """Both schedules save 5 of 10 latents and merge the same least similar pair. The other has the greater sum."""
    lag1, lag2, lag3 = np.ones(36), np.ones(35), np.ones(34)
    lag1[[1, 17, 25]], lag3[[1, 25]] = (0.1, 0.5, 0.5), (0.05, 0.45)
    similarity = Similarity(lag1, lag2, lag3)
    chosen, other = [(1, 2), (9, 4), (25, 2)], [(1, 2), (9, 2), (17, 4)]
    assert [similarity.lowest_pair(at, 4 * factor, factor) for at, factor in chosen] == [0.1, 0.5, 0.5]
    assert [similarity.lowest_pair(at, 4 * factor, factor) for at, factor in other] == [0.1, 1.0, 0.45]
    assert by_token_ratio(similarity, 0.5, frames_per_latent=4) == FrameSchedule.of_factors(
        37, chosen, frames_per_latent=4
    )


def test_a_token_ratio_spends_on_the_still_half() -> None:
    values = np.where(np.arange(97) < 48, 0.99, 0.5)
    similarity = Similarity(values[:96], values[:95], values[:94])
    schedule = by_token_ratio(similarity, 0.7, frames_per_latent=4)
    assert len(schedule.kept_latents) == 18  # the smallest number of 25 that is at least 70 %
    assert all(s.factor == 1 for s in schedule.segments if s.start >= 49)


@pytest.mark.parametrize("max_merge", [2, 4])
def test_uniform_is_the_schedule_of_a_video_that_does_not_change(max_merge: int) -> None:
    assert uniform(97, max_merge, frames_per_latent=4) == by_threshold(
        constant(97, 1.0), 0.9, max_merge, frames_per_latent=4
    )
    assert uniform(5, max_merge, frames_per_latent=4).keeps_everything, "too short to merge anything"


def falling(num_frames: int) -> Similarity:
    """Returns similarities that fall from 0.95. Each block of 8 frames is a little less similar than the last block."""
    values = 0.95 - 0.05 * ((np.arange(num_frames) - 1) // 8)
    return Similarity(*(values[: num_frames - lag] for lag in (1, 2, 3)))


@pytest.mark.parametrize(
    ("frame_ratio", "merged"),
    [
        (0.9, 3),  # without 8 of 97 frames the share is 0.918, without 12 it is 0.876
        (0.75, 7),  # without 24 frames the share is 0.753, without 28 it is 0.711
        (89 / 97, 3),  # a share that is reached exactly is not below the given share
    ],
)
def test_the_released_search_counts_frames(frame_ratio: float, merged: int) -> None:
    """The search closes in on the threshold at which one block stops merging. Its last middle lies just below it."""
    found = by_token_ratio_as_released(falling(97), frame_ratio, frames_per_latent=4)
    assert found == FrameSchedule.of_factors(97, [(8 * i + 1, 2) for i in range(merged)], frames_per_latent=4)


def test_the_released_search_finds_the_released_schedule() -> None:
    for case in RELEASED:
        schedule = by_token_ratio_as_released(similarity_of(case), case["frame_ratio"], frames_per_latent=4)
        assert kept(schedule) == case["by_ratio"], f"{schedule.num_frames} frames, {case['frame_ratio']}"


@pytest.mark.parametrize(("value", "factor"), [(0.4998, 4), (0.5007, 2)])
def test_the_released_search_has_factor_4_below_a_theta_of_a_half(value: float, factor: int) -> None:
    """Both factors leave fewer than 0.6 of the frames, so the search ends just below `value`: at 0.4995 or 0.5005."""
    found = by_token_ratio_as_released(constant(97, value), 0.6, frames_per_latent=4)
    assert max(segment.factor for segment in found.segments) == factor


@pytest.mark.parametrize("search", [by_token_ratio, by_token_ratio_as_released])
def test_a_token_ratio_outside_its_range_is_refused(search: Callable[..., FrameSchedule]) -> None:
    for ratio in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"token_ratio must be in \(0, 1\]"):
            search(constant(33, 1.0), ratio, frames_per_latent=4)
