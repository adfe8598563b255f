"""A table of what accelerators measured, and of the share of the DiT's layers that were skipped."""

from collections.abc import Sequence
from typing import Any

from analysis.conditions import Line
from analysis.sheet import Sheet, plain

SHARES = {"attention skipped": 4, "feed-forward skipped": 5}  # the index of the computed share in a row of dit_passes


def accelerators_sheet(table: Sequence[Line]) -> Sheet | None:
    """Returns a row per condition and accelerator with means over finished samples, or None without accelerators."""
    of = [(line, name) for line in table for name in _names(line)]
    if not of:
        return None
    measures = list(dict.fromkeys(m for line, name in of for own in _measured(line, name) for m in own))
    body = []
    for line, name in of:
        measured = _measured(line, name)
        passes = [r.record["dit_passes"] for r in line.rows if name in _accelerated(r.record) and _passes(r.record)]
        shares = [_text([_skipped(rows, place) for rows in passes], "{:.1%}") for place in SHARES.values()]
        means = [_text([own[m] for own in measured if m in own], "{:.1f}") for m in measures]
        body.append(plain(line.title, str(len(measured)), name, *means, *shares))
    return Sheet(
        title="Accelerators",
        header=("Method", "n", "Accelerator", *(m.replace("_", " ") for m in measures), *SHARES),
        rows=tuple(body),
        notes=(
            "Means over samples of what an accelerator counted. Skipped: the share of attention and of feed-forward "
            "layers that the DiT's passes did not compute, whatever skipped them.",
        ),
    )


def _accelerated(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    return record.get("accelerated") or {}


def _passes(record: dict[str, Any]) -> Sequence[Sequence[float]]:
    return record.get("dit_passes") or ()


def _names(line: Line) -> list[str]:
    return list(dict.fromkeys(name for row in line.rows for name in _accelerated(row.record)))


def _measured(line: Line, name: str) -> list[dict[str, float]]:
    """Returns the accelerator's measurements in each sample that has it."""
    return [own[name] for row in line.rows if name in (own := _accelerated(row.record))]


def _skipped(passes: Sequence[Sequence[float]], place: int) -> float:
    """Returns the share of a histogram of passes that was not computed. Each forward has the same weight.

    A pass without a forward counts as a forward that computed nothing.
    """
    weights = [max(row[3], 1) * row[6] for row in passes]
    computed = [row[3] * row[6] * row[place] for row in passes]
    return 1 - sum(computed) / sum(weights)


def _text(values: Sequence[float], how: str) -> str:
    return how.format(sum(values) / len(values)) if values else "–"
