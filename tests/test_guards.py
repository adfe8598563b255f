"""The core guards against mistakes of the authors of methods, accelerators and models."""

import json
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from bench.work.records import mean_share_of_tokens
from vgdfr import (
    Accelerator,
    Backbone,
    Baseline,
    HunyuanVideo,
    Method,
    RopeProxy,
    Running,
    Sampled,
    Sampling,
    Vgdfr,
    VideoSpec,
    generate,
)
from vgdfr.backbones.base import model_of
from vgdfr.backbones.checkpoint import Checkpoint
from vgdfr.backbones.execution import Execution
from vgdfr.conform.__main__ import parse
from vgdfr.conform.report import main as conform
from vgdfr.method import check_method
from vgdfr.methods import method_of
from vgdfr.presets import PRESETS

Loop = Callable[[Sampling], Sampled]


@dataclass(frozen=True)
class Given(Method):
    """A method with a loop that a test gives."""

    loop: ClassVar[Loop]

    def sample(self, run: Sampling) -> Sampled:
        return type(self).loop(run)


def made(backbone: Backbone, spec: VideoSpec, loop: Loop, method: Method | None = None) -> Any:
    Given.loop = staticmethod(loop)  # type: ignore[assignment]
    return generate(backbone, spec, method or Given())


@dataclass(frozen=True)
class Patched(Accelerator):
    """An accelerator that counts calls. `change` may do more to the transformer."""

    size: int = 1
    change: ClassVar[Callable[[nn.Module], None]] = staticmethod(lambda transformer: None)
    held: ClassVar[list[Any]] = []

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        forward, state = transformer.forward, {"asked": 0, "tensor": None}

        def counted(*args: Any, **kwargs: Any) -> Any:
            state["asked"] += 1
            state["tensor"] = torch.zeros(self.size)
            self.held.append(weakref.ref(state["tensor"]))
            return forward(*args, **kwargs)

        transformer.forward = counted
        type(self).change(transformer)
        yield Running(lambda: state.update(tensor=None), lambda: {"gate_asked": state["asked"]})


@pytest.fixture(autouse=True)
def plain_patch() -> Iterator[None]:
    yield
    Patched.change = staticmethod(lambda transformer: None)  # type: ignore[assignment]
    Patched.held.clear()


def test_a_dit_that_is_called_past_the_counter_is_refused(backbone: Backbone, spec: VideoSpec) -> None:
    def past(run: Sampling) -> Sampled:
        velocity = run.backbone.velocity(run.spec)
        return Sampled(run.noise - velocity(run.noise, 1.0))

    with pytest.raises(RuntimeError, match=r"called past the counter; a method calls it by run.velocity"):
        made(backbone, spec, past)
    assert backbone.velocity(spec)(backbone.noise(spec), 1.0).isfinite().all(), "outside a loop it may be called"


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        (lambda run: Sampled(None), "gave no latents; set makes_video=False"),
        (lambda run: run.noise, "must return a vgdfr.Sampled, got a Tensor"),
        (lambda run: Sampled(run.baseline(4).x[:, :, :3]), r"frames must be uint8 of \(33, 32, 32, 3\), got uint8 of"),
    ],
)
def test_what_is_not_the_video_asked_for_is_refused(
    backbone: Backbone, spec: VideoSpec, loop: Loop, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(backbone, spec, loop)


def test_no_stage_takes_time_out_of_the_latency_by_its_name(backbone: Backbone, spec: VideoSpec) -> None:
    def both(run: Sampling) -> Sampled:
        with run.stage("denoise", latency=False):
            pass
        return Sampled(run.solve(run.baseline(0), 0).x)

    def decode(run: Sampling) -> Sampled:
        with run.stage("decode"):
            return Sampled(run.baseline(run.steps).x)

    with pytest.raises(ValueError, match="denoise was opened as latency and with latency=False"):
        made(backbone, spec, both)
    with pytest.raises(ValueError, match="decode is a stage around the loop"):
        made(backbone, spec, decode)


def test_a_part_that_failed_is_not_missed_by_a_loop_that_goes_on(backbone: Backbone, spec: VideoSpec) -> None:
    def goes_on(run: Sampling) -> Sampled:
        with pytest.raises(ZeroDivisionError):
            run.once("try", ("part",), lambda: 1 / 0)
        return Sampled(run.baseline(run.steps).x)

    assert np.array_equal(made(backbone, spec, goes_on).frames, generate(backbone, spec, Baseline()).frames)


def test_accelerators_hold_nothing_while_the_video_is_decoded(backbone: Backbone, spec: VideoSpec) -> None:
    alive: list[int] = []

    @dataclass(frozen=True)
    class Looking(Baseline):
        def fill(self, frames: Any, schedule: Any, spec: VideoSpec) -> Any:
            alive.append(sum(ref() is not None for ref in Patched.held))
            return super().fill(frames, schedule, spec)

    generate(backbone, spec, Looking(accelerators=(Patched(),)))
    assert len(Patched.held) == 4 and alive == [0]


def test_kernels_and_modules_that_an_accelerator_changes_are_put_back(backbone: Backbone, spec: VideoSpec) -> None:
    def change(transformer: Any) -> None:
        transformer.set_attention_backend("_native_math")
        transformer.my_cache = nn.Identity()

    before = generate(backbone, spec, Vgdfr(k=2, theta=0.01))
    processors = [m.processor for m in backbone.transformer.modules() if hasattr(m, "processor")]
    kernels = [vars(processor).copy() for processor in processors]
    Patched.change = staticmethod(change)  # type: ignore[assignment]
    # the preview's pass and the proxy's passes are off the trajectory, under DyRoPE
    generate(backbone, spec, Vgdfr(k=2, theta=0.01, preview_steps=2, accelerators=(Patched(),)))
    errors = generate(backbone, spec, replace(RopeProxy(k=2, theta=0.01), accelerators=(Patched(),)))
    plain = generate(backbone, spec, RopeProxy(k=2, theta=0.01)).data
    assert errors.data is not None and plain is not None
    assert errors.data["only"] == pytest.approx(plain["only"], rel=1e-4), "only the k steps before use other kernels"
    assert [vars(processor) for processor in processors] == kernels
    assert not hasattr(backbone.transformer, "my_cache")
    assert np.array_equal(generate(backbone, spec, Vgdfr(k=2, theta=0.01)).frames, before.frames)


def test_what_a_loop_changes_of_the_dit_is_put_back(backbone: Backbone, spec: VideoSpec) -> None:
    def leaves(run: Sampling) -> Sampled:
        run.backbone.transformer.leftover = 1  # type: ignore[assignment]
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        made(backbone, spec, leaves)
    assert not hasattr(backbone.transformer, "leftover")


SPEC = VideoSpec("p", 0, 64, 64, 33, 8, 1.0, 1.0, 12)
VIDEO = VideoSettings(64, 64, 33, 8, 1.0, 1.0, 12)


def sample_of(method: Method) -> Any:
    return Condition("a", HunyuanVideo("x"), VIDEO, method).sample(Prompt("p", "p", 0), {})


@dataclass(frozen=True)
class OwnIdentity(Method):
    version: ClassVar[int] = 3

    def identity(self, spec: VideoSpec) -> dict[str, Any]:
        return {"weights": "abc"}

    def sample(self, run: Sampling) -> Sampled:
        return Sampled(None)


def test_a_method_cannot_leave_its_origin_or_its_accelerators_out_of_its_key() -> None:
    plain, patched, other = (
        sample_of(method)
        for method in (OwnIdentity(), OwnIdentity(accelerators=(Patched(),)), OwnIdentity(accelerators=(Patched(2),)))
    )
    assert plain.identity["method"] == {"weights": "abc", "name": f"{__name__}.OwnIdentity", "version": 3}
    assert len({plain.key, patched.key, other.key}) == 3


def test_an_accelerated_method_is_read_back_from_its_record() -> None:
    method = Vgdfr(k=2, theta=0.5, accelerators=(Patched(3),))
    assert method_of(json.loads(json.dumps(method.settings()))) == method


def test_settings_that_would_hide_something_are_refused() -> None:
    @dataclass(frozen=True)
    class Hides(Method):
        layers: int = 1  # type: ignore[assignment]

        def sample(self, run: Sampling) -> Sampled:
            return Sampled(None)

    @dataclass(frozen=True)
    class Named(Method):
        version: int = 1  # type: ignore[misc]

        def sample(self, run: Sampling) -> Sampled:
            return Sampled(None)

    for method, name in ((Hides(), "layers"), (Named(), "version")):
        with pytest.raises(ValueError, match=rf"in which the setting {name} hides an attribute of vgdfr.Method"):
            check_method(method)


def test_what_makes_no_video_has_no_baseline() -> None:
    for accelerators in ((), (Patched(),)):
        method = replace(RopeProxy(k=2, theta=0.5), accelerators=accelerators)
        assert Condition("a", HunyuanVideo("x"), VIDEO, method).baseline is None
    assert Condition("a", HunyuanVideo("x"), VIDEO, Baseline(accelerators=(Patched(),))).baseline is not None


@dataclass(frozen=True)
class Other(Checkpoint):
    def architecture(self) -> Any:
        raise NotImplementedError

    def load(self) -> Any:
        raise NotImplementedError

    def load_codec(self) -> Any:
        raise NotImplementedError


def test_a_model_from_outside_is_restored_as_what_it_was() -> None:
    model = Other("somewhere", execution=Execution(offload="blocks"), vae_dtype="float32")
    recorded = json.loads(json.dumps(model.loaded_from()))
    assert model_of(recorded, {}, HunyuanVideo) == model


def test_tokens_of_a_method_without_a_schedule_are_those_that_its_passes_saw(
    backbone: Backbone, spec: VideoSpec
) -> None:
    def fewer(run: Sampling) -> Sampled:
        with run.stage("draft"):
            run.velocity(run.noise[:, :, :3], 1.0)  # a pass on a third of the latent frames
        return Sampled(run.baseline(run.steps).x)

    assert mean_share_of_tokens(made(backbone, spec, fewer)) == pytest.approx((4 + 1 / 3) / 5)
    assert mean_share_of_tokens(generate(backbone, spec, Baseline())) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vgdfr.Nothing"], "there is no class Nothing in vgdfr"),
        (["vgdfr.Vgdfr", "kk=2"], "vgdfr.Vgdfr has no setting kk; it has accelerators, anchor, denoise_renoise, "),
        (["vgdfr.Vgdfr", "k=2", "--neutral", "thet=1"], "has no setting thet"),
    ],
)
def test_a_slip_in_the_arguments_of_conform_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conform(parse(arguments))


def test_two_accelerators_of_one_title_are_refused() -> None:
    other = type("Patched", (Patched,), {"__module__": "elsewhere"})
    with pytest.raises(ValueError, match="must have different titles, got Patched, Patched"):
        check_method(Baseline(accelerators=(Patched(), other())))


@dataclass(frozen=True)
class Any1(Given):
    first: int = 1
    second: Any = 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": 1}, [1], torch.float32, Path("here")])
def test_a_setting_that_no_key_can_hold_is_named(value: Any) -> None:
    model = PRESETS["embedded"].model
    with pytest.raises(ValueError, match=r"the setting second of .*Any1 cannot go into a sample's key"):
        Condition("embedded", model, VIDEO, Any1(second=value)).check_settings()


def test_a_setting_named_as_one_of_ours_is_no_ratio_that_was_asked_for() -> None:
    @dataclass(frozen=True)
    class Searches(Given):
        search: str = "released"
        token_ratio: float = 0.5

    assert Searches().asked() == {} and Baseline().asked() == {}
    asked = [Vgdfr(k=1, schedule="token_ratio", token_ratio=0.5, search=how).asked() for how in ("exact", "released")]
    assert asked == [{"token_ratio_asked": 0.5}, {"frame_ratio_asked": 0.5}]
