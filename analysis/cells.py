"""Writes a mean as the text of a cell, with its interval, its number of samples and the identical videos."""

from analysis.bound import ABOVE
from analysis.columns import Column
from analysis.mixtures import APART, OTHERWISE, is_made_otherwise
from analysis.statistics import Interval
from analysis.table import Row
from analysis.timing import elapsed_in


def printed(mean: Interval, digits: int, intervals: bool = False) -> str:
    """Returns the number, with the ends of its interval if `intervals`, or an en dash for no number."""
    if mean.value is None:
        return "–"
    text = f"{mean.value:.{digits}f}"
    return f"{text} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]" if intervals and mean.low is not None else text


def cell_text(row: Row, column: Column, intervals: bool = False) -> str:
    """Returns the mean, its n if that is smaller than the row's n, and the number of infinite values.

    An infinite PSNR means that the video is identical to its baseline: `34.21 (n=7, +3 identical)`. A latency of
    disturbed samples has the elapsed seconds. Signs mark what a note explains: ▲ a speed-up above its bound, ‡ samples
    made otherwise than their baselines, § samples from other noise than their baselines.
    """
    mean, there = row.mean(column.name), row.present(column.name)
    kind = "identical" if column.name == "psnr" else "infinite"
    if mean.value is None and mean.infinite:
        return kind if there == row.n else f"{kind} (n={there})"
    text = printed(mean, column.digits, intervals)
    if mean.value is None:
        return text
    text += f" {ABOVE}" if column.name == "of_bound" and round(mean.value, column.digits) > 1 else ""
    text += f" {OTHERWISE}" if is_made_otherwise(row.samples, column) else ""
    text += f" {APART}" if row.apart(column) else ""
    details = [f"n={there - mean.infinite}"] if mean.n < row.n else []
    details += [f"+{mean.infinite} {kind}"] if mean.infinite else []
    details += [elapsed] if column.name == "latency_s" and (elapsed := elapsed_in(row)) else []
    return f"{text} ({', '.join(details)})" if details else text
