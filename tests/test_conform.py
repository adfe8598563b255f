"""Tests a class that keeps every promise of `vgdfr.conform`, and for each promise a class that breaks it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import processes
import pytest
import torch
from processes import run
from torch import nn

from vgdfr import Accelerator, HunyuanVideo, Method, Running, Sampled, Sampling, VideoSpec, generate
from vgdfr.conform.promises import PROMISES, Finding, examine, look_at
from vgdfr.conform.report import text, values
from vgdfr.conform.trial import Ground, Trial
from vgdfr.presets import PRESETS

ROOT = Path(__file__).parent.parent
EMBEDDED = PRESETS["embedded"]
SMALL = VideoSpec(
    "a red circle stays still over sand", 0, **EMBEDDED.video
    | {"height": 32, "width": 32, "num_frames": 17, "num_inference_steps": 4},
)  # fmt: skip
BY_NAME = {promise.look.__name__: promise for promise in PROMISES}


@dataclass(frozen=True)
class SkipSteps(Method):
    """Computes the velocity in every `every`-th step, and reuses it in the steps between."""

    every: int = 2

    def sample(self, run: Sampling) -> Sampled:
        x, sigmas, v = run.noise, run.solver.sigmas, torch.zeros(())
        with run.stage("skipping"):
            for i in range(run.steps):
                if i % self.every == 0:
                    v = run.velocity(x, sigmas[i], i)
                x = x + (sigmas[i + 1] - sigmas[i]) * v
        return Sampled(x)


@dataclass(frozen=True)
class SkipCalls(Accelerator):
    """Computes the DiT in every `every`-th call, and returns its last output in the other calls."""

    every: int = 2

    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        counts = {"gate_asked": 0, "calls_skipped": 0}
        state: dict[str, Any] = {"calls": 0}
        original = transformer.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            counts["gate_asked"] += 1
            if state["calls"] % self.every == 0:
                state["output"] = original(*args, **kwargs)
            else:
                counts["calls_skipped"] += 1
            state["calls"] += 1
            return state["output"]

        transformer.forward = forward
        yield Running(lambda: state.update(calls=0), lambda: counts)


def skipped(method: SkipSteps, run: Sampling) -> torch.Tensor:
    latents = SkipSteps.sample(method, run).latents
    assert latents is not None
    return latents


class Undecorated(SkipSteps):
    pass


@dataclass(frozen=True)
class Drifting(SkipSteps):
    """Its record gives back another value."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "every", self.every + 1)


@dataclass(frozen=True)
class NoJson(SkipSteps):
    weights: Any = torch.float32


@dataclass(frozen=True)
class NoVideo(SkipSteps):
    """Makes no video but does not say so."""

    def sample(self, run: Sampling) -> Sampled:
        return Sampled(None, data={"error": 0.0})


@dataclass(frozen=True)
class NeverAsked(Accelerator):
    @contextmanager
    def applied(self, transformer: nn.Module) -> Iterator[Running]:
        yield Running(lambda: None, lambda: {"gate_asked": 0})


@dataclass(frozen=True)
class LeavesHook(SkipSteps):
    """Removes its hook only if no exception comes."""

    def sample(self, run: Sampling) -> Sampled:
        decoder: Any = run.backbone.codec.vae.decoder  # type: ignore[attr-defined]  # of the DiT all is put back
        handle = decoder.register_forward_hook(lambda *_: None)
        sampled = super().sample(run)
        handle.remove()
        return sampled


@dataclass(frozen=True)
class ScalesWeights(SkipSteps):
    """Changes a weight in place, which no attribute shows."""

    def sample(self, run: Sampling) -> Sampled:
        run.backbone.transformer.get_parameter("proj_out.weight").mul_(1.5)
        return super().sample(run)


@dataclass(frozen=True)
class GlobalRandom(SkipSteps):
    def sample(self, run: Sampling) -> Sampled:
        return Sampled(skipped(self, run) + 0.01 * torch.randn(run.noise.shape))


@dataclass(frozen=True)
class FirstNoise(SkipSteps):
    """Reuses the noise of the first sample in all later samples."""

    first: ClassVar[list[torch.Tensor]] = []

    def sample(self, run: Sampling) -> Sampled:
        self.first.append(run.noise)
        return Sampled(skipped(self, run) + 0.01 * self.first[0])


@dataclass(frozen=True)
class InPlace(SkipSteps):
    """Changes a part that other samples share."""

    def sample(self, run: Sampling) -> Sampled:
        return Sampled(run.baseline(run.steps).x.mul_(0.9))


@dataclass(frozen=True)
class ShortKey(SkipSteps):
    """Has a setting that decides the value and is missing in the key."""

    def sample(self, run: Sampling) -> Sampled:
        return run.once("skipping", ("sampled",), lambda: SkipSteps.sample(self, run))


@dataclass(frozen=True)
class NeverPlain(SkipSteps):
    def sample(self, run: Sampling) -> Sampled:
        return Sampled(skipped(self, run) * 1.01)


@dataclass(frozen=True)
class Remembers(SkipSteps):
    """Needs in its fill the state that its loop left behind."""

    brightness: ClassVar[list[float]] = [0.0]

    def sample(self, run: Sampling) -> Sampled:
        self.brightness[0] = 0.1
        return super().sample(run)

    def fill(self, frames: Any, schedule: Any, spec: Any) -> Any:
        return super().fill(frames + self.brightness[0], schedule, spec)


@dataclass(frozen=True)
class OneLength(SkipSteps):
    """Supports only one number of latent frames, and has no check for that."""

    def sample(self, run: Sampling) -> Sampled:
        return Sampled(skipped(self, run) + torch.zeros(1, 1, 5, 1, 1))


@dataclass(frozen=True)
class Shorter(SkipSteps):
    """Leaves frames out of the video."""

    def fill(self, frames: Any, schedule: Any, spec: Any) -> Any:
        return super().fill(frames, schedule, spec)[:16]


class Case(NamedTuple):
    """A class to try: its path (in this module unless it names a package), neutral settings, and settings."""

    path: str
    neutral: tuple[str, ...]
    settings: dict[str, Any]

    def on(self, ground: Ground) -> Trial:
        path = self.path if self.path.startswith("vgdfr.") else f"{__name__}.{self.path}"
        return Trial(path, self.settings, values(self.neutral), ground)


def case(path: str, neutral: tuple[str, ...] = (), **settings: Any) -> Case:
    return Case(path, neutral, settings)


@pytest.fixture(scope="module")
def ground(tiny_checkpoint: Path) -> Ground:
    """Returns the small random model. Its samples take a third of the time of the embedded model's."""
    processes.start_server()  # this process has imported more than a process of `vgdfr.conform`
    return Ground(HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu"), SMALL)


@pytest.mark.parametrize(
    "tried", [case("vgdfr.Vgdfr", ("theta=1.0",), k=2, theta=0.5), case("SkipCalls", ("every=1",))]
)
def test_classes_that_keep_every_promise(tried: Case, ground: Ground) -> None:
    findings = list(examine(tried.on(ground)))
    assert [f.promise for f in findings] == [promise.name for promise in PROMISES]
    assert not [f for f in findings if f.verdict != "ok"]


@pytest.mark.parametrize(
    "tried",
    [
        case("vgdfr.Baseline"),
        case("vgdfr.FewerSteps", steps=2),
        case("vgdfr.RopeProxy", k=2, theta=0.5),
        case("vgdfr.Interpolated", k=2, theta=0.5),
        case("SkipSteps", ("every=1",)),
    ],
)
def test_classes_that_keep_those_that_take_no_other_process(tried: Case, ground: Ground) -> None:
    here = tuple(p for name, p in BY_NAME.items() if name not in ("repeats", "rebuilds"))
    assert not [f for f in examine(tried.on(ground), here) if f.verdict == "BROKEN"]


@pytest.mark.parametrize(
    ("promise", "tried", "seen"),
    [
        ("well_formed", case("nothing_there"), "there is no class"),
        ("well_formed", case("Path"), "derives neither from vgdfr.Method nor from vgdfr.Accelerator"),
        ("well_formed", case("Undecorated"), "is no dataclass of its own"),
        ("well_formed", case("Drifting"), "does not equal Drifting"),
        ("well_formed", case("NoJson"), "cannot be written as JSON: Object of type dtype"),
        ("well_formed", case("SkipSteps", other=1), "unexpected keyword argument 'other'"),
        ("makes_a_sample", case("NoVideo"), "set makes_video=False"),
        ("makes_a_sample", case("Shorter"), "frames must be uint8 of (17, 32, 32, 3), got uint8 of (16, 32, 32, 3)"),
        ("makes_a_sample", case("NeverAsked"), "NeverAsked was applied and never decided about a call"),
        ("makes_a_sample", case("vgdfr.Vgdfr", k=4, theta=0.5), "check refuses the video: k must be below"),
        (
            "leaves_the_backbone",
            case("LeavesHook"),
            "after an exception in DiT pass 1 of 2 of test_conform.LeavesHook these are changed: "
            "vae.decoder._forward_hooks",
        ),
        ("leaves_the_backbone", case("ScalesWeights"), "made after an exception differs: latents differ by up to"),
        (
            "repeats",
            case("GlobalRandom"),
            "two samples of test_conform.GlobalRandom differ: latents differ by up to 0.",
        ),
        ("repeats", case("FirstNoise"), "differs from the same sample made first in a new process: latents differ"),
        ("shares", case("InPlace"), "after test_conform.InPlace the sample of baseline differs: latents differ by"),
        (
            "shares",
            case("ShortKey", ("every=1",)),
            "the sample of test_conform.ShortKey.every=1 differs: latents differ",
        ),
        ("neutral_is_plain", case("NeverPlain", ("every=1",)), "differs from the sample of baseline: latents differ"),
        (
            "rebuilds",
            case("Remembers"),
            "from the latents of test_conform.Remembers are others: frames differ by up to",
        ),
        ("fits_or_refuses", case("OneLength"), "32x32, 5 frames, 4 steps passes check and raises RuntimeError: The"),
    ],
    ids=lambda value: value.path.rpartition(".")[2] if isinstance(value, Case) else None,
)
def test_a_broken_promise_is_named_with_what_was_seen(promise: str, tried: Case, ground: Ground, seen: str) -> None:
    trial = tried.on(Ground(ground.model, SMALL) if tried.path == "ScalesWeights" else ground)
    if promise != "well_formed":
        assert look_at(trial, BY_NAME["well_formed"]).verdict == "ok"
    if promise not in ("well_formed", "makes_a_sample"):
        assert look_at(trial, BY_NAME["makes_a_sample"]).verdict == "ok"
    found = look_at(trial, BY_NAME[promise])
    assert found.verdict == "BROKEN" and seen in found.said, found
    assert found.said.endswith(BY_NAME[promise].advice)


def test_an_exception_is_told_with_the_authors_line(ground: Ground) -> None:
    found = look_at(case("OneLength").on(ground), BY_NAME["fits_or_refuses"])
    line = next(i for i, each in enumerate(Path(__file__).read_text().splitlines(), 1) if "zeros(1, 1, 5" in each)
    assert f"({__file__}:{line})" in found.said


def test_what_a_promise_cannot_be_seen_of_is_neither_kept_nor_broken(ground: Ground) -> None:
    unseen = {
        ("neutral_is_plain", "SkipSteps"): "give --neutral KEY=VALUE, the settings",
        ("neutral_is_plain", "vgdfr.RopeProxy"): "it makes no video",
        ("rebuilds", "vgdfr.RopeProxy"): "it makes no video",
    }
    for (promise, path), said in unseen.items():
        tried = case(path, **({"k": 2, "theta": 0.5} if path.startswith("vgdfr") else {})).on(ground)
        found = look_at(tried, BY_NAME[promise])
        assert found.verdict == "not checked" and found.said.startswith(said), found


def test_what_it_computed_is_said(ground: Ground) -> None:
    said = look_at(case("SkipSteps").on(ground), BY_NAME["makes_a_sample"]).said.splitlines()
    assert "2 x 1 DiT pass on 5x4x4 latents, computing 100% of attention and 100% of feed-forward" in said
    assert "DiT work: 0.50 of the baseline's, in FLOPs" in said
    assert any(line.startswith("latency ") and ", other " in line and "skipping " in line for line in said)
    assert "not in the latency: decode, encode_prompt, interpolate" in said
    assert (
        "warning: no DiT work was saved"
        in look_at(case("SkipSteps", every=1).on(ground), BY_NAME["makes_a_sample"]).said
    )
    assert (
        "SkipCalls: gate_asked 4, calls_skipped 2"
        in look_at(case("SkipCalls").on(ground), BY_NAME["makes_a_sample"]).said
    )


def test_without_a_sample_the_rest_is_not_checked(ground: Ground) -> None:
    verdicts = [finding.verdict for finding in examine(case("NeverAsked").on(ground))]
    assert verdicts == ["ok", "BROKEN"] + 6 * ["not checked"]


def test_an_accelerators_check_is_asked_before_anything_is_made(ground: Ground) -> None:
    @dataclass(frozen=True)
    class Choosy(SkipCalls):
        def check(self, spec: VideoSpec, architecture: object) -> None:
            raise ValueError("not this video")

    tried = case("vgdfr.Baseline", accelerators=(Choosy(),)).on(ground)
    with pytest.raises(ValueError, match="not this video"):
        generate(ground.backbone, SMALL, tried.methods[0])


def test_settings_are_json_or_words() -> None:
    found = values(["a=2", "b=0.5", "c=word", "d=[1, 2]", "e=null", "f=true", "g=a=b"])
    assert found == {"a": 2, "b": 0.5, "c": "word", "d": (1, 2), "e": None, "f": True, "g": "a=b"}
    with pytest.raises(ValueError, match="settings must be KEY=VALUE, got every"):
        values(["every"])
    assert text(Finding("a promise", "BROKEN", "seen\nadvice")) == "BROKEN       a promise: seen\n               advice"


def test_the_command_finds_a_class_in_the_current_folder_and_fails_where_a_promise_is_broken(tmp_path: Path) -> None:
    (tmp_path / "my_pkg.py").write_text(
        "import torch\nfrom dataclasses import dataclass\nfrom vgdfr import Method, Sampled\n\n"
        "@dataclass(frozen=True)\nclass Noisy(Method):\n    amount: float = 0.01\n    def sample(self, run):\n"
        "        x = run.baseline(run.steps).x\n        return Sampled(x + self.amount * torch.randn(x.shape))\n"
    )
    small = ["--height=32", "--width=32", "--num-frames=17", "--num-inference-steps=4"]
    here = f"import os, sys; os.chdir({str(tmp_path)!r}); sys.path.insert(0, {str(tmp_path)!r})"  # as python -m does
    done = run("vgdfr.conform", "my_pkg.Noisy", "amount=0.02", "--neutral", "amount=0", *small, before=here)
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done
    assert lines[0] == "my_pkg.Noisy amount=0.02 on the embedded model, 32x32, 17 frames, 4 steps"
    verdicts = {line[13:].partition(":")[0]: line[:11].strip() for line in lines[1:-1] if not line.startswith(" ")}
    assert {name for name, verdict in verdicts.items() if verdict != "ok"} == {
        "the backbone is as before", "same bits twice", "same bits with what other samples share"
    }, done  # fmt: skip
    assert set(verdicts) == {promise.name for promise in PROMISES}
    assert lines[-1] == "5 ok, 3 BROKEN"
