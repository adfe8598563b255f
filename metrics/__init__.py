"""Computes metrics: facts about one video, or about one video and its reference. `analysis` has the statistics.

Importing this package, and reading names, titles, groups, ids and missing weights, imports neither PyTorch nor OpenCV.
Computing a metric imports the libraries that it needs.
"""
# ruff: noqa: E402  the check comes before the imports that it checks

from vgdfr_commands.surroundings import check

check(__name__, needs=("numpy", "cv2", "jaxtyping", "av"))

from collections.abc import Mapping, Sequence
from typing import Any

from metrics.base import About, Metric, Score, mean
from metrics.catalogue import LEARNED, PIXEL, TEMPORAL
from metrics.families import FAMILIES, Family
from metrics.profiles import PROFILES
from metrics.third_party import EXAMPLE, is_dotted_path, third_party_metric

_OF_PROFILES = tuple(m for profile in PROFILES.values() for m in profile)
METRICS: dict[str, Metric] = {m.name: m for m in (*PIXEL, *TEMPORAL, *LEARNED, *_OF_PROFILES)}


def named(names: Sequence[str]) -> list[Metric]:
    """Returns the metrics of these names: this package's names, names of a family (pyiqa:NAME), and dotted paths.

    Runs the code of a dotted path's module. Raises ValueError that lists all unknown names, and for a metric that
    cannot be made or imported.
    """
    if unknown := [name for name in names if not is_known(name)]:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {known()}")
    return [_metric(name) for name in names]


def is_known(name: str) -> bool:
    """Returns whether `name` is a metric's name, or has the form of a family's name or of a dotted path."""
    return name in METRICS or _family(name) is not None or is_dotted_path(name)


def known() -> str:
    """Returns a text that lists all names, for messages."""
    families = ", ".join(f"{name}:{family.choice}" for name, family in FAMILIES.items())
    return f"{', '.join(METRICS)}, {families} and the dotted path of a metric of your own, such as {EXAMPLE}"


def about(name: str, stored: Mapping[str, Any] | None = None) -> About | None:
    """Returns how tables and figures show the metric of that name, or None for an unknown name.

    Needs no weights and runs no code of a user. A metric from outside this package is known only by the object "about"
    in its score, which readers pass as `stored`.
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
    return family.make(name.partition(":")[2]) if family else third_party_metric(name)


__all__ = ["METRICS", "PROFILES", "About", "Metric", "Score", "about", "is_known", "known", "mean", "named"]
