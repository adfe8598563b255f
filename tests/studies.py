"""Reads a study's samples for tests: the record and the scores of each."""

from pathlib import Path
from typing import Any, NamedTuple

from analysis import Study
from analysis.columns import metrics_of
from analysis.study import record_in


class Stored(NamedTuple):
    """A sample on disk: its folder, its record, its scores without missing ones, and the reasons for missing ones."""

    folder: Path
    record: dict[str, Any]
    scores: dict[str, float]
    reasons: dict[str, str]

    @property
    def sample_id(self) -> tuple[str, int]:
        return self.record["prompt_id"], self.record["seed_index"]


def stored(study: Path) -> list[Stored]:
    """Returns the samples of a study, sorted by folder."""
    samples = Study(study).samples.sort_values("sample")
    out = []
    for _, sample in samples.iterrows():
        scores = {name: float(sample[name]) for name in metrics_of(samples) if sample[name] == sample[name]}
        reasons = {n: sample[f"{n}.reason"] for n in metrics_of(samples)
                   if isinstance(sample.get(f"{n}.reason"), str)}  # fmt: skip
        out.append(Stored(Path(sample["folder"]), record_in(sample["folder"]), scores, reasons))
    return out
