"""Writes the notes below a table that explain its intervals and its marks: best, second best, and noise floor."""

from collections.abc import Mapping, Sequence

from analysis.cells import cell_text
from analysis.columns import PRICE_ERROR, PRICED, Column, column_of
from analysis.differences import floor_of, has_floor
from analysis.mixtures import APART
from analysis.statistics import HOW_INTERVALS, MIN_PROMPTS
from analysis.table import Table
from metrics.base import VIDEO_QUALITY


def notes_on_marks(table: Table, shown: Sequence[Column], marked: Mapping[tuple[str, str], str]) -> list[str]:
    """Returns the notes for the marks of `analysis.marks.marks`, and for rows that the marks leave out."""
    return [*_on_the_best(table, shown, marked), *_on_own_noise(table, shown), *_on_the_floor(table, shown, marked)]


def note_on_intervals(shown: Sequence[Column]) -> str:
    """Returns the note on the intervals in the columns `shown`."""
    if not (priced := _priced(shown)):
        return HOW_INTERVALS
    return (
        f"{HOW_INTERVALS} Intervals of {priced} are over prompts, too, and do not hold the error of prices between "
        f"runs (up to {100 * PRICE_ERROR:.0f} %)."
    )


def _priced(shown: Sequence[Column]) -> str:
    """Returns the titles of the columns with priced latencies, such as "Latency (s) and Speedup"."""
    return " and ".join(c.title for c in shown if c.name in PRICED and c.better)


def competing(table: Table) -> str:
    """Returns the beginning of a sentence: the rows that compete for the best value."""
    ranked = [row for row in table.rows if row.ranked]
    if len({row.family for row in ranked}) == 1:
        return f"Of the {ranked[0].name} rows, ablations apart"
    return "Of all methods' rows, ablations and diagnostics apart"


def _on_the_best(table: Table, shown: Sequence[Column], marked: Mapping[tuple[str, str], str]) -> list[str]:
    frozen = [c for c in shown if c.shown_with and table.samples.get(c.name) is not None]
    companions = dict.fromkeys(column_of(table.samples, c.shown_with).title for c in frozen)
    never = (
        f"{' and '.join(c.title for c in frozen)} {'have' if len(frozen) > 1 else 'has'} no marks, because a frozen "
        f"video gets the best value there: read with {' and '.join(companions)}."
    )
    apart = [*_on_prices(shown), *[never] * bool(frozen)]
    ranked = [row for row in table.rows if row.ranked]
    if len(ranked) < 2:
        return []
    if not {"best", "second"} & set(marked.values()):
        if all(row.samples.index.unique("prompt").size < MIN_PROMPTS for row in ranked):
            return [f"No value is marked as the best: marks need {MIN_PROMPTS} prompts or more."]
        return [" ".join(["No value is marked as the best: none is separated from the runner-up.", *apart])]
    said = (
        f"{competing(table)}, the best value is bold if the paired 95 % interval between it and the runner-up excludes "
        "0 (in Speedup: the ratio of latencies excludes 1). Then the second best is underlined (in italics where there "
        "are no underlines) if the second is separated from the third in the same way. Rows with equal values in all "
        "samples count as one row. Within a column, only rows over the same samples are ranked, the largest group of "
        "them. A column in which one of these rows has an infinite value is not ranked."
    )
    return [" ".join([said, *apart])]


def _on_prices(shown: Sequence[Column]) -> list[str]:
    if not (priced := _priced(shown)):
        return []
    return [
        f"In {priced} a marked row must also be more than {100 * PRICE_ERROR:.0f} % ahead of the next row: two runs on "
        "one machine differ by as much."
    ]


def _on_own_noise(table: Table, shown: Sequence[Column]) -> list[str]:
    """Returns a note on rows from other noise than the baseline's, if a column compares them with the baseline."""
    rows = [row for row in table.rows if row.own_noise and row.n]
    apart = [c.title for c in shown if any(row.apart(c) for row in rows)]
    if not apart:
        return []
    families = list(dict.fromkeys(row.family for row in rows))
    start = "start from noise of their own" if len(families) > 1 else "starts from noise of its own"
    are = "are" if len(apart) > 1 else "is"
    readable = [c.title for c in shown if c.group == VIDEO_QUALITY and not c.shown_with]
    read = f" Read {', '.join(readable)} there." * bool(readable)
    return [
        f"{APART} {' and '.join(families)} {start}, so the videos show other content than the baseline's. "
        f"{', '.join(apart)} {are} bad by construction there, and {are} not ranked.{read}"
    ]


def _on_the_floor(table: Table, shown: Sequence[Column], marked: Mapping[tuple[str, str], str]) -> list[str]:
    out, columns = [], [c for c in shown if has_floor(c)]
    for video in table.videos:
        floor = floor_of(table, video)
        if floor and (said := [f"{c.title} {cell_text(floor, c)}" for c in columns if floor.present(c.name)]):
            out.append(f"Noise floor ({floor.title} against the baseline, n={floor.n}): {', '.join(said)}.")
    if out and "grey" in marked.values():
        out[-1] += (
            " A number in grey (after ~ in Markdown) is no farther from the baseline than this floor, over the samples "
            "that both rows have."
        )
    return out
