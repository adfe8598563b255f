"""The options of the shortened trajectory: residual, unmerged latents, own noise, centre positions, preview anchor."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from reference import euler
from torch import Tensor
from torch.nn.functional import pad

from vgdfr import Baseline, Codec, Vgdfr, VideoSpec, generate
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone
from vgdfr.methods.compression import merge_latents
from vgdfr.methods.layers import positions_per_layer
from vgdfr.methods.shortening import Line, Shortening, group_sizes, scaled_mean
from vgdfr.methods.trajectory import Trajectory
from vgdfr.sampling import sampling
from vgdfr.schedule import FrameSchedule, Segment, uniform
from vgdfr.solver import Euler, State

K = 2
# 33 frames: 1 alone, 16 merged by 4, 8 merged by 2, 8 kept
SCHEDULE = FrameSchedule((Segment(0, 1, 1), Segment(1, 16, 4), Segment(17, 8, 2), Segment(25, 8, 1)), 4)
OPTIONS: dict[str, Any] = {"k": K, "schedule": "uniform", "global_layers": "none"}


@pytest.mark.parametrize("residual", ["none", "kept", "mean"])
@pytest.mark.parametrize("noise", ["initial", "own", "own_mean"])
@pytest.mark.parametrize("anchor", [None, 0.0, 2.0])
def test_the_loop_is_the_one_written_out_here(
    backbone: Backbone, spec: VideoSpec, residual: Any, noise: Any, anchor: float | None
) -> None:
    """k steps; E(merge(D(c))) plus what the round trip loses; renoise; Euler steps with the anchored velocity."""
    sigmas, initial, velocity = backbone.solver(spec).sigmas, backbone.noise(spec), backbone.velocity(spec)
    schedule = uniform(spec.num_frames, 4, frames_per_latent=4)
    kept, num_layers = list(schedule.kept_latents), backbone.architecture.num_layers
    with torch.inference_mode():
        x, v = euler(velocity, initial, sigmas[: K + 1])
        clean, own = x - sigmas[K] * v, x + (1 - sigmas[K]) * v
        with backbone.codec.reduced(1):
            frames = backbone.codec.decode(clean)
            groups = [frames[s.start : s.start + s.length].unflatten(0, (-1, s.factor)) for s in schedule.segments]
            c = backbone.codec.encode(torch.cat([group.mean(1) for group in groups]))
            lost = clean - backbone.codec.encode(frames)
        c = c + {"none": torch.zeros(()), "kept": lost[:, :, kept], "mean": merge_latents(lost, schedule)}[residual]
        sizes = torch.diff(torch.tensor([*kept, clean.shape[2]])).tolist()
        means = torch.stack(
            [group.sum(2) / size**0.5 for size, group in zip(sizes, own.split(sizes, 2), strict=True)], 2
        )
        e = {"initial": initial[:, :, kept], "own": own[:, :, kept], "own_mean": means}[noise]
        y = sigmas[K] * e + (1 - sigmas[K]) * c
        difference = None
        with backbone.shortened(schedule, positions_per_layer(kept, (), num_layers)):
            for now, then in zip(sigmas[K:-1], sigmas[K + 1 :], strict=True):
                v = velocity(y, now)
                if anchor is not None:
                    difference = (e - c) - v if difference is None else difference
                    v = v + (now / sigmas[K]) ** anchor * difference
                y = y + (then - now) * v
    made = generate(backbone, spec, Vgdfr(**OPTIONS, residual=residual, noise=noise, anchor=anchor))
    assert made.latents is not None
    torch.testing.assert_close(made.latents, y, rtol=1e-5, atol=1e-5)


def test_no_option_costs_a_pass(backbone: Backbone, spec: VideoSpec) -> None:
    plain = generate(backbone, spec, Vgdfr(**OPTIONS))
    anchored = generate(backbone, spec, Vgdfr(**OPTIONS, residual="mean", noise="own", anchor=4.0, keep_unmerged=True))
    assert anchored.dit_passes == plain.dit_passes and anchored.schedule == plain.schedule


def test_samples_with_other_options_share_no_tail(backbone: Backbone, spec: VideoSpec) -> None:
    shared = Shared(spec, {K})
    variants = [
        {},
        {"anchor": 1.0},
        {"anchor": 2.0},
        {"noise": "own"},
        {"noise": "own_mean"},
        {"residual": "kept"},
        {"positions": "centre"},
    ]
    methods = [Vgdfr(**OPTIONS | {"global_layers": "all"} | each) for each in variants]
    together = [generate(backbone, spec, method, shared).latents for method in methods]
    alone = [generate(backbone, spec, method).latents for method in methods]
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    assert len({tuple(x.flatten().tolist()) for x in together if x is not None}) == len(variants)


def test_with_all_options_and_nothing_merged_it_is_the_baseline(backbone: Backbone, spec: VideoSpec) -> None:
    made = generate(backbone, spec, Vgdfr(k=K, theta=1.0, residual="mean", noise="own", anchor=4.0))
    baseline = generate(backbone, spec, Baseline())
    assert made.latents is not None and baseline.latents is not None and torch.equal(made.latents, baseline.latents)


class Exact(Codec):
    """A codec whose round trip loses nothing: the four frames of a group all hold the numbers of its latent frame.

    A latent frame of 4 channels and 4 x 4 pixels becomes a frame of 3 channels and 4 x 8 pixels, the rest of it zeros.
    """

    device = torch.device("cpu")

    @contextmanager
    def reduced(self, levels: int) -> Iterator["Exact"]:
        yield self

    def decode(self, latents: Tensor) -> Tensor:
        numbers = latents[0].transpose(0, 1).flatten(1)
        frames = pad(numbers, (0, 96 - numbers.shape[1])).unflatten(1, (3, 4, 8))
        return torch.cat([frames[:1], frames[1:].repeat_interleave(4, 0)])

    def encode(self, frames: Tensor) -> Tensor:
        numbers = torch.cat([frames[:1], frames[1::4]]).flatten(1)[:, :64]
        return numbers.unflatten(1, (4, 4, 4)).transpose(0, 1)[None]


@dataclass(frozen=True)
class Started:
    start: Line
    x: Tensor


def started(
    backbone: Backbone, spec: VideoSpec, shortening: Shortening, schedule: FrameSchedule, exact: bool
) -> Started:
    """Returns where the shortened trajectory starts, and the latent after k steps."""
    codec = backbone.codec
    try:
        if exact:
            backbone.codec = Exact()
        with torch.inference_mode(), sampling(backbone, Shared(spec), "tests") as run, run.account.stage("other"):
            path, preview = Trajectory(run), Vgdfr(**OPTIONS).preview
            source = preview.clean(path, K)
            return Started(shortening.start(path, K, preview, source, schedule), path.after(K).x)
    finally:
        backbone.codec = codec


def test_the_mean_of_own_noise_has_the_variance_of_noise() -> None:
    schedule = SCHEDULE
    noise = torch.randn(1, 16, 9, 64, 64)
    made = scaled_mean(noise, schedule)
    assert group_sizes(schedule) == [1, 4, 2, 1, 1]
    torch.testing.assert_close(made[:, :, [0, 3, 4]], noise[:, :, [0, 7, 8]])
    assert (made.var((0, 1, 3, 4)) - 1).abs().max() < 0.03
    correlation = (made[:, :, 1] * noise[:, :, 3]).mean()
    assert abs(correlation - 0.5) < 0.03, "each of four latent frames has a part of 1/2 = sqrt(1/4)"


@pytest.mark.parametrize("noise", ["own", "own_mean"])
def test_noise_that_is_spread_over_the_full_length_gives_the_start_back(noise: Any) -> None:
    full, estimate = torch.randn(1, 4, 9, 8, 8), torch.randn(1, 4, 5, 8, 8)
    spread = Shortening(noise=noise).spread(estimate, full, SCHEDULE)
    back = scaled_mean(spread, SCHEDULE) if noise == "own_mean" else spread[:, :, list(SCHEDULE.kept_latents)]
    torch.testing.assert_close(back, estimate)
    same = back if noise == "own_mean" else full[:, :, list(SCHEDULE.kept_latents)]
    again = Shortening(noise=noise).spread(same, spread if noise == "own_mean" else full, SCHEDULE)
    torch.testing.assert_close(again, spread if noise == "own_mean" else full)


def test_own_noise_with_an_exact_codec_and_nothing_merged_gives_the_latent_itself(
    backbone: Backbone, spec: VideoSpec
) -> None:
    keep = FrameSchedule.keep_all(spec.num_frames, 4)
    made = started(backbone, spec, Shortening(noise="own"), keep, exact=True)
    torch.testing.assert_close(made.start.latent, made.x, rtol=1e-5, atol=1e-5)
    kept = started(backbone, spec, Shortening(noise="own", keep_unmerged=True), keep, exact=False)
    torch.testing.assert_close(kept.start.latent, kept.x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("residual", ["kept", "mean"])
def test_an_exact_codec_has_no_residual(backbone: Backbone, spec: VideoSpec, residual: Any) -> None:
    plain, other = (
        started(backbone, spec, Shortening(residual=each), SCHEDULE, exact=True).start.clean
        for each in ("none", residual)
    )
    assert torch.equal(plain, other)


def test_only_latents_that_do_not_merge_are_kept(backbone: Backbone, spec: VideoSpec) -> None:
    plain = started(backbone, spec, Shortening(), SCHEDULE, exact=False).start.clean
    kept = started(backbone, spec, Shortening(keep_unmerged=True), SCHEDULE, exact=False).start.clean
    with torch.inference_mode(), sampling(backbone, Shared(spec), "tests") as run, run.account.stage("other"):
        clean = Vgdfr(**OPTIONS).preview.clean(Trajectory(run), K).latent
    assert group_sizes(SCHEDULE) == [1, 4, 2, 1, 1]
    assert torch.equal(kept[:, :, [1, 2]], plain[:, :, [1, 2]])
    assert torch.equal(kept[:, :, [0, 3, 4]], clean[:, :, [0, 7, 8]])


def test_centre_positions_are_the_means_of_what_a_latent_stands_for() -> None:
    assert SCHEDULE.kept_latents == (0, 1, 5, 7, 8)
    assert Shortening().places(SCHEDULE) == (0, 1, 5, 7, 8)
    assert Shortening(positions="centre").places(SCHEDULE) == (0, 2.5, 5.5, 7, 8)


def test_an_anchor_of_full_weight_lands_on_the_clean_latent_of_a_constant_field() -> None:
    torch.manual_seed(0)
    c, e, field = (torch.randn(1, 2, 3, 4, 4, dtype=torch.float64) for _ in range(3))
    solver = Euler((1.0, 0.9, 0.6, 0.2, 0.0))
    for power, lands in ((0.0, True), (3.0, False)):
        start = Line(c, e, 0.9)
        correct = Shortening(anchor=power).correct(start)
        assert correct is not None
        state = State(start.latent)
        for i in (1, 2, 3):
            state = solver.step(lambda x, sigma, step, correct=correct: correct(field, sigma), state, i)
        assert torch.allclose(state.x, c) is lands
    # a late weight of nearly 0 leaves the field alone after the first step
    start = Line(c, e, 0.9)
    correct = Shortening(anchor=1e4).correct(start)
    assert correct is not None
    assert torch.allclose(correct(field, 0.9), e - c) and torch.equal(correct(field, 0.6), field)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"anchor": -1.0}, "anchor must be a finite number of at least 0, or null for no anchor, got -1.0"),
        ({"anchor": 1.0, "merge_space": "latent"}, r"anchor=1.0 shortens .*merge_space=latent leaves a part"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Vgdfr(**OPTIONS | options)


def test_the_papers_method_names_none_of_the_options() -> None:
    paper = Vgdfr(k=5, theta=0.5)
    added = {"residual", "keep_unmerged", "noise", "positions", "anchor", "steps"}
    assert not added & paper.settings().keys() and paper.shortening.key == () and paper.family == "VGDFR"
    other = replace(paper, anchor=4)
    assert other.words() == ["k5", "theta0.5", "anchor=4.0"] and other.family == "Anchored VGDFR"
    assert replace(paper, noise="own").family == "VGDFR with options"
