"""The costs at which families are compared: latency, DiT work, and the FLOPs of HunyuanVideo 13B for the same passes.

DiT work and FLOPs are in full-length passes, such as 8.5 of the baseline's 50. Both are counted from the passes in each
sample's record. A machine's speed does not change them. FLOPs are projected to the 13B at the size of the paper's
videos: each pass keeps its share of tokens and its share of computed layers. Attention is quadratic, so a pass on few
tokens costs less than its share of tokens.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd

from analysis.columns import PRICE_ERROR
from analysis.row import Row
from analysis.statistics import NOTHING, Interval, ratio_of_latencies, ratio_of_means
from analysis.study import StudyError
from analysis.table import Table


@dataclass(frozen=True)
class Cost:
    """A cost at which families are compared. Rows of `with_costs` have the values that it needs.

    name: for the command line. title, axis: for headers, and for a figure's axis.
    more, less: say that all settings of a family cost more or less. times: follows the ratio of two costs.
    error: the relative error of a ratio. An end of a family's line within it is taken as it is.
    explained: the note for readers. unknown: the reason for a missing ratio.
    ratio: the mean cost of a row over another row's, over the samples in which they compare. None without any.
    mean: the mean on a figure's axis. cell: the mean cost of a row, for a table.
    """

    name: str
    title: str
    axis: str
    more: str
    less: str
    times: str
    error: float
    explained: str
    unknown: str
    ratio: Callable[[Row, Row], float | None]
    mean: Callable[[Row], Interval]
    cell: Callable[[Row], str]


def _latency_share(row: Row) -> Interval:
    """Returns the latency as a share of the baseline's in the same run: the inverse of the speed-up."""
    if row.is_reference:
        return NOTHING._replace(value=1.0)
    speedup = row.mean("speedup")
    if not speedup.value:
        return NOTHING
    low, high = (1 / end if end else None for end in (speedup.high, speedup.low))
    return speedup._replace(value=1 / speedup.value, low=low, high=high)


def _seconds(row: Row) -> str:
    mean = row.mean("latency_s").value
    return "–" if mean is None else f"{mean:.2f} s"


def column_of(name: str) -> str:
    """Returns the column of a cost in `with_costs`. No field of a record has such a name."""
    return f"full_passes.{name}"


def _counted(name: str, title: str, words: str, explained: str) -> Cost:
    """Returns a cost that is counted in full-length passes and stands in a column of `with_costs`."""
    column = column_of(name)

    def ratio(row: Row, at: Row) -> float | None:
        values = at.values(column)
        return ratio_of_means(row.values(column), values).value if (values > 0).all() else None

    def cell(row: Row) -> str:
        mean = row.mean(column).value
        return "–" if mean is None else f"{mean:.1f} full passes"

    return Cost(
        name=name,
        title=title,
        axis=f"{title} (full-length passes)",
        more=f"more {words}",
        less=f"{'fewer' if words == 'FLOPs' else 'less'} {words}",
        times=f"times the {words}",
        error=0.0,
        explained=explained,
        unknown="no sample of both has passes that its record counts",
        ratio=ratio,
        mean=lambda row: row.mean(column),
        cell=cell,
    )


LATENCY = Cost(
    name="latency",
    title="latency",
    axis="latency (baseline = 1)",
    more="slower",
    less="faster",
    times="times as long",
    error=PRICE_ERROR,
    explained="Latency: seconds at the prices of one run. The shares of the two settings follow from ratios of mean "
    "latencies in one run, and they are taken as exact: intervals do not hold the error of prices, up to "
    f"{100 * PRICE_ERROR:.0f} %.",
    unknown="no run timed both",
    ratio=lambda row, at: ratio_of_latencies(row.samples, at.samples).value,
    mean=_latency_share,
    cell=_seconds,
)
WORK = _counted(
    "work",
    "DiT work",
    "work",
    "DiT work: tokens times computed layers of all passes of a sample, in full-length passes of its baseline. The "
    "VAE's work in between is not counted.",
)
FLOPS_13B = _counted(
    "flops_13b",
    "13B FLOPs",
    "FLOPs",
    "13B FLOPs: the passes of each sample, with its own shares of tokens and layers, projected to HunyuanVideo 13B at "
    "the size of the paper's videos, in full-length passes of the 13B. Attention is quadratic, so a short pass costs "
    "less than its share of tokens. The VAE's work in between is not counted.",
)
COSTS: Mapping[str, Cost] = {cost.name: cost for cost in (LATENCY, WORK, FLOPS_13B)}


def costs_named(names: Sequence[str]) -> list[Cost]:
    """Returns the costs `names`, each once. Raises StudyError for a name that is none."""
    if wrong := [name for name in names if name not in COSTS]:
        raise StudyError(f"there is no cost {wrong[0] or repr('')}; there are {', '.join(COSTS)}")
    return [COSTS[name] for name in dict.fromkeys(names)]


def with_costs(table: Table, costs: Sequence[Cost]) -> Table:
    """Returns the table with the counted ones of `costs` as columns of its rows' samples, in full-length passes.

    A sample has NaN if its record or its baseline's record does not count the passes.
    """
    counted = [cost.name for cost in costs if cost.name in _SHARES]
    lacking = [name for name in counted if any(column_of(name) not in row.samples for row in table.rows)]
    if not lacking:
        return table
    rows = []
    for row in table.rows:
        steps = row.samples.get("video.num_inference_steps", pd.Series(np.nan, row.samples.index)).astype(float)
        passes = {column_of(name): steps * _SHARES[name](table, row).astype(float) for name in lacking}
        rows.append(replace(row, samples=row.samples.assign(**passes), _means={}, _counts={}))
    return replace(table, rows=tuple(rows))


def _work(table: Table, row: Row) -> pd.Series:
    """Returns each sample's tokens times layers as a share of its baseline's."""
    return row.samples["dit_work"]


def _flops(table: Table, row: Row) -> pd.Series:
    """Returns each sample's projected FLOPs as a share of its baseline's."""
    reference = table.reference(row.video)
    if reference is None:
        return pd.Series(np.nan, row.samples.index)
    own, full = row.samples["dit_passes"], reference.samples["dit_passes"].reindex(row.samples.index)
    shares = [_flops_share(*pair) if all(map(_is_text, pair)) else np.nan for pair in zip(own, full, strict=True)]
    return pd.Series(shares, row.samples.index, dtype=float)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


@cache
def _flops_share(passes: str, baseline: str) -> float:
    """Returns the ratio of the projected FLOPs of `passes` to the projected FLOPs of `baseline`.

    Both are histograms of passes from records, as JSON. The baseline's pass on the most tokens is a full pass.
    """
    from analysis.model_cost import paper_flops  # imports PyTorch

    own, full, flops = json.loads(passes), json.loads(baseline), paper_flops()
    size = max((tuple(row[:3]) for row in full), key=math.prod)
    return flops.projected(own, size) / flops.projected(full, size)


_SHARES: Mapping[str, Callable[[Table, Row], pd.Series]] = {WORK.name: _work, FLOPS_13B.name: _flops}
