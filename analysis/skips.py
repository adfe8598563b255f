"""The layers that accelerators skipped, from a record's histogram of passes and from the accelerators' own counts."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache

import pandas as pd

Passes = Sequence[Sequence[float]]  # rows of [frames, height, width, forwards, attention, feed-forward, count]
SHARES = {4: "attention skipped", 5: "feed-forward skipped"}  # by the place of the computed share in a row of passes
SKIPPED = "skipped"  # ends the name of an accelerator's count of skipped work, such as "passes_skipped"


def skipped_shares(passes: Passes) -> dict[int, float]:
    """Returns the share of a histogram of passes that was not computed, by place. Each forward has the same weight.

    A pass without a forward counts as a forward that computed nothing.
    """
    weight = sum(max(row[3], 1) * row[6] for row in passes)
    return {place: 1 - sum(row[3] * row[6] * row[place] for row in passes) / weight for place in SHARES}


def skipped_share(accelerated: pd.Series, passes: pd.Series) -> pd.Series:
    """Returns the share of attention and feed-forward layers that each accelerated sample skipped, NaN for others.

    `accelerated` and `passes` are the columns of the index with the records' JSON texts.
    """
    known = has_accelerators(accelerated) & passes.notna()
    shares = {text: skipped_shares(json.loads(text)) for text in passes[known].unique()}
    means = {text: sum(own.values()) / len(own) for text, own in shares.items()}
    return passes.where(known).map(means).astype(float)


def has_accelerators(accelerated: pd.Series) -> pd.Series:
    """Returns whether each sample ran with an accelerator."""
    return accelerated.notna() & (accelerated != "{}")


def idle_in(accelerated: str, passes: str | None) -> tuple[str, ...]:
    """Returns the titles of the accelerators that skipped nothing in a sample.

    An accelerator has skipped work if one of its counts ends in "skipped" and is above 0. It may also not count skips,
    and it may count them in a model that has no layers to count. So the histogram of passes decides as well: a share
    below 1 is skipped work. Of several accelerators, those that count their own skips are judged by their counts.
    """
    counts: dict[str, dict[str, float]] = json.loads(accelerated)
    is_whole = passes is not None and _is_whole(passes)
    counts_decide = passes is None or len(counts) > 1
    return tuple(title for title, own in counts.items() if _is_idle(own, is_whole, counts_decide))


def _is_idle(counts: Mapping[str, float], is_whole: bool, counts_decide: bool) -> bool:
    skips = [count for name, count in counts.items() if name.endswith(SKIPPED)]
    return not any(skips) and (is_whole or (counts_decide and bool(skips)))


@lru_cache(maxsize=1024)
def _is_whole(passes: str) -> bool:
    """Returns whether every pass of a histogram computed all layers."""
    return all(row[3] > 0 and min(row[place] for place in SHARES) >= 1 for row in json.loads(passes))


def faults(index: pd.DataFrame) -> pd.Series:
    """Returns for each finished sample why its condition fails, None for a condition that does not.

    A condition fails if an accelerator skipped nothing in any of its finished samples. It is then the method without
    the accelerator, and its numbers would stand under a wrong name. Samples of equal slug and spec are a condition.
    """
    found = pd.Series([None] * len(index), index.index, dtype=object)
    accelerated = index[has_accelerators(index["accelerated"]) & (index["status"] == "done")]
    for _, samples in accelerated.groupby(["slug", "spec"]):
        if fault := _fault(samples):
            found[samples.index] = fault
    return found


def _fault(samples: pd.DataFrame) -> str | None:
    """Returns the fault of the finished samples of one condition."""
    pairs = samples[["accelerated", "dit_passes"]].drop_duplicates().itertuples(index=False, name=None)
    idle = [idle_in(accelerated, passes if isinstance(passes, str) else None) for accelerated, passes in pairs]
    titles = list(json.loads(samples["accelerated"].iloc[0]))
    always = [title for title in titles if all(title in own for own in idle)]
    if not always:
        return None
    n = len(samples)
    found = f"skipped nothing in {n} sample{'s' * (n > 1)}: this is the"
    names = " and ".join(always)
    return f"{found} plain method" if always == titles else f"{names} {found} method without {names}"
