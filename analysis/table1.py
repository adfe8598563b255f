"""Table 1 of the paper from a study: `python -m analysis.table1 runs/table1`.

Prints Markdown and writes report/table1.md, .csv and .tex into the study's folder.
"""

import argparse
import csv
import io
import json
import math
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.load import Row, StudyError, load
from analysis.statistics import Mean, mean


@dataclass(frozen=True)
class Column:
    """A metric's or a measurement's column; `better` is 1 where high is good, -1 where low is, 0 for neither."""

    name: str
    title: str
    digits: int
    better: int
    group: str
    missing: str = ""


# The paper's columns in the paper's order and groups, and after them the project's own.
COLUMNS = (
    Column("clip_temp", "CLIPT", 4, 1, "Video Quality", "a CLIP model"),
    Column("clipsim", "CLIPSIM", 4, 1, "Video Quality", "a CLIP model"),
    Column("vqa", "VQA", 2, 1, "Video Quality", "a video quality model"),
    Column("flicker", "FLICKER", 4, 1, "Video Quality"),
    Column("psnr", "PSNR", 2, 1, "Difference"),
    Column("ssim", "SSIM", 3, 1, "Difference"),
    Column("lpips", "LPIPS", 3, -1, "Difference", "a perceptual network"),
    Column("cosine", "Cosine", 3, 1, "Difference"),
    Column("latency_s", "Latency (s)", 2, -1, "Efficiency"),
    Column("speedup", "Speedup", 2, 1, "Efficiency"),
    Column("token_ratio", "Tokens", 2, 0, "Efficiency"),
)
CSV_HEADER = ("method", "k", "theta", "n", *(c.name for c in COLUMNS))


@dataclass(frozen=True)
class Line:
    """One condition: its settings, its samples, and each column's mean.

    `video` names those of the video settings that the study varies, such as "num_frames=33".
    """

    method: str
    video: str
    k: int | None
    theta: float | None
    other: str
    n: int
    n_failed: int
    ablation: bool
    notes: frozenset[str]
    means: dict[str, Mean]

    @property
    def title(self) -> str:
        if self.method == "baseline":
            return f"{self.name} ({self.video})" if self.video else self.name
        k = None if self.k is None else f"k={self.k}"
        theta = None if self.theta is None else f"θ={self.theta:g}"
        return f"{self.name} ({', '.join(p for p in (k, theta, self.other, self.video) if p)})"

    @property
    def ranked(self) -> bool:
        """Whether its numbers compete for the best: VGDFR's do, ablations' and other methods' do not."""
        return self.method == "vgdfr" and not self.ablation

    @property
    def name(self) -> str:
        """The method, for people."""
        return {"baseline": "Original", "fewersteps": "Fewer steps"}.get(self.method, self.method.upper())


def lines(rows: list[Row]) -> list[Line]:
    """A line per condition: the baseline first, then by k and theta, as in the paper; so for each video setting.

    A sample is compared with the baseline of its own video settings. Raises StudyError without a baseline, and where
    the table would mix models or devices.
    """
    _refuse_mixture("models, precisions or kinds of device", [r.record["identity"]["model"] for r in rows])
    _refuse_mixture("versions of the generator", [r.record["identity"]["generator_version"] for r in rows])
    videos = _videos(rows)
    conditions: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row, video in zip(rows, videos, strict=True):
        conditions[video, row.record["slug"]].append(row)
    baseline_s = {
        (video, r.sample_id): r.record["latency_s"]
        for (video, slug), group in conditions.items()
        for r in group
        if slug == "baseline" and r.record["status"] == "done"
    }
    if not baseline_s:
        raise StudyError("the study has no finished baseline sample to compare with; run its sweep again")
    made = [_line(group, video, baseline_s) for (video, _), group in conditions.items()]
    order = list(dict.fromkeys(sorted(videos, key=lambda video: [_natural(part) for part in video.split(", ")])))
    return sorted(
        made,
        key=lambda line: (
            order.index(line.video), line.method != "baseline", line.method, line.k or 0, line.theta or 0, line.other
        ),
    )  # fmt: skip


def _videos(rows: list[Row]) -> list[str]:
    """For each row, those of its video settings that are not the same in all rows."""
    specs = [r.record["identity"]["spec"] for r in rows]
    names = [n for n in specs[0] if n not in ("prompt", "seed") and len({s[n] for s in specs}) > 1]
    return [", ".join(f"{name}={spec[name]}" for name in names) for spec in specs]


def _natural(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value or 0)


def _refuse_mixture(what: str, settings: list[Any]) -> None:
    distinct = sorted({json.dumps(each, sort_keys=True) for each in settings})
    if len(distinct) > 1:
        raise StudyError(
            f"the study mixes {len(distinct)} {what}, which one table must not: {'; '.join(distinct)}. "
            "Run the sweep into another folder (study=NAME or root=DIR), or remove the samples that do not belong"
        )


def _line(rows: list[Row], video: str, baseline_s: dict[tuple[str, tuple[str, int]], float]) -> Line:
    done = [r for r in rows if r.record["status"] == "done"]
    method = rows[0].record["method"]
    means = {c.name: mean(r.scores.get(c.name) for r in done) for c in COLUMNS}
    means["latency_s"] = mean(r.record["latency_s"] for r in done)
    means["token_ratio"] = mean(r.record["token_ratio"] for r in done)
    means["speedup"] = Mean(None, 0, 0)
    common = [r for r in done if (video, r.sample_id) in baseline_s]
    if method["name"] != "baseline" and common:  # as in the paper: a ratio of mean latencies, over common samples
        own = math.fsum(r.record["latency_s"] for r in common)
        means["speedup"] = Mean(math.fsum(baseline_s[video, r.sample_id] for r in common) / own, len(common), 0)
    _refuse_mixture(f"settings under the name {rows[0].record['slug']}", [r.record["method"] for r in rows])
    if len({r.sample_id for r in rows}) < len(rows):
        raise StudyError(f"{rows[0].record['slug']} has a prompt and seed twice; remove the samples that do not belong")
    # what sets this row apart beyond k and theta stands in its slug, after them
    own = (f"k{method.get('k')}", f"theta{method.get('theta')}")
    other = ", ".join(part for part in rows[0].record["slug"].split("-")[1:] if part not in own)
    ablation = method.get("merge_space") == "latent" or method.get("denoise_renoise") is False
    said = frozenset(note for r in done for note in r.record.get("notes", ()))
    k, theta = method.get("k"), method.get("theta")
    return Line(method["name"], video, k, theta, other, len(done), len(rows) - len(done), ablation, said, means)


def best(table: list[Line], column: Column, video: str) -> float | None:
    """The best printed value among VGDFR's rows of one video setting (as in the paper), None if there is no best."""
    values = [
        round(v, column.digits)
        for line in table
        if line.ranked and line.video == video and (v := line.means[column.name].value) is not None
    ]
    return max(values, key=lambda v: v * column.better) if values and column.better and len(set(values)) > 1 else None


def cells(table: list[Line], mark: tuple[str, str], none: str) -> list[list[str]]:
    """The table's body as text, the best of each column between `mark`."""
    leaders = {(video, c.name): best(table, c, video) for video in {line.video for line in table} for c in COLUMNS}
    body = []
    for line in table:
        out = [line.title, str(line.n)]
        for c in COLUMNS:
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
    absent = [c for c in COLUMNS if c.missing and all(line.means[c.name].value is None for line in table)]
    if absent:
        needs = "; ".join(f"{c.title} needs {c.missing}" for c in absent)
        out.append(f"A dash in a whole column: not computed, since the pixel metrics use no network ({needs}).")
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


def markdown(table: list[Line], study: str) -> str:
    header = ["Method", "n", *(c.title for c in COLUMNS)]
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
    groups = "Quality: CLIPT to FLICKER. Difference to the baseline: PSNR to Cosine. Efficiency: Latency to Tokens."
    return "\n".join([row(header), rule, *map(row, body), "", groups, "", *(n + "\n" for n in notes(table, study))])


def csv_text(table: list[Line]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for line in table:
        values = [line.means[c.name].value for c in COLUMNS]
        name = line.name
        beyond = ", ".join(part for part in (line.other, line.video) if part)
        name += f" ({beyond})" if beyond else ""
        settings = ["" if v is None else v for v in (line.k, line.theta)]
        writer.writerow([name, *settings, line.n, *("" if v is None else f"{v:.6g}" for v in values)])
    return out.getvalue()


def latex(table: list[Line]) -> str:
    """A booktabs tabular with the paper's groups over their columns."""
    groups: dict[str, int] = {}
    for c in COLUMNS:
        groups[c.group] = groups.get(c.group, 0) + 1
    over = " & ".join(["", "", *(rf"\multicolumn{{{n}}}{{c}}{{{g}}}" for g, n in groups.items())])
    header = " & ".join(["Method", "n", *(c.title for c in COLUMNS)])
    body = []
    previous: object = ()
    for line, row in zip(table, cells(table, (r"\textbf{", "}"), "--"), strict=True):
        if line.k != previous:
            body.append(r"\midrule")
        previous = line.k
        body.append(" & ".join(row).replace("_", r"\_").replace("θ", r"$\theta$") + r" \\")
    return "\n".join(
        [rf"\begin{{tabular}}{{lr{'r' * len(COLUMNS)}}}", r"\toprule", over + r" \\", header + r" \\", *body]
        + [r"\bottomrule", r"\end{tabular}", ""]
    )


def main(study: Path) -> None:
    """Print the table and write the three files."""
    table = lines(load(study))
    report = study / "report"
    report.mkdir(exist_ok=True)
    text = markdown(table, study.name)
    for suffix, content in (("md", text), ("csv", csv_text(table)), ("tex", latex(table))):
        (report / f"table1.{suffix}").write_text(content)
    print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    try:
        main(parser.parse_args().study)
    except StudyError as error:
        sys.exit(f"error: {error}")
