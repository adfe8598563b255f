"""The divergence over steps: the observer of a trajectory, the curves by hand, the command, its file and its figure."""

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import run
from reference import euler
from torch import Tensor

from analysis import divergence as figure
from analysis.divergence import changes_of, labels_of, lines
from bench import divergence
from bench.store.divergence import KIND, Compared, Curve, Divergence, Sample, read, write
from bench.work.diverging import curves, wanted_steps
from vgdfr import (
    Baseline,
    BaselineRerun,
    FewerSteps,
    FrameSchedule,
    GeneratedVideo,
    Method,
    Sampled,
    Sampling,
    Vgdfr,
    VideoSpec,
    generate,
)  # fmt: skip
from vgdfr.backbones.base import Backbone
from vgdfr.methods.layers import positions_per_layer
from vgdfr.sampling import Step
from vgdfr.schedule import uniform

K = 2
VGDFR = Vgdfr(k=K, schedule="uniform", global_layers="none")
ANCHORED = replace(VGDFR, noise="own", anchor=1.0)


def watched(backbone: Backbone, spec: VideoSpec, method: Method) -> tuple[GeneratedVideo, list[Step]]:
    seen: list[Step] = []
    return generate(backbone, spec, method, watch=seen.append), seen


@pytest.mark.parametrize("method", [ANCHORED, FewerSteps(3)])
def test_an_observer_sees_each_step_and_changes_nothing(backbone: Backbone, spec: VideoSpec, method: Method) -> None:
    spec = replace(spec, num_frames=17)
    alone, (made, seen) = generate(backbone, spec, method), watched(backbone, spec, method)
    assert np.array_equal(made.frames, alone.frames) and made.latents is not None and alone.latents is not None
    assert torch.equal(made.latents, alone.latents) and torch.equal(made.latents, seen[-1].state.x)
    assert (made.dit_passes, made.passes, made.shared_stages) == (alone.dit_passes, alone.passes, alone.shared_stages)
    assert [kind for kind, _ in made.observed] == [kind for kind, _ in alone.observed]
    steps = 3 if isinstance(method, FewerSteps) else 4
    assert [step.done for step in seen] == [*range(1, steps + 1)] and seen[0].solver.num_steps == steps
    shortened = method == ANCHORED
    assert [step.schedule for step in seen] == [None, None, *[made.schedule if shortened else None] * (steps - 2)]


def test_the_observer_sees_the_corrected_velocity(backbone: Backbone, spec: VideoSpec) -> None:
    """The anchor's first velocity is that of the line from c to e, so the estimate is c."""
    _, seen = watched(backbone, replace(spec, num_frames=17), ANCHORED)
    before, first = seen[K - 1], seen[K]
    sigma, schedule = first.solver.sigmas[K], first.schedule
    assert schedule is not None
    own = before.state.x + (1 - sigma) * before.state.velocity
    y = first.state.x - (first.solver.sigmas[K + 1] - sigma) * first.state.velocity
    c = (y - sigma * own[:, :, list(schedule.kept_latents)]) / (1 - sigma)
    torch.testing.assert_close(first.solver.clean(first.state, K + 1), c, rtol=1e-4, atol=1e-4)


def eight_bits(frames: Tensor) -> np.ndarray:
    return (((frames + 1) / 2).clamp(0, 1) * 255).round().numpy().astype(np.float64)


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / ((a - b) ** 2).mean())


def merged(frames: Tensor, schedule: FrameSchedule) -> Tensor:
    parts = [frames[s.start : s.start + s.length].unflatten(0, (-1, s.factor)).mean(1) for s in schedule.segments]
    return torch.cat(parts)


def test_a_step_of_a_shortened_trajectory_is_the_one_written_out_here(backbone: Backbone, spec: VideoSpec) -> None:
    spec = replace(spec, num_frames=17)
    sigmas, initial, velocity = backbone.solver(spec).sigmas, backbone.noise(spec), backbone.velocity(spec)
    schedule = uniform(spec.num_frames, 4, frames_per_latent=4)
    kept = list(schedule.kept_latents)
    with torch.inference_mode():
        x, v = euler(velocity, initial, sigmas[: K + 2])
        reference = backbone.codec.decode(x - sigmas[K + 1] * v)
        final, _ = euler(velocity, initial, sigmas)
        video = backbone.codec.decode(final)
        x, v = euler(velocity, initial, sigmas[: K + 1])
        with backbone.codec.reduced(1):
            c = backbone.codec.encode(merged(backbone.codec.decode(x - sigmas[K] * v), schedule))
        y = sigmas[K] * initial[:, :, kept] + (1 - sigmas[K]) * c
        with backbone.shortened(schedule, positions_per_layer(kept, (), backbone.architecture.num_layers)):
            own = backbone.codec.decode(y - sigmas[K] * velocity(y, sigmas[K]))
    assert len(own) == len(schedule.kept_frames) < spec.num_frames
    baseline, (curve,) = curves(backbone, spec, [VGDFR], 2)
    expected = decibels(eight_bits(own), eight_bits(merged(reference, schedule)))
    assert curve.steps == (1, K + 1, 4) and curve.sigmas == (sigmas[0], sigmas[K], sigmas[3])
    assert curve.psnr[0] == math.inf and curve.psnr[1] == pytest.approx(expected, abs=0.02)
    assert curve.latent_frames == (5, 5, len(kept), len(kept))
    assert baseline.psnr[1] == pytest.approx(decibels(eight_bits(reference), eight_bits(video)), abs=0.02)


def test_the_baseline_is_equal_to_itself_and_other_noise_levels_meet_the_nearest(
    backbone: Backbone, spec: VideoSpec
) -> None:
    spec = replace(spec, num_frames=5)
    baseline, (again, half, third) = curves(backbone, spec, [BaselineRerun(), FewerSteps(2), FewerSteps(3)], 1)
    assert again.psnr == (math.inf,) * 4 and again.latent_frames == (2,) * 4
    assert baseline.psnr[-1] == math.inf and all(value < 60 for value in baseline.psnr[:-1])
    sigmas = backbone.solver(spec).sigmas
    assert half.steps == (1, 3) and half.sigmas == pytest.approx((1.0, sigmas[2])) and half.latent_frames == (2, 2)
    assert half.psnr[0] > 60 > half.psnr[1]  # the first velocity is the baseline's
    assert third.steps == (1, 2, 4)  # shift 7: levels of 1, .933 and .778 among 1, .955, .875 and .7


def test_every_other_step_has_the_levels_of_half_as_many_steps() -> None:
    assert wanted_steps(50, 2)[:3] == [1, 3, 5] and wanted_steps(50, 2)[-2:] == [49, 50]
    assert wanted_steps(4, 1) == [1, 2, 3, 4] and wanted_steps(4, 4) == [1, 4]


def test_a_trajectory_that_cannot_be_compared_is_refused(backbone: Backbone, spec: VideoSpec) -> None:
    spec = replace(spec, num_frames=5, num_inference_steps=3)
    with pytest.raises(ValueError, match=r"expected latents of \(1, 4, 2, 4, 4\), got \(1, 4, 1, 4, 4\) after step 1"):
        curves(backbone, spec, [Cropped()], 2)
    with pytest.raises(ValueError, match=r"took none of the steps \[1, 3\] in Sampling.solve"):
        curves(backbone, spec, [OwnLoop()], 2)


class OwnLoop(Baseline):
    """A method that does not take its steps by `Sampling.solve`."""

    def sample(self, run: Sampling) -> Sampled:
        state = run.solver.restart(run.noise)
        for i in range(run.steps):
            state = run.solver.step(run.velocity, state, i)
        return Sampled(state.x)


class Cropped(Baseline):
    """A method that denoises the first latent frame alone, without a schedule."""

    def sample(self, run: Sampling) -> Sampled:
        return Sampled(run.solve(run.solver.restart(run.noise[:, :, :1]), 0).x)


# The command


SMALL = ["model.video.height=32", "model.video.width=32", "model.video.num_frames=17",
         "model.video.num_inference_steps=4", "model.name=tiny"]  # fmt: skip
SWEEPS = 'sweeps=[{method: "vgdfr,vgdfr_anchored", method.k: 2, method.schedule: uniform, method.theta: null}]'


def test_the_command_writes_a_file_and_its_figure(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, path = tmp_path / "measured.json", f"model.backbone.path={tiny_checkpoint}"
    ended = run("bench.divergence", SWEEPS, *SMALL, path, "prompts.limit=2", "--every=2", f"--output={file}")
    assert ended.returncode == 0 and f"wrote {file}" in ended.stdout, ended
    assert "1 of 2: 00-still, seed 0\n2 of 2: 01-slow, seed 0\n" in ended.stderr
    measured = read(file)
    assert [each.family for each in measured.conditions] == ["Uniform merging", "Anchored Uniform merging"]
    assert [(sample.prompt, sample.seed, len(sample.curves)) for sample in measured.samples] == [
        ("00-still", 0, 2), ("01-slow", 0, 2)]  # fmt: skip
    origin = measured.origin
    assert origin["video"]["num_inference_steps"] == measured.num_steps == 4 and origin["model"] == "tiny"
    assert len(origin["environment"]["code_sha256"]) == 64 and origin["dit_weights"].startswith("sha256:")
    for curve in (curve for sample in measured.samples for curve in sample.curves.values()):
        assert curve.steps == (1, 3, 4) and curve.psnr[0] == math.inf and curve.latent_frames == (5, 5, 4, 4)
        assert all(0 < value < 100 for value in curve.psnr[1:])
    monkeypatch.setattr(sys, "argv", ["analysis.divergence", str(file)])
    assert figure.command() == 0
    assert {each.name for each in tmp_path.iterdir()} == {
        "measured.json", "divergence.csv", *(f"divergence.{suffix}" for suffix in ("png", "svg", "pdf"))}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--every=0"], "--every must be at least 1, got 0"),
        (["--output=a.png"], "--output must be a file FILE.json, got a.png"),
        (["metrics=paper"], "metrics=paper has no meaning for a measurement of divergence; leave metrics out"),
        (["method.k=5", "method.theta=0.5", "--every=51"], "--every must be at most the 50 steps"),
        (["method=baseline"], "baseline is the baseline itself, so its divergence cannot be measured; leave it out"),
        (["method=interpolated", "method.k=5", "method.theta=0.5"], "has no trajectory of its own, so its divergence"),
        (["method=rope_proxy", "method.k=5", "method.theta=0.5"], "makes no video, so its divergence"),
        (["method=dvg"], "starts from noise of its own, so its divergence"),
        (
            ["-m", "method.k=5", "method.theta=0.5", "model.video.flow_shift=1.0,7.0"],
            "has one video setting, got 2; run",
        ),
        (["sweeps=[{method.k: 5, method.theta: 0.5, prompts.limit: '1,2'}]"], "has one list of prompts, got 2"),
    ],
)
def test_mistakes_are_refused_before_the_model_loads(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.divergence", *arguments])
    monkeypatch.setattr("bench.work.models.backbone_of", lambda model: pytest.fail("the model was loaded"))
    with pytest.raises(ValueError, match=re.escape(message)):
        divergence.command()


# The figure


def curve(*psnr: float, steps: tuple[int, ...] = (1, 2, 3), latent_frames: tuple[int, ...] = (9, 5, 5)) -> Curve:
    return Curve(steps, tuple(1 - (step - 1) / 3 for step in steps), psnr, latent_frames)


def measurement(values: list[float]) -> Divergence:
    """Returns five samples or fewer in 3 steps, with a PSNR of each of the `values` after step 3."""
    conditions = (Compared("a", "VGDFR", ("k1", "theta0.5")), Compared("b", "Anchored VGDFR", ("k1", "anchor=4.0")))
    samples = tuple(
        Sample(f"0{i}", 0, "a circle", curve(10, 20, math.inf, latent_frames=(9, 9, 9)), {
            "a": curve(math.inf, 20, value), "b": curve(97, steps=(1,), latent_frames=(9, 9, 5, 5, 5, 5)),
        })
        for i, value in enumerate(values)
    )  # fmt: skip
    return Divergence({"model": "embedded"}, 3, conditions, samples)


def test_lines_are_means_over_samples_with_intervals() -> None:
    first, second, baseline = lines(measurement([20, 22, 24, 26, 28, math.inf]))
    assert [first.label, second.label] == ["VGDFR (θ=0.5)", "Anchored VGDFR (anchor=4.0)"]
    assert first.values[1].value is None and first.values[1].infinite == 6
    last, half = first.values[3], 2.7764 * math.sqrt(10 / 5)  # Student's t for 4 degrees of freedom; variance 10
    assert (last.value, last.n, last.infinite, first.equal) == (24, 5, 1, 1)
    assert last.low == pytest.approx(24 - half, abs=1e-3) and last.high == pytest.approx(24 + half, abs=1e-3)
    assert first.changes == {1} and second.changes == {1} and baseline.changes == set()
    assert list(second.values) == [1] and baseline.values[2].value == 20
    few, *_ = lines(measurement([20, 22]))
    assert few.values[3].value == 21 and few.values[3].low is None
    with pytest.raises(ValueError, match="the file holds no sample"):
        lines(measurement([]))


def test_changes_of_length_count_the_baselines_steps() -> None:
    assert changes_of([9, 9, 5, 5], 4) == [2]
    assert changes_of([9, 9, 5, 5, 9], 10) == [4, 8]
    assert changes_of([9, 9], 50) == []


def test_a_single_condition_keeps_its_settings_in_the_label() -> None:
    assert labels_of([Compared("a", "VGDFR", ("k10", "theta0.5", "max_merge=2"))]) == {
        "a": "VGDFR (k=10, θ=0.5, max_merge=2)"}  # fmt: skip


def test_a_figure_of_a_small_file_has_equal_bytes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.json"
    write(measured := measurement([20, 22, 24, 26, 28, math.inf]), file)
    assert read(file) == measured
    for folder in ("one", "two"):
        monkeypatch.setattr(sys, "argv", ["analysis.divergence", str(file), "--out", str(tmp_path / folder)])
        assert figure.command() == 0
    for name in ("divergence.png", "divergence.svg", "divergence.pdf", "divergence.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert len(np.unique(np.asarray(Image.open(tmp_path / "one" / "divergence.png").convert("L")))) > 20
    assert "VGDFR (θ=0.5),3,24," in (tmp_path / "one" / "divergence.csv").read_text()
    said = figure.notes(measured, lines(measured))
    assert "6 samples of 6 prompts" in said[0] and said[1].startswith("Bands: 95 % t intervals")
    assert "All conditions: k=1." in said and "Samples that end equal to the baseline: VGDFR (θ=0.5): 1." in said


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file .*; python -m bench.divergence --output="):
        read(tmp_path / "none.json")
    file = tmp_path / "other.json"
    for content in ("{", "[]", "{}", json.dumps({"kind": "another"}), json.dumps({"kind": KIND, "samples": 1})):
        file.write_text(content)
        with pytest.raises(ValueError, match="must be a file that python -m bench.divergence wrote"):
            read(file)
