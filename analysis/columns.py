"""The columns of tables and figures: the paper's metrics, any other scored metric, and the measurements of cost."""

import json
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd

from analysis.study import StudyError
from metrics import About as Column
from metrics import about
from metrics.base import EMBEDDED as EMBEDDED
from metrics.base import VIDEO_QUALITY

EFFICIENCY = (
    Column("latency_s", "Latency (s)", "s", 2, -1, "Efficiency"),
    Column("speedup", "Speedup", "", 2, 1, "Efficiency"),
    Column("of_bound", "Of bound", "", 2, 0, "Efficiency"),
    Column("token_ratio", "Tokens", "", 2, 0, "Efficiency"),
)
# Columns of priced latencies. All prompts share one price per kind of work, so an interval over prompts does not
# hold the error of the prices. Two runs of Table 1 on one machine differ by up to 5 % in a Speedup cell.
PRICED, PRICE_ERROR = ("latency_s", "speedup", "of_bound"), 0.05
# columns that a table shows on request
ON_REQUEST = (
    Column("dit_work", "DiT work", "", 2, 0, "Efficiency"),
    Column("skipped", "Skipped", "", 2, 0, "Efficiency"),
    Column("peak_gib", "Peak (GiB)", "GiB", 2, -1, "Efficiency"),
    *(
        Column(
            f"vbench_{part}", f"VBench {part}", "", 4, 1, VIDEO_QUALITY,
            network="VBench's results of all 16 dimensions, each from one result file (docs/vbench.md)",
        )
        for part in ("total", "quality", "semantic")
    ),
)  # fmt: skip
# The paper's metrics in its order, with motion, because a frozen video does not flicker.
_DEFAULT = ("clip_temp", "clipsim", "vqa", "flicker", "motion", "psnr", "ssim", "lpips", "cosine")


def metrics_of(samples: pd.DataFrame) -> list[str]:
    """Returns the names of all metrics that any sample was scored for, in the order of the records."""
    names = [name.removesuffix(".id") for name in samples.columns if name.endswith(".id") and has(samples, name)]
    return [name for name in names if f"{name}.kept" in samples]  # a method may have a setting named id


def has(samples: pd.DataFrame, name: str) -> bool:
    """Returns whether any sample has a value in the column. The index may keep a column without values."""
    return name in samples and bool(samples[name].notna().any())


def expected_in(samples: pd.DataFrame, dimension: str) -> pd.Series:
    """Returns whether a metric of the prompts' `dimension` is for the sample. Prompts without dimensions have all."""
    named = samples["prompt_dimensions"].fillna("").tolist()
    return pd.Series([not text or dimension in text.split("\n") for text in named], samples.index, dtype=bool)


def column_of(samples: pd.DataFrame, name: str) -> Column:
    """Returns the column `name`. For a metric from outside this project, its scores describe the column."""
    for column in (*EFFICIENCY, *ON_REQUEST):
        if column.name == name:
            return column
    told = samples[f"{name}.about"].dropna() if f"{name}.about" in samples else ()
    stored = json.loads(told.iloc[-1]) if len(told) else None
    return about(name, stored) or Column(name, name, "", 4, 0, "Video Quality")


def columns(samples: pd.DataFrame, names: Sequence[str] | None = None) -> list[Column]:
    """Returns the columns of a table of `samples`, or only the columns `names` in that order.

    By default these are the paper's columns, with the columns of metrics from outside this project at the end of their
    group. A learned metric is replaced by the embedded judge's version if the study has only that one. A table without
    latencies has only columns with values. Raises StudyError for a name that no sample has.
    """
    chosen = [column_of(samples, _by_the_judge(samples, name)) for name in _DEFAULT]
    if names is not None:
        return list(dict.fromkeys(_named(samples, name, chosen) for name in names))
    own = [column_of(samples, name) for name in metrics_of(samples) if has(samples, f"{name}.about")]
    groups = dict.fromkeys(column.group for column in (*chosen, *own))
    ordered = [column for group in groups for column in (*chosen, *own) if column.group == group]
    if not any(is_filled(samples, column.name) for column in EFFICIENCY):
        return [column for column in ordered if is_filled(samples, column.name)]
    # older records do not hold FLOPs, and some models do not tell theirs
    bounded = is_filled(samples, "bound")
    return [*ordered, *(column for column in EFFICIENCY if column.name != "of_bound" or bounded)]


def _named(samples: pd.DataFrame, name: str, chosen: Sequence[Column]) -> Column:
    for column in chosen:
        if name in (column.name, in_paper(column)):
            return column
    measured = [column.name for column in (*EFFICIENCY, *ON_REQUEST)]
    if name in metrics_of(samples) or name in measured:
        return column_of(samples, name)
    there = list(dict.fromkeys([*map(in_paper, chosen), *metrics_of(samples), *measured]))
    near = get_close_matches(name.lower(), there, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    hint = hint or "; if it is a metric, score it first: python -m bench.score STUDY --metrics NAME"
    raise StudyError(f"there is no column {name or repr('')}; there are {', '.join(there)}{hint}")


def in_paper(column: Column) -> str:
    """Returns the metric's name without "_embedded": the paper has no embedded judge."""
    return column.name.removesuffix("_embedded")


def is_filled(samples: pd.DataFrame, name: str) -> bool:
    """Returns whether any sample has a finite value in the column."""
    return name in samples and bool(np.isfinite(samples[name]).any())


def _by_the_judge(samples: pd.DataFrame, name: str) -> str:
    judged = f"{name}_embedded"
    return judged if not is_filled(samples, name) and is_filled(samples, judged) else name
