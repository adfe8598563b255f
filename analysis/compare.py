"""Makes the report of `python -m analysis.statistics`: means and paired differences, also by content of the prompts."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from analysis.columns import Column, columns
from analysis.complete import incomplete
from analysis.output import Report, csv_of
from analysis.render import Sheet, plain
from analysis.statistics import HOW_INTERVALS, NOTHING, Interval, paired, ratio_of_latencies
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
    is no baseline.
    """

    group: str
    row: Row
    column: Column
    mean: Interval
    difference: Interval


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
                difference = NOTHING
                if reference and row is not reference and column.name != "speedup":
                    difference = paired(row.values(column.name), reference.values(column.name))
                out.append(Finding(group, row, column, row.mean(column.name), difference))
    return out


def between(
    study: Study, a: str, b: str, by: str | None = None, allow_mixed: bool = False, names: Sequence[str] | None = None
) -> list[Pair]:
    """Returns every column of two conditions, for each group and video setting that has both.

    A difference is over the samples that both conditions have. `a` and `b` are titles or folders of conditions. Raises
    StudyError for an unknown condition, and for conditions without common samples.
    """
    table = table_of(study, allow_mixed=allow_mixed)
    chosen = [{row.slug for row in table.rows if name in (row.slug, row.title)} for name in (a, b)]
    if missing := [name for name, slugs in zip((a, b), chosen, strict=True) if not slugs]:
        there = ", ".join(dict.fromkeys(row.slug for row in table.rows))
        raise StudyError(f"there is no condition {' or '.join(missing)}; there are {there}")
    out = []
    for group, part in _tables(table, by, allow_mixed):
        for video in part.videos:
            rows = [next((r for r in part.rows if r.slug in slugs and r.video == video), None) for slugs in chosen]
            if rows[0] is None or rows[1] is None:
                continue
            where = ", ".join(text for text in (group, video) if text)
            for column in columns(table.samples, names):
                difference = _difference(rows[0], rows[1], column)
                if difference.n or difference.infinite:
                    one, other = (row.mean(column.name) for row in (rows[0], rows[1]))
                    out.append(Pair(where, column, one, other, difference))
    if not out:
        raise StudyError(f"{a} and {b} have no sample of the same prompt, seed and video settings")
    return out


def _difference(a: Row, b: Row, column: Column) -> Interval:
    if column.name == "speedup":
        return ratio_of_latencies(b.samples, a.samples)
    return paired(a.values(column.name), b.values(column.name))


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


def _text(value: Interval, digits: int, n: int, signed: bool = False) -> str:
    """Returns the number with its interval, and its own n if that differs from the row's `n`."""
    if value.value is None:
        return f"all {value.infinite} infinite" if value.infinite else "–"
    sign = "+" if signed else ""
    ends = f" [{value.low:{sign}.{digits}f}, {value.high:{sign}.{digits}f}]" if value.low is not None else ""
    own = value.n + value.infinite
    counts = [f"n={own}"] * (own != n) + [f"{value.infinite} infinite"] * (value.infinite > 0)
    return ", ".join((f"{value.value:{sign}.{digits}f}{ends}", *counts))


_HOW = f"{HOW_INTERVALS} Infinite values are counted apart. The same prompts are drawn for all columns."


def sheets(found: Sequence[Finding], banner: str | None = None) -> list[Sheet]:
    """Returns two sheets per group: the means with n and failed, and the differences to the baseline.

    `banner` is a warning above the first sheet.
    """
    out = []
    for group in dict.fromkeys(f.group for f in found):
        own: dict[str, list[Finding]] = {}
        for f in found:
            if f.group == group:
                own.setdefault(f.row.condition, []).append(f)
        first = next(iter(own.values()))
        body = [
            plain(fs[0].row.title, str(fs[0].row.n), str(fs[0].row.n_failed),
                  *(_text(f.mean, f.column.digits, f.row.n) for f in fs))
            for fs in own.values()
        ]  # fmt: skip
        header = ("Method", "n", "failed", *(f.column.title for f in first))
        title = f"Means: {group}" if group else "Means"
        out.append(Sheet(header, tuple(body), title=title, notes=(_HOW,), banner=None if out else banner))
        compared = [i for i in range(len(first)) if any(fs[i].difference.n for fs in own.values())]
        body = []
        for fs in own.values():
            if not fs[0].row.is_reference and compared:
                differences = [fs[i] for i in compared]
                n = max(f.difference.n + f.difference.infinite for f in differences)
                texts = (_text(f.difference, f.column.digits, n, signed=True) for f in differences)
                body.append(plain(fs[0].row.title, str(n), *texts))
        if body:
            header = ("Method", "n", *(first[i].column.title for i in compared))
            title = f"Minus the baseline: {group}" if group else "Minus the baseline"
            alone = [f.column.title for i, f in enumerate(first) if i not in compared and f.column.name != "speedup"]
            notes = [
                _DIFFERENCES,
                *[f"These columns have no difference, because the baseline has no such value: {', '.join(alone)}."]
                * bool(alone),
            ]
            out.append(Sheet(header, tuple(body), title=title, notes=tuple(notes)))
    return out


_DIFFERENCES = (
    "Mean paired differences over the n samples that a condition and its baseline both have. A cell over fewer samples "
    "says its own n."
)


def _ends(name: str, value: Interval) -> dict[str, object]:
    return {name if end == "value" else f"{name}_{end}": number for end, number in value._asdict().items()}


def _pairs_sheet(pairs: Sequence[Pair], a: str, b: str) -> Sheet:
    body = []
    for p in pairs:
        n, digits = p.difference.n + p.difference.infinite, p.column.digits
        difference = _text(p.difference, digits, n, p.column.name != "speedup")
        body.append(plain(p.column.title, p.group, _text(p.a, digits, n), _text(p.b, digits, n), difference, str(n)))
    note = (
        f"Differences are {a} minus {b} over the n samples that both have; in Speedup, the ratio of the second's mean "
        "latency to the first's. The means are over all samples of each; they say their n where it is another."
    )
    return Sheet(("Column", "Of", a, b, "Difference", "n"), tuple(body), title=f"{a} and {b}", notes=(note, _HOW))


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
            | {name: v for part in parts for name, v in _ends(part, getattr(p, part)).items()}
            for p in pairs
        ]
        stem = f"statistics-{_file_name(pair[0])}-against-{_file_name(pair[1])}{end}"
        return Report(stem, (_pairs_sheet(pairs, *pair),), {f"{stem}.csv": csv_of(rows)})
    table = table_of(study, allow_mixed=allow_mixed)
    found = _findings(table, by, allow_mixed, names)
    rows = [
        {"group": f.group, "method": f.row.title, "slug": f.row.slug, "video": f.row.video, "k": f.row.k,
         "theta": f.row.theta, "n": f.row.n, "n_failed": f.row.n_failed, "column": f.column.name}
        | _ends("mean", f.mean) | _ends("difference", f.difference)
        for f in found
    ]  # fmt: skip
    return Report(f"statistics{end}", tuple(sheets(found, incomplete(table))), {f"statistics{end}.csv": csv_of(rows)})


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text).strip("-")
