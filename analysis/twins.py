"""Compares each condition of a family with its twin of another family, the condition with the same other settings.

`python -m analysis.twins runs/anchored --family "Anchored VGDFR" --against VGDFR`

Prints paired differences with intervals, corrected for the number of pairs (Holm), and the means of both. A metric of
one video, such as VQA, is judged by its distance from the baseline's value, and Motion by its distance from 1. Writes
report/twins-FAMILY-against-AGAINST.md and .csv into the study's folder. --columns chooses the columns. --cap psnr=60
counts larger values, infinite ones too, as 60 on both sides; without it infinite values are left out.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from analysis import twin_notes
from analysis.cells import printed
from analysis.columns import Column, in_paper
from analysis.compare import ends, interval_text
from analysis.complete import incomplete
from analysis.matching import Matching, matching_of
from analysis.output import Report, add_out, column_and_number, csv_of, file_name, names_in, write_and_print
from analysis.render import Cell, Sheet, plain
from analysis.row import OF_ALL
from analysis.study import Study, StudyError
from analysis.table import Table, table_of
from analysis.twin_findings import Finding, findings
from vgdfr_commands.start import called, run

COLUMNS = ("psnr", "ssim", "lpips", "motion", "vqa", "clipsim")


def report(
    study: Study,
    family: str,
    against: str,
    names: Sequence[str] | None = None,
    caps: Mapping[str, float] | None = None,
    allow_mixed: bool = False,
) -> Report:
    """Returns the comparison of a family's conditions with their twins in the family `against`.

    `caps` has the largest value that counts in a column. Raises StudyError as `table_of` and `matching_of` do, and for
    columns and caps that cannot be.
    """
    table = table_of(study, allow_mixed=allow_mixed)
    matching = matching_of(table, family, against)
    shown = _columns(table, names)
    caps = _by_column(caps or {}, shown)
    apart = [c for c in shown if any(row.apart(c) for pair in matching.twins for row in (pair.family, pair.against))]
    found = findings(table, matching.twins, [c for c in shown if c not in apart], caps)
    stem = f"twins-{file_name(family)}-against-{file_name(against)}"
    made = sheets(table, matching, found, caps, apart)
    return Report(stem, made, {f"{stem}.csv": csv_of(map(_csv_row, found))})


def sheets(
    table: Table, matching: Matching, found: Sequence[Finding], caps: Mapping[str, float], apart: Sequence[Column]
) -> tuple[Sheet, Sheet]:
    """Returns the differences and the means. Columns without a common value in any pair are named in a note."""
    filled = {_title(f) for f in found if f.difference.n or f.difference.infinite}
    empty = [title for title in dict.fromkeys(map(_title, found)) if title not in filled]
    if not filled:
        raise StudyError(f"no sample has a value on both sides in {', '.join(empty) or 'any column'}; score the study")
    lines = [[f for f in found if f.pair is pair and _title(f) in filled] for pair in matching.twins]
    header = tuple(dict.fromkeys(_title(f) for line in lines for f in line))
    differences = Sheet(
        ("Settings", "n", "Tokens of each", *header),
        tuple(map(_differences, lines)),
        title=f"{matching.family} minus {matching.against}",
        notes=tuple(twin_notes.notes(matching, [f for line in lines for f in line], caps, empty, apart)),
        banner=incomplete(table),
    )
    means = Sheet(
        ("Method", *header),
        tuple(_means(line, of_family) for line in lines for of_family in (True, False)),
        rules=frozenset(range(0, 2 * len(lines), 2)),
        title="Means",
        notes=("Each mean is over the samples of its difference in the table above.",),
    )
    return differences, means


def _title(found: Finding) -> str:
    return f"{found.column.title}: distance" if found.is_distance else found.column.title


def _differences(line: Sequence[Finding]) -> tuple[Cell, ...]:
    pair, n = line[0].pair, max(f.difference.n + f.difference.infinite for f in line)
    texts = (interval_text(f.difference, f.column.digits, n, signed=True) for f in line)
    cells = (Cell(text, "best" * f.differs) for text, f in zip(texts, line, strict=True))
    return *plain(pair.title, str(n), ", ".join(twin_notes.tokens(pair))), *cells


def _means(line: Sequence[Finding], of_family: bool) -> tuple[Cell, ...]:
    pair = line[0].pair
    means = (printed(f.family if of_family else f.against, f.column.digits) for f in line)
    row = pair.family if of_family else pair.against
    return plain(f"{row.family} ({pair.title}){f': {row.fault}' if row.fault else ''}", *means)


def _csv_row(found: Finding) -> dict[str, object]:
    pair = found.pair
    row: dict[str, object] = {
        "settings": pair.title, "video": pair.family.video, "family": pair.family.slug, "against": pair.against.slug,
        "k": pair.family.k, "theta": pair.family.theta, "column": found.column.name,
        "measure": "distance" if found.is_distance else "value",
    }  # fmt: skip
    row |= {"mean": found.family.value, "against_mean": found.against.value} | ends("difference", found.difference)
    row |= {"difference_p_holm": found.p_holm, "differs": found.differs}
    row["verdict"] = found.verdict if found.is_judged and found.p_holm is not None else None
    return row | {"capped": found.capped[0], "against_capped": found.capped[1]}


def _columns(table: Table, names: Sequence[str] | None) -> list[Column]:
    """Returns the columns `names`, by default COLUMNS. Raises StudyError for a column without values of samples."""
    shown = table.columns(COLUMNS if names is None else names)
    for column in shown:
        if column.name in OF_ALL:
            raise StudyError(
                f"{column.name} is no mean over samples, so samples have no differences to compare; leave it out of "
                "--columns (latency_s has values of samples)"
            )
    return shown


def _by_column(caps: Mapping[str, float], shown: Sequence[Column]) -> dict[str, float]:
    """Returns the caps by the names of the columns `shown`. Raises StudyError for a cap of another column."""
    names = {name: column.name for column in shown for name in (in_paper(column), column.name)}
    for name in caps:
        if name not in names:
            raise StudyError(f"--cap names {name}, and the columns are {', '.join(c.name for c in shown)}")
    return {names[name]: limit for name, limit in caps.items()}


def command() -> None:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("analysis.twins")),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/anchored")
    parser.add_argument("--family", required=True, help='the family to judge, such as "Anchored VGDFR"')
    parser.add_argument("--against", required=True, metavar="FAMILY", help="the family of the twins, such as VGDFR")
    parser.add_argument("--columns", metavar="NAMES", help=f"show these columns (default: {','.join(COLUMNS)})")
    parser.add_argument(
        "--cap",
        type=partial(column_and_number, called="a cap", example="psnr=60"),
        action="append",
        default=[],
        metavar="COLUMN=NUMBER",
        help="count larger values of a column as NUMBER, such as psnr=60; repeat",
    )
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices in one table")
    add_out(parser)
    given = parser.parse_args()
    made = report(
        Study(given.study, experiment="anchored"),
        given.family,
        given.against,
        names_in(given.columns),
        dict(given.cap),
        given.allow_mixed,
    )
    write_and_print(made, given.study, given.out)


if __name__ == "__main__":
    run(command)
