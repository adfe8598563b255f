"""Refuses samples that one table must not mix: models, devices, versions, settings and ways to score."""

import json

import pandas as pd

from analysis.columns import Column, metrics_of
from analysis.study import StudyError
from metrics.base import DIFFERENCE

OTHERWISE = "‡"  # marks a difference to a baseline that was made otherwise
APART = "§"  # marks a difference to a baseline that started from other noise


def made_otherwise(samples: pd.DataFrame) -> list[str]:
    """Returns a note for each way in which samples were made otherwise than the baselines they are compared with."""
    counts = samples["made_otherwise"].dropna().value_counts(sort=False)
    return [
        f"{OTHERWISE} {n} sample{'s were' if n > 1 else ' was'} made otherwise than the baseline compared with: {how}. "
        "Differences may be of that alone."
        for how, n in counts.items()
    ]


def is_made_otherwise(samples: pd.DataFrame, column: Column) -> bool:
    """Returns whether the column compares with a baseline, and one of its samples was made otherwise than that."""
    there = column.group == DIFFERENCE and column.name in samples
    return there and bool((samples[column.name].notna() & samples["made_otherwise"].notna()).any())


def refuse_mixtures(samples: pd.DataFrame, allow_mixed: bool) -> None:
    """Raises StudyError if the samples mix models, devices (unless `allow_mixed`), versions or ways to score."""
    refuse("models or precisions", samples["model_identity"], samples["sample"])
    devices = sorted(samples["device"].unique())
    if not allow_mixed and len(devices) > 1:
        raise StudyError(
            f"the study mixes {len(devices)} devices: {'; '.join(devices)}. Their latencies do not compare, and "
            "different kinds give different pixels. Make the samples again on one device, or allow the mixture by "
            "--allow-mixed"
        )
    versions = '{"version": ' + samples["generator_version"].map("{:g}".format) + "}"
    refuse("versions of the generator", versions, samples["sample"])
    for name in sorted(metrics_of(samples)):
        ids = sorted(samples[f"{name}.id"][samples[name].notna()].unique())
        if len(ids) > 1:
            raise StudyError(
                f"{name} was scored in {len(ids)} ways, which one table must not mix: {'; '.join(ids)}. "
                f"Score the study again in one way: python -m bench.score STUDY --metrics {name}"
            )


def refuse(kind: str, settings: pd.Series, places: pd.Series) -> None:
    """Raises StudyError if the samples at `places` have different `settings`, which are JSON objects.

    The message shows the entries that differ, and the number of samples and an example of each kind.
    """
    groups = {text: places[settings == text] for text in sorted(settings.unique())}
    if len(groups) < 2:
        return
    values = {text: json.loads(text) for text in groups}
    names = dict.fromkeys(name for own in values.values() for name in own)
    differing = [n for n in names if len({json.dumps(own.get(n)) for own in values.values()}) > 1]
    told = [
        f"{', '.join(f'{n}={json.dumps(values[text].get(n))}' for n in differing)} "
        f"({len(own)} sample{'s' * (len(own) > 1)}, such as {own.iloc[0]})"
        for text, own in groups.items()
    ]
    raise StudyError(
        f"the study mixes {len(groups)} {kind}, which one table must not: {'; '.join(told)}. "
        "Run the sweep into another folder (study=NAME or root=DIR), or remove the samples that do not belong"
    )
