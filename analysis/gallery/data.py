"""Makes the gallery's JSON document: columns, conditions with their means, and prompts with their samples."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from analysis.columns import Column
from analysis.conditions import Line, columns, lines
from analysis.content import content_of
from analysis.devices import mixture
from analysis.load import Row
from analysis.marks import marks

PREVIEW = "preview.mp4"


def gallery_data(
    rows: list[Row], study: str, source: Callable[[Row], str | None], allow_mixed: bool = False
) -> dict[str, Any]:
    """Returns the document. It holds only JSON's values, so an infinite score is "inf".

    `source` returns the place of a sample's video for the page, or None if the video is missing. Raises StudyError as
    `analysis.conditions.lines` does, for example without a finished baseline, or for mixed devices unless
    `allow_mixed`.
    """
    table = lines(rows, allow_mixed=allow_mixed)
    shown = columns(table)
    marked = marks(table, shown)
    baselines = {line.video: i for i, line in enumerate(table) if line.is_reference}
    latency_s = {
        (line.video, r.sample_id): r.record["latency_s"] for line in table if line.is_reference for r in line.rows
    }
    samples: dict[tuple[str, int], list[dict[str, Any] | None]] = {r.sample_id: [None] * len(table) for r in rows}
    for i, line in enumerate(table):
        for row in line.rows:
            baseline_s = None if line.is_reference else latency_s.get((line.video, row.sample_id))
            samples[row.sample_id][i] = _sample(row, shown, baseline_s, source)
        for row in line.failed:
            samples[row.sample_id][i] = {"failed": row.record["status"], "reason": _reason(row)}
    first = {r.sample_id: r for r in reversed(rows)}
    return {
        "study": study,
        "mixture": mixture([r for r in rows if r.record["status"] == "done"]),
        "models": sorted({r.record["model_name"] for r in rows}),
        "columns": [
            {"title": c.title, "digits": c.digits, "better": c.better, "group": c.group, "name": c.name} for c in shown
        ],
        "conditions": [
            _condition(line, shown, baselines) | {"best": [marked.get((i, c.name)) == "best" for c in shown]}
            for i, line in enumerate(table)
        ],
        "prompts": [_prompt(first[key]) | {"samples": samples[key]} for key in sorted(samples)],
    }


def _condition(line: Line, shown: list[Column], baselines: dict[str, int]) -> dict[str, Any]:
    spec = (line.rows or line.failed)[0].record["identity"]["spec"]
    means = [line.means[c.name] for c in shown]
    return {
        "title": line.title,
        "baseline": line.is_reference,
        "reference": baselines.get(line.video),
        "n": line.n,
        "failed": line.n_failed,
        "means": [_number(m.value) for m in means],
        "infinite": [m.infinite for m in means],
        "notes": sorted(line.notes),
        **{name: spec[name] for name in ("height", "width", "num_frames", "fps")},
    }


def _prompt(row: Row) -> dict[str, Any]:
    spec = row.record["identity"]["spec"]
    prompt, seed = row.sample_id
    return {"id": prompt, "seed": seed, "text": spec["prompt"], "content": content_of(row)}


def _sample(
    row: Row, shown: list[Column], baseline_s: float | None, source: Callable[[Row], str | None]
) -> dict[str, Any]:
    """Returns a sample of the document. `baseline_s` is the baseline's latency, or None without a comparison."""
    record = row.record
    values = row.scores | {"latency_s": record["latency_s"], "token_ratio": record["token_ratio"]}
    if baseline_s is not None:
        values["speedup"] = baseline_s / record["latency_s"]
    found = source(row)
    sample: dict[str, Any] = {"scores": [_number(values.get(c.name)) for c in shown]}
    if reasons := {i: row.reasons[c.name] for i, c in enumerate(shown) if c.name in row.reasons}:
        sample["reasons"] = reasons
    if schedule := record.get("schedule"):
        sample |= {"segments": schedule["segments"], "kept": schedule["kept_frames"]}
    if found is None:
        gone = (
            f"its {PREVIEW} is not there; python -m bench.store verify moves the sample away, the sweep makes it anew"
        )
        return sample | {"failed": "no video", "reason": gone}
    return sample | {"video": found}


def _reason(row: Row) -> str:
    """Returns the last line of the recorded traceback, which is the error itself."""
    said: Iterable[str] = (row.record.get("error") or "").strip().splitlines()
    return next((line.strip() for line in reversed([*said]) if line.strip()), "no reason was recorded")


def _number(value: float | None) -> float | str | None:
    """Returns the value with six significant digits, more than the page shows, or "inf" or "-inf"."""
    if value is None or math.isfinite(value):
        return value if value is None else float(f"{value:.6g}")
    return "inf" if value > 0 else "-inf"
