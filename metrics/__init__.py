"""Metrics: facts about one video, or about one video and its reference. Statistics are in `analysis`."""
# ruff: noqa: E402  the check comes before the imports that it checks

from vgdfr_commands.surroundings import check

check(__name__, needs=("numpy", "cv2", "jaxtyping", "yaml", "av"))

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from metrics.base import About, Metric, Score, mean
from metrics.learned import LEARNED, about_own_clip, about_pyiqa, own_clip_metric, pyiqa_metric
from metrics.outside import EXAMPLE, is_dotted_path, outside_metric
from metrics.pixel import PIXEL
from metrics.profiles import PROFILES
from metrics.temporal import TEMPORAL


@dataclass(frozen=True)
class Family:
    """Metrics whose names go on after a colon: what `follows`, and functions of it that make and describe a metric."""

    follows: str
    make: Callable[[str], Metric]
    about: Callable[[str], About | None]


_OF_PROFILES = tuple(m for profile in PROFILES.values() for m in profile)
METRICS: dict[str, Metric] = {m.name: m for m in (*PIXEL, *TEMPORAL, *LEARNED, *_OF_PROFILES)}
FAMILIES = {
    "clipsim": Family("FOLDER or MODEL@FILE", partial(own_clip_metric, "clipsim"), partial(about_own_clip, "clipsim")),
    "clip_temp": Family(
        "FOLDER or MODEL@FILE", partial(own_clip_metric, "clip_temp"), partial(about_own_clip, "clip_temp")
    ),
    "pyiqa": Family("NAME", pyiqa_metric, about_pyiqa),
}


def named(names: Sequence[str]) -> list[Metric]:
    """Returns the metrics of these names: ours, those of a family such as pyiqa:NAME, and a user's own by dotted path.

    Raises ValueError that names all unknown metrics, and for a metric that cannot be made or imported.
    """
    if unknown := [name for name in names if not is_known(name)]:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {known()}")
    return [_metric(name) for name in names]


def is_known(name: str) -> bool:
    """Whether a metric has this name, or the name has the form of a family's name or of a dotted path."""
    return name in METRICS or _family(name) is not None or is_dotted_path(name)


def known() -> str:
    """Returns all names, for people."""
    families = ", ".join(f"{name}:{family.follows}" for name, family in FAMILIES.items())
    return f"{', '.join(METRICS)}, {families} and the dotted path of a metric of your own, such as {EXAMPLE}"


def about(name: str, stored: Mapping[str, Any] | None = None) -> About | None:
    """Returns how tables and figures show the metric of that name, or None for an unknown name.

    Needs no weights, does not import PyTorch, and runs no code of a user. A metric from outside this package is known
    only by the object "about" in its score, which readers pass as `stored`.
    """
    if stored is not None:
        return About(name, **stored)
    if name in METRICS:
        return METRICS[name].about
    family = _family(name)
    return family and family.about(name.partition(":")[2])


def _family(name: str) -> Family | None:
    family, colon, _ = name.partition(":")
    return FAMILIES.get(family) if colon else None


def _metric(name: str) -> Metric:
    if name in METRICS:
        return METRICS[name]
    family = _family(name)
    return family.make(name.partition(":")[2]) if family else outside_metric(name)


__all__ = ["METRICS", "PROFILES", "About", "Metric", "Score", "about", "is_known", "known", "mean", "named"]
