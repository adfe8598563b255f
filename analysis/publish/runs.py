"""The content of a study's W&B runs, from `Study.samples`: a run per condition. Imports no wandb."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics import interval, speedup
from analysis.study import Study, StudyError, record_in, study_name
from analysis.table import of_one_timing

PREVIEW = "preview.mp4"  # as in bench.store, which imports torch
MEASUREMENTS = ("latency_s", "token_ratio", "passes")


@dataclass(frozen=True, eq=False)
class Condition:
    """The samples of one condition, in the columns of `Study.samples` and of `_from_record`.

    name: unique within the study. content: everything that decides the pixels, except prompt and seed.
    """

    name: str
    content: dict[str, Any]
    samples: pd.DataFrame

    @property
    def done(self) -> pd.DataFrame:
        """The finished samples. There are none of a condition that fails as a whole (`fault`)."""
        return self.samples[(self.samples["status"] == "done") & self.samples["fault"].isna()]

    def run_id(self, group: str) -> str:
        return run_id(group, [self.samples["slug"].iloc[0], self.content])

    def config(self, group: str) -> dict[str, Any]:
        """Returns the fields for filters and groups: the condition, its model, video settings and provenance."""
        first = self.samples.iloc[0]
        return {
            "study": group,
            "condition": self.name,
            "slug": first["slug"],
            "method": json.loads(first["method_settings"]),
            "model": {"name": first["model"]} | self.content["model"],
            "video": self.content["spec"],
            "generator_version": self.content["generator_version"],
            "provenance": provenance([self]),
        }

    def summary(self, metrics: Sequence[str]) -> dict[str, float | int]:
        """Returns the number of samples, the means over finished samples, and the speed-up as in Table 1.

        An infinite score is left out of the mean and counted as NAME_infinite. A metric without finite values has no
        mean.
        """
        done = self.done
        out: dict[str, float | int] = {"n": len(done), "n_failed": len(self.samples) - len(done)}
        for name in (*metrics, *MEASUREMENTS):
            mean = interval(done[name])
            out |= {} if mean.value is None else {name: mean.value}
            out |= {f"{name}_infinite": mean.infinite} if mean.infinite else {}
        if (ratio := speedup(done).value) is not None:
            out["speedup"] = ratio
        peaks = done["peak_bytes"].dropna() if "peak_bytes" in done else ()
        return out | ({"peak_bytes": int(max(peaks))} if len(peaks) else {})

    def table(self, metrics: Sequence[str]) -> pd.DataFrame:
        """Returns a row per sample, failed samples included. The preview is a path within the study.

        A score without a finite value is None, and the notes tell the reason.
        """
        samples = self.samples.reset_index()
        scores = samples[[*metrics]]
        has_preview = np.array([Path(folder, PREVIEW).is_file() for folder in samples["folder"]], dtype=bool)
        return without_nan(pd.DataFrame({
            "prompt_id": samples["prompt"],
            "seed_index": samples["seed"],
            "status": samples["status"],
            "prompt": samples["prompt_text"],
            "latency_s": samples["latency_s"],
            "token_ratio": samples["token_ratio"],
            **scores.where(np.isfinite(scores)),
            "preview": (samples["sample"] + f"/{PREVIEW}").where(has_preview),
            "notes": [_notes(sample, metrics) for sample in samples.to_dict("records")],
            "error": samples["error"],
            "key": samples["key"],
        }))  # fmt: skip


def without_nan(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the frame with None for NaN, which JSON does not have."""
    return frame.astype(object).where(frame.notna(), None)


def conditions_of(study: Study) -> list[Condition]:
    """Returns the study's conditions, the reference first.

    A study that tables refuse has its conditions, too: conditions that share a name and differ in content stay apart.
    Samples that a running sweep replaces at this moment are left out.
    """
    told = pd.DataFrame([_from_record(f) for f in study.samples["folder"]], study.samples.index, _COLUMNS)
    samples = pd.concat([of_one_timing(study.samples), told], axis=1).dropna(subset=_COLUMNS)
    conditions = []
    for name, alike in samples.groupby(level="condition"):
        groups = [group for _, group in alike.groupby("identity")]
        contents = [json.loads(group["identity"].iloc[0]) for group in groups]
        for suffix, content, group in zip(_differences(contents), contents, groups, strict=True):
            conditions.append(Condition(" ".join([str(name), *suffix]), content, group))
    return sorted(conditions, key=lambda condition: condition.samples["role"].iloc[0] != "reference")


_COLUMNS = ["identity", "method_settings", "environment"]


def _from_record(folder: str) -> dict[str, str]:
    """Returns JSON texts from a sample's record: `_COLUMNS`. Returns nothing if the sample has gone.

    identity: the sample's identity without prompt and seed. environment: code, versions, machine and weights.
    """
    try:
        record = record_in(folder)
    except StudyError:
        return {}
    identity = record["identity"]
    spec = {name: value for name, value in identity["spec"].items() if name not in ("prompt", "seed")}
    weights = {"weights_sha256": identity["model"].get("weights_sha256")}
    told = (identity | {"spec": spec}, record["method"], record["environment"] | weights)
    return dict(zip(_COLUMNS, (json.dumps(part, sort_keys=True) for part in told), strict=True))


def _differences(contents: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Returns for each content the settings in which it differs from the others, such as "dtype=float32"."""
    flat = pd.json_normalize([*contents]).astype(str)
    differing = flat.loc[:, flat.nunique() > 1]
    return [
        [f"{str(name).rpartition('.')[2]}={value:.12}" for name, value in row.items()]
        for _, row in differing.iterrows()
    ]


def _notes(sample: Mapping[Any, Any], metrics: Sequence[str]) -> str | None:
    """Returns a sample's notes, its infinite scores, and the reasons for missing scores."""
    notes = sample["notes"].split("\n") if isinstance(sample["notes"], str) else []
    infinite = [f"{name}: {sample[name]}" for name in metrics if np.isinf(sample[name])]
    reasons = {name: sample.get(f"{name}.reason") for name in metrics}
    missing = [f"{name}: {reason}" for name, reason in reasons.items() if isinstance(reason, str)]
    return "; ".join([*notes, *infinite, *missing]) or None


def provenance(conditions: Sequence[Condition]) -> dict[str, Any]:
    """Returns code, versions, machine and weights. An entry in which samples differ is a list of the values."""
    seen: dict[str, dict[str, Any]] = defaultdict(dict)
    for environment in {text for condition in conditions for text in condition.samples["environment"]}:
        for name, value in json.loads(environment).items():
            seen[name][json.dumps(value, sort_keys=True)] = value
    return {n: next(iter(v.values())) if len(v) == 1 else [v[k] for k in sorted(v)] for n, v in seen.items()}


def group_of(folder: Path) -> str:
    """Returns the name of the study's group in W&B. Run ids depend on it."""
    return folder.name or study_name(folder)


def run_id(group: str, content: Any) -> str:
    """Returns an id of the group and `content`. It is the same on every machine and every day."""
    return hashlib.sha256(json.dumps([group, content], sort_keys=True).encode()).hexdigest()[:16]
