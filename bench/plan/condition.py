"""A condition is a model, video settings and a method. A prompt and a seed make it a sample, keyed by its content."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from bench.plan.prompts import Prompt
from vgdfr import GENERATOR_VERSION, Architecture, Baseline, Method, Model, VideoSpec
from vgdfr.assets import Asset
from vgdfr.method import calibrated, check_method, facts_of, identity_of
from vgdfr.naming import check_class, path_of, plain


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """The fields of a `VideoSpec` except the prompt and the seed."""

    height: int
    width: int
    num_frames: int
    num_inference_steps: int
    guidance_scale: float
    flow_shift: float
    fps: int

    def spec(self, prompt: str, seed: int) -> VideoSpec:
        return VideoSpec(prompt=prompt, seed=seed, **asdict(self))


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of a table: a model, video settings and a method."""

    model_name: str
    model: Model
    video: VideoSettings
    method: Method

    def check(self, here: bool = True) -> None:
        """Raises ValueError or FileNotFoundError for faults that would otherwise fail a sample. Loads no model.

        With `here` False the samples run on another machine, and the device of this machine is not checked.
        """
        self.check_classes()
        if here:
            self.model.check_machine()
        self.model.check_files()
        self.check_settings()

    def check_settings(self) -> None:
        """Raises ValueError for settings that do not fit each other or the model. Needs no weights of the model.

        Raises FileNotFoundError if the model's configuration is missing, or a file that the method needs.
        """
        self.check_classes()
        self.model.check_settings()
        if self.method.accelerators and self.model.compiles:
            raise ValueError(
                "an accelerator patches the DiT's calls, which a compiled DiT does not allow; leave out the "
                "accelerator or model.backbone.execution.compile"
            )
        self._check_kinds()
        spec, architecture = self.video.spec("a prompt", 0), self.model.architecture()
        architecture.check(spec)
        method = calibrated(self.method, self.model, spec)
        for accelerator in method.accelerators:
            accelerator.check(spec, architecture)
        method.check(spec, architecture)
        replace(self, method=method)._check_facts(spec, architecture)

    def _check_facts(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError if the method cannot give the values for its key and its record."""
        method = self.method
        asked: dict[str, Callable[[], object]] = {
            "identity": lambda: json.dumps(identity_of(method, spec)),
            "title, role and family": lambda: json.dumps(facts_of(method)),
            "layers": lambda: json.dumps(method.layers(architecture)),
            "stops": lambda: _check_stops(method.stops(), spec.num_inference_steps),
            "work": lambda: list(method.work(spec, architecture, 0.5)),
        }
        for what, ask in asked.items():
            try:
                ask()
            except OSError:
                raise  # a file that the method needs is missing or cannot be read
            except Exception as error:
                kind = f"{path_of(type(method))} cannot tell its {what}"
                raise ValueError(f"{kind}: {type(error).__name__}: {error}") from error

    def _check_kinds(self) -> None:
        """Raises ValueError for a setting that JSON or a hash cannot take. Sample keys are made of the settings."""
        for value in (self.method, *self.method.accelerators, self.model):
            for f in fields(value):
                setting = getattr(value, f.name)
                try:
                    hash(setting)
                    json.dumps(plain(setting), allow_nan=False)
                except (TypeError, ValueError) as error:
                    raise ValueError(
                        f"the setting {f.name} of {path_of(type(value))} cannot go into a sample's key ({error}): "
                        "settings must be finite numbers, words, truth values, null or lists of them"
                    ) from error

    def check_classes(self) -> None:
        """Raises ValueError unless method, accelerators and model derive from the classes of vgdfr."""
        check_method(self.method)
        check_class("model.backbone", type(self.model), Model)

    def canonical(self) -> "Condition":
        """Returns this condition with its method in canonical form, so that equal settings give the same sample.

        The accelerators hold the values of their calibrations then.
        """
        spec = self.video.spec("a prompt", 0)
        method = calibrated(self.method, self.model, spec)
        return replace(self, method=method.canonical(spec, self.model.architecture()))

    def missing(self) -> list[Asset]:
        """Returns the files to download before the condition can run."""
        return self.model.missing() + self.method.missing()

    @property
    def baseline(self) -> "Condition | None":
        """The condition that the difference metrics compare with, or None if there is nothing to compare with."""
        method = self.method
        if not method.makes_video or not (method.needs_reference or method.accelerators):
            return None
        return Condition(self.model_name, self.model, self.video, Baseline())

    @property
    def slug(self) -> str:
        """A name for people and folders: the method, then the settings that differ from their defaults."""
        return "-".join([self.method.name, *self.method.words()])

    def sample(self, prompt: Prompt, model_identity: dict[str, Any]) -> "Sample":
        """Returns the sample of this condition for `prompt`. `model_identity` is `identity_of` the model."""
        spec = self.video.spec(prompt.text, prompt.seed)
        identity: dict[str, Any] = {
            "generator_version": GENERATOR_VERSION,
            "model": model_identity,
            "method": identity_of(self.method, spec),
            "spec": asdict(spec),
        }
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return Sample(self, prompt, spec, identity, key)


def _check_stops(stops: Iterable[int], steps: int) -> None:
    for stop in stops:
        if type(stop) is not int or not 0 < stop <= steps:
            raise ValueError(f"a stop must be a whole number from 1 to the {steps} steps, got {stop!r}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample to make. `identity` holds everything that decides the pixels, and `key` is the hash of `identity`."""

    condition: Condition
    prompt: Prompt
    spec: VideoSpec
    identity: dict[str, Any]
    key: str

    @property
    def folder(self) -> str:
        """The sample's folder, relative to the study."""
        return f"{self.condition.slug}/{self.prompt.id}-s{self.prompt.seed_index}-{self.key[:8]}"
