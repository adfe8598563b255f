"""VBench's official scores of a model, from the scores of its 16 dimensions.

Ranges and weights are those of scripts/constant.py, and the formula is that of scripts/cal_final_score.py, both in
github.com/Vchitect/VBench (version 0.1.5). Scores outside a range are not cut, as in the official script.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Scale(NamedTuple):
    """A dimension's scores that count as 0 and as 1, and the dimension's weight in its group."""

    zero: float
    one: float
    weight: float = 1.0


QUALITY: Mapping[str, Scale] = {
    "subject_consistency": Scale(0.1462, 1.0),
    "background_consistency": Scale(0.2615, 1.0),
    "temporal_flickering": Scale(0.6293, 1.0),
    "motion_smoothness": Scale(0.706, 0.9975),
    "dynamic_degree": Scale(0.0, 1.0, weight=0.5),
    "aesthetic_quality": Scale(0.0, 1.0),
    "imaging_quality": Scale(0.0, 1.0),
}
SEMANTIC: Mapping[str, Scale] = {
    "object_class": Scale(0.0, 1.0),
    "multiple_objects": Scale(0.0, 1.0),
    "human_action": Scale(0.0, 1.0),
    "color": Scale(0.0, 1.0),
    "spatial_relationship": Scale(0.0, 1.0),
    "scene": Scale(0.0, 0.8222),
    "appearance_style": Scale(0.0009, 0.2855),
    "temporal_style": Scale(0.0, 0.364),
    "overall_consistency": Scale(0.0, 0.364),
}
DIMENSIONS: Sequence[str] = (*QUALITY, *SEMANTIC)
QUALITY_WEIGHT, SEMANTIC_WEIGHT = 4, 1  # in the total


class Official(NamedTuple):
    """VBench's three scores of a model, of about 0 to 1. The leaderboard prints them in percent."""

    quality: float
    semantic: float
    total: float


def official(scores: Mapping[str, float]) -> Official | None:
    """Returns the official scores, or None unless all 16 dimensions are there.

    The official script counts a missing dimension as 0. A total of that kind compares with no other total.
    """
    if not set(DIMENSIONS) <= set(scores):
        return None
    quality, semantic = _weighted(QUALITY, scores), _weighted(SEMANTIC, scores)
    total = (QUALITY_WEIGHT * quality + SEMANTIC_WEIGHT * semantic) / (QUALITY_WEIGHT + SEMANTIC_WEIGHT)
    return Official(quality, semantic, total)


def _weighted(scales: Mapping[str, Scale], scores: Mapping[str, float]) -> float:
    """Returns the weighted mean of the scores, each on its scale."""
    above = sum(s.weight * (scores[name] - s.zero) / (s.one - s.zero) for name, s in scales.items())
    return above / sum(s.weight for s in scales.values())
