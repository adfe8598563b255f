"""Computes each DiT layer's preference for Global-RoPE, from a study of videos or of the one-pass proxy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analysis.columns import Column, column_of, is_filled
from analysis.rope_sensitivity.prompts import profiles_of
from analysis.statistics import CONFIDENCE, Interval, holm, p_value, paired
from analysis.study import Study, StudyError, record_in
from bench.store.facts import data_of
from metrics import about
from metrics.base import DIFFERENCE

EFFECTS = ("preference", "global_alone", "local_alone")
SAMPLE = ["prompt", "seed"]
_HOW = "a whole study is made by: python -m bench.sweep +exp=rope_sensitivity"


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """One measure of a study under each choice of global layers, and the effect of every layer on it.

    title, unit: of the measure. better: 1 if high values are good, -1 if low values are.
    values: a row per sample (prompt, seed) and a column per choice: none, all, and only_N and all_but_N for each layer.
        A missing value is NaN.
    dual, single: the numbers of dual-stream and of single-stream layers. paper: the layers of the paper's list.
    settings: the model, method and video settings that all samples share. texts: the prompts of all samples.
    profiles: the speed profiles of prompts of the embedded world, by the prompts' names.
    failed: the number of failed samples. untried: the number of planned samples without a record.

    Raises StudyError if no sample has a finite value under all choices.
    """

    title: str
    unit: str
    better: int
    values: pd.DataFrame
    dual: int
    single: int
    paper: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()
    profiles: Mapping[str, str] = field(default_factory=dict)
    failed: int = 0
    untried: int = 0

    def __post_init__(self) -> None:
        if self.comparable.empty:
            alone = self.effects["global_alone"]["n"] * self.effects["local_alone"]["n"]
            lacking = [f"layer {n} has no finite {self.title} in common with the conditions none and all"
                       for n in self.layers if not alone[n]]  # fmt: skip
            reason = (lacking or [f"no sample has a finite {self.title} under every condition"])[0]
            raise StudyError(f"{reason}; run the sweep again, which makes and scores missing samples")

    @property
    def layers(self) -> range:
        """The numbers of all layers. The dual-stream layers come first."""
        return range(self.dual + self.single)

    @cached_property
    def comparable(self) -> pd.DataFrame:
        """The rows of `values` that are finite under all choices."""
        return self.values.replace([np.inf, -np.inf], np.nan).dropna()

    @cached_property
    def effects(self) -> dict[str, pd.DataFrame]:
        """The mean effects of each layer: a row per layer with the fields of Interval. Above 0 it prefers Global-RoPE.

        global_alone: the gain when only this layer turns global, from all layers local.
        local_alone: the loss when only this layer turns local, from all layers global.
        preference: the mean of both over the comparable samples, so that all layers have the same samples.
        """
        v = self.values
        gains = {
            "preference": self._preference,
            "global_alone": lambda n: (v[f"only_{n}"], v["none"]),
            "local_alone": lambda n: (v["all"], v[f"all_but_{n}"]),
        }
        return {e: pd.DataFrame([self._gain(*pair(n)) for n in self.layers], dtype=float) for e, pair in gains.items()}

    @cached_property
    def tests(self) -> pd.DataFrame:
        """The p-value of each layer's preference against zero: a row per layer with `p` and `p_corrected`.

        `p_corrected` is corrected for the number of layers (Holm). Both are NaN if the prompts are too few for a test.
        """
        raw = [p_value(as_global - as_local) for as_global, as_local in map(self._preference, self.layers)]
        tested = [p for p in raw if p is not None]  # all layers have the same samples, so all have a p or none has
        corrected = holm(tested) if tested else raw
        return pd.DataFrame({"p": raw, "p_corrected": corrected}, dtype=float)

    @property
    def separated(self) -> tuple[int, ...]:
        """The layers whose preference is separated from zero, after the correction for the number of layers."""
        return tuple(n for n in self.layers if self.tests["p_corrected"][n] < 1 - CONFIDENCE)

    def _preference(self, n: int) -> tuple[pd.Series, pd.Series]:
        """Returns the values with layer `n` global and with layer `n` local, over the comparable samples."""
        c = self.comparable
        return (c[f"only_{n}"] + c["all"]) / 2, (c["none"] + c[f"all_but_{n}"]) / 2

    @property
    def overall(self) -> Interval:
        """The gain of all layers global over all layers local."""
        return self._gain(self.values["all"], self.values["none"])

    def _gain(self, a: pd.Series, b: pd.Series) -> Interval:
        """Returns by how much `a` is better than `b`."""
        return paired(a, b) if self.better > 0 else paired(b, a)

    @cached_property
    def ranks(self) -> dict[int, int]:
        """The rank of each layer, sorted by rank. The layer of rank 1 prefers Global-RoPE most."""
        ordered = self.effects["preference"]["value"].sort_values(ascending=False, kind="stable").index
        return {int(layer): rank for rank, layer in enumerate(ordered, 1)}

    def recommended(self, size: int | None = None) -> tuple[int, ...]:
        """Returns the `size` layers that prefer Global-RoPE most, by default as many as in the paper's list.

        Raises StudyError for a size below 1 or above the number of layers.
        """
        size = len(self.paper) if size is None else size
        if not 1 <= size <= len(self.layers):
            raise StudyError(f"size must be between 1 and the {len(self.layers)} layers of the model, got {size}")
        return tuple(n for n in self.layers if self.ranks[n] <= size)

    @property
    def prompts(self) -> int:
        """The number of prompts in the ranking."""
        return self.comparable.index.unique("prompt").size

    @property
    def infinite(self) -> int:
        """The number of samples with a value under all choices, of which some are infinite."""
        return len(self.values.dropna()) - len(self.comparable)

    @property
    def incomplete(self) -> str | None:
        """A text that tells what a ranking over all samples lacks, or None if it lacks nothing."""
        some, complete = len(self.values.dropna(how="all")), len(self.values.dropna())
        texts = [f"{some - complete} of {some} samples have no value under some condition"] * (complete < some)
        texts += [f"{self.failed} failed samples"] * (self.failed > 0)
        texts += [f"{self.untried} planned and not tried"] * (self.untried > 0)
        return ", ".join(texts) or None


def p_text(p: float) -> str:
    """Returns a p-value with two digits."""
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"


def agreement(a: Sensitivity, b: Sensitivity, effect: str) -> tuple[float | None, float | None, int]:
    """Returns Spearman's rank correlation of the layers by one of EFFECTS, its p, and the number of layers.

    The first two are None if there are too few layers, or if all layers of a study are equal.
    """
    ours, theirs = a.effects[effect]["value"], b.effects[effect]["value"]
    if min(ours.nunique(), theirs.nunique()) < 2 or len(ours) < 3:
        return None, None, len(ours)
    result = spearmanr(ours, theirs)
    return float(result.statistic), float(result.pvalue), len(ours)


def sensitivity(study: Study, metric: str = "lpips") -> Sensitivity:
    """Returns the sensitivity of a study of +exp=rope_sensitivity by one metric that compares with the baseline.

    A metric that was not scored is replaced by the embedded judge's version. Raises StudyError for another metric, and
    for a study that mixes settings or lacks conditions or scores.
    """
    column, samples, common = scored(study, metric, _HOW)
    every = frozenset(range(common["dual"] + common["single"]))
    choices = {"none": frozenset(), "all": every}
    choices |= {f"only_{n}": frozenset({n}) for n in every} | {f"all_but_{n}": every - {n} for n in every}
    tidy = pd.concat(
        [samples[[each == own for each in samples["layers"]]].assign(choice=n) for n, own in choices.items()]
    )
    if missing := [name for name in choices if name not in set(tidy["choice"])]:
        raise StudyError(f"{study.name} has no finished sample of global_layers={', '.join(missing)}; {_HOW}")
    values = tidy.pivot(index=SAMPLE, columns="choice", values="value")
    return Sensitivity(column.title, column.unit, column.better, values, **common)


def scored(study: Study, metric: str, how: str) -> tuple[Column, pd.DataFrame, dict[str, Any]]:
    """Returns the metric's column, the finished samples of methods with global layers, and fields of Sensitivity.

    The samples have the columns prompt, seed, layers (the set of global layers) and value. The fields are those that do
    not depend on the measure. Raises StudyError as `sensitivity` does. `how` says how such a study is made.
    """
    samples, judged = study.samples.reset_index(), f"{metric}_embedded"
    column = column_of(samples, judged if about(judged) and not is_filled(samples, metric) else metric)
    if column.group != DIFFERENCE or not column.better:
        usual = "psnr, ssim, lpips, cosine"
        raise StudyError(f"metric must be one of {usual}, or another that compares with the baseline; got {metric}")
    takes_layers = samples.filter(items=["method.global_layers"]).notna().any(axis=1)
    samples = samples[takes_layers & samples["role"].isin(("method", "ablation"))]
    if samples.empty:
        no_videos = "" if study.samples["makes_video"].any() else " and no videos"
        raise StudyError(f"{study.name} holds no sample of a method with global_layers{no_videos}; {how}")
    common, samples = _common(study, samples), samples[samples["status"] == "done"]
    scores = samples.reindex(columns=[column.name, f"{column.name}.id", f"{column.name}.reason"])
    scores.columns = ["value", "id", "reason"]
    _one("ways to score", scores[["id"]].dropna(), study)
    if scores["value"].isna().all():
        why = next(iter(scores["reason"].dropna()), "it was not scored")
        raise StudyError(
            f"{study.name} has no {column.name}: {why}; python -m bench.score STUDY --metrics {column.name}"
        )
    layers = pd.Series([frozenset(json.loads(text)["global"]) for text in samples["layers"]], samples.index)
    made = samples[[*SAMPLE, "slug"]].assign(layers=layers, value=scores["value"])
    if (again := made.duplicated([*SAMPLE, "layers"])).any():
        prompt, slug = made.loc[again, ["prompt", "slug"]].iloc[0]
        raise StudyError(f"{study.name} has {prompt} twice for {slug}; remove the samples that do not belong")
    return column, made, common


def proxy_sensitivity(study: Study) -> Sensitivity:
    """Returns the sensitivity of a study of +exp=rope_proxy. Raises StudyError for any other study or mixed settings.

    Samples of other methods without a video are left out.
    """
    samples = study.samples[~study.samples["makes_video"]].reset_index()
    errors = samples["folder"].map(lambda folder: data_of(record_in(folder)) or {})
    errors = errors[[own.keys() >= {"none", "all", "only", "all_but"} for own in errors]]
    if errors.empty:
        raise StudyError(f"{study.name} holds no layer errors; they are made by: python -m bench.sweep +exp=rope_proxy")
    measured = samples.loc[errors.index]
    rows = [
        {"none": own["none"], "all": own["all"]}
        | {f"{kind}_{n}": error for kind in ("only", "all_but") for n, error in enumerate(own[kind])}
        for own in errors
    ]
    values = pd.DataFrame(rows, pd.MultiIndex.from_frame(measured[SAMPLE]))
    common = _common(study, samples[samples["method"].isin(measured["method"])])
    return Sensitivity("velocity error", "", -1, values, **common)


def _common(study: Study, samples: pd.DataFrame) -> dict[str, Any]:
    """Returns the fields of Sensitivity that do not depend on the measure, from dual to untried.

    Raises StudyError if no sample is finished, if a record lacks its layers, or if samples have different settings.
    """
    done = samples[samples["status"] == "done"]
    if done.empty:
        raise StudyError(f"{study.name} has no finished sample of {samples['title'].iloc[0]}; run its sweep again")
    if done["layers"].isna().any():
        raise StudyError(f"{study.name} has records that do not say their layers; run the sweep into another folder")
    model = samples[["model_identity"]].assign(device=samples["device"].str.split().str[0])
    method = samples.filter(regex=r"^method\.").drop(columns="method.global_layers", errors="ignore")
    _one("versions of the generator", samples[["generator_version"]], study)
    settings = {
        **_one("models", model, study),
        **_one("settings other than the layers", method, study),
        **_one("video settings", samples.filter(regex=r"^video\."), study),
    }
    layers = json.loads(done["layers"].iloc[0])
    return {
        "dual": layers["dual"], "single": layers["single"], "paper": tuple(layers["paper"]), "settings": settings,
        "texts": frozenset(samples["prompt_text"]), "profiles": profiles_of(samples),
        "failed": len(samples) - len(done), "untried": len(study.planned - set(study.samples["sample"])),
    }  # fmt: skip


def _one(kind: str, settings: pd.DataFrame, study: Study) -> Mapping[Any, Any]:
    """Returns the settings that all rows share, without missing ones. Raises StudyError if rows differ."""
    distinct = settings.rename(columns=lambda name: name.split(".")[-1]).drop_duplicates().convert_dtypes()
    if len(distinct) > 1:
        differing = distinct.loc[:, distinct.nunique(dropna=False) > 1].to_dict("records")
        texts = sorted(", ".join(f"{name}={value}" for name, value in row.items()) for row in differing)
        raise StudyError(
            f"{study.name} mixes {len(texts)} {kind}, of which this report takes one: {'; '.join(texts)}. "
            "Run the sweep into a folder of its own (study=NAME)"
        )
    return {} if distinct.empty else distinct.iloc[0].dropna().to_dict()
