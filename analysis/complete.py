"""Says what a study lacks: samples that are missing, failed or without a score. Names its samples without a video."""

from collections import Counter
from collections.abc import Sequence, Set

from analysis.columns import Column
from analysis.conditions import Line
from analysis.load import Row
from bench.facts import facts_of


def incomplete(table: list[Line], wanted: Set[str] = frozenset(), probes: Sequence[Row] = ()) -> str | None:
    """Returns a warning with the number of missing samples, or None if none is missing.

    Expected are the samples `wanted`, every condition with every prompt and seed of its video setting, and the
    `probes`, which are the study's samples without a video.
    """
    expected = len(probes)
    for video in {line.video for line in table}:
        of_video = [line for line in table if line.video == video]
        expected += len(of_video) * len({key for line in of_video for key in line.planned})
    rows = [*(r for line in table for r in (*line.rows, *line.failed)), *probes]
    there = {f"{r.folder.parent.name}/{r.folder.name}" for r in rows}
    expected = max(expected, len(there | wanted))
    complete = sum(r.record["status"] == "done" for r in rows)
    if complete == expected:
        return None
    text = f"Incomplete: {complete} of {expected} samples, {len(rows) - complete} failed."
    never = len(wanted - there)
    return f"{text} {never} planned and not tried (no longer wanted? remove plan.json)." if never else text


def without_video(probes: Sequence[Row]) -> list[str]:
    """Returns a note that names the methods of the finished `probes`, or nothing if there are none."""
    counts = Counter(facts_of(r.record).title for r in probes if r.record["status"] == "done")
    named = [f"{title} ({n} sample{'s' * (n > 1)})" for title, n in sorted(counts.items())]
    record = "its record" if sum(counts.values()) == 1 else "their records"
    return [f"Without a video: {', '.join(named)}, see `data` in {record}."] if named else []


def unscored(table: list[Line], shown: Sequence[Column]) -> str | None:
    """Returns a warning of metrics that some finished samples lack, or None. Ignores metrics that all samples lack."""
    if not any(line.values["latency_s"] for line in table):
        return None  # the table is of kept or interpolated frames, which not every sample has
    lacking = []
    for column in shown:
        if column.group == "Efficiency":  # only some latencies may count; cells show their n
            continue
        compared = column.group == "Difference" or column.name == "motion"  # a baseline has no such value
        of = [line for line in table if not compared or not line.is_reference]
        there, expected = sum(line.present(column) for line in of), sum(line.n for line in of)
        if 0 < there < expected:
            lacking.append(f"{column.title} for {expected - there} of {expected}")
    return f"Samples without a score: {', '.join(lacking)}; see python -m bench.score." if lacking else None
