"""Latencies of a study's samples: counts of each kind of work, times the prices of one run.

A run is one sweep in one process on one machine (`bench.store.runs`). Both sides of a comparison are priced by one run.
A price must hold still while the machine does not. On a shared machine the times of one kind spread widely, and rare
kinds are seen in good or in bad minutes only. So prices compare kinds by a low quantile of their times, which other
processes hardly disturb, and one factor per run makes the whole as long as the medians say.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.store.runs import COMPUTED, runs_of

BUSY = 1.10  # wall time over CPU time from which other processes took the cores away
CARRIED = 0.01  # the share of a latency that may be of work that a run has not timed
UNIT = ["study", "model_identity", "spec", "prompt", "seed"]
SEVERAL = 3  # samples of a condition from which the median of their work of no kind counts


@dataclass(frozen=True)
class Run:
    """The prices of one run in seconds, by kind of work.

    clock: "wall", or "cpu" for the seconds of the process's own core: on a CPU with one thread, if other processes took
        the core away. waited: the largest wall time over CPU time of a kind; NaN on a GPU and with several threads.
    about: machine, packages and code of the run.
    """

    name: str
    clock: str
    waited: float
    prices: Mapping[str, float]
    about: Mapping[str, Any]


class Latency(NamedTuple):
    """Seconds, or NaN with the reason."""

    seconds: float
    reason: str | None = None


class Counted(NamedTuple):
    """A sample's work.

    made: the run that made the sample; None for a record of an earlier version.
    counts: JSON of the number of blocks of each kind. seconds: JSON of the sample's own seconds of each kind, on the
        wall's clock and of the CPU. unpooled_s, unpooled_cpu_s: its seconds of work of no kind.
    """

    made: str | None
    counts: str
    seconds: str
    unpooled_s: float
    unpooled_cpu_s: float


COUNTED = ["made_run", "counts", "timed_s", "unpooled_s", "unpooled_cpu_s"]  # the columns of Counted


def runs_in(study: Path) -> dict[str, Run]:
    """Returns the runs of a study by name, the oldest first. Raises ValueError for a damaged file."""
    return {content["run"]: run_of(content) for content in runs_of(study)}


def run_of(content: Mapping[str, Any]) -> Run:
    """Returns the run of a file's content."""
    kinds, waited = content["kinds"], float("nan")
    # several threads wait for each other on busy cores, and their CPU seconds count the waiting
    if content["device_type"] == "cpu" and content["environment"].get("threads") == 1:
        computed = [kind for name, kind in kinds.items() if name.startswith(COMPUTED) and kind["cpu_s_low"]]
        waited = max((kind["wall_s_low"] / kind["cpu_s_low"] for kind in computed), default=waited)
    clock = "cpu" if waited > BUSY else "wall"
    usual, low = (sum(kind["n"] * kind[f"{clock}_s{end}"] for kind in kinds.values()) for end in ("", "_low"))
    level = usual / low if low else 1.0
    prices = {name: level * kind[f"{clock}_s_low"] for name, kind in kinds.items()}
    return Run(content["run"], clock, waited, prices, content)


@lru_cache(maxsize=4096)
def _counts(text: str) -> dict[str, int]:
    return json.loads(text)


def latency_of(work: Counted, run: Run) -> Latency:
    """Returns a sample's latency at the prices of `run`.

    Work that the run has not timed, and work of no kind, counts with the sample's own seconds. They are of another run
    if that made the sample, so they must then be a small share of the latency (CARRIED).
    """
    counts = _counts(work.counts)
    priced_s = float(sum(count * run.prices.get(kind, 0.0) for kind, count in counts.items()))
    own_s = work.unpooled_cpu_s if run.clock == "cpu" else work.unpooled_s
    if missing := [kind for kind in counts if kind not in run.prices]:
        seconds = json.loads(work.seconds)
        if unknown := [kind for kind in missing if kind not in seconds]:
            return Latency(float("nan"), f"run {run.name} has not timed its work {unknown[0]!r}")
        of_run = run.name == work.made
        own_s += sum(_of_kind(seconds[kind], run.clock if of_run else "shorter") for kind in missing)
    if run.name == work.made or own_s <= CARRIED * (priced_s + own_s):
        return Latency(priced_s + own_s)
    what = f"work {missing[0]!r}" if missing else "work of no kind"
    return Latency(float("nan"), f"run {run.name} has not timed {own_s:.2f} s of its latency ({what})")


def _of_kind(seconds: tuple[float, float | None], clock: str) -> float:
    """Returns the wall or CPU seconds of a kind, or the shorter ones, which other processes have disturbed less."""
    wall, cpu = seconds
    if clock == "shorter":
        return wall if cpu is None else min(wall, cpu)
    return (cpu if clock == "cpu" else wall) or 0.0


def priced(index: pd.DataFrame, runs: Mapping[str, Mapping[str, Run]]) -> pd.DataFrame:
    """Returns columns for each finished sample whose run is recorded: latency_s, run, clock and no_latency.

    `runs` are the runs of each study. All samples of a prompt, seed and video setting are priced by the newest run that
    made one of them, if that run can price them all. Otherwise each is priced by the run that made it.
    """
    out = pd.DataFrame({"latency_s": np.nan, "run": None, "clock": None, "no_latency": None}, index.index)
    out = out.astype({"run": object, "clock": object, "no_latency": object})
    there = index[(index["status"] == "done") & index["counts"].notna() & index["made_run"].notna()]
    if there.empty:
        return out
    there = there.assign(**_usual_of_no_kind(there))
    rows: dict[Any, tuple[Any, ...]] = {}
    for (study, *_), unit in there.groupby(UNIT, sort=False, dropna=False):
        works = [Counted(*each) for each in unit[COUNTED].itertuples(index=False, name=None)]
        rows.update(zip(unit.index, _unit(works, runs.get(str(study), {})), strict=True))
    found = pd.DataFrame.from_dict(rows, orient="index", columns=out.columns)
    out.loc[found.index] = found
    return out


def _usual_of_no_kind(samples: pd.DataFrame) -> dict[str, pd.Series]:
    """Returns the seconds of work of no kind: the median over a condition's samples of one run if there are several."""
    groups = samples.groupby(["study", "made_run", "slug"], dropna=False)
    several = groups["slug"].transform("size") >= SEVERAL
    names = ("unpooled_s", "unpooled_cpu_s")
    return {name: samples[name].mask(several, groups[name].transform("median")) for name in names}


def _unit(works: Sequence[Counted], runs: Mapping[str, Run]) -> list[tuple[Any, ...]]:
    """Returns (latency_s, run, clock, no_latency) of each sample of one unit."""
    # names begin with the time; an older run must not price the work of a newer one
    newest = runs.get(max((work.made for work in works if work.made), default=""))
    if newest is not None:
        latencies = [latency_of(work, newest) for work in works]
        if not any(latency.reason for latency in latencies):
            return [(latency.seconds, newest.name, newest.clock, None) for latency in latencies]
    rows: list[tuple[Any, ...]] = []
    for work in works:
        if (run := runs.get(work.made or "")) is None:
            rows.append((np.nan, work.made, None, f"the prices of its run are gone: timing/{work.made}.json"))
        else:
            rows.append((latency_of(work, run).seconds, run.name, run.clock, None))
    return rows
