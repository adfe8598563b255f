"""Finds the interpolator that all conditions of a table share, so that a note tells it and the rows do not."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class CommonSetting:
    """A setting such as "interpolator=rife", and the titles of the methods that have it in all of their conditions."""

    setting: str
    titles: tuple[str, ...]


def common_interpolator(samples: pd.DataFrame) -> CommonSetting | None:
    """Returns the interpolator that all conditions share, or None if it differs or is the default everywhere.

    Only methods count that name an interpolator in some condition. Settings do not name the default interpolator.
    """
    conditions = samples.drop_duplicates("slug")
    named = conditions["settings"].str.extract(r"(?:^|, )(interpolator=[^,]*)")[0]
    naming = conditions[conditions["method"].isin(conditions["method"][named.notna()])]
    settings = named[naming.index].unique()
    if len(settings) != 1 or pd.isna(settings[0]):
        return None
    return CommonSetting(settings[0], tuple(naming.sort_values("method", kind="stable")["title"].unique()))
