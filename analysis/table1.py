"""Table 1 of the paper from a study: `python -m analysis.table1 runs/table1`.

Prints Markdown and writes report/table1.md, .csv and .tex into the study's folder.
"""

import argparse
import csv
import io
import sys
from pathlib import Path

from analysis.conditions import EMBEDDED, Line, best, columns, lines
from analysis.load import FRAMES, StudyError, load


def cells(table: list[Line], mark: tuple[str, str], none: str) -> list[list[str]]:
    """The table's body as text, the best of each column between `mark`."""
    leaders = {
        (video, c.name): best(table, c, video) for video in {line.video for line in table} for c in columns(table)
    }
    body = []
    for line in table:
        out = [line.title, str(line.n)]
        for c in columns(table):
            value = line.means[c.name].value
            text = none if value is None else f"{value:.{c.digits}f}"
            leader = leaders[line.video, c.name] if line.ranked else None
            leads = value is not None and round(value, c.digits) == leader
            out.append(mark[0] + text + mark[1] if leads else text)
        body.append(out)
    return body


def notes(table: list[Line], study: str) -> list[str]:
    """What a reader must know beside the numbers."""
    out = [
        f"Study `{study}`: means over prompts, n samples a row. Latency is the denoising loop with the compression "
        "module; Speedup is the ratio of mean latencies. Tokens is the share of latent frames the DiT sees after "
        "compression. Best of the VGDFR rows, ablations apart, in bold: also where times "
        "differ by less than they do from run to run."
    ]
    if any(row.record.get("shared_stages") for line in table for row in line.rows):
        out.append(
            "What the conditions of a prompt share (first steps, preview, equal schedules) was computed and timed "
            "once; a latency is the sum of the sample's parts."
        )
    ids = {name: i for line in table for row in line.rows for name, i in row.ids.items()}
    shown = [_short(ids[c.name]) for c in columns(table) if c.name in ids]
    if shown:
        out.append(f"Scored by {', '.join(shown)}.")
    judged = [c.title for c in columns(table) if c.title.endswith(EMBEDDED)]
    if judged:
        out.append(
            f"{EMBEDDED} seen by the small judge trained on the embedded world ({', '.join(judged)}): compare rows of "
            "this table, not other papers."
        )
    absent = [c for c in columns(table) if c.missing and all(line.means[c.name].value is None for line in table)]
    if absent:
        reasons = {name: why for line in table for row in line.rows for name, why in row.reasons.items()}
        needs = "; ".join(reasons.get(c.name) or f"{c.title} needs {c.missing}" for c in absent)
        out.append(f"A dash in a whole column: not computed; metrics=embedded fills it by the small judge. {needs}.")
    out += [f"{line.title}: {note}." for line in table for note in sorted(line.notes) if "latency" in note]
    identical = [f"{line.title}: {n}" for line in table if (n := line.means["psnr"].infinite)]
    if identical:
        out.append(
            "Videos identical to their baseline (infinite PSNR, left out of its mean): " + "; ".join(identical) + "."
        )
    failed = sum(line.n_failed for line in table)
    expected = max(line.n + line.n_failed for line in table)
    if failed or any(line.n != expected for line in table):
        complete = sum(line.n for line in table)
        out.append(f"**Incomplete: {complete} of {expected * len(table)} samples, {failed} failed.**")
    return out


def _short(metric_id: str) -> str:
    """Name, version and the first digits of the weights' hash."""
    name, version, *_, weights = metric_id.split("-")
    return f"{name} {version}" + ("" if weights == "weights" else f" ({weights[:8]})")


def markdown(table: list[Line], study: str) -> str:
    header = ["Method", "n", *(c.title for c in columns(table))]
    body = cells(table, ("**", "**"), "–")
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]

    def row(texts: list[str]) -> str:
        return (
            "| "
            + " | ".join(
                t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(texts, widths, strict=True))
            )
            + " |"
        )

    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    groups = "Quality: CLIPT to Motion. Difference to the baseline: PSNR to Cosine. Efficiency: Latency to Tokens."
    return "\n".join([row(header), rule, *map(row, body), "", groups, "", *(n + "\n" for n in notes(table, study))])


def csv_text(table: list[Line]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "k", "theta", "n", *(c.name for c in columns(table))])
    for line in table:
        values = [line.means[c.name].value for c in columns(table)]
        name = line.name
        beyond = ", ".join(part for part in (line.other, line.video) if part)
        name += f" ({beyond})" if beyond else ""
        settings = ["" if v is None else v for v in (line.k, line.theta)]
        writer.writerow([name, *settings, line.n, *("" if v is None else f"{v:.6g}" for v in values)])
    return out.getvalue()


def latex(table: list[Line]) -> str:
    """A booktabs tabular with the paper's groups over their columns."""
    groups: dict[str, int] = {}
    for c in columns(table):
        groups[c.group] = groups.get(c.group, 0) + 1
    over = " & ".join(["", "", *(rf"\multicolumn{{{n}}}{{c}}{{{g}}}" for g, n in groups.items())])
    header = " & ".join(["Method", "n", *(c.title.replace(EMBEDDED, r"$^\dagger$") for c in columns(table))])
    body = []
    previous: object = ()
    for line, row in zip(table, cells(table, (r"\textbf{", "}"), "--"), strict=True):
        if line.k != previous:
            body.append(r"\midrule")
        previous = line.k
        body.append(" & ".join(row).replace("_", r"\_").replace("θ", r"$\theta$") + r" \\")
    return "\n".join(
        [rf"\begin{{tabular}}{{lr{'r' * len(columns(table))}}}", r"\toprule", over + r" \\", header + r" \\", *body]
        + [r"\bottomrule", r"\end{tabular}", ""]
    )


def main(study: Path, frames: str = "all") -> None:
    """Print the table and write the three files; `frames` are those that its scores are of."""
    table = lines(load(study, frames), timed=frames == "all")
    report = study / "report"
    report.mkdir(exist_ok=True)
    of_part = "" if frames == "all" else f"-{frames}"
    text = markdown(table, study.name if frames == "all" else f"{study.name}, {frames} frames")
    for suffix, content in (("md", text), ("csv", csv_text(table)), ("tex", latex(table))):
        (report / f"table1{of_part}.{suffix}").write_text(content)
    print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument(
        "--frames",
        choices=FRAMES,
        default="all",
        help="score only the frames kept by the schedules, or only the others",
    )
    arguments = parser.parse_args()
    try:
        main(arguments.study, arguments.frames)
    except StudyError as error:
        sys.exit(f"error: {error}")
