"""The columns of a study's latencies and speed-ups, of priced samples and of older records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.prices import COUNTED, Counted, Run, latency_of, priced
from analysis.prices import UNIT as SAME_VIDEO

# samples that are equal in SAME_VIDEO differ by the method alone


def of_references(index: pd.DataFrame, keys: Sequence[str], value: pd.Series) -> pd.Series:
    """Returns for each sample the `value` of the finished reference that has the same `keys`, NaN without one."""
    keys = [*keys]
    there = (index["role"] == "reference") & (index["status"] == "done")
    known = index.loc[there, keys].assign(value=value[there]).drop_duplicates(keys)
    return index[keys].merge(known, "left", on=keys)["value"].set_axis(index.index)


def with_latencies(index: pd.DataFrame, runs: Mapping[str, Mapping[str, Run]]) -> dict[str, pd.Series]:
    """Returns the columns latency_s, run, clock, no_latency, reference_latency_s, speedup, no_speedup and check_s.

    `runs` are the runs of each study. The latency of an older record is as it was measured, and its run is its machine
    with packages and code. `check_s` is the latency of a sample that was run alone, at the prices of that run.
    """
    pooled = index["timing"] == "pooled"
    found = priced(index, runs)
    latency_s = found["latency_s"].where(pooled, index["latency_s"]).astype(float)
    run = found["run"].where(pooled, index["run"])
    reference_s, reasons = _references(index, pooled, latency_s, run, runs)
    no_latency = found["no_latency"].where(pooled & (index["status"] == "done"), None)
    return {
        "latency_s": latency_s,
        "run": run,
        "clock": found["clock"],
        "no_latency": no_latency,
        "reference_latency_s": reference_s,
        "speedup": reference_s / latency_s,
        "no_speedup": no_latency.where(no_latency.notna(), reasons),
        "check_s": _checks(index, runs),
    }


def _checks(index: pd.DataFrame, runs: Mapping[str, Mapping[str, Run]]) -> pd.Series:
    """Returns the latencies of samples that were run alone, at the prices of that run if its clock is the wall's."""
    seconds = pd.Series(np.nan, index.index)
    checked = index[index["isolated_run"].notna() & index["counts"].notna() & (index["status"] == "done")]
    for place, sample in zip(checked.index, checked.to_dict("records"), strict=True):
        run = runs.get(str(sample["study"]), {}).get(sample["isolated_run"])
        if run is not None and run.clock == "wall":
            seconds[place] = latency_of(Counted(*(sample[name] for name in COUNTED)), run).seconds
    return seconds


def _references(
    index: pd.DataFrame, pooled: pd.Series, latency_s: pd.Series, run: pd.Series, runs: Mapping[str, Mapping[str, Run]]
) -> tuple[pd.Series, pd.Series]:
    """Returns the latency of each sample's reference in the sample's own run, and why a latency is missing."""
    measured = index.assign(run=run)
    seconds = of_references(measured, [*SAME_VIDEO, "run", "timing"], latency_s)
    compared = (index["role"] != "reference") & (index["status"] == "done") & latency_s.notna()
    seconds = seconds.where(compared)
    reasons = pd.Series([None] * len(index), index.index, dtype=object)
    lacking = compared & seconds.isna()
    there = (index["role"] == "reference") & (index["status"] == "done")
    references = {key: row for key, row in zip(_keys(index[there]), index[there].to_dict("records"), strict=True)}
    for place, key in zip(index.index[lacking], _keys(index[lacking]), strict=True):
        reference = references.get(key)
        if reference is None:
            continue
        if not pooled[place] or not isinstance(reference["counts"], str):
            reasons[place] = "its baseline was timed in another run"
            continue
        work = Counted(*(reference[name] for name in COUNTED))
        latency = latency_of(work, runs[str(index.at[place, "study"])][str(run[place])])
        seconds[place] = latency.seconds
        reasons[place] = latency.reason and f"its baseline has no latency there: {latency.reason}"
    return seconds.where(np.isfinite(seconds)), reasons


def _keys(samples: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [*samples[SAME_VIDEO].itertuples(index=False, name=None)]
