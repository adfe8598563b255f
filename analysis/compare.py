"""Makes the report of `python -m analysis.statistics`: means and paired differences, also by content of the prompts."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from analysis.columns import PRICE_ERROR, Column, columns
from analysis.complete import incomplete
from analysis.differences import beyond_prices, comparable, difference, rows_named
from analysis.mark_notes import note_on_intervals
from analysis.output import Report, csv_of, file_name
from analysis.render import Cell, Sheet, plain
from analysis.statistics import CONFIDENCE, NOTHING, Interval, holm_by_group, p_value
from analysis.study import SPEEDS, Study, StudyError
from analysis.table import Row, Table, table_of

# for each breakdown: the data that it needs
GROUPINGS = {
    "speed": f"prompts of the embedded world ({', '.join(SPEEDS)})",
    "dimension": "prompts with dimensions, such as VBench's",
    "resolution": "video sizes in the records",
    "length": "video lengths in the records",
}


class Finding(NamedTuple):
    """One column of one condition within a group of samples.

    `difference` is the paired difference to the baseline. It is empty for a baseline, for the speed-up, and where there
    is no baseline. `p_holm` is the difference's p-value against zero, adjusted for the number of conditions that the
    group compares in this column, or None below MIN_PROMPTS prompts. `differs`: p_holm is below 0.05, and latencies are
    `beyond_prices`.
    """

    group: str
    row: Row
    column: Column
    mean: Interval
    difference: Interval
    p_holm: float | None = None
    differs: bool = False


class Pair(NamedTuple):
    """One column of two conditions within a group and video setting: their means, and the difference a - b.

    In the column speedup the difference is the ratio of b's mean latency to a's.
    """

    group: str
    column: Column
    a: Interval
    b: Interval
    difference: Interval


def findings(
    study: Study, by: str | None = None, allow_mixed: bool = False, names: Sequence[str] | None = None
) -> list[Finding]:
    """Returns every condition and column against the baseline, within each group if `by` is one of GROUPINGS.

    Raises StudyError as `analysis.table.table_of` does, and if the study has nothing to group by.
    """
    return _findings(table_of(study, allow_mixed=allow_mixed), by, allow_mixed, names)


def _findings(table: Table, by: str | None, allow_mixed: bool, names: Sequence[str] | None) -> list[Finding]:
    shown, out = columns(table.samples, names), []
    for group, part in _tables(table, by, allow_mixed):
        for row in part.rows:
            reference = part.reference(row.video)
            for column in shown:
                found = NOTHING
                if reference and row is not reference and column.name != "speedup":
                    found = difference(row, reference, column)
                out.append(Finding(group, row, column, row.mean(column.name), found))
    return _corrected(out, table)


def _corrected(found: Sequence[Finding], table: Table) -> list[Finding]:
    """Returns the findings with their p-values, adjusted within each group and column."""
    p: list[float | None] = []
    for f in found:
        reference = table.reference(f.row.video) if f.difference.low is not None else None
        p.append(reference and p_value(comparable(f.row, f.column), comparable(reference, f.column)))
    out = []
    for f, q in zip(found, holm_by_group([(f.group, f.column.name) for f in found], p), strict=True):
        reference = table.reference(f.row.video)
        separated = q is not None and q < 1 - CONFIDENCE
        differs = separated and reference is not None and beyond_prices(f.row, reference, f.column)
        out.append(f._replace(p_holm=q, differs=differs))
    return out


def between(
    study: Study, a: str, b: str, by: str | None = None, allow_mixed: bool = False, names: Sequence[str] | None = None
) -> list[Pair]:
    """Returns every column of two conditions, for each group and video setting that has both.

    A difference is over the samples that both conditions have. `a` and `b` are titles or folders of conditions. Raises
    StudyError for an unknown condition, and for conditions without common samples.
    """
    table = table_of(study, allow_mixed=allow_mixed)
    chosen = [{row.slug for row in rows_named(table, name)} for name in (a, b)]
    out = []
    for group, part in _tables(table, by, allow_mixed):
        for video in part.videos:
            rows = [next((r for r in part.rows if r.slug in slugs and r.video == video), None) for slugs in chosen]
            if rows[0] is None or rows[1] is None:
                continue
            where = ", ".join(text for text in (group, video) if text)
            for column in columns(table.samples, names):
                found = difference(rows[0], rows[1], column)
                if found.n or found.infinite:
                    one, other = (row.mean(column.name) for row in (rows[0], rows[1]))
                    out.append(Pair(where, column, one, other, found))
    if not out:
        raise StudyError(f"{a} and {b} have no sample of the same prompt, seed and video settings")
    return out


def _tables(table: Table, by: str | None, allow_mixed: bool) -> list[tuple[str, Table]]:
    """Returns the table of each group. Leaves out groups without a finished baseline, which cannot be compared."""
    if by is None:
        return [("", table)]
    samples = table.study.samples[table.study.samples["makes_video"]]
    groups = _groups(samples, by).dropna()
    if groups.empty:
        raise StudyError(f"--by {by} needs {GROUPINGS[by]}; this study has none")
    out = []
    for group in sorted(groups.unique(), key=_place):
        own = samples[samples["folder"].isin(groups.index[groups == group])]
        if ((own["role"] == "reference") & (own["status"] == "done")).any():
            out.append((group, table_of(table.study.only(own), allow_mixed=allow_mixed)))
    return out


def _groups(samples: pd.DataFrame, by: str) -> pd.Series:
    """Returns the groups of each sample, several for some, by the sample's folder."""
    if by in ("speed", "dimension"):
        words = samples.set_index("folder")["content"].str.split("\n").explode()
        return words[words.isin(SPEEDS) if by == "speed" else (words != "") & ~words.isin(SPEEDS)]
    names = ["video.width", "video.height"] if by == "resolution" else ["video.num_frames"]
    if not set(names) <= set(samples):
        return pd.Series(dtype=str)
    sizes = samples.set_index("folder")[names].dropna().astype(int).astype(str)
    return sizes.agg("x".join, axis=1) + (" frames" if by == "length" else "")


def _place(group: str) -> tuple[int, int, str]:
    number = re.match(r"\d+", group)
    return SPEEDS.index(group) if group in SPEEDS else -1, int(number[0]) if number else 0, group


def interval_text(value: Interval, digits: int, n: int, signed: bool = False) -> str:
    """Returns the number with its interval, and its own n if that differs from the row's `n`."""
    if value.value is None:
        return f"all {value.infinite} infinite" if value.infinite else "–"
    sign = "+" if signed else ""
    ends = f" [{value.low:{sign}.{digits}f}, {value.high:{sign}.{digits}f}]" if value.low is not None else ""
    own = value.n + value.infinite
    counts = [f"n={own}"] * (own != n) + [f"{value.infinite} infinite"] * (value.infinite > 0)
    return ", ".join((f"{value.value:{sign}.{digits}f}{ends}", *counts))


def _on_intervals(columns: Sequence[Column]) -> str:
    return f"{note_on_intervals(columns)} Infinite values are counted apart."


def sheets(found: Sequence[Finding], banner: str | None = None) -> list[Sheet]:
    """Returns two sheets per group: the means with n and failed, and the differences to the baseline.

    `banner` is a warning above the first sheet.
    """
    out = []
    for group in dict.fromkeys(f.group for f in found):
        rows: dict[str, list[Finding]] = {}
        for f in found:
            if f.group == group:
                rows.setdefault(f.row.condition, []).append(f)
        made = (_means_sheet(group, [*rows.values()]), _differences_sheet(group, [*rows.values()]))
        out += [sheet for sheet in made if sheet]
    return [replace(out[0], banner=banner), *out[1:]] if out else out


def _means_sheet(group: str, rows: Sequence[Sequence[Finding]]) -> Sheet:
    """Returns the means of a group. `rows` has the findings of each condition, in one order of columns."""
    columns = [f.column for f in rows[0]]
    body = [
        plain(fs[0].row.label, str(fs[0].row.n), str(fs[0].row.n_failed),
              *(interval_text(f.mean, f.column.digits, f.row.n) for f in fs))
        for fs in rows
    ]  # fmt: skip
    header = ("Method", "n", "failed", *(column.title for column in columns))
    return Sheet(header, tuple(body), title=f"Means: {group}" if group else "Means", notes=(_on_intervals(columns),))


def _differences_sheet(group: str, rows: Sequence[Sequence[Finding]]) -> Sheet | None:
    """Returns the differences to the baseline of a group, or None if there are none."""
    first = rows[0]
    compared = [i for i in range(len(first)) if any(fs[i].difference.n for fs in rows)]
    body = [_differences_row([fs[i] for i in compared]) for fs in rows if compared and not fs[0].row.is_reference]
    if not body:
        return None
    alone = [f.column.title for i, f in enumerate(first) if i not in compared and f.column.name != "speedup"]
    by_run = any(fs.column.name == "latency_s" for fs in first)
    notes = [_DIFFERENCES + f" {_IN_LATENCY}" * by_run]
    notes += _on_corrections([fs[i] for fs in rows for i in compared])
    if alone:
        notes.append(f"No difference, because no sample has a value on both sides: {', '.join(alone)}.")
    header = ("Method", "n", *(first[i].column.title for i in compared))
    title = f"Minus the baseline: {group}" if group else "Minus the baseline"
    return Sheet(header, tuple(body), title=title, notes=tuple(notes))


def _differences_row(found: Sequence[Finding]) -> tuple[Cell, ...]:
    n = max(f.difference.n + f.difference.infinite for f in found)
    texts = (interval_text(f.difference, f.column.digits, n, signed=True) for f in found)
    cells = (Cell(text, "best" * f.differs) for text, f in zip(texts, found, strict=True))
    return *plain(found[0].row.title, str(n)), *cells


def _on_corrections(found: Sequence[Finding]) -> list[str]:
    counts = Counter(f.column.name for f in found if f.p_holm is not None)
    if not counts:
        return []
    most, total = max(counts.values()), sum(counts.values())
    return [
        f"Bold: the difference is not 0 (t test, p < {1 - CONFIDENCE:.2f}) after Holm's correction for the up to "
        f"{most} conditions of its column. The intervals are not corrected: of {total} intervals about "
        f"{(1 - CONFIDENCE) * total:.0f} would exclude 0 by chance if no condition differed."
    ]


_IN_LATENCY = (
    "In Latency a sample counts only if one run priced both sides, and bold also needs a difference of more than "
    f"{100 * PRICE_ERROR:.0f} %."
)
_DIFFERENCES = (
    "Mean paired differences over the n samples that a condition and its baseline both have. A cell over fewer samples "
    "says its own n."
)


def ends(name: str, value: Interval) -> dict[str, object]:
    return {name if end == "value" else f"{name}_{end}": number for end, number in value._asdict().items()}


def _pairs_sheet(pairs: Sequence[Pair], a: str, b: str) -> Sheet:
    body = []
    for p in pairs:
        n, digits = p.difference.n + p.difference.infinite, p.column.digits
        difference = interval_text(p.difference, digits, n, p.column.name != "speedup")
        body.append(
            plain(
                p.column.title,
                p.group,
                interval_text(p.a, digits, n),
                interval_text(p.b, digits, n),
                difference,
                str(n),
            )
        )
    note = (
        f"Differences are {a} minus {b} over the n samples that both have; in Speedup, the ratio of the second's mean "
        "latency to the first's. In Latency and Speedup a sample counts only if one run priced both. Each mean is over "
        "all samples of its condition, and says its n if that differs."
    )
    notes = (note, _on_intervals(list(dict.fromkeys(p.column for p in pairs))))
    return Sheet(("Column", "Of", a, b, "Difference", "n"), tuple(body), title=f"{a} and {b}", notes=notes)


def report(
    study: Study,
    pair: tuple[str, str] | None = None,
    by: str | None = None,
    allow_mixed: bool = False,
    names: Sequence[str] | None = None,
) -> Report:
    """Returns the means and differences to the baseline, or with `pair` the differences between two conditions."""
    end = "-".join(["", *names]) if names is not None else ""
    end += f"-by-{by}" if by else ""
    if pair:
        pairs = between(study, *pair, by, allow_mixed, names)
        parts = ("a", "b", "difference")
        rows = [
            {"group": p.group, "column": p.column.name}
            | {name: v for part in parts for name, v in ends(part, getattr(p, part)).items()}
            for p in pairs
        ]
        stem = f"statistics-{file_name(pair[0])}-against-{file_name(pair[1])}{end}"
        return Report(stem, (_pairs_sheet(pairs, *pair),), {f"{stem}.csv": csv_of(rows)})
    table = table_of(study, allow_mixed=allow_mixed)
    found = _findings(table, by, allow_mixed, names)
    rows = [
        {"group": f.group, "method": f.row.title, "slug": f.row.slug, "video": f.row.video, "k": f.row.k,
         "theta": f.row.theta, "n": f.row.n, "n_failed": f.row.n_failed, "column": f.column.name}
        | ends("mean", f.mean) | ends("difference", f.difference) | {"difference_p_holm": f.p_holm}
        for f in found
    ]  # fmt: skip
    return Report(f"statistics{end}", tuple(sheets(found, incomplete(table))), {f"statistics{end}.csv": csv_of(rows)})
