"""VGDFR together with fewer steps: its trajectory has its own number of steps, and the reference has all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from reference import euler
from torch import nn

from analysis.cost import study_savings
from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from vgdfr import Accelerator, Baseline, FewerSteps, HunyuanVideo, Running, Vgdfr, VideoSpec, generate
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone
from vgdfr.methods.compression import merge_latents
from vgdfr.methods.layers import positions_per_layer
from vgdfr.schedule import uniform
from vgdfr.solver import renoise

STEPS = 3  # of the spec's 4


@pytest.mark.parametrize("k", [1, 2])
def test_where_nothing_merges_it_is_the_sample_of_fewer_steps(backbone: Backbone, spec: VideoSpec, k: int) -> None:
    made = generate(backbone, spec, Vgdfr(k=k, theta=1.0, steps=STEPS))
    fewer = generate(backbone, spec, FewerSteps(STEPS))
    assert made.latents is not None and fewer.latents is not None
    assert torch.equal(made.latents, fewer.latents) and made.passes == fewer.passes == STEPS
    assert made.notes == ("nothing merged: continued the trajectory of 3 steps",)


@pytest.mark.parametrize("in_pixels", [True, False])
def test_the_loop_is_that_of_vgdfr_on_the_levels_of_fewer_steps(
    backbone: Backbone, spec: VideoSpec, in_pixels: bool
) -> None:
    """The loop is written out here: k steps, merge (in the latent, or by decoder and encoder), and the rest."""
    k, num_layers = 2, backbone.architecture.num_layers
    sigmas, noise, velocity = backbone.solver(spec, steps=STEPS).sigmas, backbone.noise(spec), backbone.velocity(spec)
    schedule = uniform(spec.num_frames, 4, frames_per_latent=4)
    kept = schedule.kept_latents
    with torch.inference_mode():
        x, v = euler(velocity, noise, sigmas[: k + 1])
        if in_pixels:
            with backbone.codec.reduced(1):
                frames = backbone.codec.decode(x - sigmas[k] * v)
                groups = [frames[s.start : s.start + s.length].unflatten(0, (-1, s.factor)) for s in schedule.segments]
                merged = backbone.codec.encode(torch.cat([group.mean(1) for group in groups]))
            y = renoise(merged, noise[:, :, list(kept)], sigmas[k])
        else:
            y = merge_latents(x, schedule)
        with backbone.shortened(schedule, positions_per_layer(kept, (), num_layers)):
            y, _ = euler(velocity, y, sigmas[k:])
    space = "pixel" if in_pixels else "latent"
    method = Vgdfr(k=k, schedule="uniform", global_layers="none", merge_space=space, steps=STEPS)
    made = generate(backbone, spec, method)
    assert made.latents is not None and torch.equal(made.latents, y)
    assert sum(p.forwards * count for p, count in made.dit_passes.items()) == STEPS


def test_the_specs_number_of_steps_is_no_number_of_its_own(
    backbone: Backbone, spec: VideoSpec, tiny_checkpoint: Path
) -> None:
    plain, named = Vgdfr(k=1, theta=0.01), Vgdfr(k=1, theta=0.01, steps=spec.num_inference_steps)
    assert named.canonical(spec, backbone.architecture) == plain.canonical(spec, backbone.architecture)
    a, b = (generate(backbone, spec, method) for method in (plain, named))
    assert a.latents is not None and b.latents is not None and torch.equal(a.latents, b.latents)
    video = VideoSettings(**{name: value for name, value in asdict(spec).items() if name not in ("prompt", "seed")})
    model = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu")
    keys = [
        Condition("m", model, video, method).canonical().sample(Prompt("p", "a", 0), {}).key
        for method in (plain, named, replace(plain, steps=STEPS))
    ]
    assert keys[0] == keys[1] != keys[2]
    assert "steps" not in plain.settings() and replace(plain, steps=STEPS).words() == ["k1", "theta0.01", "steps=3"]


def test_conditions_of_equal_steps_share_the_first_steps_and_leave_the_baselines_alone(
    backbone: Backbone, spec: VideoSpec
) -> None:
    shared = Shared(spec)
    first, second = Vgdfr(k=2, theta=0.01, steps=STEPS), Vgdfr(k=2, theta=1.0, steps=STEPS)
    assert first.stops() == second.stops() == frozenset()
    generate(backbone, spec, first, shared)
    assert generate(backbone, spec, second, shared).passes_done == STEPS - 2
    assert generate(backbone, spec, Baseline(), shared).passes_done == spec.num_inference_steps
    assert not shared.stops


@dataclass(frozen=True)
class Told(Accelerator):
    """Records the places in the trajectory that an accelerator is told."""

    places: list[tuple[int, float, int]] = field(default_factory=list, compare=False)

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        yield Running(lambda: None, lambda: {"gate_asked": 1}, lambda *place: self.places.append(place))


def test_an_accelerator_is_told_the_number_of_steps_that_are_taken(backbone: Backbone, spec: VideoSpec) -> None:
    told = Told()
    generate(backbone, spec, Vgdfr(k=1, theta=0.01, steps=STEPS, accelerators=(told,)))
    sigmas = backbone.solver(spec, steps=STEPS).sigmas
    assert told.places == [(step, sigmas[step], STEPS) for step in range(STEPS)]


def test_the_plan_expects_the_passes_that_are_made(backbone: Backbone, spec: VideoSpec) -> None:
    method = Vgdfr(k=1, schedule="uniform", preview_steps=2, steps=STEPS)
    expected = [work for work in method.work(spec, backbone.architecture, 1.0) if work.kind == "dit"]
    full = backbone.architecture.num_latents(spec.num_frames)
    passes = sum(work.times * work.about for work in expected) / full
    assert generate(backbone, spec, method).passes == pytest.approx(passes)


def test_a_cost_report_takes_its_own_steps_for_no_steps_of_the_baseline() -> None:
    """Both rows keep half of the latent frames. Only the first row's k = 10 of 50 steps are the baseline's."""
    common = {
        "schedule": "a", "method.preview_steps": 1, "method.spatial_levels": 1, "method.merge_space": "pixel",
        "method.k": 10, "video.num_inference_steps": 50, "accelerated": "{}", "kept_latents": 5, "num_latents": 10,
    }  # fmt: skip
    own = [
        {"folder": "a", "method.steps": None, "compressed_steps": 40, "dit_work": 0.6},
        {"folder": "b", "method.steps": 25, "compressed_steps": 15, "dit_work": 0.35},
    ]
    alone, shared, _ = study_savings(pd.DataFrame([common | row for row in own]), num_baselines=1)
    assert (alone, shared) == (pytest.approx(1.95), pytest.approx(1.95 - 10 / 50))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 1, "steps": 5}, r"steps \(method.steps\) must be at most num_inference_steps \(4\), got 5"),
        ({"k": 3, "steps": 3}, r"k must be below steps \(3\), got 3"),
        ({"k": 2, "steps": 3, "preview_steps": 2}, "preview_steps must be at most the 1 steps left after k, got 2"),
    ],
)
def test_steps_that_do_not_fit_are_refused(
    backbone: Backbone, spec: VideoSpec, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Vgdfr(theta=0.5, **settings).check(spec, backbone.architecture)
