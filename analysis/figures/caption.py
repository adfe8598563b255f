"""The text below figures: how means are made, and which conditions a figure leaves out and why."""

from collections.abc import Iterable, Sequence
from textwrap import fill

from analysis.columns import EMBEDDED, Column
from analysis.figures.style import GREY
from analysis.statistics import MIN_PROMPTS, Interval
from analysis.table import Row, Table
from bench.drawing import Figure

JUDGED = f"{EMBEDDED} seen by the small judge trained on the embedded world: compare within this figure only"
NO_RIVAL = "left out as ablation or diagnostic"
LETTERS_PER_INCH, INCHES_PER_LINE = 15, 0.15


def means(values: Iterable[Interval], shown: Sequence[Column]) -> list[str]:
    """Returns the number of samples in the means, the meaning of the bars if any is drawn, and a word on the judge."""
    values = list(values)
    counts = sorted({value.n for value in values if value.n})
    over = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(*counts)
    said = f"Means of {over} sample{'s' * (counts != [1])}."
    if any(value.low is not None for value in values):
        bars = f"95 % t intervals over {MIN_PROMPTS} prompts or more, too short for very skewed values of few prompts"
        said += f" Bars: {bars}"
    return [said, *([JUDGED] if any(column.embedded for column in shown) else [])]


def left_out(pairs: Iterable[tuple[Row, str]]) -> list[str]:
    """Returns a line per reason, with the number and titles of the rows that have it."""
    by_reason: dict[str, dict[str, None]] = {}
    for row, reason in pairs:
        by_reason.setdefault(reason, {})[row.title] = None
    return [f"{len(titles)} {reason}: {'; '.join(titles)}" for reason, titles in by_reason.items()]


def not_shown(table: Table, shown: Sequence[Row], k: int | None, otherwise: str) -> list[str]:
    """Returns `left_out` for all rows but references and those `shown`, which are of one k and one video setting.

    `otherwise` is the reason for a row that is of this k and video setting.
    """

    def reason(row: Row) -> str:
        if not row.ranked:
            return NO_RIVAL
        if not row.n:
            return "without a finished sample"
        if row.video != shown[0].video:
            return f"under other video settings than {shown[0].video}, not drawn"
        return f"with another k than {k}, not drawn" if row.k not in (k, None) else otherwise

    return left_out((row, reason(row)) for row in table.rows if not row.is_reference and row not in shown)


def wrapped(lines: Iterable[str | None], width: float) -> list[str]:
    """Returns the lines, without None, broken to fit below a figure of `width` inches."""
    letters = int(LETTERS_PER_INCH * width)
    return [part for line in lines if line for part in fill(line, letters).split("\n")]


def write_below(figure: Figure, lines: Sequence[str]) -> None:
    """Writes small lines below the figure, which becomes as much higher as they need."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + INCHES_PER_LINE * len(lines))
    figure.supxlabel("\n".join(lines), fontsize=7.5, color=GREY)
