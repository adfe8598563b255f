"""Metrics: facts about one video, or about one video and its reference. Statistics are in `analysis`."""
# ruff: noqa: E402  the check comes before what it checks

from vgdfr_commands.surroundings import check

check(__name__, needs=("numpy", "cv2", "jaxtyping", "yaml", "av"))

from collections.abc import Callable, Sequence
from functools import partial

from metrics.base import Metric, Score
from metrics.learned import LEARNED, own_clip_metric, pyiqa_metric
from metrics.pixel import PIXEL
from metrics.profiles import PROFILES
from metrics.temporal import TEMPORAL

_OF_PROFILES = tuple(m for profile in PROFILES.values() for m in profile)
METRICS: dict[str, Metric] = {m.name: m for m in (*PIXEL, *TEMPORAL, *LEARNED, *_OF_PROFILES)}
# Metrics made by name: what follows the colon, and what makes them of it.
FAMILIES: dict[str, tuple[str, Callable[[str], Metric]]] = {
    "clipsim": ("FOLDER or MODEL@FILE", partial(own_clip_metric, "clipsim")),
    "clip_temp": ("FOLDER or MODEL@FILE", partial(own_clip_metric, "clip_temp")),
    "pyiqa": ("NAME", pyiqa_metric),
}


def named(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names, those with a colon made for what follows it.

    Raises ValueError naming all that are unknown, and where one cannot be made.
    """
    if unknown := [name for name in names if not is_known(name)]:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {known()}")
    return [METRICS[name] if name in METRICS else _of_family(*name.split(":", 1)) for name in names]


def is_known(name: str) -> bool:
    """Whether it is a metric's name, or begins as those of a family do."""
    return name in METRICS or (":" in name and name.partition(":")[0] in FAMILIES)


def known() -> str:
    """All names, for people."""
    families = ", ".join(f"{family}:{follows}" for family, (follows, _) in FAMILIES.items())
    return f"{', '.join(METRICS)} and {families}"


def _of_family(family: str, argument: str = "") -> Metric:
    return FAMILIES[family][1](argument)


__all__ = ["METRICS", "PROFILES", "Metric", "Score", "is_known", "known", "named"]
