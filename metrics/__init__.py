"""Metrics: facts about one video, or about one video and its reference. Statistics are in `analysis`."""

from metrics.base import Metric, Score
from metrics.learned import LEARNED
from metrics.pixel import PIXEL
from metrics.temporal import TEMPORAL

METRICS: dict[str, Metric] = {m.name: m for m in (*PIXEL, *TEMPORAL, *LEARNED)}

__all__ = ["METRICS", "Metric", "Score"]
