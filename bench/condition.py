"""A condition is model x method x settings; with a prompt and a seed it is a sample, whose key is its content."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.prompts import Prompt
from vgdfr import GENERATOR_VERSION, Baseline, HunyuanVideo, Method, RopeProxy, Vgdfr, VideoSpec, rife
from vgdfr.assets import Asset
from vgdfr.denoise import released_preview_steps
from vgdfr.dyrope import shortest_name
from vgdfr.files import sha256_of_weights
from vgdfr.method import refuse_unknown


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """Everything of a `VideoSpec` but its prompt and seed."""

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
    """One row of a table: a model, how videos look, and a method."""

    model_name: str
    model: HunyuanVideo
    video: VideoSettings
    method: Method | RopeProxy

    def check(self, here: bool = True) -> None:
        """Raise ValueError or FileNotFoundError for whatever would fail later, without loading the model.

        Unless it is to run `here`, this machine need not have the device.
        """
        self.check_classes()
        if here:
            self.model.check_machine()
        self.model.check_folder()
        self.check_settings()

    def check_settings(self) -> None:
        """Raise ValueError for settings that do not fit each other or the model; needs its configuration alone.

        Raises FileNotFoundError where nothing else is wrong and the interpolator's weights are not there.
        """
        self.check_classes()
        self.model.check_settings()
        self.method.check(self.video.spec("a prompt", 0), self.model.num_layers(), self.model.num_spatial_levels())

    def check_classes(self) -> None:
        """Raise ValueError for a method or a model of a class that nothing here knows."""
        refuse_unknown(self.method, RopeProxy)
        if not isinstance(self.model, HunyuanVideo):
            kind = type(self.model)
            raise ValueError(
                f"model.backbone must be a vgdfr.HunyuanVideo, or of a class of your own that derives from it, got a "
                f"{kind.__module__}.{kind.__qualname__}"
            )

    def canonical(self) -> "Condition":
        """This condition with its layers of Global-RoPE written in one way, so that equal sets are the same sample."""
        if not isinstance(self.method, Vgdfr):
            return self
        layers = shortest_name(self.method.global_layers, self.model.num_layers())
        return replace(self, method=replace(self.method, global_layers=layers))

    def missing(self) -> list[Asset]:
        """Files to download before it can run."""
        pinned_rife = isinstance(self.method, Vgdfr) and self.method.interpolator == "rife"
        return self.model.missing() + (
            rife.missing() if pinned_rife and self.method.interpolator_weights is None else []
        )

    @property
    def baseline(self) -> "Condition":
        """The condition that this one's difference metrics refer to."""
        return Condition(self.model_name, self.model, self.video, Baseline())

    @property
    def slug(self) -> str:
        """A name for people and folders: the method, k and theta, then what differs from its defaults."""
        parts = [type(self.method).__name__.lower()]
        for f in fields(self.method):
            value = getattr(self.method, f.name)
            if f.name == "interpolator_weights" and value:
                value = sha256_of_weights(Path(value))[:8]
            if value != f.default:
                text = ".".join(str(v) for v in value) if isinstance(value, tuple) else str(value).lower()
                parts.append(f"{f.name}{'' if f.name in ('k', 'theta') else '='}{text or 'none'}")
        return "-".join(parts)

    def sample(self, prompt: Prompt, model_identity: dict[str, Any]) -> "Sample":
        """The sample of this condition for `prompt`; `model_identity` is what `self.model.identity()` returns."""
        spec = self.video.spec(prompt.text, prompt.seed)
        identity: dict[str, Any] = {
            "generator_version": GENERATOR_VERSION,
            "model": model_identity,
            "method": _pixels_of(self.method, spec.num_inference_steps),
            "spec": asdict(spec),
        }
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return Sample(self, prompt, spec, identity, key)


@dataclass(frozen=True, slots=True)
class Sample:
    """One video to be made; `key` is the sha256 of `identity`, which holds everything that decides the pixels."""

    condition: Condition
    prompt: Prompt
    spec: VideoSpec
    identity: dict[str, Any]
    key: str

    @property
    def folder(self) -> str:
        """Where it lies within its study."""
        return f"{self.condition.slug}/{self.prompt.id}-s{self.prompt.seed_index}-{self.key[:8]}"


def _pixels_of(method: Method | RopeProxy, num_inference_steps: int) -> dict[str, Any]:
    """Return what of the method decides the pixels: RIFE's weights, not where they lie.

    The entries "rife_input", "preview_at_steps" and "ssim" mark settings that gave other pixels in version 0.1.0.
    """
    settings = describe(method)
    given = settings.pop("interpolator_weights", None)
    if settings.get("interpolator") == "rife":
        settings["rife_sha256"] = sha256_of_weights(rife.weights_file(given))
        settings["rife_input"] = "floats"
    if isinstance(method, Vgdfr) and method.preview_latent == "as_released":
        k, steps, left = method.k, method.preview_steps, num_inference_steps - method.k
        released = released_preview_steps(k, steps, num_inference_steps)
        if released != [k + round(i * left / steps) for i in range(1, steps)]:
            settings["preview_at_steps"] = released
    if settings.get("similarity_dtype") == "float16":
        settings["ssim"] = "pytorch_msssim"
    return settings


def describe(method: Method | RopeProxy) -> dict[str, Any]:
    """The method's name and settings, as JSON takes them."""
    settings = asdict(method)
    return {"name": type(method).__name__.lower()} | {
        k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()
    }
