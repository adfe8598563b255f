"""Judges assignments of Global-RoPE to layers, by a study of prompts that did not select the recommended layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.columns import Column, is_filled
from analysis.output import csv_of
from analysis.render import Sheet, plain
from analysis.rope_sensitivity import SAMPLE, Sensitivity, p_text, scored
from analysis.rope_sensitivity.prompts import weaknesses
from analysis.statistics import CONFIDENCE, MIN_PROMPTS, Interval, holm, interval, p_value, paired
from analysis.study import Study, StudyError

_HOW = "such a study is made by: python -m bench.sweep +exp=rope_assignment"
RECOMMENDED, PAPER, ALL, NONE = "recommended", "paper's list", "all", "none"


class Verdict(NamedTuple):
    """One measure of one assignment over the prompts of a study.

    name, layers: of the assignment. better: as in `Column`. difference: the assignment minus the recommended one.
    p: of the difference, corrected for all differences of the judgement (Holm). None for the recommended assignment,
        and if the prompts are too few for a test.
    """

    name: str
    layers: tuple[int, ...]
    column: Column
    mean: Interval
    difference: Interval
    p: float | None

    @property
    def word(self) -> str:
        """How the assignment differs from the recommended one: better, worse, or not separated."""
        if self.p is None or self.p >= 1 - CONFIDENCE:
            return "not separated"
        return "better" if (self.difference.value or 0) * self.column.better > 0 else "worse"


@dataclass(frozen=True)
class Judgement:
    """The verdicts on a `study`, by column and then by assignment, the recommended one first.

    prompts: the number of prompts that every verdict is over. left_out: samples that some assignment lacks.
    weaknesses: warnings of too few or unbalanced prompts.
    """

    study: str
    verdicts: tuple[Verdict, ...]
    prompts: int
    left_out: int
    weaknesses: tuple[str, ...] = ()


def judgement(study: Study, selection: Study, selected: Sensitivity, chosen: tuple[int, ...], metric: str) -> Judgement:
    """Judges the assignments of a study of +exp=rope_assignment against the `chosen` layers, by `metric` and PSNR.

    `selected` is the sensitivity of the study `selection`, which chose the layers. Raises StudyError if a prompt of
    `study` is among the selecting prompts, if settings differ, or if there is nothing to compare.
    """
    metrics = [metric, *(["psnr"] if metric != "psnr" and is_filled(study.samples, "psnr") else [])]
    found, prompts, profiles, left_out = [], set[str](), dict[str, str](), 0
    for name in metrics:
        column, samples, common = scored(study, name, _HOW)
        check_held_out(study, common["texts"], selection, selected.texts)
        check_settings(study, common["settings"], selection, selected.settings, "run +exp=rope_assignment with its own")
        every = samples.assign(layers=samples["layers"].map(_key)).pivot(index=SAMPLE, columns="layers", values="value")
        values = every.replace([np.inf, -np.inf], np.nan).dropna()
        prompts, left_out = prompts | set(values.index.unique("prompt")), max(left_out, len(every) - len(values))
        found += _verdicts(study, column, values, _names(selected, chosen))
        profiles = common["profiles"]
    tested = iter(holm([v.p for v in found if v.p is not None]))
    verdicts = tuple(v if v.p is None else v._replace(p=next(tested)) for v in found)
    return Judgement(study.name, verdicts, len(prompts), left_out, tuple(weaknesses(prompts, profiles, "judge")))


def check_held_out(study: Study, texts: frozenset[str], selection: Study, selecting: frozenset[str]) -> None:
    """Raises StudyError if one of the prompts `texts` of `study` is among the `selecting` prompts of `selection`."""
    if shared := sorted(texts & selecting):
        raise StudyError(
            f"{len(shared)} of the {len(texts)} prompts of {study.name} are among the {len(selecting)} prompts by "
            f"which {selection.name} selects layers, such as {shared[0]!r}. Judge the layers on other prompts: "
            f"python -m bench.sweep +exp=rope_assignment study={study.name}_others prompts.skip={len(selecting)}"
        )


def check_settings(
    study: Study, own: Mapping[str, Any], selection: Study, wanted: Mapping[str, Any], remedy: str
) -> None:
    """Raises StudyError if a setting of `study` is not that of the study that selects the layers."""
    for name, value in own.items():
        if value != wanted.get(name):
            raise StudyError(
                f"{study.name} is of another {name} than {selection.name}: {value}, not {wanted.get(name)}; {remedy}"
            )


def _key(layers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(layers)))


def _names(selected: Sensitivity, chosen: tuple[int, ...]) -> dict[str, str]:
    """Returns the assignments' names by their layers. The first name wins where two have the same layers."""
    named = {RECOMMENDED: chosen, PAPER: selected.paper, ALL: selected.layers, NONE: ()}
    out: dict[str, str] = {}
    for name, layers in named.items():
        out.setdefault(_key(layers), name)
    return out


def _verdicts(study: Study, column: Column, values: pd.DataFrame, names: dict[str, str]) -> list[Verdict]:
    """Returns the verdicts by one column, with uncorrected p-values. `values` has a column per assignment."""
    recommended, *_ = names
    order = [*(layers for layers in names if layers in values), *(own for own in values if own not in names)]
    if recommended not in values or len(order) < 2 or values.empty:
        raise StudyError(
            f"{study.name} has no finished samples of the recommended global_layers=[{recommended}] and of another "
            f"assignment over the same prompts; {_HOW}, which reads the report of +exp=rope_sensitivity"
        )
    reference, out = values[recommended], []
    for layers in order:
        own, numbers = values[layers], tuple(int(n) for n in layers.split(",") if n)
        p = None if layers == recommended else p_value(own, reference)
        out.append(Verdict(names.get(layers, "other"), numbers, column, interval(own), paired(own, reference), p))
    return out


def sheet(judged: Judgement, selection: str, selecting: int) -> Sheet:
    """Returns a row per assignment, with means and differences to the recommended layers, and the verdict in words."""
    columns = list(dict.fromkeys(v.column for v in judged.verdicts))
    header, rows = ["Global layers", "n"], []
    for column in columns:
        header += [f"{column.title}{f' ({column.unit})' if column.unit else ''}", "Minus recommended", "p, corrected"]
    for first in (v for v in judged.verdicts if v.column == columns[0]):
        own = [v for v in judged.verdicts if v.layers == first.layers]
        cells = [cell for v in own for cell in _cells(v)]
        rows.append(plain(_title(first), str(first.mean.n), *cells))
    count = sum(v.p is not None for v in judged.verdicts)
    notes = [
        f"Study `{judged.study}`, {judged.prompts} prompts. None of them is among the {selecting} prompts by which "
        f"`{selection}` selected the recommended layers. Minus recommended is the paired difference to the recommended "
        f"layers, with its 95 % interval. p is corrected for {count} differences (Holm).",
        *(_words(judged, column) for column in columns if judged.prompts >= MIN_PROMPTS),
    ]
    if judged.left_out:
        notes.append(f"Left out: {judged.left_out} samples without a finite value under some assignment.")
    few = f"Only {judged.prompts} of the {MIN_PROMPTS} prompts that a judgement needs."
    banner = few if judged.prompts < MIN_PROMPTS else " ".join(judged.weaknesses) or None
    return Sheet(tuple(header), tuple(rows), notes=tuple(notes), banner=banner, title="Assignments on other prompts")


def table(judged: Judgement) -> str:
    """Returns the CSV file: a row per assignment and measure."""
    return csv_of({
        "assignment": v.name, "global_layers": " ".join(map(str, v.layers)), "measure": v.column.name, "n": v.mean.n,
        "mean": v.mean.value, "low": v.mean.low, "high": v.mean.high, "difference": v.difference.value,
        "difference_low": v.difference.low, "difference_high": v.difference.high, "p_corrected": v.p,
    } for v in judged.verdicts)  # fmt: skip


def _title(verdict: Verdict) -> str:
    numbers = ", ".join(map(str, verdict.layers))
    return verdict.name if verdict.name in (ALL, NONE) else f"{verdict.name} ({numbers})"


def _cells(verdict: Verdict) -> Sequence[str]:
    digits = verdict.column.digits + 1
    mean, difference = f"{verdict.mean.value:.{digits}f}", verdict.difference
    if verdict.name == RECOMMENDED:
        return mean, "", ""
    text = f"{difference.value:+.{digits}f}"
    if difference.low is not None:
        text += f" [{difference.low:+.{digits}f}, {difference.high:+.{digits}f}]"
    return mean, text, "–" if verdict.p is None else p_text(verdict.p)


def _words(judged: Judgement, column: Column) -> str:
    """Returns which assignments are separated from the recommended layers by one column."""
    own = [v for v in judged.verdicts if v.column == column and v.p is not None]
    parts = []
    for word, phrase in (("worse", "worse than"), ("better", "better than"), ("not separated", "not separated from")):
        if names := [v.name if v.name in (RECOMMENDED, PAPER, ALL, NONE) else _title(v) for v in own if v.word == word]:
            parts.append(f"{phrase} the recommended layers: {', '.join(names)}")
    return f"By {column.title}, {'; '.join(parts)}."
