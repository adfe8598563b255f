"""Checks bounds on the rows of a study, for continuous integration.

`python -m analysis.gate runs/table1 --min psnr=25 --max lpips=0.1 --min speedup=1.3` checks every method's row, or only
the rows of --condition. A bound holds if the whole 95 % interval is on its right side, so --min demands that the lower
end is not below the bound. Latency and Speedup must also keep clear of the bound by the error of prices, 5 %. With
--mean only the mean counts.

Exit status: 0 if all bounds hold, 1 if a bound fails, a score is missing, or the study is incomplete or a mixture, and
2 if there is no such study, condition or column.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from analysis.cells import printed
from analysis.columns import PRICE_ERROR, PRICED, Column
from analysis.complete import incomplete, lacking
from analysis.differences import rows_named
from analysis.mixtures import is_made_otherwise
from analysis.output import column_and_number
from analysis.statistics import MIN_PROMPTS, Interval
from analysis.study import Study, StudyError
from analysis.table import Row, Table, table_of
from vgdfr_commands.atomic import atomic_file
from vgdfr_commands.start import run

Side = Literal["min", "max"]
SIDES: dict[Side, str] = {"min": "the least value allowed", "max": "the largest value allowed"}
HOLDS, FAILS, BAD_INPUT = 0, 1, 2
EXAMPLE = "psnr=25"


@dataclass(frozen=True)
class Bound:
    """A limit of a column's mean: the least value allowed (side "min") or the largest (side "max")."""

    side: Side
    name: str
    limit: float

    def __str__(self) -> str:
        return f"--{self.side} {self.name}={self.limit:g}"

    @property
    def sign(self) -> int:
        """1 if values above the limit are allowed, and -1 if values below it are."""
        return 1 if self.side == "min" else -1


@dataclass(frozen=True)
class Verdict:
    """A bound in one row. `reason` says why it fails, and is None if it holds.

    margin: the distance of the deciding number from the limit, negative on the wrong side; infinite for identical
        videos, and None without a number. The deciding number is the interval's end, or the mean.
    """

    bound: Bound
    row: Row
    column: Column
    mean: Interval
    margin: float | None
    reason: str | None = None

    @property
    def text(self) -> str:
        number = printed(self.mean, self.column.digits, intervals=True)
        counts = [f"n={self.mean.n}", *[f"+{self.mean.infinite} infinite"] * bool(self.mean.infinite)]
        return f"{self.row.title}: {self.column.name} {number} ({', '.join(counts)})"

    @property
    def as_json(self) -> dict[str, Any]:
        finite = self.margin is not None and math.isfinite(self.margin)
        return {
            "condition": self.row.condition, "title": self.row.title, "column": self.column.name,
            "side": self.bound.side, "limit": self.bound.limit, **self.mean._asdict(),
            "margin": self.margin if finite else None, "holds": self.reason is None, "reason": self.reason,
        }  # fmt: skip


def verdict(table: Table, row: Row, column: Column, bound: Bound, by_mean: bool = False) -> Verdict:
    """Returns whether `bound` holds in `row`, by the interval of the mean or with `by_mean` by the mean alone."""
    mean = row.mean(column.name)
    found = Verdict(bound, row, column, mean, None)
    if reason := _unusable(table, row, column):
        return replace(found, reason=reason)
    if mean.infinite and _infinite_is_wrong(row, bound):
        return replace(found, reason=f"{mean.infinite} of {row.n} values are infinite")
    if mean.value is None:
        return replace(found, margin=math.inf)
    end = mean.value if by_mean else mean.low if bound.side == "min" else mean.high
    if end is None:
        return replace(found, reason=f"there is no interval, which needs {MIN_PROMPTS} prompts with finite values in a "
                       "column of means; --mean compares the mean")  # fmt: skip
    margin = bound.sign * (end - bound.limit)
    if margin < 0:
        what = "mean" if by_mean else "lower end" if bound.side == "min" else "upper end"
        side = "below" if bound.side == "min" else "above"
        return replace(found, margin=margin, reason=f"the {what} is {-margin:.3g} {side} the bound")
    if not by_mean and column.name in PRICED and (short := _short_of_prices(mean.value, bound)) > 0:
        reason = f"the mean is {short:.3g} short of {PRICE_ERROR:.0%} beyond the bound, the error of prices"
        return replace(found, margin=-short, reason=reason)
    return replace(found, margin=margin)


def _unusable(table: Table, row: Row, column: Column) -> str | None:
    """Returns why a row's values cannot be compared with a bound, or None."""
    if not row.n:
        return row.fault or "it has no finished sample"
    if row.apart(column):
        return (
            f"its videos start from noise of their own, so {column.name} compares other videos; name rows that a "
            "bound holds for with --condition"
        )
    if count := lacking(row, column):
        missing = table.study.missing
        of_row = missing[(missing["condition"] == row.condition) & (missing["metric"] == column.name)]["reason"]
        told = row.samples["no_speedup"].dropna() if column.name in PRICED else of_row
        needs = f"it needs {column.network}" if column.network else "it has not been computed"
        why = told.iloc[0] if len(told) else needs
        return f"{count} of {row.n} samples have no value: {why}"
    if is_made_otherwise(row.samples, column):
        how = row.samples["made_otherwise"].dropna().iloc[0]
        return f"samples were made otherwise than the baseline they are compared with: {how}"
    return None


def _infinite_is_wrong(row: Row, bound: Bound) -> bool:
    values = row.values(bound.name)
    return bool((values == -bound.sign * math.inf).any())


def _short_of_prices(value: float, bound: Bound) -> float:
    """Returns by how much the mean must still move away from the bound to clear the error of prices."""
    clear = bound.limit * (1 + PRICE_ERROR) if bound.side == "min" else bound.limit / (1 + PRICE_ERROR)
    return bound.sign * (clear - value)


@dataclass(frozen=True)
class Result:
    """The verdicts of a study, and the problems of the study as a whole."""

    study: str
    bounds: tuple[Bound, ...]
    verdicts: tuple[Verdict, ...]
    problems: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return bool(self.problems) or any(v.reason is not None for v in self.verdicts)

    @property
    def lines(self) -> list[str]:
        """One line per bound that holds in all rows, and one line per failure."""
        out = [f"FAILS  {problem}" for problem in self.problems]
        for bound in self.bounds:
            own = [v for v in self.verdicts if v.bound == bound]
            failures = [v for v in own if v.reason is not None]
            out += [f"FAILS  {bound}  {v.text}: {v.reason}" for v in failures]
            if own and not failures:
                closest = min(own, key=lambda v: math.inf if v.margin is None else v.margin)
                many = f"in {len(own)} rows, closest in " if len(own) > 1 else ""
                out.append(f"holds  {bound}  {many}{closest.text}")
        return out

    @property
    def as_json(self) -> str:
        verdicts = [v.as_json for v in self.verdicts]
        content = {"study": self.study, "holds": not self.failed, "problems": self.problems, "verdicts": verdicts}
        return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)


def gate(study: Study, bounds: Sequence[Bound], conditions: Sequence[str] = (), by_mean: bool = False) -> Result:
    """Returns whether `bounds` hold in every method's row, or in the rows of `conditions`, their folders or titles.

    A mixture, and a study without a finished baseline, is a problem in the result. Raises StudyError for an unknown
    condition or column, and if there is no row to check.
    """
    try:
        table = table_of(study)
    except StudyError as error:
        return Result(study.name, tuple(bounds), (), (str(error),))
    columns = [table.columns([bound.name])[0] for bound in bounds]
    named = [row for name in conditions for row in rows_named(table, name)]
    rows = named if conditions else [row for row in table.rows if row.role == "method"]
    if not rows:
        raise StudyError("the study has no method's row to check; name a row with --condition")
    shown = [replace(bound, name=column.name) for bound, column in zip(bounds, columns, strict=True)]
    verdicts = [
        verdict(table, row, column, bound, by_mean)
        for bound, column in zip(shown, columns, strict=True)
        for row in dict.fromkeys(rows)
    ]
    return Result(study.name, tuple(shown), tuple(verdicts), tuple(filter(None, [incomplete(table)])))


def _bound(side: Side, text: str) -> Bound:
    return Bound(side, *column_and_number(text, "a bound", EXAMPLE))


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    for side, says in SIDES.items():
        parser.add_argument(f"--{side}", action="append", default=[], dest="bounds", metavar="COLUMN=NUMBER",
                            type=partial(_bound, side), help=f"{says}; repeat")  # fmt: skip
    said = "check this row, named by its folder or title; repeat (default: every method's row)"
    parser.add_argument("--condition", action="append", default=[], metavar="NAME", help=said)
    parser.add_argument("--mean", action="store_true", help="compare means, without intervals and errors of prices")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the verdicts into this file")
    given = parser.parse_args()
    if not given.bounds:
        parser.error(f"name at least one bound, such as --min {EXAMPLE}")
    try:
        result = gate(Study(given.study), given.bounds, given.condition, given.mean)
        if given.json:
            with atomic_file(given.json) as unfinished:
                unfinished.write_text(result.as_json + "\n", encoding="utf-8")
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    print("\n".join(result.lines))
    return FAILS if result.failed else HOLDS


if __name__ == "__main__":
    run(command)
