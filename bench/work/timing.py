"""Times samples, either while they share work or each sample alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import UInt8

from bench.plan.condition import Sample
from bench.plan.job import Timing
from bench.store.place import MASTER, Place
from bench.store.record import Record
from bench.store.study import Store
from bench.work import rebuild
from bench.work.machine import watched
from bench.work.outcome import Explained
from bench.work.prices import Prices
from bench.work.provenance import device_name, environment
from bench.work.records import sha256_of_frames
from metrics.video_file import read
from vgdfr import Backbone, generate

DECIDES_PIXELS = ("gpu", "cpu", "threads", "packages")  # entries of a record's environment


class OtherPixels(Explained):
    """A sample that is run alone differs from the stored sample."""


class Elsewhere(Explained):
    """A sample cannot be timed on this machine."""


Stored = Callable[[], UInt8[np.ndarray, "t h w 3"]]


def is_timed(record: Record, timing: Timing) -> bool:
    """Whether the record has all runs that `timing` asks for."""
    return timing.mode == "shared" or (
        record.timing == "isolated" and len(record.repeats) >= timing.repeats and len(record.warmups) >= timing.warmups
    )


def is_to_be_timed(record: Record | None, timing: Timing) -> bool:
    """Whether the sample is finished and lacks runs that `timing` asks for."""
    return record is not None and record.status == "done" and not is_timed(record, timing)


def is_timed_here(record: Record) -> bool:
    """Whether the sample was made on a device of this machine's kind, so that it can be timed here."""
    kind = record.identity["model"]["device_type"]
    return device_name(kind, record.environment) == device_name(kind, environment())


def timed_alone(
    backbone: Backbone, sample: Sample, record: Record, stored: Stored, timing: Timing, prices: Prices
) -> Record:
    """Returns `record` with the times of complete runs of its sample alone. Raises OtherPixels for differing frames.

    On a device without bit stability the frames may differ from the `stored` frames by TOLERATED_LEVELS. Each run then
    records its difference.
    """
    runs = [_run(backbone, sample, record, stored, i + 1, prices) for i in range(timing.warmups + timing.repeats)]
    prices.keep()
    warmups, repeats = runs[: timing.warmups], runs[timing.warmups :]
    median = sorted(repeats, key=lambda run: run["latency_s"])[len(repeats) // 2]
    return replace(
        record, timing="isolated", warmups=warmups, repeats=repeats, seconds=median["seconds"],
        outside_latency=median["outside_latency"], shared_stages=[],
        latency_s=median["latency_s"], peak_bytes=median["peak_bytes"], timed_on=environment(),
    )  # fmt: skip


def _run(
    backbone: Backbone, sample: Sample, record: Record, stored: Stored, number: int, prices: Prices
) -> dict[str, Any]:
    """Returns the entry of a record for one complete run of the sample alone."""
    with watched(backbone.device) as machine:
        video = generate(backbone, sample.spec, sample.condition.method)
    prices.add((), machine)  # these runs check the prices, so they are not among them
    difference = 0
    if (digest := sha256_of_frames(video.frames)) != record.frames_sha256:
        difference = rebuild.difference_of(video.frames, stored())
        if rebuild.is_bit_stable(record) or difference > rebuild.TOLERATED_LEVELS:
            raise OtherPixels(
                f"run {number} of the sample alone gives frames of sha256 {digest[:12]}, stored are "
                f"{str(record.frames_sha256)[:12]}; they differ by up to {difference} levels of 255"
            )
    return {
        "latency_s": video.latency_s,
        "seconds": video.seconds,
        "outside_latency": sorted(video.outside_latency),
        "peak_bytes": video.peak_bytes,
        "machine": machine,
        "run": prices.run,
        **({"frames_difference": difference} if difference else {}),
    }


def time_stored(
    store: Store, place: Place, sample: Sample, timing: Timing, load: Callable[[], Backbone], prices: Prices
) -> Record | None:
    """Times a stored sample alone. Returns its new record, or None if its record has these runs already.

    Raises OtherPixels if the runs give other frames than the stored frames. The sample has then failed, and the stored
    sample moves into quarantine. It stays as it is on a device without bit stability.

    Raises Elsewhere if the sample was made with another machine, number of threads or package version, where frames may
    differ. The stored sample stays as it is then. Any other exception of a run also leaves it as it is.
    """
    found = store.recorded(place)
    if found is None or not is_to_be_timed(found, timing):
        return None
    if not is_timed_here(found):
        raise Elsewhere(_elsewhere(found))
    try:
        if found.frames_sha256 is None:  # an older record
            found = replace(found, frames_sha256=sha256_of_frames(_stored_frames(place, sample, found)))
        timed = timed_alone(load(), sample, found, partial(_stored_frames, place, sample, found), timing, prices)
    except OtherPixels as error:
        if not rebuild.is_bit_stable(found):
            raise OtherPixels(f"{error}; the sample stays as it was stored") from error
        here = environment()
        if any(found.environment.get(name) != here[name] for name in DECIDES_PIXELS):
            raise Elsewhere(f"{_elsewhere(found)}, with the same packages ({error})") from error
        store.put(place, replace(found, status="failed", dropped={}, error=f"{type(error).__name__}: {error}"))
        raise
    return store.update(place, timed)


def _elsewhere(record: Record) -> str:
    kind = record.identity["model"]["device_type"]
    made_on, this = (
        f"{device_name(kind, e)} with {e.get('threads')} threads" for e in (record.environment, environment())
    )
    return f"made on {made_on}, this is {this}; time it there"


def _stored_frames(place: Place, sample: Sample, found: Record) -> UInt8[np.ndarray, "t h w 3"]:
    """Returns the frames of a stored sample, from its master or, if that was dropped, from its latents."""
    if MASTER in found.files:
        return read(place.file(MASTER)).frames
    return rebuild.rebuilt(place, found, sample.condition).frames
