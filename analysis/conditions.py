"""A study's conditions as lines of a table: which samples make a line, its means, and which columns are filled."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.columns import COLUMNS, Column
from analysis.load import Row, StudyError
from analysis.statistics import Interval, Key, interval, ratio_of_means


@dataclass(frozen=True)
class Line:
    """One condition: its settings, its finished samples and those that failed, and each column's values and mean.

    `video` names those of the video settings that the study varies, such as "num_frames=33"; `planned` are the samples
    that were tried, finished or not.
    """

    slug: str

    method: str
    video: str
    k: int | None
    theta: float | None
    other: str
    n: int
    n_failed: int
    ablation: bool
    uniform: bool
    notes: frozenset[str]
    values: dict[str, dict[Key, float]]
    means: dict[str, Interval]
    rows: tuple[Row, ...]
    failed: tuple[Row, ...]
    planned: frozenset[Key]

    @property
    def title(self) -> str:
        if self.method == "baseline":
            return f"{self.name} ({self.video})" if self.video else self.name
        k = None if self.k is None else f"k={self.k}"
        theta = None if self.theta is None else f"θ={self.theta:g}"
        settings = ", ".join(p for p in (k, theta, self.other, self.video) if p)
        return f"{self.name} ({settings})" if settings else self.name

    def present(self, column: Column) -> int:
        """How many of its samples have the column's value, infinite ones included."""
        return self.means[column.name].n + self.means[column.name].infinite

    @property
    def ranked(self) -> bool:
        """Whether its numbers compete for the best: VGDFR's do, ablations' and other methods' do not.

        Merging every block alike, whatever the content, is stored as vgdfr and is another method.
        """
        return self.method == "vgdfr" and not self.ablation and not self.uniform

    @property
    def name(self) -> str:
        """The method, for people."""
        return {"baseline": "Original", "baselinererun": "Original again", "fewersteps": "Fewer steps"}.get(
            self.method, self.method.upper()
        )


def lines(rows: list[Row], timed: bool = True, allow_mixed: bool = False) -> list[Line]:
    """A line per condition: the baseline first, then by k and theta, as in the paper; so for each video setting.

    A sample is compared with the baseline of its own video settings. Unless `timed`, the lines say nothing of whole
    samples: latency, speed-up, tokens. Where the study holds latencies of isolated runs and others, only the isolated
    ones count. Raises StudyError without a baseline, and where the table would mix models, devices (unless
    `allow_mixed`) or ways to score.
    """
    if not rows:
        raise StudyError("there are no samples to report on")
    _refuse_mixture("models or precisions", [_without_device(m) for m in _distinct(_model(r) for r in rows)])
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
    baselines = {video: _done(group) for (video, slug), group in conditions.items() if slug == "baseline"}
    if not any(baselines.values()):
        raise StudyError("the study has no finished baseline sample to compare with; run its sweep again")
    baseline_s = {video: _seconds(done, kind) for video, done in baselines.items()}
    common = common_interpolator(rows)
    made = [_line(group, video, baseline_s.get(video, {}), kind, common) for (video, _), group in conditions.items()]
    order = list(dict.fromkeys(sorted(videos, key=lambda video: [_natural(part) for part in video.split(", ")])))
    return sorted(
        made,
        key=lambda line: (
            order.index(line.video), line.method != "baseline", line.method, line.k or 0, line.theta or 0, line.other
        ),
    )  # fmt: skip


def _videos(rows: list[Row]) -> list[str]:
    """For each row, those of its video settings that are not the same in all rows."""
    specs = [r.record["identity"]["spec"] for r in rows]
    names = [n for n in specs[0] if n not in ("prompt", "seed") and len({s[n] for s in specs}) > 1]
    return [", ".join(f"{name}={spec[name]}" for name in names) for spec in specs]


def common_interpolator(rows: Iterable[Row]) -> str | None:
    """Such as "interpolator=rife", where all VGDFR samples have it in their slugs; None where they differ.

    None, too, where all have the default one, which no slug names.
    """
    slugs = {r.record["slug"] for r in rows if r.record["method"]["name"] == "vgdfr"}
    named = {next((part for part in slug.split("-") if part.startswith("interpolator=")), None) for slug in slugs}
    return named.pop() if len(named) == 1 else None


def _natural(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value or 0)


def devices(rows: list[Row]) -> list[str]:
    """What the samples were made on, or timed on alone: the kind of device, its name, and the threads on a CPU."""
    pairs = {(id(_model(r)), id(_timed_in(r))): r for r in rows}.values()
    return sorted({_device(r) for r in pairs})


def mixture(rows: list[Row]) -> str | None:
    """What a reader must know of samples that were not all made on one device; None where they were."""
    there = devices(rows)
    if len(there) < 2:
        return None
    return f"Made on different devices, so rows may differ by the device alone: {'; '.join(there)}."


def _device(row: Row) -> str:
    kind, environment = _model(row).get("device_type"), _timed_in(row) or {}
    name = environment.get("cpu") if kind == "cpu" else environment.get("gpu")
    threads = environment.get("threads") if kind == "cpu" else None  # on a CPU they decide latencies, and last bits
    how = f"with {threads} thread{'s' * (threads != 1)}" if threads else None
    return " ".join(part for part in (kind, name, how) if part) or "unknown"


def _timed_in(row: Row) -> dict[str, Any] | None:
    """The environment that the sample's latency is of."""
    return row.record.get("timed_on") or row.record.get("environment")


def kind_of_timing(rows: list[Row]) -> str:
    """Which latencies count: those of isolated runs where there are any, as they are what the others add up to."""
    return "isolated" if any(_timing(r) == "isolated" for r in _done(rows)) else "shared"


def _timing(row: Row) -> str:
    return row.record.get("timing", "shared")


def _seconds(done: list[Row], kind: str | None) -> dict[Key, float]:
    return {r.sample_id: r.record["latency_s"] for r in done if _timing(r) == kind}


def _done(rows: list[Row]) -> list[Row]:
    return [r for r in rows if r.record["status"] == "done"]


def _model(row: Row) -> dict[str, Any]:
    return row.record["identity"]["model"]


def _without_device(model: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in model.items() if name != "device_type"}


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each object once; `load` gives equal settings as one object, so that few are left to be compared."""
    return list({id(v): v for v in values}.values())


def _refuse_mixture(what: str, settings: list[Any]) -> None:
    distinct = sorted({json.dumps(each, sort_keys=True) for each in _distinct(settings)})
    if len(distinct) > 1:
        raise StudyError(
            f"the study mixes {len(distinct)} {what}, which one table must not: {'; '.join(distinct)}. "
            "Run the sweep into another folder (study=NAME or root=DIR), or remove the samples that do not belong"
        )


def _line(rows: list[Row], video: str, baseline_s: dict[Key, float], kind: str | None, common: str | None) -> Line:
    """The line of one condition's `rows`; `kind` is of the latencies that count, None for no latencies.

    `common` is a part of the slug that sets no row apart.
    """
    record, done = rows[0].record, _done(rows)
    method, slug = record["method"], record["slug"]
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
    if method["name"] != "baseline":  # as in the paper: a ratio of mean latencies, over common samples
        means["speedup"] = ratio_of_means(baseline_s, values["latency_s"])
    # what sets this row apart beyond k and theta stands in its slug, after them
    own = (f"k{method.get('k')}", f"theta{method.get('theta')}", common)
    return Line(
        slug=slug,
        method=method["name"],
        video=video,
        k=method.get("k"),
        theta=method.get("theta"),
        other=", ".join(part for part in slug.split("-")[1:] if part not in own),
        n=len(done),
        n_failed=len(rows) - len(done),
        ablation=method.get("merge_space") == "latent" or method.get("denoise_renoise") is False,
        uniform=method.get("schedule") == "uniform",
        notes=frozenset(note for r in done for note in r.record.get("notes", ())),
        values=values,
        means=means,
        rows=tuple(done),
        failed=tuple(r for r in rows if r.record["status"] != "done"),
        planned=frozenset(r.sample_id for r in rows),
    )


def _mean(values: dict[Key, float]) -> Interval:
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for (prompt, _), value in values.items():
        by_prompt[prompt].append(value)
    return interval(by_prompt)


def columns(table: list[Line], names: Sequence[str] | None = None) -> list[Column]:
    """The table's columns: a learned metric's is the embedded judge's where the study has that and not the real one.

    Only those of `names` if given, in that order. Raises StudyError for a name that is none.
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


def rivals(table: list[Line], column: Column, video: str) -> list[Line]:
    """VGDFR's rows of one video setting that have this column over the same samples, the largest such group.

    None where one of them holds an infinite value: its mean, which leaves that out, is not over the same samples.
    """
    there = [x for x in table if x.ranked and x.video == video and x.present(column)]
    # a speed-up is over the same samples where the latencies are
    samples = [frozenset(x.values["latency_s" if column.name == "speedup" else column.name]) for x in there]
    if not samples:
        return []
    counts = Counter(samples)
    chosen = max(counts, key=lambda group: (counts[group], len(group)))
    competing = [line for line, own in zip(there, samples, strict=True) if own == chosen]
    return [] if any(line.means[column.name].infinite for line in competing) else competing


def leaders(competing: list[Line], column: Column) -> tuple[float | None, float | None]:
    """The best and the second best printed value among `rivals`; None where nothing sets rows apart."""
    values = sorted({round(line.means[column.name].value or 0.0, column.digits) for line in competing})
    if not column.better or len(values) < 2:
        return None, None
    ranked = values[::-1] if column.better > 0 else values
    return ranked[0], ranked[1] if len(ranked) > 2 else None


def marks(table: list[Line], shown: Sequence[Column]) -> dict[tuple[int, str], str]:
    """Which numbers are "best" and "second", by place of the line and name of the column, as every table has them."""
    out = {}
    for column in shown:
        for video in {line.video for line in table}:
            competing = rivals(table, column, video)
            first, second = leaders(competing, column)
            if first is None:
                continue
            for i, line in enumerate(table):
                printed = round(line.means[column.name].value or 0.0, column.digits)
                if printed in (first, second) and any(line is x for x in competing):
                    out[i, column.name] = "best" if printed == first else "second"
    return out
