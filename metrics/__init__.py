"""Metrics: facts about one video, or about one video and its reference. Statistics are in `analysis`."""

from collections.abc import Sequence

from metrics.base import Metric, Score
from metrics.learned import LEARNED, pyiqa_metric
from metrics.pixel import PIXEL
from metrics.profiles import PROFILES
from metrics.temporal import TEMPORAL

_OF_PROFILES = tuple(m for profile in PROFILES.values() for m in profile)
METRICS: dict[str, Metric] = {m.name: m for m in (*PIXEL, *TEMPORAL, *LEARNED, *_OF_PROFILES)}


def named(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names; `pyiqa:NAME` is one of pyiqa's. Raises ValueError naming all that are unknown."""
    unknown = [name for name in names if name not in METRICS and not name.startswith("pyiqa:")]
    if unknown:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {', '.join(METRICS)} and pyiqa:NAME")
    return [METRICS[name] if name in METRICS else pyiqa_metric(name.removeprefix("pyiqa:")) for name in names]


__all__ = ["METRICS", "PROFILES", "Metric", "Score", "named"]
