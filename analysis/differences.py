"""Makes the report of `python -m analysis.statistics`: means, and differences over common samples, also by content."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from analysis import sheet
from analysis.columns import Column
from analysis.conditions import Line, columns, lines
from analysis.content import SPEEDS, content_of
from analysis.load import Row, StudyError, load
from analysis.output import write_and_print
from analysis.sheet import Cell, Sheet
from analysis.statistics import MIN_PROMPTS, Interval, paired, ratio_of_means
from bench.facts import facts_of


def _spec(row: Row) -> dict:
    return row.record["identity"]["spec"]


# for each breakdown: a function that returns the groups of a sample, and the data that the breakdown needs
GROUPINGS: dict[str, tuple[Callable[[Row], list[str]], str]] = {
    "speed": (
        lambda row: [c for c in content_of(row) if c in SPEEDS],
        f"prompts of the embedded world ({', '.join(SPEEDS)})",
    ),
    "dimension": (
        lambda row: [c for c in content_of(row) if c not in SPEEDS],
        "prompts with dimensions, such as VBench's",
    ),
    "resolution": (
        lambda row: [f"{_spec(row)['width']}x{_spec(row)['height']}"] if "height" in _spec(row) else [],
        "video sizes in the records",
    ),
    "length": (
        lambda row: [f"{_spec(row)['num_frames']} frames"] if "num_frames" in _spec(row) else [],
        "video lengths in the records",
    ),
}


class Finding(NamedTuple):
    """One column of one condition within a group of samples.

    `difference` is the paired difference to the baseline. It is empty for a baseline, for the
    speed-up, and where there is no baseline.
    """

    group: str
    line: Line
    column: Column
    mean: Interval
    difference: Interval


def findings(rows: list[Row], by: str | None = None, allow_mixed: bool = False) -> list[Finding]:
    """Returns every condition and column against the baseline, within each group if `by` is one of GROUPINGS."""
    whole = lines(rows, allow_mixed=allow_mixed)  # raises StudyError for a mixture that one table must not hold
    shown = columns(whole)
    out = []
    for group, table in _tables(rows, whole, by, allow_mixed):
        for line in table:
            reference = next((x for x in table if x.is_reference and x.video == line.video), None)
            for column in shown:
                difference = Interval(None, None, None, 0, 0)
                if reference and line is not reference and column.name != "speedup":
                    difference = paired(line.values[column.name], reference.values[column.name])
                out.append(Finding(group, line, column, line.means[column.name], difference))
    return out


def between(
    rows: list[Row], a: str, b: str, by: str | None = None, allow_mixed: bool = False
) -> list[tuple[str, Column, Interval, Interval, Interval]]:
    """Returns (group, column, mean of `a`, mean of `b`, difference a - b) for each group and video setting.

    A difference is over the samples that both conditions have. `a` and `b` are titles or folders of conditions. In the
    column speedup the difference is a ratio of mean latencies: b's over a's. Raises StudyError for an unknown
    condition, and for conditions without common samples.
    """
    whole = lines(rows, allow_mixed=allow_mixed)
    out = []
    for group, table in _tables(rows, whole, by, allow_mixed):
        chosen = [[line for line in whole if name in (line.slug, line.title)] for name in (a, b)]
        if missing := [name for name, found in zip((a, b), chosen, strict=True) if not found]:
            there = ", ".join(dict.fromkeys(line.slug for line in whole))
            raise StudyError(f"there is no condition {' or '.join(missing)}; there are {there}")
        slugs = [{line.slug for line in found} for found in chosen]
        for video in dict.fromkeys(line.video for line in table):
            pair = [next((x for x in table if x.slug in own and x.video == video), None) for own in slugs]
            if pair[0] is None or pair[1] is None:
                continue
            one, other = pair[0], pair[1]
            for column in columns(whole):
                where = ", ".join(part for part in (group, video) if part)
                if column.name == "speedup":
                    difference = ratio_of_means(other.values["latency_s"], one.values["latency_s"])
                else:
                    difference = paired(one.values[column.name], other.values[column.name])
                if difference.n or difference.infinite:
                    out.append((where, column, one.means[column.name], other.means[column.name], difference))
    if not out:
        raise StudyError(f"{a} and {b} have no sample of the same prompt, seed and video settings")
    return out


def _tables(rows: list[Row], whole: list[Line], by: str | None, allow_mixed: bool) -> list[tuple[str, list[Line]]]:
    """Returns the lines of each group. Leaves out groups without a finished baseline, which cannot be compared."""
    if by is None:
        return [("", whole)]
    of, needed = GROUPINGS[by]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for group in of(row):
            groups[group].append(row)
    if not groups:
        raise StudyError(f"--by {by} needs {needed}; this study has none")
    order = sorted(groups, key=lambda g: (SPEEDS.index(g) if g in SPEEDS else -1, *_numbers_first(g)))
    compared = {
        g: any(r.record["status"] == "done" and facts_of(r.record).role == "reference" for r in groups[g])
        for g in order
    }
    return [(group, lines(groups[group], allow_mixed=allow_mixed)) for group in order if compared[group]]


def _numbers_first(text: str) -> tuple[int, str]:
    match = re.match(r"\d+", text)
    return (int(match[0]) if match else 0, text)


def _text(value: Interval, digits: int, n: int, signed: bool = False) -> str:
    """Returns the number with its interval, and its own n if that differs from the row's `n`."""
    if value.value is None:
        return f"all {value.infinite} infinite" if value.infinite else "–"
    sign = "+" if signed else ""
    ends = f" [{value.low:{sign}.{digits}f}, {value.high:{sign}.{digits}f}]" if value.low is not None else ""
    own = value.n + value.infinite
    counts = [f"n={own}"] * (own != n) + [f"{value.infinite} infinite"] * (value.infinite > 0)
    return ", ".join((f"{value.value:{sign}.{digits}f}{ends}", *counts))


_HOW = (
    "In brackets: 95 % intervals by bootstrap (BCa) over prompts, seeds of a prompt drawn together; none "
    f"for fewer than {MIN_PROMPTS} prompts, and somewhat too short for few (of 6 prompts they hold the truth about 83 "
    "times in 100, of 10 about 90). Infinite values are counted apart. The same prompts are drawn for all columns."
)


def sheets(found: list[Finding]) -> list[Sheet]:
    """Returns two sheets per group: the means with n and failed, and the differences to the baseline."""
    out = []
    for group in dict.fromkeys(f.group for f in found):
        own = [f for f in found if f.group == group]
        shown = list(dict.fromkeys(f.column for f in own))
        conditions = list({id(f.line): f.line for f in own}.values())
        of = {(id(f.line), f.column): f for f in own}
        compared = [c for c in shown if any(of[id(x), c].difference.n for x in conditions)]
        body = [
            (Cell(x.title), Cell(str(x.n)), Cell(str(x.n_failed)),
             *(Cell(_text(of[id(x), c].mean, c.digits, x.n)) for c in shown))
            for x in conditions
        ]  # fmt: skip
        title = f"Means: {group}" if group else "Means"
        out.append(Sheet(("Method", "n", "failed", *(c.title for c in shown)), tuple(body), title=title, notes=(_HOW,)))
        body = []
        for x in conditions:
            if not x.is_reference and compared:
                own = [of[id(x), c].difference for c in compared]
                n = max(d.n + d.infinite for d in own)
                texts = (_text(d, c.digits, n, signed=True) for c, d in zip(compared, own, strict=True))
                body.append((Cell(x.title), Cell(str(n)), *map(Cell, texts)))
        if body:
            title = f"Less the baseline: {group}" if group else "Less the baseline"
            note = (
                "Mean paired differences over the n samples that a condition and its baseline both have; a cell over "
                "fewer says its own n."
            )
            out.append(Sheet(("Method", "n", *(c.title for c in compared)), tuple(body), title=title, notes=(note,)))
    return out


def _numbers(value: Interval) -> list[str | int]:
    return [*("" if v is None else f"{v:.6g}" for v in value[:3]), value.n, value.infinite]


_ENDS = ("", "_low", "_high", "_n", "_infinite")


def main(
    study: Path,
    pair: tuple[str, str] | None = None,
    by: str | None = None,
    allow_mixed: bool = False,
    out: Path | None = None,
) -> None:
    """Prints the statistics and writes them as Markdown and CSV into `out` (by default report/ in the study)."""
    rows = load(study, light=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    if pair:
        pairs = between(rows, *pair, by, allow_mixed)
        head = [f"{name}{end}" for name in ("a", "b", "difference") for end in _ENDS]
        writer.writerow(["group", "column", *head])
        writer.writerows([g, c.name, *(n for value in (a, b, d) for n in _numbers(value))] for g, c, a, b, d in pairs)
        body = tuple(
            tuple(
                map(
                    Cell,
                    (
                        c.title,
                        g,
                        _text(a, c.digits, d.n + d.infinite),
                        _text(b, c.digits, d.n + d.infinite),
                        _text(d, c.digits, d.n + d.infinite, c.name != "speedup"),
                        str(d.n + d.infinite),
                    ),
                )
            )
            for g, c, a, b, d in pairs
        )
        note = (
            f"Differences are {pair[0]} less {pair[1]} over the n samples that both have, and in Speedup the ratio of "
            "the second's mean latency to the first's; the means are over all samples that each has, "
            "n beside them where it is another."
        )
        made = [Sheet(("Column", "Of", *pair, "Difference", "n"), body, title=" and ".join(pair), notes=(note, _HOW))]
        stem = f"statistics-{_file_name(pair[0])}-against-{_file_name(pair[1])}"
    else:
        found = findings(rows, by, allow_mixed)
        head = [f"{name}{end}" for name in ("mean", "difference") for end in _ENDS]
        writer.writerow(["group", "method", "slug", "video", "k", "theta", "n", "n_failed", "column", *head])
        for f in found:
            x, settings = f.line, ["" if v is None else v for v in (f.line.k, f.line.theta)]
            what = [f.group, x.title, x.slug, x.video, *settings, x.n, x.n_failed, f.column.name]
            writer.writerow([*what, *_numbers(f.mean), *_numbers(f.difference)])
        made, stem = sheets(found), "statistics"
    stem += f"-by-{by}" if by else ""
    text = "\n".join(sheet.markdown(each) for each in made)
    write_and_print({f"{stem}.md": text, f"{stem}.csv": table.getvalue()}, text, study, out)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text).strip("-")
