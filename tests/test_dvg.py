"""DVG's loop against one written out here, with accelerators, and what is said about its samples."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from caches import ACTIVE, NEUTRAL
from reference import euler
from torch import nn

from vgdfr import Accelerator, Architecture, Baseline, Dvg, Method, Running, VideoSpec, frames_of, generate
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone
from vgdfr.method import facts_of
from vgdfr.methods import method_of
from vgdfr.methods.dvg_noise import coordinate_noise
from vgdfr.methods.dvg_resize import full_grid
from vgdfr.video import GeneratedVideo

HUNYUAN = Architecture(60, frames_per_latent=4, num_spatial_levels=3, patch_size=2, latent_channels=16)
PAPER = VideoSpec("a prompt", 0, 544, 960, 97, 50, 6.0, 7.0, 24)
DVG = Dvg(0.5, tolerance=0.05)  # on the tiny model's 9 x 4 x 4 latent this has five plans, see below


@pytest.fixture(scope="module")
def longer(spec: VideoSpec) -> VideoSpec:
    """Returns the tiny video in 8 steps, which are 3, 2, 1 and 2 passes of DVG's stages."""
    return replace(spec, num_inference_steps=8)


@pytest.fixture(scope="module")
def made(backbone: Backbone, longer: VideoSpec) -> GeneratedVideo:
    return generate(backbone, longer, DVG)


def test_on_the_full_grid_it_is_euler_in_four_parts_with_their_own_shifts(
    backbone: Backbone, longer: VideoSpec
) -> None:
    """With all tokens in all stages a switch only adds the same noise to the predicted clean latent again."""
    noise = coordinate_noise(full_grid((9, 4, 4)), backbone.architecture.latent_channels, longer.seed)
    velocity, step, x, clean = backbone.velocity(longer), 0, noise, noise
    with torch.inference_mode():
        for shift, count in zip((7.0, 9.0, 11.0, 11.0), (3, 2, 1, 2), strict=True):
            sigmas = backbone.solver(longer, shift=shift).sigmas
            if step:
                x = sigmas[step] * noise + (1 - sigmas[step]) * clean
            x, v = euler(velocity, x, sigmas[step : step + count + 1])
            step += count
            clean = x - sigmas[step] * v
    video = generate(backbone, longer, Dvg(1.0, first_space=1.0, first_time=1.0, blur=0.0))
    assert video.latents is not None and torch.equal(video.latents, x) and video.passes == 8
    other = generate(backbone, longer, Dvg(1.0, first_space=1.0, first_time=1.0, blur=0.0, shifts=(7.0, 7.0, 7.0, 7.0)))
    assert other.latents is not None and not torch.equal(other.latents, x)


def test_a_sample_follows_a_plan_of_its_budget(made: GeneratedVideo, longer: VideoSpec, backbone: Backbone) -> None:
    """The first stage has 4 frames of 2 x 2. Five plans see 0.45 to 0.55 of the tokens, the chosen one among them."""
    plans = DVG._plans(longer, backbone.architecture)
    assert sorted((p.shapes[1][0], p.shapes[1][1]) for p in plans) == [(4, 4), (5, 4), (6, 4), (8, 2), (9, 2)]
    expected = []
    for plan in plans:
        counts: dict[tuple[int, ...], int] = {}
        for shape, count in zip(plan.shapes, plan.passes, strict=True):
            counts[shape] = counts.get(shape, 0) + count
        expected.append(counts)
    seen = {(p.frames, p.height, p.width): count for p, count in made.dit_passes.items()}
    assert seen in expected and all(p.forwards == p.attention == p.feed_forward == 1 for p in made.dit_passes)
    density = plans[expected.index(seen)].density
    assert made.passes / 8 == pytest.approx(density) and abs(density - 0.5) <= 0.05
    assert f"{density:.3f} of the tokens" in made.notes[0] and "5 plans to choose from" in made.notes[0]
    assert made.frames.shape == (33, 32, 32, 3) and made.schedule is None and made.latents is not None
    latency = {"other", "noise", "plan", "resize", *(f"denoise_stage_{i}" for i in (1, 2, 3, 4))}
    assert set(made.seconds) - made.outside_latency == latency and not made.unpooled


def test_the_bits_are_the_same_from_run_to_run_and_with_shared_parts(
    backbone: Backbone, longer: VideoSpec, made: GeneratedVideo
) -> None:
    shared = Shared(longer)
    for method in (Baseline(), DVG, Dvg(0.6, tolerance=0.1), DVG):
        video = generate(backbone, longer, method, shared)
    assert np.array_equal(video.frames, made.frames)
    other = generate(backbone, replace(longer, seed=longer.seed + 1), DVG)
    assert not np.array_equal(other.frames, made.frames)
    assert made.latents is not None
    assert np.array_equal(frames_of(backbone.codec, made.latents, DVG, None, longer), made.frames)


@dataclass(frozen=True)
class Resets(Accelerator):
    """Records resets and the steps of passes."""

    events: list[Any] = field(default_factory=list, compare=False)

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        def at(step: int, sigma: float, num_steps: int) -> None:
            self.events.append((step, sigma, num_steps))

        yield Running(lambda: self.events.append("reset"), lambda: {"gate_asked": 1}, at)


def test_accelerators_start_afresh_at_each_switch_also_where_the_shape_stays(
    backbone: Backbone, longer: VideoSpec
) -> None:
    resets = Resets()
    whole = Dvg(1.0, first_space=1.0, first_time=1.0, accelerators=(resets,))
    generate(backbone, longer, whole)
    sigmas = [backbone.solver(longer, shift=shift).sigmas for shift in (7.0, 9.0, 11.0)]
    expected: list[Any] = []
    for step, stage in enumerate((0, 0, 0, 1, 1, 2, 2, 2)):
        expected += ["reset"] * (step in (0, 3, 5, 6)) + [(step, sigmas[stage][step], 8)]
    assert resets.events == [*expected, "reset"]


@pytest.mark.parametrize("name", [name for name, cache in ACTIVE.items() if not cache.of_one_shift])
def test_a_feature_cache_works_within_it(
    backbone: Backbone, longer: VideoSpec, made: GeneratedVideo, name: str
) -> None:
    """A neutral cache changes nothing. Any other skips passes, and forgets at each of the four stages."""
    never = generate(backbone, longer, replace(DVG, accelerators=(NEUTRAL[name],)))
    assert np.array_equal(never.frames, made.frames)
    always = [generate(backbone, longer, replace(DVG, accelerators=(ACTIVE[name],))) for _ in range(2)]
    assert np.array_equal(always[0].frames, always[1].frames)
    (counts,) = always[0].accelerated.values()
    assert 0 < counts["passes_skipped"] <= 8 - 4 and not np.array_equal(always[0].frames, made.frames)


def test_a_cache_of_one_flow_shift_is_refused(longer: VideoSpec) -> None:
    method = replace(DVG, accelerators=(ACTIVE["MagCache"],))
    with pytest.raises(ValueError, match="MagCache holds for one flow shift, and DVG's stages have several"):
        method.check(longer, HUNYUAN)


# ---- what is said about it


def test_its_noise_is_its_own_and_records_say_so(made: GeneratedVideo) -> None:
    assert facts_of(DVG) | {"settings": []} == {
        "title": "DVG", "role": "method", "family": "DVG", "settings": [], "makes_video": True, "own_noise": True,
    }  # fmt: skip
    assert facts_of(DVG)["settings"] == ["budget=0.5", "tolerance=0.05"] and "own_noise" not in facts_of(Baseline())
    assert made.noise_sha256 is None and DVG.asked() == {"token_ratio_asked": 0.5}


def test_a_record_gives_the_method_back() -> None:
    method: Method = Dvg(0.4, shifts=(7.0, 9.0, 11.0, 11.0), switches=(0.2, 0.4, 0.6))
    assert method_of(json.loads(json.dumps(method.settings()))) == method
    assert method.settings()["shifts"] == [7.0, 9.0, 11.0, 11.0] and "shifts" not in Dvg(0.4).words()


def test_the_plan_of_a_sweep_knows_its_work(backbone: Backbone, longer: VideoSpec, made: GeneratedVideo) -> None:
    work = [one for one in DVG.work(longer, backbone.architecture, 1.0) if one.kind == "dit"]
    assert [one.times for one in work] == [3, 2, 1, 2]
    # the nearest plan has 4 * 4, 5 * 16, 5 * 16 and 9 * 16 tokens in a pass; a full latent frame has 16
    assert [one.about for one in work] == [1.0, 5.0, 5.0, 9.0] and [one.most for one in work] == [1.0, 6.0, 9.0, 9.0]
    assert sum(one.times * one.about for one in work) / 9 == pytest.approx(4.0)
    assert made.passes <= sum(one.times * one.most for one in work) / 9


@pytest.mark.parametrize(
    ("method", "changed", "message"),
    [
        (Dvg(0.2), {}, r"budget \(method.budget\) must be between 0.3\d? and 0.7\d? for 97 frames of 544x960 in 50 st"),
        (Dvg(0.9), {}, r"got 0.9: no plan of DVG sees a share of tokens within 0.02 of it"),
        (Dvg(0.5), {"num_inference_steps": 4}, "DVG needs a step in each of its four stages: 4 steps with switches"),
        (Dvg(0.5), {"height": 16}, "16x960 videos are too small for DVG, .* height and width must be at least 32"),
        (Dvg(0.5), {"num_frames": 5}, "DVG has no plan for 5 frames of 544x960 in 50 steps: its first stage needs two"),
    ],
)
def test_a_video_or_budget_without_a_plan_is_refused_before_a_model_loads(
    method: Dvg, changed: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        method.check(replace(PAPER, **changed), HUNYUAN)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0.0}, r"budget must be in \(0, 1\], got 0"),
        (
            {"switches": (0.5, 0.3, 0.7)},
            r"switches must be three increasing numbers in \(0, 1\), got \[0.5, 0.3, 0.7\]",
        ),
        ({"switches": (0.3, 0.7)}, r"switches must be 3 numbers, got \(0.3, 0.7\)"),
        ({"shifts": (7.0, 9.0, 11.0)}, r"shifts must be 4 numbers, got \(7.0, 9.0, 11.0\)"),
        ({"shifts": (7.0, 9.0, 11.0, 0.0)}, r"shifts must be positive, got \[7.0, 9.0, 11.0, 0.0\]"),
        ({"blur": 1.5}, r"blur must be in \[0, 1\], got 1.5"),
        ({"tolerance": 0.0}, "tolerance above 0, got alpha=2.6, tolerance=0"),
        ({"first_space": 2.0}, r"first_space must be in \(0, 1\], got 2"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dvg(**dict[str, Any](budget=0.5) | settings)
