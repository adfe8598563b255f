"""Compares families of methods in a study: `python -m analysis.rivals runs/rivals`.

Prints a table with intervals and a rule between families, the families at equal cost, what accelerators skipped, and
results of the literature. Writes report/rivals.md, .csv, .tex and .html, rivals-equal-COST.csv, and the trade-off
figure rivals-families.png, .svg and .pdf into the study's folder. --columns chooses the table's columns. --equal
chooses the cost: latency, DiT work, or the FLOPs of the same passes projected to HunyuanVideo 13B. --at chooses the
family at whose costs the others are compared. With --strict the exit status is 1 for an incomplete study, and for a
condition whose accelerator skipped nothing.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis import render
from analysis.accelerators import accelerators_sheet
from analysis.columns import has, is_filled, metrics_of
from analysis.equal_cost import Comparison, comparisons, csv_rows, equal_cost_sheet
from analysis.family_cost import COSTS, LATENCY, Cost, with_costs
from analysis.figures import families
from analysis.figures.style import encoded
from analysis.literature import literature_sheet
from analysis.output import Report, add_out, csv_of, names_in, write_and_print
from analysis.render import Block, Sheet
from analysis.study import Study, StudyError
from analysis.table import Table, table_of
from analysis.table1 import csv_text, refusal, table_sheet
from vgdfr_commands.start import called, run

COLUMNS = ("dit_work", "skipped", "latency_s", "speedup", "psnr", "ssim", "lpips", "clipsim", "vqa", "motion")
FIGURE = "rivals-families"


def columns_of(table: Table, names: Sequence[str] | None = None) -> list[str]:
    """Returns the names of the table's columns: `names`, or COLUMNS, peak memory where known, and metrics of others."""
    if names is not None:
        return list(names)
    peak = ["peak_gib"] if is_filled(table.samples, "peak_gib") else []
    others = [name for name in metrics_of(table.samples) if has(table.samples, f"{name}.about")]
    return [*COLUMNS[:4], *peak, *COLUMNS[4:], *others]


def report(
    study: Study,
    names: Sequence[str] | None = None,
    at: str | None = None,
    allow_mixed: bool = False,
    equal: Cost = LATENCY,
) -> Report:
    """Returns the comparison of a study's families.

    `at` is the family at whose costs the others are compared, by default the study's main family. `equal` is the cost.
    Raises StudyError for a family that the study does not have.
    """
    table = with_costs(table_of(study, allow_mixed=allow_mixed), [equal])
    shown, family = columns_of(table, names), _family(table, at)
    found = comparisons(table, table.columns(shown), family, equal) if family else []
    figure, reason = _figure(table, names, equal)
    first, *others = sheets_of(table, shown, found, family, equal)
    first = replace(first, notes=(*first.notes, *[f"There is no figure: {reason}."] * (reason is not None)))
    equals = {f"rivals-equal-{equal.name}.csv": csv_of(csv_rows(found, equal))}
    return _report(table, shown, (first, *others), equals, figure)


def sheets_of(
    table: Table, shown: Sequence[str], found: Sequence[Comparison], family: str | None, equal: Cost = LATENCY
) -> list[Sheet]:
    """Returns the table by family, the comparison at equal cost, the accelerators' counts and the literature.

    Only the first is always there. `found` are the comparisons at the costs of `family`.
    """
    first = replace(table_sheet(table, shown, intervals=True, by_family=True), title="Families")
    if not found:
        lacking = f"There is no comparison at equal {equal.title}: it needs a family for --at, and another family."
        first = replace(first, notes=(*first.notes, lacking))
    sheets = (equal_cost_sheet(found, family or "", equal), accelerators_sheet(table), literature_sheet(table))
    return [first, *(sheet for sheet in sheets if sheet)]


def _report(
    table: Table, shown: Sequence[str], sheets: tuple[Sheet, ...], equals: dict[str, str], figure: dict[str, bytes]
) -> Report:
    pictures = {f"{FIGURE}.{suffix}": content for suffix, content in figure.items()}
    blocks = [Block(sheets=sheets[:1], files=tuple(pictures)), Block(sheets=sheets[1:])]
    files: dict[str, str | bytes] = {
        "rivals.csv": csv_text(table, shown, intervals=True),
        "rivals.tex": render.latex(sheets[0]),
        "rivals.html": render.report_page(f"Rivals in {table.title}", [("", blocks)]),
    }
    return Report("rivals", sheets, files | equals | pictures)


def _figure(table: Table, names: Sequence[str] | None, equal: Cost) -> tuple[dict[str, bytes], str | None]:
    """Returns the trade-off figure's bytes by suffix, or the reason why there is none.

    Its costs are the figure's own, and `equal`.
    """
    costs = list(dict.fromkeys([*families.COSTS, equal.name]))
    quality = None if names is None else [c.name for c in table.columns(names) if c.group != "Efficiency"]
    try:
        return encoded(families.families(table, families.panels(table, quality, costs))), None
    except StudyError as error:
        return {}, str(error)


def _family(table: Table, at: str | None) -> str | None:
    """Returns the family `at`, by default the main family. Raises StudyError if the study has no such family."""
    there = list(dict.fromkeys(row.family for row in table.rows if row.ranked))
    if at is not None and at not in there:
        raise StudyError(f"there is no family {at}; there are {', '.join(there)}")
    return at or table.main


def command() -> str | int:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("analysis.rivals")),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/rivals")
    parser.add_argument("--columns", metavar="NAMES", help="show only these columns, such as psnr,lpips,speedup")
    parser.add_argument("--at", metavar="FAMILY", help='compare at the costs of this family, such as "Fewer steps"')
    parser.add_argument(
        "--equal",
        choices=list(COSTS),
        default=LATENCY.name,
        help="the cost at which families are compared: latency, DiT work, or FLOPs of the same passes projected to "
        "HunyuanVideo 13B (default: %(default)s)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="end with status 1 unless all samples are finished, scored, timed, and made as their baselines were, and "
        "every accelerator skipped something",
    )
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices in one table")
    add_out(parser)
    given = parser.parse_args()
    study = Study(given.study, experiment="rivals")
    made = report(study, names_in(given.columns), given.at, given.allow_mixed, COSTS[given.equal])
    write_and_print(made, given.study, given.out)
    return refusal(study, made.sheets[0]) or 0 if given.strict else 0


if __name__ == "__main__":
    run(command)
