"""Reads the paper's Table 1 (arXiv 2504.12259), and finds the paper's row for a row of a study."""

import csv
from functools import cache
from pathlib import Path

from analysis.table import Row

FILE = Path(__file__).parent / "paper_table1.csv"
Setting = tuple[int, float] | None  # k and theta; None for the baseline


@cache
def rows() -> dict[Setting, dict[str, float]]:
    """Returns the numbers of each row by column."""
    return {setting: {name: float(v) for name, v in row.items()} for setting, row in printed().items()}


@cache
def printed() -> dict[Setting, dict[str, str]]:
    """Returns `rows` as text, with the digits that the paper prints."""
    found: dict[Setting, dict[str, str]] = {}
    with FILE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            setting = (int(row["k"]), float(row["theta"])) if row["k"] else None
            found[setting] = {n: v for n, v in row.items() if v and n not in ("method", "k", "theta")}
    return found


def setting_of(row: Row) -> tuple[Setting] | None:
    """Returns a tuple of the setting of the paper's row for `row`, or None if the paper has none.

    Ablations and other methods have none. The paper's table is of VGDFR, so this function looks at the method's
    name.
    """
    if row.is_reference:
        return (None,)
    if row.method != "vgdfr" or not row.ranked or row.other or row.k is None or row.theta is None:
        return None
    return ((row.k, row.theta),) if (row.k, row.theta) in rows() else None


def row_of(row: Row) -> dict[str, str] | None:
    """Returns the paper's row for `row` as printed, or None."""
    setting = setting_of(row)
    return printed()[setting[0]] if setting else None
