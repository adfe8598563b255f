"""Makes the gallery's JSON document: columns, conditions with their means, and prompts with their samples."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.columns import Column
from analysis.marks import marks
from analysis.study import record_in
from analysis.table import Row, Table

PREVIEW = "preview.mp4"
Source = Callable[[Path], str | None]


def gallery_data(table: Table, source: Source) -> dict[str, Any]:
    """Returns the document. It holds only JSON's values, so an infinite score is "inf".

    `source` returns the place of the video in a sample's folder for the page, or None if the video is missing.
    """
    shown, places = table.columns(), {row.condition: i for i, row in enumerate(table.rows)}
    marked = marks(table, shown)
    every = pd.concat([part for row in table.rows for part in (row.samples, row.failed)])
    samples: dict[Any, list[dict[str, Any] | None]] = {key: [None] * len(places) for key in sorted(set(every.index))}
    for row in table.rows:
        for key, sample in row.samples.iterrows():
            samples[key][places[row.condition]] = _sample(sample, shown, source)
        for key, sample in row.failed.iterrows():
            error = sample["error"] if isinstance(sample["error"], str) else row.fault or "no reason was recorded"
            status = "failed" if row.fault else sample["status"]
            samples[key][places[row.condition]] = {"failed": status, "reason": error}
    first = every[~every.index.duplicated()]
    return {
        "study": table.study.name,
        "mixture": table.mixture,
        "models": sorted(every["model"].dropna().unique()),
        "columns": [
            {"title": c.title, "digits": c.digits, "better": c.better, "group": c.group, "name": c.name} for c in shown
        ],
        "conditions": [
            _condition(row, shown, table, places)
            | {"best": [marked.get((row.condition, c.name)) == "best" for c in shown]}
            for row in table.rows
        ],
        "prompts": [
            {"id": key[0], "seed": int(key[1]), "text": first.loc[key, "prompt_text"],
             "content": [text for text in first.loc[key, "content"].split("\n") if text], "samples": own}
            for key, own in samples.items()
        ],
    }  # fmt: skip


def _condition(row: Row, shown: Sequence[Column], table: Table, places: dict[str, int]) -> dict[str, Any]:
    means, reference = [row.mean(c.name) for c in shown], table.reference(row.video)
    sample = (row.samples if row.n else row.failed).iloc[0]
    return {
        "title": row.title,
        "baseline": row.is_reference,
        "reference": places[reference.condition] if reference else None,
        "n": row.n,
        "failed": row.n_failed,
        "means": [_number(mean.value) for mean in means],
        "infinite": [mean.infinite for mean in means],
        "notes": row.notes,
        **{name: int(sample[f"video.{name}"]) for name in ("height", "width", "num_frames", "fps")},
    }


def _sample(sample: pd.Series, shown: Sequence[Column], source: Source) -> dict[str, Any]:
    folder, schedule = Path(sample["folder"]), sample["schedule"]
    made: dict[str, Any] = {"scores": [_number(sample.get(c.name)) for c in shown]}
    reasons = {i: sample.get(f"{c.name}.reason") for i, c in enumerate(shown)}
    if told := {i: reason for i, reason in reasons.items() if isinstance(reason, str)}:
        made["reasons"] = told
    if isinstance(schedule, str):
        schedule = record_in(folder)["schedule"]
        made |= {"segments": schedule["segments"], "kept": schedule["kept_frames"]}
    found = source(folder)
    if found is None:
        gone = f"its {PREVIEW} is missing; python -m bench.store verify moves the sample away, the sweep makes it again"
        return made | {"failed": "no video", "reason": gone}
    return made | {"video": found}


def _number(value: float | None) -> float | str | None:
    """Returns the value with nine significant digits, so that it rounds as in Table 1, or "inf" or "-inf"."""
    if value is None or math.isnan(value):
        return None
    return float(f"{value:.9g}") if math.isfinite(value) else "inf" if value > 0 else "-inf"
