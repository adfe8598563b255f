"""The return to the full length for the last steps: frames are generated again, and none is interpolated."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reference import euler
from torch import Tensor

from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from bench.work.records import results
from vgdfr import Baseline, HunyuanVideo, Vgdfr, VideoSpec, generate
from vgdfr.accelerators import FirstBlockCache
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone
from vgdfr.generation import frames_of
from vgdfr.methods.full_length import FullLength
from vgdfr.methods.interpolation import Interpolator, fill, fill_unrounded, flow, linear
from vgdfr.methods.layers import positions_per_layer
from vgdfr.methods.shortening import Line, Shortening
from vgdfr.methods.trajectory import Trajectory
from vgdfr.sampling import sampling
from vgdfr.schedule import FrameSchedule, Segment
from vgdfr.solver import State
from vgdfr.video import to_uint8

K, STEPS, LAST = 2, 6, 2
# 33 frames: 1 alone, 16 merged by 4, 8 merged by 2, 8 kept. The latent frames 0, 7 and 8 do not merge.
SCHEDULE = FrameSchedule((Segment(0, 1, 1), Segment(1, 16, 4), Segment(17, 8, 2), Segment(25, 8, 1)), 4)
OPTIONS: dict[str, Any] = {"k": K, "schedule": "uniform", "global_layers": "none", "interpolator": "linear"}


@pytest.fixture(scope="module")
def spec(spec: VideoSpec) -> VideoSpec:
    return replace(spec, num_inference_steps=STEPS)


def blended(frames: Tensor, schedule: FrameSchedule) -> Tensor:
    """Returns all frames of a video, by numpy's interpolation between the kept frames."""
    numbers = frames.flatten(1).numpy()
    every = [
        np.interp(np.arange(schedule.num_frames), schedule.kept_frames, numbers[:, i]) for i in range(numbers.shape[1])
    ]
    return torch.from_numpy(np.stack(every, 1)).float().unflatten(1, frames.shape[1:])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"noise": "own", "residual": "mean", "anchor": 4.0},
        {"steps": 5, "noise": "own", "keep_unmerged": True},
        {"noise": "own", "anchor": 1.0, "full_from": "preview"},
        {"noise": "own_mean", "residual": "mean", "anchor": 3.0},
        {"noise": "own_mean", "anchor": 3.0, "full_from": "preview"},
    ],
)
def test_the_loop_is_the_one_written_out_here(backbone: Backbone, spec: VideoSpec, options: dict[str, Any]) -> None:
    """The shortened steps end early; decode, blend, encode, renoise; Euler steps on all latent frames."""
    own = replace(spec, num_inference_steps=options.get("steps", STEPS))
    sigmas, initial, velocity = backbone.solver(own).sigmas, backbone.noise(spec), backbone.velocity(spec)
    schedule = SCHEDULE
    kept, at = list(schedule.kept_latents), len(sigmas) - 1 - LAST
    plain = {name: value for name, value in options.items() if name != "full_from"}
    shortened = generate(backbone, spec, Vgdfr(**OPTIONS, **plain))
    with torch.inference_mode():
        x, v = euler(velocity, initial, sigmas[: K + 1])
        start, correct = _start(backbone, spec, Vgdfr(**OPTIONS, **plain), schedule)
        y = switch = c = e = start
        with backbone.shortened(schedule, positions_per_layer(kept, (), backbone.architecture.num_layers)):
            for now, then in zip(sigmas[K:], sigmas[K + 1 :], strict=False):
                u = velocity(y, now)
                u = u if correct is None else correct(u, now)
                y = y + (then - now) * u
                if then == sigmas[at]:
                    switch, c, e = y, y - then * u, y + (1 - then) * u
        assert shortened.latents is not None
        torch.testing.assert_close(shortened.latents, y, rtol=1e-5, atol=1e-5)
        groups = {0: [0], 1: [1, 2, 3, 4], 2: [5, 6], 3: [7], 4: [8]}
        before = x + (1 - sigmas[K]) * v
        noise = {"initial": initial}.get(options.get("noise", "initial"), before).clone()
        if options.get("noise") == "own_mean":  # all latent frames of a group move alike
            for i, group in groups.items():
                root = len(group) ** 0.5
                noise[:, :, group] += ((e[:, :, i] - before[:, :, group].sum(2) / root) / root)[:, :, None]
        else:
            noise[:, :, kept] = e
        if "full_from" in options:
            preview = x - sigmas[K] * v
            clean = torch.cat(
                [preview[:, :, g] + (c[:, :, i] - preview[:, :, g].mean(2))[:, :, None] for i, g in groups.items()], 2
            )
        else:
            clean = backbone.codec.encode(blended(backbone.codec.decode(c), schedule))
        x = sigmas[at] * noise + (1 - sigmas[at]) * clean
        x[:, :, [0, 7, 8]] = switch[:, :, [0, 3, 4]]
        x, _ = euler(velocity, x, sigmas[at:])
    made = generate(backbone, spec, Vgdfr(**OPTIONS, **options, full_steps=LAST))
    assert made.latents is not None and made.schedule == schedule
    torch.testing.assert_close(made.latents, x, rtol=1e-4, atol=1e-4)
    assert np.array_equal(made.frames, to_uint8(backbone.codec.decode(made.latents)))


def _start(backbone: Backbone, spec: VideoSpec, method: Vgdfr, schedule: FrameSchedule) -> tuple[Tensor, Any]:
    """Returns the latent after the merge and the correction of velocities, which test_shortening.py writes out."""
    with sampling(backbone, Shared(spec), "tests") as run, run.account.stage("other"):
        path = Trajectory(run, method.steps)
        source = method.preview.clean(path, K)
        start = method.shortening.start(path, K, method.preview, source, schedule)
        return start.latent, method.shortening.correct(start)


@pytest.mark.parametrize("source", ["interpolation", "preview"])
def test_at_the_switch_unmerged_latents_are_those_of_the_shortened_trajectory(
    backbone: Backbone, spec: VideoSpec, source: Any
) -> None:
    torch.manual_seed(0)
    y = State(torch.randn(1, 4, 5, 4, 4), torch.randn(1, 4, 5, 4, 4))
    with torch.inference_mode(), sampling(backbone, Shared(spec), "tests") as run, run.account.stage("other"):
        path, other = Trajectory(run), torch.randn_like(run.noise)
        x, again = (
            FullLength(LAST, source, "linear", None).lengthened(path, SCHEDULE, Shortening(), Line(other, each, 0.5), y)
            for each in (run.noise, other)
        )
        sigma = path.solver.sigmas[STEPS - LAST]
    assert SCHEDULE.kept_latents == (0, 1, 5, 7, 8)
    assert torch.equal(x[:, :, [0, 7, 8]], y.x[:, :, [0, 3, 4]])
    assert torch.equal(x[:, :, [1, 5]], again[:, :, [1, 5]]), "kept latents have the trajectory's own noise"
    gone = [2, 3, 4, 6]
    torch.testing.assert_close((x - again)[:, :, gone], sigma * (run.noise - other)[:, :, gone], rtol=1e-5, atol=1e-5)


def test_without_the_option_nothing_changes_and_with_nothing_merged_it_is_the_baseline(
    backbone: Backbone, spec: VideoSpec
) -> None:
    plain = Vgdfr(**OPTIONS)
    assert replace(plain, full_steps=0) == plain and "full_steps" not in plain.settings() and plain.interpolates
    assert plain.full_length.key == () and plain.full_length.notes(50) == () and plain.family == "Uniform merging"
    made = generate(backbone, spec, Vgdfr(k=K, theta=1.0, full_steps=LAST))
    baseline = generate(backbone, spec, Baseline())
    assert made.latents is not None and baseline.latents is not None and torch.equal(made.latents, baseline.latents)
    assert not any("full length" in note for note in made.notes)


def test_samples_share_no_steps_with_other_full_steps_or_interpolators(backbone: Backbone, spec: VideoSpec) -> None:
    shared = Shared(spec, {K})
    variants: list[dict[str, Any]] = [
        {},
        {"full_steps": 1},
        {"full_steps": 2},
        {"full_steps": 2, "interpolator": "flow"},
        {"full_steps": 2, "full_from": "preview"},
    ]
    methods = [Vgdfr(**OPTIONS | each) for each in variants]
    together = [generate(backbone, spec, method, shared).latents for method in methods]
    alone = [generate(backbone, spec, method).latents for method in methods]
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    assert len({tuple(x.flatten().tolist()) for x in together if x is not None}) == len(variants)


def test_a_record_counts_full_passes_and_no_interpolated_frame(
    backbone: Backbone, spec: VideoSpec, tiny_checkpoint: Any
) -> None:
    method = Vgdfr(**OPTIONS, full_steps=LAST)
    video = VideoSettings(**{name: getattr(spec, name) for name in VideoSettings.__annotations__})
    condition = Condition("tiny", HunyuanVideo(str(tiny_checkpoint), dtype="float32"), video, method)
    made = generate(backbone, spec, method)
    record = results(made, condition.sample(Prompt("p", spec.prompt, 0), {}))
    assert record["schedule"]["kept_frames"] == list(range(33))
    assert record["schedule"]["kept_latents"] == list(SCHEDULE.kept_latents)
    assert max(factor for _, _, factor in record["schedule"]["segments"]) == 4
    assert record["token_ratio"] == pytest.approx(len(record["schedule"]["kept_latents"]) / 9)
    kept = len(record["schedule"]["kept_latents"])
    assert [[row[0], row[-1]] for row in record["dit_passes"]] == [[kept, STEPS - K - LAST], [9, K + LAST]]
    assert record["passes"] == pytest.approx(K + LAST + (STEPS - K - LAST) * kept / 9)
    assert "the last 2 of 6 steps ran on the full length: no frame was interpolated" in record["notes"]
    assert {"lengthen", "denoise_lengthened", "denoise_compressed"} <= record["seconds"].keys()
    assert not {"lengthen", "denoise_lengthened"} & set(record["outside_latency"])
    assert record["unpooled"] == {} and record["timed"]["encode 33x32x32 levels 0"][0] == 1
    assert made.latents is not None
    assert np.array_equal(frames_of(backbone.codec, made.latents, method, made.schedule, spec), made.frames)
    plain = replace(condition, method=Vgdfr(**OPTIONS))
    without = results(generate(backbone, spec, plain.method), plain.sample(Prompt("p", spec.prompt, 0), {}))
    assert without["schedule"]["kept_frames"] == list(SCHEDULE.kept_frames)


def test_the_preview_needs_no_vae_and_no_interpolator(backbone: Backbone, spec: VideoSpec) -> None:
    shared, method = Shared(spec, {K}), Vgdfr(**OPTIONS, full_steps=LAST, full_from="preview")
    one, other = (generate(backbone, spec, replace(method, interpolator=each), shared) for each in ("linear", "flow"))
    assert np.array_equal(one.frames, other.frames) and other.passes_done == 0, "all steps are shared"
    assert "lengthen" not in one.seconds and not one.unpooled
    assert not [w for w in method.work(spec, backbone.architecture, 0.5) if w.kind == "encode" and not w.levels]


def test_the_forecast_is_the_work_that_is_done(backbone: Backbone, spec: VideoSpec) -> None:
    method = Vgdfr(**OPTIONS, full_steps=LAST)
    made = generate(backbone, spec, method)
    works = method.work(spec, backbone.architecture, 0.5)
    dit = {(w.about, w.most): 0 for w in works if w.kind == "dit"}
    for work in works:
        if work.kind == "dit":
            dit[work.about, work.most] += work.times
    assert {key[0]: times for key, times in dit.items()} == {p.frames: n for p, n in made.dit_passes.items()}
    assert [w[:3] for w in works if w.kind == "encode" and not w.levels] == [("encode", 9, 9)]


def test_a_cache_starts_anew_on_the_full_length(backbone: Backbone, spec: VideoSpec) -> None:
    """With an endless threshold a cache computes the first pass after each reset, and the last steps are one start."""
    cached = Vgdfr(**OPTIONS, full_steps=LAST, accelerators=(FirstBlockCache(threshold=1e9),))
    passes = generate(backbone, spec, cached).dit_passes
    assert sorted((p.frames, n) for p, n in passes.items() if p.attention == 1) == [
        (len(SCHEDULE.kept_latents), 1), (9, 2)
    ]  # fmt: skip


def test_frames_between_are_not_rounded_and_are_those_of_the_finished_video() -> None:
    torch.manual_seed(0)
    frames = torch.rand(len(SCHEDULE.kept_frames), 3, 16, 16) * 2 - 1
    for between in (linear, flow):
        interpolator = Interpolator(between)
        filled = fill_unrounded(frames, SCHEDULE, interpolator)
        assert torch.equal(filled[list(SCHEDULE.kept_frames)], frames)
        assert np.abs(to_uint8(filled).astype(int) - fill(frames, SCHEDULE, interpolator)).max() <= 1
        levels = (filled / 2 + 0.5) * 255
        assert (levels - levels.round()).abs().max() > 0.4
    torch.testing.assert_close(fill_unrounded(frames, SCHEDULE, Interpolator(linear)), blended(frames, SCHEDULE))
    with pytest.raises(ValueError, match="keeps 17 frames, got 3"):
        fill_unrounded(frames[:3], SCHEDULE, Interpolator(linear))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"full_steps": -1}, "full_steps must be at least 0, got -1"),
        ({"full_steps": True}, "full_steps must be a whole number, got True"),
        ({"full_from": "preview"}, "full_from=preview needs full_steps of 1 or more, got 0"),
        ({"full_steps": 1, "merge_space": "latent"}, "full_steps goes with the whole method"),
        ({"full_steps": 4}, "full_steps must be below the 4 steps left after k, got 4"),
        ({"full_steps": 2, "steps": 4}, "full_steps must be below the 2 steps left after k, got 2"),
    ],
)
def test_wrong_settings_are_refused(backbone: Backbone, spec: VideoSpec, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Vgdfr(**OPTIONS, **options).check(spec, backbone.architecture)


def test_rows_with_the_option_are_a_family_of_their_own() -> None:
    names = [Vgdfr(k=5, theta=0.5, full_steps=5, anchor=anchor).family for anchor in (None, 4.0)]
    assert names == ["VGDFR with options", "Anchored VGDFR with options"]
    assert Vgdfr(k=5, theta=0.5, noise="own", full_steps=5).family == "VGDFR with options"
    names = [Vgdfr(k=5, theta=0.5, placement="least_error", anchor=anchor).family for anchor in (None, 4.0)]
    assert names == ["VGDFR with options", "Anchored VGDFR with options"]
    assert Vgdfr(k=5, theta=0.5, full_steps=5).words() == ["k5", "theta0.5", "full_steps=5"]
