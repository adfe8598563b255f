"""VBench's official scores of a condition, from the result files that `python -m bench.import_scores` has read."""

import pandas as pd

from analysis.columns import expected_in
from analysis.statistics import NOTHING, Interval
from bench.vbench.total import DIMENSIONS, official


def official_score(part: str, samples: pd.DataFrame) -> Interval:
    """Returns the official score "total", "quality" or "semantic" of a condition with the finished `samples`.

    It has no interval, because it is computed from the dimensions' official scores and not from values of videos.
    Returns NOTHING unless all 16 dimensions were imported for all samples.
    """
    scores = {dimension: score for dimension in DIMENSIONS if (score := _score(samples, dimension)) is not None}
    found = official(scores)
    return NOTHING if found is None else Interval(getattr(found, part), None, None, len(samples), 0)


def _score(samples: pd.DataFrame, dimension: str) -> float | None:
    """Returns a dimension's official score, or None unless one result file scored all samples of the dimension."""
    name = f"vbench_{dimension}"
    if name not in samples or f"{name}.overall" not in samples:
        return None
    own = samples[expected_in(samples, dimension)]
    scores = own[f"{name}.overall"]
    one = len(own) > 0 and scores.notna().all() and scores.nunique() == 1 and own[name].notna().any()
    return float(scores.iloc[0]) if one else None
