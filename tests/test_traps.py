"""The traps of accelerators, stages and keys: mistakes of a user's class that must do no harm."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vgdfr import (
    Accelerator,
    Backbone,
    Baseline,
    Euler,
    Method,
    Running,
    Sampled,
    Sampling,
    State,
    Vgdfr,
    VideoSpec,
    generate,
)
from vgdfr.accelerator import IdleAccelerator
from vgdfr.accelerators import FirstBlockCache
from vgdfr.account import Shared
from vgdfr.solver import one_step_denoise

MERGING = {"k": 1, "theta": 0.01}  # merges the tiny model's random videos, too


@dataclass(frozen=True)
class SkipCalls(Accelerator):
    """Computes every n-th call of the DiT. `events` gets the latent frames of each call, and "reset"."""

    every: int
    events: list[int | str] = field(default_factory=list, compare=False)

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        forward, outputs = transformer.forward, []
        measured = {"gate_asked": 0, "calls_skipped": 0}

        def cached(*args: Any, **kwargs: Any) -> Any:
            self.events.append(kwargs["hidden_states"].shape[2])
            measured["gate_asked"] += 1
            if 0 < len(outputs) < self.every:
                measured["calls_skipped"] += 1
                outputs.append(outputs[0])
            else:
                outputs[:] = [forward(*args, **kwargs)]
            return outputs[0]

        def reset() -> None:
            self.events.append("reset")
            outputs.clear()

        transformer.forward = cached
        try:
            yield Running(reset, lambda: measured)
        finally:
            transformer.forward = forward


@dataclass(frozen=True)
class Contexts(Accelerator):
    """Records the cache_context of each forward."""

    said: list[dict[str, Any]] = field(default_factory=list, compare=False)

    @contextmanager
    def applied(self, transformer: Any) -> Iterator[Running]:
        original = transformer.cache_context

        def cache_context(name: str, **where: Any) -> Any:
            self.said.append({"name": name} | where)
            return original(name, **where)

        transformer.cache_context = cache_context
        yield Running(lambda: None, lambda: {"gate_asked": len(self.said)})


@dataclass(frozen=True)
class Loop(Method):
    """Takes plain steps. With `aside`, a pass off the trajectory comes before each step; `seen` gets its velocity."""

    aside: bool = False
    seen: list[Tensor] = field(default_factory=list, compare=False)

    def sample(self, run: Sampling) -> Sampled:
        state = run.solver.restart(run.noise)
        for step in range(run.steps):
            if self.aside:
                self.seen.append(run.velocity(run.noise[:, :, :3], 0.5))
            state = run.solver.step(run.velocity, state, step)
        return Sampled(state.x)


@dataclass(frozen=True)
class Shrinking(Method):
    """Drops the last latent frames after half of the steps, without `shortened`."""

    def sample(self, run: Sampling) -> Sampled:
        state = run.solve(run.solver.restart(run.noise), 0, run.steps // 2)
        state = run.solve(run.solver.restart(state.x[:, :, :5]), run.steps // 2)
        return Sampled(torch.cat([state.x, run.noise[:, :, 5:]], 2))


def accelerated(method: type[Method], *accelerators: Accelerator, **settings: Any) -> Method:
    return method(**settings, accelerators=accelerators)


# 1: a stored state of the loop does not hold the state of a cache


@pytest.mark.parametrize("cache", [SkipCalls(2), FirstBlockCache(1e9)], ids=["SkipCalls", "FirstBlockCache"])
def test_1_an_accelerated_sample_has_equal_bytes_alone_and_in_any_sweep(
    backbone: Backbone, spec: VideoSpec, cache: Accelerator
) -> None:
    mine = [
        accelerated(Baseline, cache),
        accelerated(Vgdfr, cache, **MERGING),
        accelerated(Vgdfr, cache, k=2, theta=1.0),
    ]
    others = [Baseline(), Vgdfr(**MERGING), Vgdfr(k=3, theta=0.01)]  # type: ignore[arg-type]
    alone = [generate(backbone, spec, method) for method in mine]
    plain = [generate(backbone, spec, method).frames for method in others]
    assert not np.array_equal(alone[0].frames, plain[0]), "the cache must change the video"
    assert np.array_equal(alone[2].frames, alone[0].frames), (
        "without merging, the sample equals the accelerated baseline"
    )
    for order in ([*mine, *others], [*others, *mine], [others[2], mine[1], others[0], mine[0], others[1], mine[2]]):
        for stops in ((), (1, 2, 3)):
            shared = Shared(spec, set(stops))
            for method in order:
                before = set(shared.values)
                video = generate(backbone, spec, method, shared)
                if method in others:
                    assert np.array_equal(video.frames, plain[others.index(method)]), (order, method)
                    continue
                expected = alone[mine.index(method)]
                assert np.array_equal(video.frames, expected.frames), (order, stops, method)
                assert video.accelerated == expected.accelerated and video.passes_done == video.passes
                assert set(video.shared_stages) <= {"encode_prompt"}
                assert {key[0] for key in set(shared.values) - before} <= {"velocity"}


# 2: a cache is reset when its state would not fit, and is not touched by passes off the trajectory


def test_2_an_accelerator_is_reset_before_a_sample_and_where_the_latents_shape_changes(
    backbone: Backbone, spec: VideoSpec
) -> None:
    cache = SkipCalls(2)
    kept = generate(backbone, spec, Vgdfr(**MERGING)).schedule  # type: ignore[arg-type]
    assert kept is not None
    short = len(kept.kept_latents)
    for _ in range(2):
        generate(backbone, spec, accelerated(Vgdfr, cache, **MERGING))
        assert cache.events == ["reset", 9, "reset", short, short, short, "reset"], "the last reset frees the memory"
        cache.events.clear()
    generate(backbone, spec, accelerated(Shrinking, cache))
    assert cache.events == ["reset", 9, 9, "reset", 5, 5, "reset"], "no block of `shortened` was entered"


def test_2_every_forward_says_where_in_the_trajectory_it_stands(backbone: Backbone, spec: VideoSpec) -> None:
    contexts = Contexts()
    generate(backbone, spec, accelerated(Vgdfr, contexts, preview_steps=2, **MERGING))
    sigmas = backbone.solver(spec).sigmas
    expected = [{"name": "cond", "step_index": i, "sigma": sigmas[i], "num_inference_steps": 4} for i in range(4)]
    assert contexts.said == expected, "the preview's pass is off the trajectory"


def test_2_diffusers_cache_works_with_merging(backbone: Backbone, spec: VideoSpec) -> None:
    plain = generate(backbone, spec, Vgdfr(**MERGING))  # type: ignore[arg-type]
    assert plain.schedule is not None and not plain.schedule.keeps_everything
    never, always = (generate(backbone, spec, accelerated(Vgdfr, FirstBlockCache(t), **MERGING)) for t in (0.0, 1e9))
    assert np.array_equal(never.frames, plain.frames) and never.dit_passes == plain.dit_passes
    counts = never.accelerated["FirstBlockCache"]
    assert (counts["gate_asked"], counts["passes_skipped"]) == (4, 0)
    # a step on the full latent and the first of three steps on the merged latent must be computed
    counts = always.accelerated["FirstBlockCache"]
    assert (counts["gate_asked"], counts["passes_skipped"]) == (4, 2)
    assert {p.attention for p in always.dit_passes} == {1.0, 0.2}, "one of five blocks is computed in a skipped call"


@pytest.mark.parametrize("cache", [SkipCalls(2), FirstBlockCache(1e9)], ids=["SkipCalls", "FirstBlockCache"])
def test_2_a_pass_off_the_trajectory_is_plain_and_leaves_the_state_untouched(
    backbone: Backbone, spec: VideoSpec, cache: Accelerator
) -> None:
    looking = Loop(aside=True, accelerators=(cache,))
    without, aside = (generate(backbone, spec, m) for m in (accelerated(Loop, cache), looking))
    assert np.array_equal(without.frames, aside.frames) and without.accelerated == aside.accelerated
    plain = Loop(aside=True)
    generate(backbone, spec, plain)
    assert len(looking.seen) == 4 and all(torch.equal(a, b) for a, b in zip(looking.seen, plain.seen, strict=True))


def test_2_a_preview_of_two_steps_is_the_plain_one(backbone: Backbone, spec: VideoSpec) -> None:
    """A first step is always computed, so the similarities behind the schedule are those without the cache."""
    cache = SkipCalls(2)
    plain, cached = (
        generate(backbone, spec, m)
        for m in (Vgdfr(preview_steps=2, **MERGING), accelerated(Vgdfr, cache, preview_steps=2, **MERGING))  # type: ignore[arg-type]
    )
    assert plain.schedule == cached.schedule and plain.similarity and cached.similarity
    assert np.array_equal(plain.similarity.lag1, cached.similarity.lag1)
    assert cache.events[:3] == ["reset", 9, "reset"] and cached.passes == plain.passes


# 3: a stage counts as latency unless the core or the method says otherwise


@dataclass(frozen=True)
class Staged(Method):
    """Takes plain steps, and sleeps in stages of its own and outside of stages."""

    def sample(self, run: Sampling) -> Sampled:
        for name, latency in (("dance", True), ("look", False), ("borrow_schedule", True)):
            with run.stage(name, latency=latency):
                time.sleep(NAP_S)
        time.sleep(NAP_S)
        return Sampled(run.solve(run.solver.restart(run.noise), 0).x)


NAP_S = 0.05


def test_3_a_stage_that_the_core_does_not_know_counts_as_latency(backbone: Backbone, spec: VideoSpec) -> None:
    video = generate(backbone, spec, Staged())
    outside = {"encode_prompt", "decode", "interpolate", "borrow_schedule", "look"}
    assert set(video.seconds) == outside | {"dance", "denoise", "other"} and video.outside_latency == outside
    assert all(video.seconds[name] >= NAP_S for name in ("dance", "look", "borrow_schedule", "other"))
    assert video.latency_s == pytest.approx(sum(video.seconds[name] for name in ("dance", "denoise", "other")))


# 4: a new field of VideoSpec would change every key


def test_4_the_fields_of_a_video_stay() -> None:
    """A setting of one model, such as a negative prompt, belongs to that model's identity."""
    assert [f.name for f in fields(VideoSpec)] == [
        "prompt", "seed", "height", "width", "num_frames", "num_inference_steps", "guidance_scale", "flow_shift", "fps",
    ]  # fmt: skip


# 5: stored samples stay valid as long as Euler keeps its order of operations


def test_5_euler_keeps_its_order_of_operations_bit_for_bit() -> None:
    x, v = torch.randn(2, 1, 4, 9, 8, 8, generator=torch.Generator().manual_seed(0))
    euler = Euler((1.0, 0.7, 0.1, 0.0))
    for i in range(3):
        s, after = euler.sigmas[i], euler.sigmas[i + 1]
        state = euler.step(lambda *_: v, State(x), i)
        assert torch.equal(state.x, x + (after - s) * v) and state.velocity is v and state.history == ()
        assert torch.equal(euler.clean(State(x, v), i), x - s * v) and torch.equal(one_step_denoise(x, v, s), x - s * v)
    s, after = euler.sigmas[1], euler.sigmas[2]
    assert not torch.equal(x - (s * v - after * v), x + (after - s) * v), "another order gives other bits"


# 7 (6 is in test_outside.py): an accelerator that does nothing is an error, and accelerators leave nothing behind


@dataclass(frozen=True)
class Idle(Accelerator):
    """Matches no module of this DiT."""

    pattern: str = "no_such_block"

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        asked = [0]
        for name, module in transformer.named_modules():
            if self.pattern in name:
                module.register_forward_pre_hook(lambda *_: asked.__setitem__(0, asked[0] + 1))
        yield Running(lambda: None, lambda: {"gate_asked": asked[0]} if asked[0] else {})


def test_7_an_accelerator_that_was_never_asked_is_an_error(backbone: Backbone, spec: VideoSpec) -> None:
    for method in (Baseline, Loop):
        with pytest.raises(
            IdleAccelerator, match=r"Idle was applied and never decided about a call .* match no module"
        ):
            generate(backbone, spec, accelerated(method, Idle()))
    found = generate(backbone, spec, accelerated(Baseline, Idle("single_transformer_blocks.1.attn")))
    assert found.accelerated["Idle"]["gate_asked"] > 0


@dataclass(frozen=True)
class Untidy(Accelerator):
    """Leaves a forward, a hook, an attribute, a module and a parameter behind. May raise in a call or at the end."""

    raises: str = ""

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        asked = [0]
        block = next(iter(transformer.single_transformer_blocks))  # type: ignore[arg-type]
        forward = block.forward

        def worse(*args: Any, **kwargs: Any) -> Sequence[Tensor]:
            asked[0] += 1
            if self.raises == "call" and asked[0] == 2:
                raise RuntimeError("in the middle")
            return tuple(2 * out for out in forward(*args, **kwargs))

        block.forward = worse
        transformer.register_forward_hook(lambda _, __, out: (3 * out[0],))
        transformer.proj_out = nn.Sequential(transformer.proj_out)  # type: ignore[arg-type]
        transformer.leftover = 1  # type: ignore[assignment]
        if self.raises == "start":
            raise RuntimeError("at the start")
        yield Running(lambda: None, lambda: {"gate_asked": asked[0]})
        if self.raises == "end":
            raise RuntimeError("at the end")


def modules_of(backbone: Backbone) -> list[tuple[str, type, list[str], list[int]]]:
    """Returns names, classes, attributes and numbers of hooks of all modules."""
    return [
        (name, type(module), sorted(vars(module)), [len(module._forward_hooks), len(module._forward_pre_hooks)])
        for name, module in backbone.transformer.named_modules()
    ]


@pytest.mark.parametrize("raises", ["", "start", "call", "end"])
def test_7_whatever_an_accelerator_leaves_behind_changes_no_later_sample(
    backbone: Backbone, spec: VideoSpec, raises: str
) -> None:
    before, modules = generate(backbone, spec, Baseline()), modules_of(backbone)
    method = accelerated(Baseline, Untidy(raises))
    if raises:
        with pytest.raises(RuntimeError, match="in the middle" if raises == "call" else f"at the {raises}"):
            generate(backbone, spec, method)
    else:
        assert not np.array_equal(generate(backbone, spec, method).frames, before.frames)
    assert modules_of(backbone) == modules
    after = generate(backbone, spec, Baseline())
    assert np.array_equal(after.frames, before.frames) and after.dit_passes == before.dit_passes
