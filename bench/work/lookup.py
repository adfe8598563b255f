"""Looks up which samples of a unit are stored, and which of them are still needed."""

import os

from bench.plan.condition import Sample
from bench.plan.job import Job
from bench.plan.units import Unit
from bench.store.claims import LAUNCH_BEGAN
from bench.store.place import LATENTS, MASTER
from bench.store.record import Record
from bench.store.study import Store
from bench.work import rebuild, scoring
from bench.work.outcome import Outcome, failed


def look_up(unit: Unit, store: Store) -> dict[str, Outcome | None]:
    """Returns an outcome for each sample that need not or cannot be made, and None for the others, by the keys.

    A sample is found if it is stored with all files that its job keeps. It has failed if a worker of this launch tried
    it before, or if its folder cannot be read or written.
    """
    needed = _needed_again(unit, store)
    outcomes: dict[str, Outcome | None] = {}
    for sample, _, job in unit.samples:
        try:
            there = _is_there(store, sample, job) and sample.key not in needed
            outcomes[sample.key] = Outcome("found") if there else _failed_in_this_launch(store, sample)
            if outcomes[sample.key] is None:
                store.require_writable(store.at(sample.folder))
        except Exception as error:
            outcomes[sample.key] = failed("make", error)
    return outcomes


def recorded(store: Store, sample: Sample) -> Record | None:
    """Returns the sample's record, or None if there is none or its folder cannot be read, which fails the sample."""
    try:
        return store.recorded(store.at(sample.folder))
    except OSError:
        return None


def _is_there(store: Store, sample: Sample, job: Job) -> bool:
    """Whether the sample is stored with all files that the job keeps. Restores a dropped master from the latents.

    Raises Gone if the latents are stored and do not give the master, for example on another machine. The stored sample
    is not changed then.
    """
    place = store.at(sample.folder)
    found = store.get(place, sample.key)
    if found is None:
        return False
    lacking = rebuild.lacking(found, job.keep)
    if MASTER in lacking and LATENTS in found.files:
        rebuild.restored(store, place, found, sample.condition)
        return True
    return not lacking


def _needed_again(unit: Unit, store: Store) -> set[str]:
    """Returns the keys of baselines that lack frames and that a sample is still to be compared with."""
    needed: set[str] = set()
    for sample, reference, job in unit.samples:
        found, baseline = (each and recorded(store, each) for each in (sample, reference))
        if not baseline or baseline.status != "done" or rebuild.has_frames(baseline):
            continue
        if found and found.status == "done" and not rebuild.has_frames(found):
            continue  # the sample lacks frames, too, and cannot be scored
        to_come = scoring.to_come(store.at(sample.folder), baseline, job.metrics)
        if any(metric.needs_reference for metric in to_come):
            needed.add(baseline.key)
    return needed


def _failed_in_this_launch(store: Store, sample: Sample) -> Outcome | None:
    """Returns the failure if a worker of this launch has tried the sample, else None. A launch tries a sample once."""
    began = os.environ.get(LAUNCH_BEGAN)
    record = store.recorded(store.at(sample.folder)) if began else None
    if began is None or record is None or record.status == "done" or record.created < began:
        return None
    return Outcome("failed", reason=(record.error or record.status).strip().splitlines()[-1])
