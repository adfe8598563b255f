"""Runs jobs. Each sample is found, or generated and stored, or recorded as failed. Then each sample is scored."""

import os
import time
import traceback
from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from bench import keep, record, score
from bench.claims import DIED, at_unit, at_work, claimed, skipped
from bench.condition import Sample
from bench.config import Job
from bench.models import backbone_of, embed_prompts, free_memory
from bench.progress import Sweep, say
from bench.provenance import environment
from bench.record import Record
from bench.store import LATENTS, MASTER, Store, is_full
from bench.tasks import LAUNCH_BEGAN
from bench.timing import time_stored
from bench.units import Unit, units_of
from vgdfr import Backbone, BrokenVideo, GeneratedVideo, generate
from vgdfr.account import Shared

T = TypeVar("T")


def run(jobs: Sequence[Job], sweep: Sweep) -> None:
    """Makes the missing samples of `jobs`, unit by unit. Units that another worker has claimed come last.

    A failed sample is counted and, if it can be stored, recorded. The sweep goes on with the other samples. A model
    that cannot be loaded, or a full disk, ends the sweep.
    """
    study, waiting = jobs[0].study, units_of(jobs)
    while waiting:
        claimed_elsewhere = []
        for unit in waiting:
            with claimed(study, unit.name) as mine:
                if not mine:
                    claimed_elsewhere.append(unit)
                elif unit.name in skipped(study, os.environ.get(LAUNCH_BEGAN)):
                    for sample, _, _ in unit.samples:
                        sweep.end(_name(sample), "failed: passed over, a worker of this launch died at its unit")
                else:
                    with at_unit(study, unit.name, sweep.made):
                        _run_unit(unit, Store(study), sweep, jobs)
        if len(claimed_elsewhere) == len(waiting):
            time.sleep(1)
        waiting = claimed_elsewhere


def _run_unit(unit: Unit, store: Store, sweep: Sweep, jobs: Sequence[Job]) -> None:
    shared, outcomes = Shared(unit.spec, unit.stops), {}
    unscored: set[str] = set()  # keys of samples that still lack a score
    needed = _needed_again(store, unit)
    for sample, reference, job in unit.samples:
        name = _name(sample)
        sweep.begin(name)
        outcome = _attempt("failed", partial(_before, store, sample, job, needed))
        if outcome is None:
            outcome = _attempt("failed", partial(store.require_writable, sample.folder))
        if outcome is None:
            store.require_space(sample.spec, sample.condition.model.latents_bytes(sample.spec))
            outcome = _make(store, sample, reference, _loaded(job, jobs), shared, sweep)
        makes_video = sample.condition.method.makes_video
        if makes_video and not outcome.startswith("failed"):
            outcome = (
                _attempt("failed to be scored", partial(_scored, store, sample, reference, job, unscored)) or outcome
            )
        if outcome.startswith("failed"):
            unscored.add(sample.key)
        if outcome.startswith("failed") or job.timing.mode == "shared" or not makes_video:
            sweep.end(name, outcome)
        else:
            outcomes[sample.key] = outcome
    shared.clear()  # a sample that is timed alone gets all of the memory
    for sample, _, job in unit.samples:
        if sample.key in outcomes:
            sweep.begin(f"{_name(sample)} alone")
            timed = partial(time_stored, store, sample, job.timing, partial(_loaded, job, jobs), outcomes[sample.key])
            sweep.end(_name(sample), str(_attempt("failed to be timed alone", timed)))
    _drop(store, unit, unscored)


def _attempt(failed: str, step: Callable[[], T]) -> T | str:
    """Returns the result of `step`, or if it raises a text of `failed` and the reason. So the other samples go on.

    Re-raises if the disk is full, because no other sample could be stored there.
    """
    try:
        return step()
    except Exception as error:
        if is_full(error):
            raise
        return f"{failed}: {error}" if isinstance(error, keep.Gone) else f"{failed}: {type(error).__name__}: {error}"


def _before(store: Store, sample: Sample, job: Job, needed: Container[str]) -> str | None:
    """Returns the outcome if the sample is stored, or this launch has tried it, else None: it must be made."""
    there = _there(store, sample, job) and sample.key not in needed
    return "found" if there else _failed_in_this_launch(store, sample)


def _loaded(job: Job, jobs: Sequence[Job]) -> Backbone:
    """Returns the job's model. Embeds the prompts of all `jobs` before it loads the model."""
    embed_prompts(tuple(jobs))
    return backbone_of(job.condition.model)


def _name(sample: Sample) -> str:
    return f"{sample.condition.slug} {sample.prompt.id}"


def _there(store: Store, sample: Sample, job: Job) -> bool:
    """Whether the sample is stored with all files that the job keeps. Restores a dropped master from the latents.

    Raises Gone if the latents are stored and do not give the master, for example on another machine. The stored sample
    is not changed then.
    """
    found = store.get(sample.folder, sample.key)
    if found is None:
        return False
    lacking = keep.lacking(found, job.keep)
    if MASTER in lacking and LATENTS in found.files:
        keep.restored(store, sample.folder, found, sample.condition)
        return True
    return not lacking


def _recorded(store: Store, sample: Sample) -> Record | None:
    """Returns the sample's record, or None if there is none or its folder cannot be read, which fails the sample."""
    try:
        return store.recorded(sample.folder)
    except OSError:
        return None


def _needed_again(store: Store, unit: Unit) -> set[str]:
    """Returns the keys of baselines that lack frames and that a sample is still to be compared with."""
    needed: set[str] = set()
    for sample, reference, job in unit.samples:
        found, beside = (each and _recorded(store, each) for each in (sample, reference))
        if not beside or beside.status != "done" or keep.has_frames(beside):
            continue
        if found and found.status == "done" and not keep.has_frames(found):
            continue  # the sample lacks frames, too, and cannot be scored
        if any(metric.needs_reference for metric in score.to_come(store.folder / sample.folder, beside, job.metrics)):
            needed.add(beside.key)
    return needed


def _drop(store: Store, unit: Unit, unscored: set[str]) -> None:
    """Removes the files that are not to be kept, for samples with all scores that no other sample still needs.

    The next sweep tries a missing score again, so the files that the score needs stay.
    """
    wanted = unscored | {reference.key for sample, reference, _ in unit.samples if reference and sample.key in unscored}
    for sample, _, job in unit.samples:
        found = _recorded(store, sample)
        if sample.key not in wanted and found is not None and found.status == "done":
            drop = partial(keep.drop, store, sample.folder, found, job.keep, sample.condition)
            if isinstance(failed := _attempt(f"{sample.folder}: not all could be dropped", drop), str):
                say(failed)


def _failed_in_this_launch(store: Store, sample: Sample) -> str | None:
    """Returns the failure if a worker of this launch has tried the sample, else None. A launch tries a sample once."""
    began = os.environ.get(LAUNCH_BEGAN)
    record = store.recorded(sample.folder) if began else None
    if began is None or record is None or record.status == "done" or record.created < began:
        return None
    return f"failed: {(record.error or record.status).strip().splitlines()[-1]}"


def _make(
    store: Store, sample: Sample, reference: Sample | None, backbone: Backbone, shared: Shared, sweep: Sweep
) -> str:
    """Generates and stores one sample. Returns the outcome as text."""
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    identified = record.identify(sample, reference.key if reference else None, environment(), created)
    died = Record(status="failed", **identified, error=DIED)
    with at_work(store.folder, sample.folder, died):
        try:
            video = generate(backbone, sample.spec, sample.condition.method, shared)
        except (Exception, SystemExit) as error:
            shared.clear()  # frees memory for the next sample
            return _failed(store, sample, identified, error)
        made = Record(status="done", **identified, **record.results(video))
        try:
            stored = _put(store, sample, made, video)
        except keep.Gone as error:
            return f"failed: {error}"
        except Exception as error:
            if is_full(error):
                raise
            return _failed(store, sample, identified, error)
    sweep.count(video.passes, video.passes_done)
    return f"made: {stored.latency_s or sum(video.seconds.values()):.1f} s, token ratio {stored.token_ratio:.2f}"


def _put(store: Store, sample: Sample, made: Record, video: GeneratedVideo) -> Record:
    """Stores the sample. If it was stored with dropped files, only the files are added: record and scores stay.

    Raises Gone if the new files differ from the dropped files. The stored sample then stays for the machine that made
    it.
    """
    found, latents = store.get(sample.folder, sample.key), keep.latents_file(made, video)
    if found and found.dropped and found.frames_sha256:
        try:
            return store.restore(sample.folder, found, video.frames, sample.spec.fps, latents)
        except ValueError as error:
            why = f"the master was not kept, and {error}"
            raise keep.Gone(keep.other_here(store.folder / sample.folder, found, why)) from error
        except Exception as error:  # the stored record stays
            if is_full(error):
                raise
            why = f"the master was not kept and cannot be put back: {type(error).__name__}: {error}"
            raise keep.Gone(why) from error
    return store.put(sample.folder, made, video.made, sample.spec.fps, latents)


def _failed(store: Store, sample: Sample, identified: dict[str, Any], error: BaseException) -> str:
    """Records the failure of the sample. Returns the outcome as text."""
    failed = Record(
        status=error.kind if isinstance(error, BrokenVideo) else "failed", **identified, error=traceback.format_exc()
    )
    free_memory()
    unrecorded = _attempt("; and that cannot be recorded", lambda: store.put(sample.folder, failed))
    return f"failed: {type(error).__name__}: {error}{unrecorded if isinstance(unrecorded, str) else ''}"


def _scored(store: Store, sample: Sample, reference: Sample | None, job: Job, unscored: set[str]) -> None:
    """Scores the sample. Adds its key to `unscored` if a score has no value."""
    finished = store.get(reference.folder, reference.key) if reference else None
    beside = (store.folder / reference.folder, finished) if reference and finished else None
    scores = score.score(store.folder / sample.folder, sample.spec.prompt, beside, job.metrics, sample.condition)
    if any(value["value"] is None for value in scores.values()):
        unscored.add(sample.key)
