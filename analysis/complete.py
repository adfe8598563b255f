"""Names the gaps of a study: samples that are missing, failed or without a score. Names its samples without a video."""

from collections.abc import Sequence

from analysis.columns import Column, expected_in
from analysis.table import Row, Table


def incomplete(table: Table) -> str | None:
    """Returns a warning with the number of missing samples, or None if none is missing.

    Expected are the samples that the sweeps planned, every condition with every prompt and seed of its video setting,
    and the samples without a video.
    """
    samples, expected = table.study.samples, len(table.probes)
    for video in table.videos:
        rows = [row for row in table.rows if row.video == video]
        tried = [part.index for row in rows for part in (row.samples, row.failed) if len(part)]
        every = tried[0]
        for keys in tried[1:]:
            every = every if keys.equals(every) else every.union(keys)
        expected += len(rows) * len(every)
    there = set(samples["sample"])
    expected = max(expected, len(there | table.study.planned))
    complete = sum(row.n for row in table.rows) + int((table.probes["status"] == "done").sum())
    if complete == expected:
        return None
    tried = sum(row.n + row.n_failed for row in table.rows) + len(table.probes)
    text = f"Incomplete: {complete} of {expected} samples, {tried - complete} failed."
    text += "".join(f" {row.label}." for row in table.rows if row.fault)
    never = len(table.study.planned - there)
    return f"{text} {never} planned and not tried (no longer wanted? remove plan.json)." if never else text


def without_video(table: Table) -> list[str]:
    """Returns a note that names the methods of the finished samples without a video.

    Returns an empty list if there is no such sample.
    """
    counts = table.probes["title"][table.probes["status"] == "done"].value_counts().sort_index()
    named = [f"{title} ({n} sample{'s' * (n > 1)})" for title, n in counts.items()]
    record = "its record" if counts.sum() == 1 else "their records"
    return [f"Without a video: {', '.join(named)}, see `data` in {record}."] if named else []


def unscored(table: Table, shown: Sequence[Column]) -> str | None:
    """Returns a warning of metrics that some finished samples lack, or None. Ignores metrics that all samples lack."""
    if table.frames != "all":
        return None  # not every sample has kept or interpolated frames
    named = []
    for column in shown:
        if column.group == "Efficiency":  # only some latencies may count; cells show their n
            continue
        rows = [row for row in table.rows if not column.needs_reference or not row.is_reference]
        there, absent = sum(row.present(column.name) for row in rows), sum(lacking(row, column) for row in rows)
        if there and absent:
            named.append(f"{column.title} for {absent} of {there + absent}")
    return f"Samples without a score: {', '.join(named)}; see python -m bench.score." if named else None


def lacking(row: Row, column: Column) -> int:
    """Returns how many finished samples of the row lack a value of the column.

    A metric of one dimension is not expected for prompts of other dimensions.
    """
    if not column.dimension or column.name not in row.samples:
        return row.n - row.present(column.name)
    return int((expected_in(row.samples, column.dimension) & row.samples[column.name].isna()).sum())
