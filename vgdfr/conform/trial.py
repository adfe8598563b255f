"""A trial: the class and its settings, the samples made with it, and the comparison of two samples."""

import json
import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from vgdfr.accelerator import Accelerator, Snapshot, parts_of, put_back, snapshot
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone, Model
from vgdfr.backbones.hunyuan_video import hide_loading_bars
from vgdfr.generation import frames_of, generate
from vgdfr.method import Method
from vgdfr.methods import Baseline, FewerSteps, Vgdfr, method_of
from vgdfr.naming import class_at
from vgdfr.schedule import FrameSchedule, Segment
from vgdfr.video import GeneratedVideo, VideoSpec

T = TypeVar("T")
MERGES = Vgdfr(k=2, theta=0.5)  # changes the DiT's token count in the middle of the trajectory
SHOWN = 3  # changes that a message names


class Outcome(NamedTuple):
    """The parts of a sample that must be the same bits each time the sample is made."""

    latents: np.ndarray | None
    frames: np.ndarray | None
    schedule: FrameSchedule | None
    data: str


def outcome_of(video: GeneratedVideo) -> Outcome:
    """Returns the parts of `video` that are compared."""
    latents = None if video.latents is None else video.latents.numpy()
    return Outcome(latents, video.made, video.schedule, json.dumps(video.data, sort_keys=True))


def difference(one: Outcome, other: Outcome) -> str | None:
    """Returns the differences of two samples as the end of a sentence, or None if they are the same bits."""
    found = []
    for name in ("latents", "frames"):
        a, b = getattr(one, name), getattr(other, name)
        if a is None or b is None or a.shape != b.shape:
            if a is not b:
                found.append(f"{name} are {_shape(a)} and {_shape(b)}")
        elif a.tobytes() != b.tobytes():
            found.append(f"{name} differ by up to {np.abs(a.astype(np.float64) - b.astype(np.float64)).max():.3g}")
    found += [f"the {name} differs" for name in ("schedule", "data") if getattr(one, name) != getattr(other, name)]
    return ", ".join(found) or None


def _shape(array: np.ndarray | None) -> str:
    return "not there" if array is None else "x".join(map(str, array.shape))


@dataclass(frozen=True)
class Ground:
    """A model and a video to try classes on, with the state of the model before any sample of a class."""

    model: Model
    spec: VideoSpec

    @cached_property
    def backbone(self) -> Backbone:
        hide_loading_bars()
        if text := self.model.text():
            text.embed([self.spec.prompt])
        return self.model.load()

    @cached_property
    def others(self) -> list[tuple[Method, Outcome]]:
        """Returns other methods with their samples. The baseline comes first."""
        steps = self.spec.num_inference_steps
        return [(method, self.made(method)) for method in (Baseline(), FewerSteps(steps - 1), MERGES)]

    @cached_property
    def untouched(self) -> Snapshot:
        """Returns the backbone's attributes, hooks and forwards as they are at the first use."""
        return snapshot(self._parts())

    @property
    def other_seed(self) -> VideoSpec:
        return replace(self.spec, seed=self.spec.seed + 1)

    def made(self, method: Method, spec: VideoSpec | None = None, shared: Shared | None = None) -> Outcome:
        """Makes a sample and returns its outcome."""
        return outcome_of(generate(self.backbone, spec or self.spec, method, shared))

    def changes(self) -> list[str]:
        """Returns the names of the backbone's changed attributes, and restores them."""
        names = {}
        for name, owner in owners(self.backbone).items():
            names[id(vars(owner))] = name
            names |= {id(value): f"{name}.{each}" for each, value in vars(owner).items() if isinstance(value, dict)}
        found = put_back(self.untouched, self._parts())
        return [".".join(part for part in (names.get(id(p.owner)), p.name) if isinstance(part, str)) for p in found]

    def _parts(self) -> list[Any]:
        """Returns the objects that a class could change, including the objects that diffusers attaches to modules."""
        found = (*owners(self.backbone).values(), *parts_of(self.backbone.transformer))
        return list({id(each): each for each in found}.values())


@dataclass(frozen=True)
class Trial:
    """A class with its settings, and the ground to try it on.

    path: the class's dotted path.
    neutral: changes of `settings` with which the class merges and skips nothing; empty if they are not known.
    """

    path: str
    settings: Mapping[str, Any]
    neutral: Mapping[str, Any]
    ground: Ground

    @cached_property
    def kind(self) -> type:
        return class_at(self.path)

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        """Returns the method with its settings, or the methods that carry the accelerator."""
        return carried(self.kind(**self.settings))

    @cached_property
    def neutral_methods(self) -> tuple[Method, ...]:
        """Returns the methods with the neutral settings; empty if these are not known."""
        return carried(self.kind(**{**self.settings, **self.neutral})) if self.neutral else ()

    @cached_property
    def alone(self) -> list[GeneratedVideo]:
        """Returns the sample of each method, made alone."""
        return [generate(self.ground.backbone, self.ground.spec, method) for method in self.methods]

    @property
    def outcomes(self) -> list[tuple[Method, Outcome]]:
        return [(method, outcome_of(video)) for method, video in zip(self.methods, self.alone, strict=True)]

    def describe_error(self, error: Exception) -> str:
        """Returns an exception as text, with the last place in the author's module that it passed through, if any."""
        home = getattr(sys.modules.get(self.path.rpartition(".")[0]), "__file__", None)
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((f for f in reversed(frames) if f.filename == home), frames[-1])
        return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"


def carried(subject: Method | Accelerator) -> tuple[Method, ...]:
    """Returns the method itself, or two methods that carry the accelerator; one of them changes the token count."""
    if isinstance(subject, Accelerator):
        return tuple(replace(method, accelerators=(subject,)) for method in (Baseline(), MERGES))
    return (subject,)


def described(method: Method) -> str:
    """Returns the method's name and settings in short, for messages."""
    return ".".join([method.name, *method.words()])


def owners(backbone: Backbone) -> dict[str, Any]:
    """Returns, by name, the backbone, its codec, and every module of the DiT and the VAE."""
    found: dict[str, Any] = {"backbone": backbone, "codec": backbone.codec}
    for root, module in {"transformer": backbone.transformer, **_networks(backbone)}.items():
        found |= {".".join(filter(None, (root, name))): each for name, each in module.named_modules()}
    return found


def _networks(backbone: Backbone) -> dict[str, nn.Module]:
    return {name: value for name, value in vars(backbone.codec).items() if isinstance(value, nn.Module)}


class Interrupted(Exception):
    """Raised inside the model on purpose."""


@contextmanager
def interrupted_dit(backbone: Backbone, at: int) -> Iterator[None]:
    """Within the block the DiT's forward number `at`, counted from 1, raises in a middle layer.

    If that layer is idle, the forward raises at its end. The block ends quietly with this exception.
    """
    leaves = backbone.leaves()
    middle = [leaves[len(leaves) // 2].module] if leaves else []
    with _interrupted([backbone.transformer], middle, at, [backbone.transformer]):
        yield


@contextmanager
def interrupted_vae(backbone: Backbone) -> Iterator[None]:
    """Within the block a layer inside the VAE raises. The block ends quietly with this exception."""
    leaves = [m for network in _networks(backbone).values() for m in network.modules() if not list(m.children())]
    with _interrupted(leaves, leaves, 10, []):
        yield


@contextmanager
def _interrupted(
    counted: Sequence[nn.Module], raising: Sequence[nn.Module], at: int, at_end_of: Sequence[nn.Module]
) -> Iterator[None]:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    def stop(*_: object) -> None:
        if calls == at:
            raise Interrupted("raised on purpose, to see which changes are left behind")

    handles = [module.register_forward_pre_hook(count) for module in counted]
    handles += [module.register_forward_pre_hook(stop) for module in raising]
    handles += [module.register_forward_hook(stop) for module in at_end_of]
    try:
        yield
    except Interrupted:
        pass
    finally:
        for handle in handles:
            handle.remove()


def in_new_process(function: Callable[..., T], *arguments: Any) -> T:
    """Returns the result of `function` in a new process, with as many threads as this process has.

    The process is forked from a server that has imported this module and the model's, and has made no sample. Each new
    process therefore saves the seconds that the imports of PyTorch and diffusers take.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "vgdfr.backbones.hunyuan_backbone", "vgdfr.backbones.text"])
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        return pool.submit(function, *arguments).result()


def made_first(model: Model, spec: VideoSpec, methods: Sequence[str]) -> list[Outcome]:
    """Returns the samples of methods, given as settings in JSON, on a newly loaded model."""
    ground = Ground(model, spec)
    return [ground.made(method_of(json.loads(settings))) for settings in methods]


def recorded(method: Method, schedule: FrameSchedule | None, spec: VideoSpec) -> str:
    """Returns a record's facts about a method and a schedule, in JSON."""
    segments = schedule and [[s.start, s.length, s.factor] for s in schedule.segments]
    return json.dumps([method.settings(), segments, schedule and schedule.frames_per_latent, asdict(spec)])


def rebuilt(model: Model, records: Sequence[tuple[np.ndarray, str]]) -> list[np.ndarray]:
    """Returns the frames of each sample, rebuilt from its latents and from the JSON of `recorded`."""
    hide_loading_bars()
    codec, made = model.load_codec(), []
    for latents, written in records:
        settings, segments, group, spec = json.loads(written)
        schedule = segments and FrameSchedule(tuple(Segment(*each) for each in segments), group)
        made.append(frames_of(codec, torch.from_numpy(latents), method_of(settings), schedule, VideoSpec(**spec)))
    return made
