"""Makes Table 1 of the paper from a study: `python -m analysis.table1 runs/table1 [--intervals] [--paper]`.

Prints Markdown and writes report/table1.md, .csv, .tex and .html into the study's folder, together with the samples
as samples.csv and samples.parquet. --paper adds table1-trends.tex, and --out DIR names another folder. --frames and
--columns are part of the files' names.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis import paper_table, plain_comparison, render
from analysis.cells import cell_text
from analysis.columns import EFFICIENCY, EMBEDDED, Column, columns, has, in_paper
from analysis.common_setting import common_interpolator
from analysis.complete import incomplete, unscored, without_video
from analysis.mark_notes import note_on_intervals, notes_on_marks
from analysis.marks import marks
from analysis.mixtures import made_otherwise
from analysis.output import Report, add_out, csv_of, names_in, samples_files, write_and_print
from analysis.render import Cell, Sheet
from analysis.statistics import MIN_PROMPTS
from analysis.study import Study
from analysis.table import FRAMES, Table, table_of
from analysis.timing import note_on_bound, notes_on_timing, without_speedup
from analysis.trends import trends_sheet
from metrics import about
from metrics.base import DIFFERENCE
from vgdfr_commands.start import run


def table_sheet(
    table: Table,
    names: Sequence[str] | None = None,
    intervals: bool = False,
    beside_paper: bool = False,
    by_family: bool = False,
) -> Sheet:
    """Returns the sheet of `table`, with its default columns or the columns `names`.

    With `beside_paper` the sheet also has the paper's rows, below ours. With `by_family` the rules stand between
    families.
    """
    shown = columns(table.samples, names)
    marked = marks(table, shown)
    body, rules = [], set()
    for i, row in enumerate(table.rows):
        if i and table.block(table.rows[i - 1], by_family) != table.block(row, by_family):
            rules.add(len(body))
        count = f"{row.n}, {row.n_failed} failed" if row.n_failed else str(row.n)
        cells = (Cell(cell_text(row, c, intervals), marked.get((row.condition, c.name), "")) for c in shown)
        body.append((Cell(row.label), Cell(count), *cells))
        if beside_paper and (own := paper_table.row_of(row)):
            texts = (own.get(in_paper(c), "–") for c in shown)
            body.append((Cell("in the paper", "aside"), Cell(""), *(Cell(t, "aside") for t in texts)))
    groups = [
        ("", 1),
        *((group, sum(c.group == group for c in shown)) for group in dict.fromkeys(c.group for c in shown)),
    ]
    return Sheet(
        header=("Method", "n", *(c.title for c in shown)),
        rows=tuple(body),
        groups=tuple(groups),
        rules=frozenset(rules),
        notes=(*notes(table, shown, intervals, marked), *without_video(table)),
        banner=" ".join(filter(None, (incomplete(table), unscored(table, shown)))) or None,
    )


def notes(table: Table, shown: Sequence[Column], intervals: bool, marked: Mapping[tuple[str, str], str]) -> list[str]:
    """Returns the notes that explain the columns `shown`."""
    names = {c.name for c in shown}
    first = f"Study `{table.title}`: means over n samples per row. A cell says its own n where it has fewer."
    if {"latency_s", "speedup"} & names:
        first += " Latency is the denoising loop with the compression module. Speedup is the ratio of mean latencies."
    if "token_ratio" in names:
        first += " Tokens is the share of latent frames that the DiT sees after compression."
    out = [first]
    out += notes_on_marks(table, shown, marked)
    if intervals:
        enough = any(row.mean(c.name).low is not None for row in table.rows for c in shown)
        out.append(note_on_intervals(shown) if enough else f"No intervals: they need {MIN_PROMPTS} prompts or more.")
    if {"latency_s", "speedup"} & names:
        out += notes_on_timing(table)
    if "of_bound" in names:
        out.append(note_on_bound())
    if common := common_interpolator(table.samples):
        titles = " and ".join(common.titles)
        out.append(f"In all {titles} rows the merged frames were filled in by {common.setting}.")
    out += plain_comparison.notes(table, names)
    out += [table.mixture] if table.mixture else []
    out += made_otherwise(table.samples) if any(c.group == DIFFERENCE for c in shown) else []
    return [*out, *_notes_on_scores(table, shown)]


def _notes_on_scores(table: Table, shown: Sequence[Column]) -> list[str]:
    samples, out = table.samples, []
    scored = [samples[f"{c.name}.id"][samples[c.name].notna()] for c in shown if f"{c.name}.id" in samples]
    if ids := [_short(own.iloc[-1]) for own in scored if len(own)]:
        out.append(f"Scored by {', '.join(ids)}.")
    if judged := [c.title for c in shown if c.embedded]:
        out.append(
            f"{EMBEDDED} seen by the small judge trained on the embedded world ({', '.join(judged)}): compare rows of "
            "this table, not other papers."
        )
    out += [truncation(samples, c) for c in shown if has(samples, f"{c.name}.truncated")]
    reasons = table.study.missing.drop_duplicates("metric", keep="last").set_index("metric")["reason"]
    empty = [c for c in shown if c not in EFFICIENCY and all(row.present(c.name) == 0 for row in table.rows)]
    if failed := [f"{c.title}: {reasons[c.name]}" for c in empty if not c.network and c.name in reasons]:
        out.append(f"No sample has a value of {'; '.join(failed)}.")
    if absent := [c for c in empty if c.network]:
        needs = "; ".join(reasons.get(c.name) or f"{c.title} needs {c.network}" for c in absent)
        # the small judge knows only the embedded model's world, and not every column
        judge = (samples["model"].fillna("embedded") == "embedded").all()
        judge = judge and any(about(f"{c.name}_embedded") for c in absent)
        fills = "; metrics=embedded fills it by the small judge" * bool(judge)
        out.append(f"A dash in a whole column: not computed{fills}. {needs}.")
    if "psnr" in [c.name for c in shown] and any(row.mean("psnr").infinite for row in table.rows):
        out.append(
            "Videos identical to their baseline have an infinite PSNR. Its mean leaves them out and counts them."
        )
    return out


def truncation(samples: pd.DataFrame, column: Column) -> str:
    """Returns a note of how many prompts the column's model truncates."""
    tokens_read = samples[f"{column.name}.truncated"][samples[column.name].notna()].dropna()
    scored = samples.index[samples[column.name].notna()].unique("prompt")
    cut, tokens = tokens_read.index.unique("prompt"), int(tokens_read.max())
    model = "the small judge" if column.embedded else "the CLIP model"
    reads = f"the {tokens} tokens that {model} reads" if tokens else f"{model} reads"
    are, its = ("is", "its") if len(cut) == 1 else ("are", "their")
    return (
        f"{len(cut)} of {len(scored)} prompts {are} longer than {reads}: {column.title} compares with {its} beginning."
    )


def _short(metric_id: str) -> str:
    """Returns the metric's name and version, and the first digits of the weights' hash."""
    found = re.fullmatch(r"(.+?)-(v\d+)(?:-.*?([0-9a-f]{16,}))?.*", metric_id)
    return metric_id if found is None else f"{found[1]} {found[2]}" + (f" ({found[3][:8]})" if found[3] else "")


def csv_text(
    table: Table, names: Sequence[str] | None = None, intervals: bool = False, beside_paper: bool = False
) -> str:
    """Returns a CSV row per condition. `intervals` adds each column's interval, n and number of infinite values.

    If a metric truncated prompts, the column NAME_prompts_cut holds the number of these samples.
    """
    shown = columns(table.samples, names)
    cut = [c.name for c in shown if has(table.samples, f"{c.name}.truncated")]
    body = []
    for row in table.rows:
        other = ", ".join(part for part in (row.other, row.video) if part)
        name = f"{row.name} ({other})" if other else row.name
        means = {c.name: row.mean(c.name) for c in shown}
        line = {"method": name, "k": row.k, "theta": row.theta, "n": row.n, "n_failed": row.n_failed}
        line |= {column: mean.value for column, mean in means.items()}
        for column, mean in means.items() if intervals else ():
            line |= {f"{column}_{end}": getattr(mean, end) for end in ("low", "high", "n", "infinite")}
        truncated = {f"{c}_prompts_cut": row.samples[f"{c}.truncated"].notna() & row.samples[c].notna() for c in cut}
        body.append(line | {column: int(samples.sum()) for column, samples in truncated.items()})
        if row.fault:
            body[-1]["fault"] = row.fault
        if beside_paper and (own := paper_table.row_of(row)):
            printed_there = {c.name: own.get(in_paper(c)) for c in shown}
            body.append({"method": f"{name} in the paper", "k": row.k, "theta": row.theta} | printed_there)
    return csv_of(body)


def report(
    study: Study,
    frames: str = "all",
    names: Sequence[str] | None = None,
    intervals: bool = False,
    beside_paper: bool = False,
    allow_mixed: bool = False,
) -> Report:
    """Returns Table 1 over the `frames`, one of `analysis.table.FRAMES`, and with `beside_paper` its trends."""
    table = table_of(study, frames, allow_mixed)
    sheets = [table_sheet(table, names, intervals, beside_paper)]
    if beside_paper:
        sheets.append(trends_sheet(table, columns(table.samples, names)))
    # a table of some frames or columns has another name, so that it does not overwrite the whole table
    stem = "-".join(("table1", *([] if frames == "all" else [frames]), *([] if names is None else names)))
    files = {
        f"{stem}.csv": csv_text(table, names, intervals, beside_paper),
        f"{stem}.tex": render.latex(sheets[0]),
        f"{stem}.html": render.page(f"Table 1 of {table.title}", *sheets),
    } | ({f"{stem}-trends.tex": render.latex(sheets[1])} if beside_paper else {})
    return Report(stem, tuple(sheets), files)


def command() -> str | int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--frames", choices=FRAMES, default="all",
                        help="score only the frames kept by the schedules, or only the others")  # fmt: skip
    parser.add_argument("--columns", metavar="NAMES", help="show only these columns, such as psnr,lpips,speedup")
    parser.add_argument("--intervals", action="store_true", help="print 95 %% intervals next to the means")
    parser.add_argument("--paper", action="store_true", help="add the paper's rows and compare its trends")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="end with status 1 unless all samples are finished, scored, timed, and made as their baselines were",
    )
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices in one table")
    add_out(parser)
    given = parser.parse_args()
    asked = names_in(given.columns)
    study = Study(given.study)
    made = report(study, given.frames, asked, given.intervals, given.paper, given.allow_mixed)
    samples = samples_files(study, given.out or given.study / "report")
    write_and_print(replace(made, files={**made.files, **samples}), given.study, given.out)
    return refusal(study, made.sheets[0]) or 0 if given.strict else 0


def refusal(study: Study, sheet: Sheet) -> str | None:
    """Returns why --strict refuses the study that `sheet` shows, or None."""
    if sheet.banner is not None:
        return "the study is not complete: see the line above the table"
    return "\n".join([*made_otherwise(study.samples), *without_speedup(study.samples)]) or None


if __name__ == "__main__":
    run(command)
