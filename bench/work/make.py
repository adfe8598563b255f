"""Makes one sample: generates the video and stores it, or records the failure."""

import traceback
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bench.plan.condition import Sample
from bench.store.claims import DIED, at_work
from bench.store.place import Place
from bench.store.record import Record
from bench.store.study import Store, is_full
from bench.work import rebuild
from bench.work.files import files_of
from bench.work.machine import watched
from bench.work.models import free_memory
from bench.work.outcome import Outcome, failed, reason_of
from bench.work.prices import Prices
from bench.work.provenance import environment
from bench.work.records import identify, results
from vgdfr import Backbone, BrokenVideo, GeneratedVideo, generate
from vgdfr.accelerator import notes_of
from vgdfr.account import Shared


def make(
    store: Store,
    place: Place,
    sample: Sample,
    reference: Sample | None,
    backbone: Backbone,
    shared: Shared,
    prices: Prices,
) -> Outcome:
    """Generates the sample and stores it at `place`, and adds its times to the run's prices. A failure is recorded.

    Raises OSError if the disk is full.
    """
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    identified = identify(sample, reference.key if reference else None, environment(), created)
    died = Record(status="failed", **identified, error=DIED)
    with at_work(store.folder, place.name, died):
        try:
            with watched(backbone.device) as machine:
                video = generate(backbone, sample.spec, sample.condition.method, shared)
        except (Exception, SystemExit) as error:
            shared.clear()  # frees memory for the next sample
            return _record_failure(store, place, identified, error)
        try:
            prices.add(video.observed, machine)
            prices.keep()  # before the record that names the run
            made = Record(status="done", **identified, **results(video, sample), run=prices.run, machine=machine)
            stored = _store(store, place, sample, made, video)
        except rebuild.Gone as error:  # the stored sample stays
            return failed("make", error)
        except Exception as error:
            if is_full(error):
                raise
            return _record_failure(store, place, identified, error)
    return Outcome(
        "made",
        frames_sha256=stored.frames_sha256,
        seconds=stored.latency_s or sum(video.seconds.values()),
        token_ratio=stored.token_ratio,
        passes=video.passes,
        passes_done=video.passes_done,
        note="; ".join(notes_of(video.accelerated)),
    )


def _store(store: Store, place: Place, sample: Sample, made: Record, video: GeneratedVideo) -> Record:
    """Stores the sample. If it was stored with dropped files, only the files are added: record and scores stay.

    Raises Gone if the new files differ from the dropped files.
    """
    found = store.get(place, sample.key)
    if found and found.dropped and found.frames_sha256:
        return rebuild.put_back(store, place, found, video, sample.spec.fps)
    return store.put(place, made, files_of(video.made, sample.spec.fps, rebuild.latents_file(made, video)))


def _record_failure(store: Store, place: Place, identified: dict[str, Any], error: BaseException) -> Outcome:
    """Records the failure. If the record cannot be written, the outcome tells why."""
    status = error.kind if isinstance(error, BrokenVideo) else "failed"
    record = Record(status=status, **identified, error=traceback.format_exc())
    free_memory()
    outcome = Outcome("failed", "make", reason_of(error))
    try:
        store.put(place, record)
    except Exception as unrecorded:
        return replace(outcome, unrecorded=failed("make", unrecorded).reason)
    return outcome
