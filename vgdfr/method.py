"""The interface of a method, which is a way to generate a video: settings, a loop, and facts for records."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.accelerator import Accelerator, HasWeights
from vgdfr.architecture import Architecture
from vgdfr.assets import Asset
from vgdfr.forecast import Work
from vgdfr.naming import Named, check_class, path_of
from vgdfr.sampling import Sampling
from vgdfr.schedule import FrameSchedule, Similarity
from vgdfr.video import VideoSpec, to_uint8

Role = Literal["reference", "method", "ablation", "diagnostic"]


class Sampled(NamedTuple):
    """The result of a method's loop.

    latents: the final latents, `[1, c, n, y, x]`; None for a method that makes no video.
    schedule: the frames that were merged; None for a method without a schedule.
    similarity: the similarities that decided the schedule, for figures.
    notes: sentences for the readers of the record.
    data: the measurements of a method without a video, as JSON values.
    """

    latents: Float[Tensor, "1 c n y x"] | None
    schedule: FrameSchedule | None = None
    similarity: Similarity | None = None
    notes: tuple[str, ...] = ()
    data: dict[str, Any] | None = None


@dataclass(frozen=True)
class Method(Named, ABC):
    """Settings of a way to generate a video, and its loop: a frozen dataclass with flat values as its fields.

    The same fields are written in YAML, on the command line (`method.theta=0.5`), in a sample's key and in its record.
    `accelerators` are patches of the DiT's calls that the method runs with.
    """

    accelerators: tuple[Accelerator, ...] = field(
        default=(), kw_only=True, metadata={"later": True, "words_apart": True}
    )

    makes_video: ClassVar[bool] = True
    """False for a method that only measures. It has no master, scores or baseline; its data is in the record."""
    needs_reference: ClassVar[bool] = True
    """Whether the method's videos are compared with the baseline's. A sweep then also makes the baseline."""
    has_cost: ClassVar[bool] = True
    """False for a video that no generator makes in this way, such as a ceiling. Its records have no latency, no token
    ratio and no DiT passes."""
    own_noise: ClassVar[bool] = False
    """Whether the method draws noise of its own. Its videos then differ from the baseline's from the first step on, so
    differences to the baseline tell nothing about its quality."""
    shares: ClassVar[bool] = True
    """False for a method that computes all of its parts itself and reuses no part of other samples."""

    @property
    def title(self) -> str:
        """Returns the method's name for people, without settings."""
        return type(self).__name__

    @property
    def role(self) -> Role:
        """Returns the role of the method's rows in a table; only a "method" is ranked."""
        return "method"

    @property
    def family(self) -> str:
        """Returns the name of the line in a figure that joins the method's rows."""
        return self.title

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError if the settings do not fit `spec` or the model. It runs before a model is loaded.

        Raises FileNotFoundError if a file that the method needs is missing.
        """

    def canonical(self, spec: VideoSpec, architecture: Architecture) -> "Method":
        """Returns the one spelling of all settings that are equal for `spec`, which gives them one key."""
        return self

    def identity(self, spec: VideoSpec) -> dict[str, Any]:
        """Returns the facts of the method that decide the pixels, for a sample's key.

        `identity_of` adds where the class is from, and its accelerators.
        """
        return self.settings()

    def missing(self) -> list[Asset]:
        """Returns the files that must be downloaded before the method can run."""
        return []

    def stops(self) -> frozenset[int]:
        """Returns the steps after which the method branches off the baseline's trajectory."""
        return frozenset()

    @property
    def interpolates(self) -> bool:
        """Returns whether `fill` interpolates the frames that the schedule merged. If not, a record has none of those.

        A method without a schedule interpolates none in either case.
        """
        return True

    @abstractmethod
    def sample(self, run: Sampling) -> Sampled:
        """Runs the loop from the noise and returns its result, such as the final latents."""

    def fill(
        self, frames: Float[Tensor, "kept 3 h w"], schedule: FrameSchedule | None, spec: VideoSpec
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """Returns all frames of the video `spec` from the `frames` that its final latents decode to, in [-1, 1].

        The result must depend only on the arguments and the settings, since `fill` also rebuilds a dropped master.
        Raises BrokenVideo if a value is not finite, or if all pixels are equal.
        """
        return to_uint8(frames)

    def layers(self, architecture: Architecture) -> dict[str, Any] | None:
        """Returns the record's field `layers`; None if the method changes no layer."""
        return None

    def work(self, spec: VideoSpec, architecture: Architecture, token_ratio: float) -> list[Work]:
        """Returns the expected work of one sample, for plans. Schedules are taken to keep `token_ratio` of the tokens.

        The default is the baseline's work.
        """
        n = architecture.num_latents(spec.num_frames)
        return [Work("dit", n, n, spec.num_inference_steps), Work("decode", n, n)]

    def asked(self) -> dict[str, float | None]:
        """Returns the record's fields `token_ratio_asked` and `frame_ratio_asked`, if the settings ask for a ratio."""
        return {}

    def words(self) -> list[str]:
        """Returns the settings that differ from their defaults, and the accelerators with theirs, for a file name."""
        accelerators = (".".join([type(each).__name__.lower(), *each.words()]) for each in self.accelerators)
        return [*super().words(), *accelerators]

    @property
    def row_title(self) -> str:
        """Returns the title of a table's row: the method and its accelerators."""
        return " + ".join([self.title, *(each.title for each in self.accelerators)])

    @property
    def row_family(self) -> str:
        """Returns the family of a table's row: the method's family and its accelerators."""
        return " + ".join([self.family, *(each.family for each in self.accelerators)])


def calibrated(method: Method, model: HasWeights | None, spec: VideoSpec) -> Method:
    """Returns the method with the values of its accelerators' calibrations as settings. Raises as they do."""
    if not method.accelerators:
        return method
    return replace(method, accelerators=tuple(each.calibrated(model, spec) for each in method.accelerators))


def identity_of(method: Method, spec: VideoSpec) -> dict[str, Any]:
    """Returns the part of a sample's key for its method. It always holds the method's origin and its accelerators."""
    accelerators = [each.settings() for each in method.accelerators]
    return method.identity(spec) | method.origin() | ({"accelerators": accelerators} if accelerators else {})


def facts_of(method: Method) -> dict[str, Any]:
    """Returns a record's facts about its method. Reports know no method class and read these facts alone."""
    return {
        "title": method.row_title,
        "role": method.role,
        "family": method.row_family,
        "settings": Named.words(method) + [word for each in method.accelerators for word in each.words()],
        "makes_video": method.makes_video,
        **({"own_noise": True} if method.own_noise else {}),
    }


def check_method(method: object) -> None:
    """Raises ValueError unless `method` is a Method and its accelerators are different Accelerators. Loads nothing."""
    check_class("method", method if isinstance(method, type) else type(method), Method)
    if not isinstance(method, Method):
        raise ValueError(f"method must be a value such as {method.__name__}(...), got the class itself")
    if not isinstance(method.accelerators, tuple):
        raise ValueError(f"accelerators must be a tuple of accelerators, got {method.accelerators!r}")
    for each in method.accelerators:
        check_class("accelerators", type(each), Accelerator)
    titles = [each.title for each in method.accelerators]  # a record holds the counts under the titles
    if len(set(titles)) < len(titles):
        raise ValueError(f"accelerators of a method must have different titles, got {', '.join(titles)}; leave one out")


def check_sampled(method: Method, sampled: object) -> None:
    """Raises ValueError unless a loop returned the result of its kind: latents, or data if it makes no video."""
    kind = path_of(type(method))
    if not isinstance(sampled, Sampled):
        raise ValueError(f"{kind}.sample must return a vgdfr.Sampled, got a {type(sampled).__name__}")
    if method.makes_video and sampled.latents is None:
        raise ValueError(f"{kind} gave no latents; set makes_video=False for a method that only measures")
    if not method.makes_video and (sampled.latents is not None or sampled.data is None):
        raise ValueError(f"{kind} has makes_video=False: its latents must be None and its data a dictionary")


def check_frames(frames: np.ndarray, spec: VideoSpec) -> None:
    """Raises ValueError unless `frames` are the video that `spec` asks for."""
    expected = (spec.num_frames, spec.height, spec.width, 3)
    if frames.shape != expected or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 of {expected}, got {frames.dtype} of {frames.shape}")


def refuse_wrong_kind(name: str, value: Any, kind: type | tuple[type, ...]) -> None:
    """Raises ValueError unless `value` is of this kind. A bool is refused, since true and false are no numbers."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} must be a {'whole number' if kind is int else 'number'}, got {value!r}")
