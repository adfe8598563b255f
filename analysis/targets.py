"""The value that a metric should have: the baseline's own value, or 1 if the metric is a ratio to the baseline's value.

A metric of one video, such as VQA, has a value for the baseline, too. A method that should keep the baseline's video
should also keep this value: higher is not better. A metric that measures the difference from the baseline, such as
PSNR, has no target, because one direction is better.
"""

import pandas as pd

from analysis.columns import Column
from analysis.row import Row
from metrics.base import COLUMN_GROUPS

_RATIO = "ratio"  # the unit of a ratio to the baseline's value, which is 1 for the baseline itself


def is_of_one_video(column: Column) -> bool:
    """Returns whether the column is a metric of one video, so that the target is the baseline's own value."""
    return column.group in COLUMN_GROUPS and not column.needs_reference


def is_ratio(column: Column) -> bool:
    """Returns whether the column is a metric's ratio to the baseline's value, so that the target is 1."""
    return column.needs_reference and column.better == 0 and column.unit == _RATIO


def has_target(column: Column) -> bool:
    return is_of_one_video(column) or is_ratio(column)


def distances(values: pd.Series, column: Column, baseline: pd.Series) -> pd.Series:
    """Returns each sample's distance from its target, for samples that have both. `column` has a target.

    `values` and `baseline`, the baseline's values, are indexed by prompt and seed.
    """
    return (values - (1.0 if is_ratio(column) else baseline)).abs().dropna()


def baseline_values(reference: Row | None, column: Column) -> pd.Series:
    """Returns the values of the baseline, or none without a baseline."""
    return reference.values(column.name) if reference else pd.Series(dtype=float)
