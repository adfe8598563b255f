"""Turns a study's samples into the lines of a table, one per condition, and chooses the table's columns."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from analysis.columns import COLUMNS, Column
from analysis.devices import devices, model_identity
from analysis.load import Row, StudyError
from analysis.statistics import Interval, Key, interval, ratio_of_means
from bench.facts import Facts, facts_of


@dataclass(frozen=True)
class Line:
    """One condition: its settings, its finished and failed samples, and the values and mean of each column.

    method: the method's name in the records, which orders the lines.
    facts: the method's title, role and family.
    video: the video settings that the study varies, such as "num_frames=33".
    k, theta: None for a method without them.
    other: all other settings, such as "steps=25, max_merge=2".
    n, n_failed: the numbers of finished and failed samples.
    planned: the samples that were tried, finished or failed.
    """

    slug: str
    method: str
    facts: Facts
    video: str
    k: int | None
    theta: float | None
    other: str
    n: int
    n_failed: int
    notes: frozenset[str]
    values: dict[str, dict[Key, float]]
    means: dict[str, Interval]
    rows: tuple[Row, ...]
    failed: tuple[Row, ...]
    planned: frozenset[Key]

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings for people, such as "k=5", "θ=0.7", "steps=25" and "num_frames=33"."""
        k = [] if self.k is None else [f"k={self.k}"]
        theta = [] if self.theta is None else [f"θ={self.theta:g}"]
        return (*k, *theta, *(p for text in (self.other, self.video) if text for p in text.split(", ")))

    @property
    def title(self) -> str:
        return f"{self.name} ({', '.join(self.settings)})" if self.settings else self.name

    def present(self, column: Column) -> int:
        """Returns how many samples have a value in the column, infinite values included."""
        return self.means[column.name].n + self.means[column.name].infinite

    @property
    def ranked(self) -> bool:
        """Whether the line competes for the best value of a column. Ablations and diagnostics do not."""
        return self.facts.role == "method"

    @property
    def is_reference(self) -> bool:
        """Whether the other conditions with the same video settings are compared with this line."""
        return self.facts.role == "reference"

    @property
    def ablation(self) -> bool:
        return self.facts.role == "ablation"

    @property
    def name(self) -> str:
        """The method's name for people."""
        return self.facts.title


def lines(rows: list[Row], timed: bool = True, allow_mixed: bool = False) -> list[Line]:
    """Returns a line per condition, sorted by video setting, then the reference first, then by method, k and theta.

    A sample is compared with the baseline of the same video settings. Unless `timed`, the lines have no latency,
    speed-up and tokens, which are of whole samples. If any latency is of isolated runs, only isolated runs count.
    Raises StudyError if no baseline sample is finished or there are two references, if a sample is there twice, and if
    the table would mix models, devices (unless `allow_mixed`), versions of the generator, settings or ways to score.
    """
    if not rows:
        raise StudyError("there are no samples to report on")
    _refuse_mixture("models or precisions", [_without_device(m) for m in _distinct(model_identity(r) for r in rows)])
    if not allow_mixed and len(there := devices(rows)) > 1:
        raise StudyError(
            f"the study mixes {len(there)} devices: {'; '.join(there)}. Their latencies do not compare, and different "
            "kinds give different pixels. Make the samples again on one, or say --allow-mixed to have it as it is"
        )
    _refuse_mixture("versions of the generator", [r.record["identity"]["generator_version"] for r in rows])
    scored: dict[str, set[str]] = defaultdict(set)
    for ids in _distinct(row.ids for row in rows):
        for name, own in ids.items():
            scored[name].add(own)
    for name, ids in sorted(scored.items()):
        if len(ids) > 1:
            raise StudyError(
                f"{name} was scored in {len(ids)} ways, which one table must not mix: {'; '.join(sorted(ids))}. "
                f"Score the study again in one way: python -m bench.score STUDY --metrics {name}"
            )
    videos = _videos(rows)
    conditions: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row, video in zip(rows, videos, strict=True):
        conditions[video, row.record["slug"]].append(row)
    kind = kind_of_timing(rows) if timed else None
    baselines = {video: _done(group) for (video, _), group in _references(conditions).items()}
    if not any(baselines.values()):
        raise StudyError("the study has no finished baseline sample to compare with; run its sweep again")
    baseline_s = {video: _seconds(done, kind) for video, done in baselines.items()}
    common = common_interpolator(rows)
    common = common and common.setting
    made = [_line(group, video, baseline_s.get(video, {}), kind, common) for (video, _), group in conditions.items()]
    order = list(dict.fromkeys(sorted(videos, key=lambda video: [_natural(part) for part in video.split(", ")])))
    return sorted(
        made,
        key=lambda line: (
            order.index(line.video), not line.is_reference, line.method, line.k or 0, line.theta or 0, line.other
        ),
    )  # fmt: skip


def _videos(rows: list[Row]) -> list[str]:
    """Returns for each row the video settings that are not the same in all rows, as text."""
    specs = [r.record["identity"]["spec"] for r in rows]
    names = [n for n in specs[0] if n not in ("prompt", "seed") and len({s[n] for s in specs}) > 1]
    return [", ".join(f"{name}={spec[name]}" for name in names) for spec in specs]


def _references(conditions: Mapping[tuple[str, str], list[Row]]) -> dict[tuple[str, str], list[Row]]:
    """Returns the reference's rows per video setting. Raises StudyError if a video setting has two references."""
    found = {key: rows for key, rows in conditions.items() if facts_of(rows[0].record).role == "reference"}
    for video in {video for video, _ in found}:
        if len(slugs := sorted(slug for other, slug in found if other == video)) > 1:
            raise StudyError(
                f"the study has {len(slugs)} references to compare with: {', '.join(slugs)}; a table has one. "
                "Remove the samples that do not belong"
            )
    return found


class CommonSetting(NamedTuple):
    """A setting such as "interpolator=rife", and the titles of the methods that have it in all of their conditions."""

    setting: str
    titles: tuple[str, ...]


def common_interpolator(rows: Iterable[Row]) -> CommonSetting | None:
    """Returns the interpolator that all conditions share, or None if it differs or is the default everywhere.

    Only methods count that name an interpolator in some condition. Settings do not name the default interpolator.
    """
    of_slug = {row.record["slug"]: row.record for row in rows}
    named: dict[str, set[str | None]] = defaultdict(set)
    titles: dict[str, list[str]] = defaultdict(list)
    for record in of_slug.values():
        facts, method = facts_of(record), record["method"]["name"]
        named[method].add(next((part for part in facts.settings if part.startswith("interpolator=")), None))
        titles[method].append(facts.title)
    methods = sorted(method for method, settings in named.items() if settings != {None})
    common = set().union(*(named[method] for method in methods))
    if len(common) != 1 or (setting := common.pop()) is None:
        return None
    return CommonSetting(setting, tuple(dict.fromkeys(t for method in methods for t in titles[method])))


def _natural(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value or 0)


def kind_of_timing(rows: list[Row]) -> str:
    """Returns the kind of latencies that count: "isolated" if any finished sample has isolated runs, else "shared"."""
    return "isolated" if any(_timing(r) == "isolated" for r in _done(rows)) else "shared"


def _timing(row: Row) -> str:
    return row.record.get("timing", "shared")


def _seconds(done: list[Row], kind: str | None) -> dict[Key, float]:
    return {r.sample_id: r.record["latency_s"] for r in done if _timing(r) == kind}


def _done(rows: list[Row]) -> list[Row]:
    return [r for r in rows if r.record["status"] == "done"]


def _without_device(model: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in model.items() if name != "device_type"}


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Returns each object once. `load` makes equal settings one object, so that few are left to compare."""
    return list({id(v): v for v in values}.values())


def _refuse_mixture(what: str, settings: list[Any]) -> None:
    distinct = sorted({json.dumps(each, sort_keys=True) for each in _distinct(settings)})
    if len(distinct) > 1:
        raise StudyError(
            f"the study mixes {len(distinct)} {what}, which one table must not: {'; '.join(distinct)}. "
            "Run the sweep into another folder (study=NAME or root=DIR), or remove the samples that do not belong"
        )


def _line(rows: list[Row], video: str, baseline_s: dict[Key, float], kind: str | None, common: str | None) -> Line:
    """Returns the line of one condition's `rows`. `kind` is the kind of latencies that count, None for none.

    `common` is a setting that all conditions share, so that the line does not show it.
    """
    record, done = rows[0].record, _done(rows)
    method, slug, facts = record["method"], record["slug"], facts_of(record)
    _refuse_mixture(f"settings under the name {slug}", [r.record["method"] for r in rows])
    if len({r.sample_id for r in rows}) < len(rows):
        raise StudyError(f"{slug} has a prompt and seed twice; remove the samples that do not belong")
    names = [c.name for c in (*COLUMNS, *(c.embedded for c in COLUMNS if c.missing))]
    keyed = [(r.sample_id, r.scores) for r in done]
    values = {name: {key: scores[name] for key, scores in keyed if name in scores} for name in names}
    if kind:
        values["latency_s"] = _seconds(done, kind)
        values["token_ratio"] = {r.sample_id: r.record["token_ratio"] for r in done}
    means = {name: _mean(of) for name, of in values.items()}
    if facts.role != "reference":  # the paper's speed-up: a ratio of mean latencies over common samples
        means["speedup"] = ratio_of_means(baseline_s, values["latency_s"])
    k, theta = _number(method, "k", int), _number(method, "theta", (int, float))
    own = (f"k{k}", f"theta{theta}", common)
    return Line(
        slug=slug,
        method=method["name"],
        facts=facts,
        video=video,
        k=k,
        theta=theta,
        other=", ".join(part for part in facts.settings if part not in own),
        n=len(done),
        n_failed=len(rows) - len(done),
        notes=frozenset(note for r in done for note in r.record.get("notes", ())),
        values=values,
        means=means,
        rows=tuple(done),
        failed=tuple(r for r in rows if r.record["status"] != "done"),
        planned=frozenset(r.sample_id for r in rows),
    )


def _number(method: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """Returns the method's setting `name`, or None if it is missing or not a number of this kind."""
    value = method.get(name)
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _mean(values: dict[Key, float]) -> Interval:
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for (prompt, _), value in values.items():
        by_prompt[prompt].append(value)
    return interval(by_prompt)


def columns(table: list[Line], names: Sequence[str] | None = None) -> list[Column]:
    """Returns the table's columns, or only the columns `names` in that order.

    A learned metric is replaced by the embedded judge's version if the study has only that one. Raises StudyError for
    an unknown name.
    """

    def filled(column: Column) -> bool:
        return any(line.means[column.name].value is not None for line in table)

    chosen = [c.embedded if c.missing and not filled(c) and filled(c.embedded) else c for c in COLUMNS]
    if names is not None:
        by_name = {own.name: c for own, c in zip(COLUMNS, chosen, strict=True)} | {c.name: c for c in chosen}
        if unknown := [name for name in names if name not in by_name]:
            there = ", ".join(c.name for c in COLUMNS)
            raise StudyError(f"there is no column {', '.join(unknown) or repr('')}; there are {there}")
        return [by_name[name] for name in names]
    untimed = not any(filled(c) for c in chosen if c.group == "Efficiency")
    return [c for c in chosen if filled(c)] if untimed else chosen
