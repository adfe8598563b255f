"""Table 1 of the paper from a study: `python -m analysis.table1 runs/table1 [--intervals] [--paper]`.

Prints Markdown and writes report/table1.md, .csv, .tex and .html (with --paper table1-trends.tex, too) into the study's
folder, and nothing else there; --out DIR names another folder. With --frames or --columns the files' names say so.
"""

import argparse
import csv
import io
from collections.abc import Sequence, Set
from pathlib import Path

from analysis import paper, sheet
from analysis.columns import EMBEDDED, Column
from analysis.conditions import Line, columns, common_interpolator, kind_of_timing, lines, marks, mixture
from analysis.load import FRAMES, Row, load, planned
from analysis.output import add_out, study_name, write_and_print
from analysis.sheet import Cell, Sheet
from analysis.statistics import MIN_PROMPTS, Interval
from vgdfr_commands.start import run


def printed(mean: Interval, digits: int, intervals: bool = False) -> str:
    """A number and, where asked for, the ends of its interval; an en dash for none."""
    if mean.value is None:
        return "–"
    text = f"{mean.value:.{digits}f}"
    return f"{text} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]" if intervals and mean.low is not None else text


def counted(line: Line) -> str:
    return f"{line.n}, {line.n_failed} failed" if line.n_failed else str(line.n)


def _cell(line: Line, column: Column, intervals: bool) -> str:
    """The mean, and the n it is over where that is not the row's."""
    mean, there = line.means[column.name], line.present(column)
    text = printed(mean, column.digits, intervals)
    return f"{text} (n={there})" if mean.value is not None and there < line.n else text


def table_sheet(
    table: list[Line],
    study: str,
    names: Sequence[str] | None = None,
    intervals: bool = False,
    beside_paper: bool = False,
    wanted: Set[str] = frozenset(),
) -> Sheet:
    """The table of `lines`, only the columns of `names` if given, the paper's own rows below ours if asked for.

    `wanted` are the places of the samples that the study's sweeps planned.
    """
    shown = columns(table, names)
    marked = marks(table, shown)
    rows, rules = [], set()
    for i, line in enumerate(table):
        if i and (table[i - 1].video, table[i - 1].k) != (line.video, line.k):
            rules.add(len(rows))
        cells = (Cell(_cell(line, c, intervals), marked.get((i, c.name), "")) for c in shown)
        rows.append((Cell(line.title), Cell(counted(line)), *cells))
        if beside_paper and (own := paper.row_of(line)):
            texts = (own.get(paper.name_of(c), "–") for c in shown)
            rows.append((Cell("in the paper", "aside"), Cell(""), *(Cell(t, "aside") for t in texts)))
    groups: list[tuple[str, int]] = [("", 1)]
    for c in shown:
        same = groups[-1][0] == c.group
        groups[-1:] = [(c.group, groups[-1][1] + 1)] if same else [groups[-1], (c.group, 1)]
    return Sheet(
        header=("Method", "n", *(c.title for c in shown)),
        rows=tuple(rows),
        groups=tuple(groups),
        rules=frozenset(rules),
        notes=tuple(notes(table, study, shown, intervals, bool(marked))),
        banner=" ".join(filter(None, (incomplete(table, wanted), unscored(table, shown)))) or None,
    )


def incomplete(table: list[Line], wanted: Set[str] = frozenset()) -> str | None:
    """What is missing of `wanted`, and of conditions x the prompts and seeds of any of them; None if nothing is."""
    expected = 0
    for video in {line.video for line in table}:
        of_video = [line for line in table if line.video == video]
        expected += len(of_video) * len({key for line in of_video for key in line.planned})
    there = {f"{r.folder.parent.name}/{r.folder.name}" for line in table for r in (*line.rows, *line.failed)}
    expected = max(expected, len(there | wanted))
    complete, failed = sum(line.n for line in table), sum(line.n_failed for line in table)
    if complete == expected:
        return None
    text = f"Incomplete: {complete} of {expected} samples, {failed} failed."
    never = len(wanted - there)
    return f"{text} {never} planned and not tried (no longer wanted? remove plan.json)." if never else text


def unscored(table: list[Line], shown: Sequence[Column]) -> str | None:
    """Of which of these metrics finished samples have no value, those that the whole study lacks apart."""
    if not any(line.values["latency_s"] for line in table):
        return None  # scores of the kept or the other frames, which not every sample has
    lacking = []
    for column in shown:
        if column.group == "Efficiency":  # the latencies that count may be of some samples alone; cells say their n
            continue
        compared = column.group == "Difference" or column.name == "motion"  # with the baseline, which has none itself
        of = [line for line in table if not compared or line.method != "baseline"]
        there, expected = sum(line.present(column) for line in of), sum(line.n for line in of)
        if 0 < there < expected:
            lacking.append(f"{column.title} for {expected - there} of {expected}")
    return f"Samples without a score: {', '.join(lacking)}; see python -m bench.score." if lacking else None


def notes(table: list[Line], study: str, shown: list[Column], intervals: bool, marked: bool) -> list[str]:
    """What a reader must know beside the numbers, of the columns that are shown."""
    names = {c.name for c in shown}
    rows: list[Row] = [row for line in table for row in line.rows]
    out = [f"Study `{study}`: means over samples, n of them a row (in a cell where it has fewer)."]
    if "latency_s" in names or "speedup" in names:
        out[0] += " Latency is the denoising loop with the compression module; Speedup is the ratio of mean latencies."
    if "token_ratio" in names:
        out[0] += " Tokens is the share of latent frames the DiT sees after compression."
    if marked:
        out.append(
            "Of the VGDFR rows, ablations apart, the best is marked bold and the second best underlined (here in "
            "italics where there are no underlines): also where they differ by less than chance. Only rows with a "
            "column over the same samples compete in it, the largest group of them, and in a column where one of them "
            "holds an infinite value nothing is marked."
        )
    if intervals:
        enough = any(m.low is not None for line in table for m in line.means.values())
        out.append(
            "In brackets: 95 % intervals, by bootstrap (BCa) over prompts, seeds of a prompt drawn together; somewhat "
            "too short for few prompts (of 6 they hold the truth about 83 times in 100, of 10 about 90)."
            if enough
            else f"No intervals: they need {MIN_PROMPTS} prompts or more."
        )
    if "latency_s" in names or "speedup" in names:
        kinds = {row.record.get("timing", "shared") for row in rows}
        if len(kinds) > 1:
            out.append(f"Latency and Speedup are of samples timed {kind_of_timing(rows)} alone; others are left out.")
        elif any(row.record.get("shared_stages") for row in rows):
            out.append(
                "What the conditions of a prompt share (first steps, preview, equal schedules) was computed and timed "
                "once; a latency is the sum of the sample's parts."
            )
        out += [f"{line.title}: {note}." for line in table for note in sorted(line.notes) if "latency" in note]
    if common := common_interpolator(rows):
        out.append(f"In all VGDFR rows the merged frames were filled in by {common}.")
    if mixed := mixture(rows):
        out.append(mixed)
    ids = {name: i for row in rows for name, i in row.ids.items()}
    scored = [_short(ids[c.name]) for c in shown if c.name in ids]
    if scored:
        out.append(f"Scored by {', '.join(scored)}.")
    judged = [c.title for c in shown if c.title.endswith(EMBEDDED)]
    if judged:
        out.append(
            f"{EMBEDDED} seen by the small judge trained on the embedded world ({', '.join(judged)}): compare rows of "
            "this table, not other papers."
        )
    out += [truncation(rows, c) for c in shown if any(c.name in row.truncated for row in rows)]
    absent = [c for c in shown if c.missing and all(line.means[c.name].value is None for line in table)]
    if absent:
        reasons = {name: why for row in rows for name, why in row.reasons.items()}
        needs = "; ".join(reasons.get(c.name) or f"{c.title} needs {c.missing}" for c in absent)
        # the small judge knows the embedded model's world alone
        judge = all(row.record.get("model_name", "embedded") == "embedded" for row in rows)
        fills = "; metrics=embedded fills it by the small judge" * judge
        out.append(f"A dash in a whole column: not computed{fills}. {needs}.")
    identical = [f"{line.title}: {n}" for line in table if "psnr" in names and (n := line.means["psnr"].infinite)]
    if identical:
        out.append(
            "Videos identical to their baseline (infinite PSNR, left out of its mean): " + "; ".join(identical) + "."
        )
    return out


def truncation(rows: Sequence[Row], column: Column) -> str:
    """How many prompts the column's model saw only the beginning of."""
    scored = {row.record["prompt_id"] for row in rows if column.name in row.scores}
    cut = {row.record["prompt_id"] for row in rows if column.name in row.truncated}
    tokens = max(row.truncated.get(column.name, 0) for row in rows)
    model = "the small judge" if column.title.endswith(EMBEDDED) else "the CLIP model"
    reads = f"the {tokens} tokens that {model} reads" if tokens else f"{model} reads"
    are, its = ("is", "its") if len(cut) == 1 else ("are", "their")
    return (
        f"{len(cut)} of {len(scored)} prompts {are} longer than {reads}: {column.title} compares with {its} beginning."
    )


def _short(metric_id: str) -> str:
    """Name, version and the first digits of the weights' hash."""
    name, version, *_, weights = metric_id.split("-")
    return f"{name} {version}" + ("" if weights == "weights" else f" ({weights[:8]})")


def markdown(table: list[Line], study: str) -> str:
    return sheet.markdown(table_sheet(table, study))


def latex(table: list[Line], study: str = "") -> str:
    return sheet.latex(table_sheet(table, study))


def csv_text(
    table: list[Line], names: Sequence[str] | None = None, intervals: bool = False, beside_paper: bool = False
) -> str:
    """A row per condition with what its numbers are over, n of each column beside it where intervals are asked for.

    Where prompts were cut for a metric, its column NAME_prompts_cut has the number of these samples.
    """
    shown = columns(table, names)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    beyond = [f"{c.name}_{end}" for c in shown for end in ("low", "high", "n", "infinite")] if intervals else []
    cut = [c.name for c in shown if any(c.name in row.truncated for line in table for row in line.rows)]
    beyond += [f"{name}_prompts_cut" for name in cut]
    writer.writerow(["method", "k", "theta", "n", "n_failed", *(c.name for c in shown), *beyond])

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    for line in table:
        other = ", ".join(part for part in (line.other, line.video) if part)
        name = f"{line.name} ({other})" if other else line.name
        settings = ["" if v is None else v for v in (line.k, line.theta)]
        means = [line.means[c.name] for c in shown]
        ends = [t for m in means for t in (number(m.low), number(m.high), m.n, m.infinite)] if intervals else []
        ends += [sum(name in row.truncated for row in line.rows) for name in cut]
        writer.writerow([name, *settings, line.n, line.n_failed, *(number(m.value) for m in means), *ends])
        if beside_paper and (own := paper.row_of(line)):
            values = [own.get(paper.name_of(c), "") for c in shown]
            writer.writerow([f"{name} in the paper", *settings, "", "", *values, *([""] * len(ends))])
    return out.getvalue()


def main(
    study: Path,
    frames: str = "all",
    names: Sequence[str] | None = None,
    intervals: bool = False,
    beside_paper: bool = False,
    allow_mixed: bool = False,
    out: Path | None = None,
) -> bool:
    """Print the table and write its files into `out` (by default report/ in the study); whether the study is complete.

    `frames` are those its scores are of. Raises CannotWrite, after printing, if `out` is given and cannot be written.
    """
    table = lines(load(study, frames, light=True), timed=frames == "all", allow_mixed=allow_mixed)
    title = study_name(study) if frames == "all" else f"{study_name(study)}, {frames} frames"
    made = [table_sheet(table, title, names, intervals, beside_paper, planned(study))]
    if beside_paper:
        made.append(paper.trends_sheet(table, columns(table, names)))
    text = "\n".join(sheet.markdown(each) for each in made)
    # a table of some frames or columns has a name of its own, so that it does not take the whole one's place
    stem = "-".join(("table1", *([] if frames == "all" else [frames]), *([] if names is None else names)))
    files = {
        f"{stem}.md": text,
        f"{stem}.csv": csv_text(table, names, intervals, beside_paper),
        f"{stem}.tex": sheet.latex(made[0]),
        f"{stem}.html": sheet.page(f"Table 1 of {title}", *made),
    } | ({f"{stem}-trends.tex": sheet.latex(made[1])} if beside_paper else {})
    write_and_print(files, text, study, out)
    return made[0].banner is None


def command() -> str | int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--frames", choices=FRAMES, default="all",
                        help="score only the frames kept by the schedules, or only the others")  # fmt: skip
    parser.add_argument("--columns", metavar="NAMES", help="only these, comma between, such as psnr,lpips,speedup")
    parser.add_argument("--intervals", action="store_true", help="95 %% intervals beside the means")
    parser.add_argument("--paper", action="store_true", help="the paper's own rows, and its trends against these")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a sample is missing or failed")
    parser.add_argument("--allow-mixed", action="store_true", help="samples made on different devices in one table")
    add_out(parser)
    given = parser.parse_args()
    asked = given.columns.split(",") if given.columns is not None else None
    complete = main(given.study, given.frames, asked, given.intervals, given.paper, given.allow_mixed, given.out)
    return "the study is not complete: see the line above the table" if given.strict and not complete else 0


if __name__ == "__main__":
    run(command)
