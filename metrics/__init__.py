"""Metrics: facts about one video, or about one video and its reference. Statistics are in `analysis`."""

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
    unknown = [name for name in names if name not in METRICS and name.partition(":")[0] not in FAMILIES]
    if unknown:
        families = ", ".join(f"{family}:{follows}" for family, (follows, _) in FAMILIES.items())
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {', '.join(METRICS)} and {families}")
    return [METRICS[name] if name in METRICS else _of_family(*name.split(":", 1)) for name in names]


def _of_family(family: str, argument: str = "") -> Metric:
    return FAMILIES[family][1](argument)


__all__ = ["METRICS", "PROFILES", "Metric", "Score", "named"]
