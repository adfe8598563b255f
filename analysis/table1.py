"""Makes Table 1 of the paper from a study: `python -m analysis.table1 runs/table1 [--intervals] [--paper]`.

Prints Markdown and writes report/table1.md, .csv, .tex and .html into the study's folder, and nothing else there.
--paper adds table1-trends.tex, and --out DIR names another folder. --frames and --columns are part of the files' names.
"""

import argparse
import csv
import io
from collections.abc import Sequence, Set
from pathlib import Path

from analysis import paper, sheet
from analysis.columns import EMBEDDED, Column
from analysis.complete import incomplete, unscored, without_video
from analysis.conditions import Line, columns, common_interpolator, kind_of_timing, lines
from analysis.devices import mixture
from analysis.load import FRAMES, Row, load_both, planned
from analysis.marks import marks
from analysis.output import add_out, study_name, write_and_print
from analysis.sheet import Cell, Sheet
from analysis.statistics import MIN_PROMPTS, Interval
from vgdfr_commands.start import run


def printed(mean: Interval, digits: int, intervals: bool = False) -> str:
    """Returns the number, with the ends of its interval if `intervals`, or an en dash for no number."""
    if mean.value is None:
        return "–"
    text = f"{mean.value:.{digits}f}"
    return f"{text} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]" if intervals and mean.low is not None else text


def counted(line: Line) -> str:
    return f"{line.n}, {line.n_failed} failed" if line.n_failed else str(line.n)


def _cell(line: Line, column: Column, intervals: bool) -> str:
    """Returns the mean, and its n if that is smaller than the row's n."""
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
    probes: Sequence[Row] = (),
) -> Sheet:
    """Returns the sheet of `table`, with all columns or the columns `names`.

    `beside_paper` adds the paper's rows below ours. `wanted` are the places of the samples that the sweeps planned.
    `probes` are the study's samples without a video.
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
        notes=(*notes(table, study, shown, intervals, bool(marked)), *without_video(probes)),
        banner=" ".join(filter(None, (incomplete(table, wanted, probes), unscored(table, shown)))) or None,
    )


def notes(table: list[Line], study: str, shown: list[Column], intervals: bool, marked: bool) -> list[str]:
    """Returns the notes that explain the columns `shown`."""
    names = {c.name for c in shown}
    rows: list[Row] = [row for line in table for row in line.rows]
    out = [f"Study `{study}`: means over samples, n of them a row (in a cell where it has fewer)."]
    if "latency_s" in names or "speedup" in names:
        out[0] += " Latency is the denoising loop with the compression module; Speedup is the ratio of mean latencies."
    if "token_ratio" in names:
        out[0] += " Tokens is the share of latent frames the DiT sees after compression."
    if marked:
        out.append(
            f"{competing(table)}, the best is marked bold and the second best underlined (here in italics where there "
            "are no underlines): also where they differ by less than chance. Only rows with a column over the same "
            "samples compete in it, the largest group of them, and in a column where one of them holds an infinite "
            "value nothing is marked."
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
        titles = " and ".join(common.titles)
        out.append(f"In all {titles} rows the merged frames were filled in by {common.setting}.")
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
        # the small judge knows only the embedded model's world
        judge = all(row.record.get("model_name", "embedded") == "embedded" for row in rows)
        fills = "; metrics=embedded fills it by the small judge" * judge
        out.append(f"A dash in a whole column: not computed{fills}. {needs}.")
    identical = [f"{line.title}: {n}" for line in table if "psnr" in names and (n := line.means["psnr"].infinite)]
    if identical:
        out.append(
            "Videos identical to their baseline (infinite PSNR, left out of its mean): " + "; ".join(identical) + "."
        )
    return out


def competing(table: Sequence[Line]) -> str:
    """Returns the beginning of a sentence, which tells the rows that compete for the best."""
    ranked = [line for line in table if line.ranked]
    if len({line.facts.family for line in ranked}) == 1:
        return f"Of the {ranked[0].name} rows, ablations apart"
    return "Of all methods' rows, ablations and diagnostics apart"


def truncation(rows: Sequence[Row], column: Column) -> str:
    """Returns a note of how many prompts the column's model truncates."""
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
    """Returns the metric's name and version, and the first digits of the weights' hash."""
    name, version, *_, weights = metric_id.split("-")
    return f"{name} {version}" + ("" if weights == "weights" else f" ({weights[:8]})")


def markdown(table: list[Line], study: str) -> str:
    return sheet.markdown(table_sheet(table, study))


def latex(table: list[Line], study: str = "") -> str:
    return sheet.latex(table_sheet(table, study))


def csv_text(
    table: list[Line], names: Sequence[str] | None = None, intervals: bool = False, beside_paper: bool = False
) -> str:
    """Returns a CSV row per condition. `intervals` adds each column's interval, n and number of infinite values.

    If a metric truncated prompts, the column NAME_prompts_cut holds the number of these samples.
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
    """Prints the table and writes its files into `out` (by default report/ in the study).

    `frames` are the frames that the scores are over. Returns whether no sample is missing, failed or without a score.
    Raises CannotWrite, after printing, if `out` is given and cannot be written.
    """
    rows, probes = load_both(study, frames, light=True)
    table = lines(rows, timed=frames == "all", allow_mixed=allow_mixed)
    title = study_name(study) if frames == "all" else f"{study_name(study)}, {frames} frames"
    made = [table_sheet(table, title, names, intervals, beside_paper, planned(study), probes)]
    if beside_paper:
        made.append(paper.trends_sheet(table, columns(table, names)))
    text = "\n".join(sheet.markdown(each) for each in made)
    # a table of some frames or columns has another name, so that it does not overwrite the whole table
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
    parser.add_argument(
        "--strict", action="store_true", help="exit status 1 unless all samples are finished and scored"
    )
    parser.add_argument("--allow-mixed", action="store_true", help="samples made on different devices in one table")
    add_out(parser)
    given = parser.parse_args()
    asked = given.columns.split(",") if given.columns is not None else None
    complete = main(given.study, given.frames, asked, given.intervals, given.paper, given.allow_mixed, given.out)
    return "the study is not complete: see the line above the table" if given.strict and not complete else 0


if __name__ == "__main__":
    run(command)
