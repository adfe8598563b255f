"""Works through a sweep's jobs, unit by unit: looks samples up, makes, scores and times them, and drops files."""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from bench.plan.condition import Sample
from bench.plan.job import Job
from bench.plan.units import Unit, units_of
from bench.store.claims import LAUNCH_BEGAN, at_unit, claimed, skipped
from bench.store.runs import kinds_of
from bench.store.study import Store, is_full
from bench.work import models, rebuild, scoring, timing
from bench.work.files import largest_bytes
from bench.work.lookup import look_up, recorded
from bench.work.make import make
from bench.work.outcome import Outcome, failed, reason_of
from bench.work.prices import Prices
from bench.work.progress import Sweep, say
from vgdfr import Backbone
from vgdfr.account import Shared

Load = Callable[[], Backbone]
Outcomes = dict[str, Outcome]  # by the samples' keys


def run(jobs: Sequence[Job], sweep: Sweep, units: Sequence[Unit] | None = None) -> None:
    """Makes the missing samples of `jobs`, unit by unit. Units that another worker has claimed come last.

    `units` are `units_of(jobs)`, if the caller has listed them: 75,520 samples take 8 s.

    A failed sample is counted and, if it can be stored, recorded. The sweep goes on with the other samples. A model
    that cannot be loaded, or a full disk, ends the sweep.
    """
    study, waiting, texts = jobs[0].study, units or units_of(jobs), _texts_of(jobs)
    prices = Prices(study, jobs[0].condition.model.device_type)
    while waiting:
        claimed_elsewhere = []
        for unit in waiting:
            with claimed(study, unit.name) as mine:
                if not mine:
                    claimed_elsewhere.append(unit)
                elif unit.name in skipped(study, os.environ.get(LAUNCH_BEGAN)):
                    sweep.begin_unit()
                    for sample, _, _ in unit.samples:
                        sweep.end(*_named(sample), Outcome("passed over"))
                else:
                    model = unit.samples[0][0].condition.model
                    run_unit(unit, Store(study), partial(models.load, model, texts), sweep, prices)
        if len(claimed_elsewhere) == len(waiting):
            time.sleep(1)
        waiting = claimed_elsewhere


def run_unit(unit: Unit, store: Store, load: Load, sweep: Sweep, prices: Prices) -> None:
    """Looks up, makes, scores and times the samples of a unit, then drops files that are not to be kept.

    A note names the unit, except while the model loads: if the worker dies at the unit, its launch passes over it.
    """
    noted = partial(at_unit, store.folder, unit.name)
    sweep.begin_unit()
    with noted(sweep.made):
        before = look_up(unit, store)
    if None in before.values():
        _require_space(unit, store)
        load()
    with noted(sweep.made):
        outcomes = _make_and_score(unit, before, store, load, sweep, prices)
    if _is_to_be_timed(unit, outcomes, store):
        load()
    with noted(sweep.made):
        _time(unit, outcomes, store, load, sweep, prices)
        _price(unit, outcomes, store, load, prices)
        _drop(unit, outcomes, store)


def _make_and_score(
    unit: Unit, before: dict[str, Outcome | None], store: Store, load: Load, sweep: Sweep, prices: Prices
) -> Outcomes:
    """Makes the samples that have no outcome yet and scores all. Ends the samples that need not be timed alone."""
    shared = Shared(unit.spec, unit.stops)
    outcomes: Outcomes = {}
    for sample, reference, job in in_turns(unit):
        sweep.begin(*_named(sample))
        outcome = before[sample.key]
        if outcome is None:
            _require_space(unit, store)
            outcome = make(store, store.at(sample.folder), sample, reference, load(), shared, prices)
        if not outcome.has_failed and sample.condition.method.makes_video:
            outcome = _score(store, sample, reference, job, outcome)
        outcomes[sample.key] = outcome
        if not _has_time_alone(sample, job, outcome):
            sweep.end(*_named(sample), outcome)
    shared.clear()  # a sample that is timed alone gets all of the memory
    return outcomes


def in_turns(unit: Unit) -> Iterator[tuple[Sample, Sample | None, Job]]:
    """Yields the unit's samples: its baselines, then the others in a random order, the same for the same unit.

    Baselines come first, since other samples are scored against them. Their passes are timed throughout a run, because
    every condition begins with them. Conditions that branch off at the same steps follow each other, because they share
    the large preview.
    """
    baselines = {reference.key for _, reference, _ in unit.samples if reference}
    yield from (each for each in unit.samples if each[0].key in baselines)
    by_stops: dict[frozenset[int], list[tuple[Sample, Sample | None, Job]]] = {}
    for each in unit.samples:
        if each[0].key not in baselines:
            by_stops.setdefault(each[0].condition.method.stops(), []).append(each)
    random_order, groups = random.Random(unit.name), list(by_stops.values())
    random_order.shuffle(groups)
    for group in groups:
        random_order.shuffle(group)
        yield from group


def _score(store: Store, sample: Sample, reference: Sample | None, job: Job, outcome: Outcome) -> Outcome:
    """Scores the sample. Returns the outcome, changed if scoring failed or a score has no value."""
    try:
        finished = store.get(store.at(reference.folder), reference.key) if reference else None
        baseline = scoring.Stored(store.at(reference.folder), finished) if reference and finished else None
        scores = scoring.score(store.at(sample.folder), sample.spec.prompt, baseline, job.metrics, sample.condition)
    except Exception as error:
        return failed("score", error)
    unscored = tuple((name, score["reason"]) for name, score in scores.items() if score["value"] is None)
    return replace(outcome, unscored=unscored)


def _has_time_alone(sample: Sample, job: Job, outcome: Outcome) -> bool:
    method = sample.condition.method
    is_checked = job.timing.mode == "isolated" and sample.prompt in job.prompts[: job.timing.prompts]
    return is_checked and method.makes_video and method.has_cost and not outcome.has_failed


def _is_to_be_timed(unit: Unit, outcomes: Outcomes, store: Store) -> bool:
    """Whether a sample of the unit is to be run alone on this machine, so that the model must be loaded."""
    for sample, _, job in unit.samples:
        if _has_time_alone(sample, job, outcomes[sample.key]):
            record = recorded(store, sample)
            if record and timing.is_to_be_timed(record, job.timing) and timing.is_timed_here(record):
                return True
    return False


def _time(unit: Unit, outcomes: Outcomes, store: Store, load: Load, sweep: Sweep, prices: Prices) -> None:
    """Times samples alone, where the job asks for it, and ends these samples."""
    for sample, _, job in unit.samples:
        if not _has_time_alone(sample, job, outcome := outcomes[sample.key]):
            continue
        sweep.begin(*_named(sample), "alone")
        try:
            timed = timing.time_stored(store, store.at(sample.folder), sample, job.timing, load, prices)
            if timed is not None:
                outcome = replace(
                    outcome, kind="timed" if outcome.kind == "found" else outcome.kind, alone_s=timed.latency_s
                )
                outcomes[sample.key] = outcome
        except (Exception, SystemExit) as error:
            models.free_memory()
            outcome = failed("time", error)
        sweep.end(*_named(sample), outcome)


def _price(unit: Unit, outcomes: Outcomes, store: Store, load: Load, prices: Prices) -> None:
    """Times the kinds of work of the unit's samples that this run has not timed, if the run made one of the samples."""
    if not any(outcome.kind in ("made", "timed") for outcome in outcomes.values()):
        return
    found = [record for sample, _, _ in unit.samples if (record := recorded(store, sample)) and kinds_of(record)]
    if not prices.lacking(kind for record in found for kind in kinds_of(record)):
        return
    try:
        prices.measure(load(), unit.spec, found)
        prices.keep()
    except Exception as error:
        if is_full(error):
            raise
        models.free_memory()
        say(f"{unit.name}: not all kinds of work could be timed, so latencies may be missing: {reason_of(error)}")


def _drop(unit: Unit, outcomes: Outcomes, store: Store) -> None:
    """Removes the files that are not to be kept, for samples with all scores that no other sample still needs.

    The next sweep tries a missing score again, so the files that the score needs stay.
    """
    lacking = [(s, reference) for s, reference, _ in unit.samples if outcomes[s.key].lacks_scores]
    wanted = {each.key for pair in lacking for each in pair if each}
    for sample, _, job in unit.samples:
        found = recorded(store, sample)
        if sample.key in wanted or found is None or found.status != "done":
            continue
        try:
            rebuild.drop(store, store.at(sample.folder), found, job.keep, sample.condition)
        except Exception as error:
            if is_full(error):
                raise
            say(f"{sample.folder}: not all files could be dropped: {reason_of(error)}")


def _require_space(unit: Unit, store: Store) -> None:
    """Raises OSError if the disk lacks room for a sample of the unit. All samples of a unit have one size."""
    latents_bytes = unit.samples[0][0].condition.model.latents_bytes(unit.spec)
    store.require_space(largest_bytes(unit.spec, latents_bytes))


def _texts_of(jobs: Sequence[Job]) -> models.Texts:
    """Returns the prompts of all jobs, each once, by model."""
    texts: dict[models.Model, dict[str, None]] = {}
    for job in jobs:
        texts.setdefault(job.condition.model, {}).update(dict.fromkeys(prompt.text for prompt in job.prompts))
    return tuple((model, tuple(prompts)) for model, prompts in texts.items())


def _named(sample: Sample) -> tuple[str, str]:
    """Returns condition and prompt of a sample, for the display."""
    return sample.condition.slug, sample.prompt.id
