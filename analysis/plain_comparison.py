"""Notes under Table 1 about its comparison rows: equal DiT work, lost motion, and the meaning of a ceiling.

The notes are about two methods of this project, so this module looks at the methods' names.
"""

from collections.abc import Collection

from analysis.table import Row, Table

FEWER_STEPS, CEILING = "fewersteps", "interpolated"
APART = 0.05  # the largest share by which rows at equal work may differ
LOST = 0.5  # a row with at most this share of the baseline's motion has lost half of it


def notes(table: Table, shown: Collection[str]) -> list[str]:
    """Returns the notes for a table with the columns `shown`. There are no notes about rows that the table lacks."""
    found = [_work_of(table, video) for video in table.videos] if table.frames == "all" else []
    return [*filter(None, found), *_lost_motion(table, shown), *_ceiling(table)]


def _work(row: Row) -> float:
    """Returns the row's mean DiT work as a share of the baseline's tokens times layers, or 0 if it is unknown."""
    return row.mean("dit_work").value or 0.0


def _work_of(table: Table, video: str) -> str | None:
    """Returns a note with the DiT work of VGDFR's fastest and best rows, and of the fewer steps next to them."""
    rows = [row for row in table.rows if row.video == video and row.ranked and _work(row)]
    fewer = [row for row in rows if row.method == FEWER_STEPS]
    merging = [row for row in rows if row.family == table.main and row.theta is not None]
    if not fewer or not merging:
        return None
    fastest, best = min(merging, key=_work), max(merging, key=lambda row: (row.mean("psnr").value or 0.0, _work(row)))
    wanted = {fastest: "least work"} | {best: "best PSNR"}
    equal, apart = [], []
    for row, why in wanted.items():
        rival = min(fewer, key=lambda each: abs(_work(each) - _work(row)))
        share = abs(_work(rival) / _work(row) - 1)
        pair = f"{rival.title} {_work(rival):.3f} and {row.title}, {why}, {_work(row):.3f}"
        if share > APART:
            apart.append(f"{pair} ({share:.0%} apart)")
        else:
            equal.append(pair)
    parts = [f"About equal: {'; '.join(equal)}."] * bool(equal)
    parts += [f"Warning, these rows are not at equal work: {'; '.join(apart)}."] * bool(apart)
    where = f" ({video})" if video else ""
    return f"DiT work{where} is tokens times layers as a share of the baseline's. {' '.join(parts)}"


def _lost_motion(table: Table, shown: Collection[str]) -> list[str]:
    means = {row.title: row.mean("motion").value for row in table.rows if not row.is_reference}
    lost = [f"{title} ({value:.2f})" for title, value in means.items() if value is not None and value <= LOST]
    if "motion" not in shown or not lost:
        return []
    row, loses = ("This row", "loses") if len(lost) == 1 else ("These rows", "lose")
    return [f"{row} {loses} half of the baseline's motion or more: {', '.join(lost)}."]


def _ceiling(table: Table) -> list[str]:
    if not any(row.method == CEILING and row.n for row in table.rows):
        return []
    return [
        "A ceiling is no generator: it has the baseline's own frames where the schedule of this k and θ keeps frames, "
        "and interpolated frames elsewhere. So it shows the loss by the schedule alone. The rest of VGDFR's loss comes "
        "from the shortened denoising. A ceiling has no latency, speed-up or tokens."
    ]
