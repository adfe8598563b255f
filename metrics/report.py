"""Prints the scores of pairs of videos as a table for people, as JSON or as CSV."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from metrics.base import Metric, Score, jsonable
from metrics.pairs import abbreviated


@dataclass(frozen=True)
class Row:
    """The scores of one pair: for each metric a Score, or the reason why there is no score.

    `lossless` says whether both files hold exactly the frames that were written, and `lossy` names the other files.
    `remarks` say how the files are compared. `error` is the reason if the pair could not be scored at all; then
    `scores` is empty.
    """

    name: str
    lossless: bool | None = None
    scores: dict[str, Score | str] = field(default_factory=dict)
    error: str | None = None
    lossy: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def value(self, metric: Metric) -> float | None:
        """Returns the metric's value for this pair, or None without a score."""
        score = self.scores.get(metric.name)
        return score.value if isinstance(score, Score) else None

    @property
    def truncated(self) -> dict[str, int]:
        """Returns the metrics that saw only the beginning of the prompt, each with the number of tokens that it saw."""
        scores = {name: score for name, score in self.scores.items() if isinstance(score, Score)}
        return {name: int(s.extra["context_length"]) for name, s in scores.items() if s.extra.get("truncated")}

    @property
    def reasons(self) -> dict[str, str]:
        """Returns for each metric without a value the reason."""
        return {name: score for name, score in self.scores.items() if isinstance(score, str)}


def as_json(rows: Sequence[Row], ids: dict[str, str], metrics: Sequence[Metric], per_frame: bool) -> str:
    """Returns every value as JSON, or null with the reason. `ids` are the ids of the metrics by name."""
    return json.dumps({"metrics": ids, "videos": [_object(row, metrics, per_frame) for row in rows]},
                      indent=1, allow_nan=False)  # fmt: skip


def _object(row: Row, metrics: Sequence[Metric], per_frame: bool) -> dict[str, Any]:
    there = {name: score for name, score in row.scores.items() if isinstance(score, Score)}
    values = {metric.name: jsonable(row.value(metric)) for metric in metrics}
    out = {"name": row.name, "lossless": row.lossless, "lossy": row.lossy, "remarks": row.remarks, **values}
    out |= {"extra": {name: score.extra for name, score in there.items()}, "reasons": row.reasons, "error": row.error}
    if per_frame:
        out["per_frame"] = {
            name: [jsonable(float(v)) for v in score.per_frame]
            for name, score in there.items()
            if score.per_frame is not None
        }
    return out


def as_csv(rows: Sequence[Row], metrics: Sequence[Metric]) -> str:
    """Returns CSV with a line for each pair. The column `reason` says why values are missing.

    The column `lossy` names the lossy files, separated by semicolons, and `remarks` says how files are compared. Each
    metric that needs the prompt has a further column with the number of tokens that the prompt was cut to, if it was.
    """
    writer = csv.writer(lines := _Lines(), lineterminator="")
    prompted = [metric.name for metric in metrics if metric.needs_prompt]
    cut = [f"{name}_prompt_cut_to" for name in prompted]
    names = [metric.name for metric in metrics]
    writer.writerow(["name", "lossless", *names, "lossy", "remarks", "reason", *cut])
    for row in rows:
        why = row.error or "; ".join(f"{name}: {reason}" for name, reason in row.reasons.items())
        said = ["; ".join(row.lossy), "; ".join(row.remarks), why]
        cut_to = [row.truncated.get(name) for name in prompted]
        writer.writerow([row.name, row.lossless, *(row.value(metric) for metric in metrics), *said, *cut_to])
    return "\n".join(lines)


class _Lines(list[str]):
    """The lines that csv writes."""

    write = list[str].append


def as_table(rows: Sequence[Row], metrics: Sequence[Metric]) -> str:
    """Returns a table for people. Several rows are followed by the mean of their finite values, and notes come last."""
    header = ["video", *(f"{m.name}{f' ({m.unit})' if m.unit else ''}" for m in metrics)]
    values = [[row.value(metric) for row in rows] for metric in metrics]
    body = [[row.name, *("-" if (v := row.value(m)) is None else f"{v:.4f}" for m in metrics)] for row in rows]
    if len(rows) > 1:
        finite = [[v for v in column if v is not None and math.isfinite(v)] for column in values]
        body.append(["mean of finite values", *(f"{math.fsum(c) / len(c):.4f}" if c else "-" for c in finite)])
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
    lines = ["  ".join(t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
             for row in [header, *body]]  # fmt: skip
    return "\n".join([*lines, *_notes(rows, metrics, values)])


def _notes(rows: Sequence[Row], metrics: Sequence[Metric], values: list[list[float | None]]) -> list[str]:
    lines = [f"{row.name} could not be scored: {row.error}" for row in rows if row.error]
    if lossy := list(dict.fromkeys(file for row in rows for file in row.lossy)):
        lines.append(f"lossy input: {', '.join(lossy)}; the scores include what the encoder changed")
    for remark in dict.fromkeys(remark for row in rows for remark in row.remarks):
        lines.append(f"{abbreviated([row.name for row in rows if remark in row.remarks])}: {remark}")
    scored = [row for row in rows if not row.error]
    for metric, column in zip(metrics, values, strict=True):
        if len(rows) > 1 and (infinite := sum(v is not None and math.isinf(v) for v in column)):
            lines.append(f"{metric.name} is infinite for {infinite} of {len(scored)} videos; the mean leaves them out")
        of_videos: dict[str, list[str]] = {}
        for row in scored:
            if reason := row.reasons.get(metric.name):
                of_videos.setdefault(reason, []).append(row.name)
        for reason, names in of_videos.items():
            lines.append(
                f"no {metric.name}{'' if len(names) == len(scored) else f' of {abbreviated(names)}'}: {reason}"
            )
        if cut := [row.name for row in scored if metric.name in row.truncated]:
            tokens = next(row.truncated[metric.name] for row in scored if metric.name in row.truncated)
            lines.append(
                f"{metric.name} compares with the beginning of the prompt alone, its first {tokens} tokens: "
                f"{abbreviated(cut)}"
            )
    return lines
