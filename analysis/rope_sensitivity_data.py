"""Computes each DiT layer's preference for Global-RoPE, from a study of whole videos or of the one-pass proxy."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import spearmanr

from analysis.columns import COLUMNS
from analysis.load import Row, StudyError, load, load_probes, no_probes, planned
from analysis.statistics import Interval, paired
from bench.facts import data_of, facts_of

Values = Mapping[tuple[str, int], float]  # by prompt and seed
METRICS = tuple(column.name for column in COLUMNS if column.group == "Difference")


@dataclass(frozen=True)
class Measured:
    """One measure of samples for each choice of global layers: no layer, all layers, one layer, all but one.

    `better` is 1 if high values are good, -1 if low values are. The first `dual` layers are dual-stream. `paper` are
    the layers of the paper's list on this model.
    """

    title: str
    unit: str
    better: int
    none: Values
    all: Values
    only: tuple[Values, ...]
    all_but: tuple[Values, ...]
    dual: int
    paper: tuple[int, ...]
    n_failed: int = 0
    n_untried: int = 0

    @property
    def every(self) -> tuple[Values, ...]:
        """The values of every condition."""
        return (self.none, self.all, *self.only, *self.all_but)


@dataclass(frozen=True)
class Layer:
    """The effect of one layer's RoPE in the measure's units. A positive value prefers Global-RoPE.

    global_alone: the gain when only this layer turns global, from all layers local.
    local_alone: the loss when only this layer turns local, from all layers global.
    preference: the mean of both over the samples that all conditions have, so that all layers have the same samples.
    """

    number: int
    dual: bool
    global_alone: Interval
    local_alone: Interval
    preference: Interval


@dataclass(frozen=True)
class Sensitivity:
    """Every layer of a model, in order. `whole` is the gain of all layers global over all layers local."""

    measured: Measured
    layers: tuple[Layer, ...]
    whole: Interval

    @property
    def ranked(self) -> list[Layer]:
        """The layers, sorted by falling preference for Global-RoPE."""
        return sorted(self.layers, key=lambda layer: (-_value(layer.preference), layer.number))

    def recommended(self, size: int | None = None) -> tuple[int, ...]:
        """Returns the `size` layers that prefer Global-RoPE most, by default as many as in the paper's list.

        Raises StudyError for a size below 1 or above the number of layers.
        """
        size = len(self.measured.paper) if size is None else size
        if not 1 <= size <= len(self.layers):
            raise StudyError(f"size must be between 1 and the {len(self.layers)} layers of the model, got {size}")
        return tuple(sorted(layer.number for layer in self.ranked[:size]))

    @property
    def prompts(self) -> int:
        """The number of prompts in the ranking."""
        return len({prompt for prompt, _ in _ranked_on(self.measured)})

    @property
    def num_infinite(self) -> int:
        """The number of samples that all conditions have and that are infinite under some condition."""
        return len(_in_all(self.measured)) - len(_ranked_on(self.measured))

    @property
    def incomplete(self) -> str | None:
        """A text that tells what a ranking over all samples lacks, or None if it lacks nothing."""
        m = self.measured
        some, whole = frozenset().union(*m.every), _in_all(m)
        said = [f"{len(some) - len(whole)} of {len(some)} samples have no value under some condition"]
        said = said if len(whole) < len(some) else []
        said += [f"{m.n_failed} failed samples"] if m.n_failed else []
        said += [f"{m.n_untried} planned and not tried"] if m.n_untried else []
        return ", ".join(said) or None


class Agreement(NamedTuple):
    """Spearman's rank correlation of two studies over `n` layers, and its p, or None if a study has no ranks."""

    rho: float | None
    p: float | None
    n: int


def sensitivity(measured: Measured) -> Sensitivity:
    """Returns every layer's effect against the conditions none and all, paired over samples.

    Raises StudyError if a layer shares no finite sample with these conditions, or if no sample is finite under all.
    """
    m = measured
    layers, ranked_on = [], _ranked_on(m)
    for number, (only, all_but) in enumerate(zip(m.only, m.all_but, strict=True)):
        with_it = {key: (only[key] + m.all[key]) / 2 for key in ranked_on}
        without = {key: (m.none[key] + all_but[key]) / 2 for key in ranked_on}
        made = [_gain(m, *pair) for pair in ((only, m.none), (m.all, all_but), (with_it, without))]
        if any(each.value is None for each in made[:2]):
            raise StudyError(
                f"layer {number} has no finite {m.title} in common with the conditions none and all; "
                "run the sweep again, which scores what is not scored"
            )
        layers.append(Layer(number, number < m.dual, *made))
    if not ranked_on:
        raise StudyError(
            f"no sample has a finite {m.title} under every condition, so layers cannot be compared; "
            "run the sweep again, which makes and scores what is missing"
        )
    return Sensitivity(m, tuple(layers), _gain(m, m.all, m.none))


def _in_all(m: Measured) -> frozenset[tuple[str, int]]:
    """Returns the samples that all conditions have."""
    return frozenset(m.none).intersection(*m.every)


def _ranked_on(m: Measured) -> frozenset[tuple[str, int]]:
    """Returns the samples that all conditions have and that are finite under all."""
    return frozenset(key for key in _in_all(m) if all(math.isfinite(values[key]) for values in m.every))


def agreement(a: Sensitivity, b: Sensitivity, of: Callable[[Layer], Interval]) -> Agreement:
    """Returns the rank correlation of the layers' values `of` in `a` and in `b`."""
    ours, theirs = ([_value(of(layer)) for layer in each.layers] for each in (a, b))
    if min(len(set(ours)), len(set(theirs))) < 2 or len(ours) < 3:
        return Agreement(None, None, len(ours))
    result = spearmanr(ours, theirs)
    return Agreement(float(result.statistic), float(result.pvalue), len(ours))


def measured_of_study(study: Path, metric: str) -> Measured:
    """Returns a study of +exp=rope_sensitivity by one difference metric, or raises StudyError if conditions lack."""
    if metric not in METRICS:
        raise StudyError(f"metric must be one of {', '.join(METRICS)}, which compare with the baseline; got {metric}")
    rows = [row for row in load(study, made_by="rope_sensitivity") if _has_layers(row)]
    if not rows:
        raise StudyError(f"{study} holds no sample of a method with global_layers; {_HOW}")
    dual, count, paper = _model_of(study, rows)
    done = [row for row in rows if row.record["status"] == "done"]
    column = next(column for column in COLUMNS if column.name == metric)
    if not any(metric in row.scores for row in done) and column.missing:
        column = column.embedded
    _one("ways to score", {row.ids[column.name] for row in done if column.name in row.ids}, study)
    by_layers: dict[frozenset[int], dict[tuple[str, int], float]] = defaultdict(dict)
    for row in done:
        values = by_layers[frozenset(row.record["layers"]["global"])]
        if row.sample_id in values:
            raise StudyError(
                f"{study} has {row.folder.name} twice for {row.record['slug']}; remove what does not belong"
            )
        if column.name in row.scores:
            values[row.sample_id] = row.scores[column.name]
    if done and not any(by_layers.values()):
        why = next((row.reasons[column.name] for row in done if column.name in row.reasons), "it was not scored")
        raise StudyError(f"{study} has no {column.name}: {why}; python -m bench.score {study} --metrics {column.name}")
    every = frozenset(range(count))
    settings = {"none": frozenset(), "all": every}
    settings |= {f"only_{n}": frozenset({n}) for n in range(count)}
    settings |= {f"all_but_{n}": every - {n} for n in range(count)}
    if missing := [name for name, layers in settings.items() if layers not in by_layers]:
        raise StudyError(f"{study} has no finished sample of global_layers={', '.join(missing)}; {_HOW}")
    values = {name: by_layers[layers] for name, layers in settings.items()}
    return Measured(
        column.title, "dB" if metric == "psnr" else "", column.better, values["none"], values["all"],
        tuple(values[f"only_{n}"] for n in range(count)), tuple(values[f"all_but_{n}"] for n in range(count)),
        dual, paper, len(rows) - len(done), _untried(study),
    )  # fmt: skip


def measured_of_proxy(study: Path) -> Measured:
    """Returns a study of +exp=rope_proxy, or raises StudyError if it is another study."""
    rows = _proxies(study)
    dual, count, paper = _model_of(study, rows)
    errors = {row.sample_id: data_of(row.record) or {} for row in rows if row.record["status"] == "done"}
    only, all_but = (
        tuple({key: e[kind][n] for key, e in errors.items()} for n in range(count)) for kind in ("only", "all_but")
    )
    none, everywhere = ({key: e[kind] for key, e in errors.items()} for kind in ("none", "all"))
    failed = len(rows) - len(errors)
    return Measured("velocity error", "", -1, none, everywhere, only, all_but, dual, paper, failed, _untried(study))


def refuse_other_settings(study: Path, proxy: Path) -> None:
    """Raises StudyError if model, method settings or video settings of the proxy differ from those of the study."""
    ours = next(row.record["identity"] for row in load(study) if _has_layers(row))
    theirs = _proxies(proxy)[0].record["identity"]
    for what, a, b in (
        ("model", ours["model"], theirs["model"]),
        *((name, ours["method"].get(name), value) for name, value in theirs["method"].items() if name != "name"),
        *((name, ours["spec"][name], theirs["spec"][name]) for name in ours["spec"] if name not in ("prompt", "seed")),
    ):
        if a != b:
            raise StudyError(
                f"{proxy} is of another {what} than {study}: {b}, not {a}; run +exp=rope_proxy with its own"
            )


def _has_layers(row: Row) -> bool:
    """Whether the sample is of a method with a setting for the layers with Global-RoPE."""
    return facts_of(row.record).role in ("method", "ablation") and "global_layers" in row.record["method"]


def _proxies(study: Path) -> list[Row]:
    """Returns the samples of methods that measure each layer's error, failed ones included, or raises StudyError."""
    rows = load_probes(study)
    names = {row.record["method"]["name"] for row in rows if _PARTS <= (data_of(row.record) or {}).keys()}
    if not names and any(row.record["status"] == "done" for row in rows):
        raise no_probes(study)
    # if no sample has finished, the method is unknown and `_model_of` raises the error
    return [row for row in rows if row.record["method"]["name"] in names] or rows


_PARTS = {"none", "all", "only", "all_but"}  # the errors with no global layer, all, one, all but one


def _untried(study: Path) -> int:
    """Returns the number of planned samples, with or without a video, that have no record."""
    return sum(not (study / place / "record.json").is_file() for place in planned(study))


_HOW = "a whole study is made by: python -m bench.sweep +exp=rope_sensitivity"


def _gain(measured: Measured, a: Values, b: Values) -> Interval:
    """Returns by how much `a` is better than `b`."""
    return paired(a, b) if measured.better > 0 else paired(b, a)


def _value(interval: Interval) -> float:
    assert interval.value is not None  # `sensitivity` refuses such a layer
    return interval.value


def _model_of(study: Path, rows: list[Row]) -> tuple[int, int, tuple[int, ...]]:
    """Returns the number of dual-stream layers, the number of all layers, and the paper's list on this model.

    Raises StudyError unless all samples have one model and, except for the layers, the same settings.
    """
    done = [row.record for row in rows if row.record["status"] == "done"]
    if not done:
        raise StudyError(f"{study} has no finished sample of {facts_of(rows[0].record).title}; run its sweep again")
    if any(record.get("layers") is None for record in done):
        raise StudyError(
            f"{study} has samples whose records do not say their layers; run the sweep into another folder"
        )
    identities = [row.record["identity"] for row in rows]
    _one("models", [each["model"] for each in identities], study)
    _one("versions of the generator", [each["generator_version"] for each in identities], study)
    methods = [{k: v for k, v in each["method"].items() if k != "global_layers"} for each in identities]
    _one("settings beside the layers", methods, study)
    videos = [{k: v for k, v in each["spec"].items() if k not in ("prompt", "seed")} for each in identities]
    _one("video settings", videos, study)
    layers = done[0]["layers"]
    return layers["dual"], layers["dual"] + layers["single"], tuple(layers["paper"])


def _one(what: str, values: Iterable[Any], study: Path) -> None:
    distinct = [json.loads(text) for text in sorted({json.dumps(value, sort_keys=True) for value in values})]
    if len(distinct) < 2:
        return
    if all(isinstance(value, dict) for value in distinct):  # show only the entries that differ
        names = [n for n in distinct[0] if any(value.get(n) != distinct[0][n] for value in distinct)]
        distinct = [", ".join(f"{n}={value.get(n)}" for n in names) for value in distinct]
    raise StudyError(
        f"{study} mixes {len(distinct)} {what}, of which a sensitivity study has one: {'; '.join(map(str, distinct))}. "
        "Run the sweep into a folder of its own (study=NAME)"
    )
