"""A job of a sweep: a condition, its prompts, and the settings for scores, files, timing and tracking."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from bench.plan.condition import Condition
from bench.plan.prompts import Prompt

Keep = Literal["all", "latents", "scores"]


def checked_keep(keep: str) -> Keep:
    """Returns `keep`, or raises ValueError if it is no valid choice."""
    if keep not in get_args(Keep):
        raise ValueError(f"keep must be one of {', '.join(get_args(Keep))}, got {keep!r}")
    return keep  # type: ignore[return-value]


@dataclass(frozen=True)
class Timing:
    """The settings for timing samples.

    mode: "shared" times each kind of work while samples are made. "isolated" also runs samples alone from start to
        end, as a check.
    prompts: the number of prompts with isolated runs, the first ones; None for all.
    warmups: the number of isolated runs that come first and do not count. The record lists them separately.
    repeats: the number of isolated runs that count. The check is their median. The number is odd, so that the median
        is the latency of one run and the sum of its stages.
    """

    mode: Literal["shared", "isolated"] = "shared"
    warmups: int = 1
    repeats: int = 3
    prompts: int | None = 1

    def __post_init__(self) -> None:
        if self.mode not in ("shared", "isolated"):
            raise ValueError(f"timing must be shared or isolated, got {self.mode!r}")
        for name in ("warmups", "repeats"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"timing.{name} must be a whole number, got {value!r}")
        if self.prompts is not None and (type(self.prompts) is not int or self.prompts < 1):
            raise ValueError(f"timing.prompts must be at least 1, or null for all, got {self.prompts!r}")
        if self.repeats % 2 == 0:
            raise ValueError(f"timing.repeats must be odd, so that the median is one of the runs, got {self.repeats}")


@dataclass(frozen=True)
class NoTracker:
    """The choice of no tracker: records and scores on disk are the only result."""

    def check(self) -> None:
        pass


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases.

    entity: the owner of the project; None for the account's own.
    previews: "path" names each sample's preview.mp4, "upload" sends it.
    """

    project: str
    entity: str | None = None
    previews: str = "path"

    def check(self) -> None:
        """Raises ValueError for settings that would fail later, and if wandb is not installed."""
        if self.previews not in ("path", "upload"):
            raise ValueError(f"tracking.previews must be path or upload, got {self.previews!r}")
        if not self.project or "/" in self.project:
            raise ValueError(f"tracking.project must be a project's name, without its entity, got {self.project!r}")
        require("wandb")

    def arguments(self, study: Path) -> list[str]:
        """Returns the arguments of the command that publishes `study`."""
        entity = ["--entity", self.entity] if self.entity else []
        return [str(study), "--project", self.project, *entity, "--previews", self.previews]


def require(package: str) -> None:
    """Raises ValueError if the optional `package` is not installed. Does not import it."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"the package {package.replace('_', '-')} is missing; install it: pip install 'vgdfr[wandb]'")


@dataclass(frozen=True)
class Job:
    """A condition and its baseline, made for `prompts` and stored in the folder `study`."""

    condition: Condition
    prompts: tuple[Prompt, ...]
    metrics: tuple[str, ...]
    study: Path
    keep: Keep = "all"
    timing: Timing = Timing()
    threads: int | None = 1
    tracker: NoTracker | Wandb = NoTracker()


@dataclass(frozen=True)
class Launcher:
    """The queue that runs a sweep's workers: the chosen file of conf/hydra/launcher ("slurm"), and its settings."""

    name: str
    settings: Mapping[str, Any] = field(hash=False)
