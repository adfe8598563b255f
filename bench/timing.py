"""Times samples, either while they share work or each sample alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from bench import keep
from bench.condition import Sample
from bench.machine import watched
from bench.models import free_memory
from bench.provenance import device_name, environment
from bench.record import Record, sha256_of_frames
from bench.store import MASTER, Store
from metrics.video_file import read
from vgdfr import Backbone, generate


@dataclass(frozen=True)
class Timing:
    """How to time samples.

    mode: "shared" measures seconds while samples are made, shared work once. "isolated" adds complete runs of each
        sample alone.
    warmups: the number of isolated runs that come first and are reported apart.
    repeats: the number of isolated runs that count. The sample's latency is their median. The number is odd, so that
        the median is the latency of one run and the sum of its stages.
    """

    mode: Literal["shared", "isolated"] = "shared"
    warmups: int = 1
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.mode not in ("shared", "isolated"):
            raise ValueError(f"timing must be shared or isolated, got {self.mode!r}")
        for name in ("warmups", "repeats"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"timing.{name} must be a whole number, got {value!r}")
        if self.repeats % 2 == 0:
            raise ValueError(f"timing.repeats must be odd, so that the median is one of the runs, got {self.repeats}")

    def is_of(self, record: Record) -> bool:
        """Whether the record has all runs that this timing asks for."""
        return self.mode == "shared" or (
            record.timing == "isolated" and len(record.repeats) >= self.repeats and len(record.warmups) >= self.warmups
        )


class OtherPixels(Exception):
    """A sample that is run alone differs from the stored sample."""


Stored = Callable[[], UInt8[np.ndarray, "t h w 3"]]


def timed_alone(backbone: Backbone, sample: Sample, record: Record, stored: Stored, timing: Timing) -> Record:
    """Returns `record` with the times of complete runs of its sample alone. Raises OtherPixels for differing frames.

    On a device without bit stability the frames may differ from the `stored` frames by TOLERATED_LEVELS. Each run then
    records its difference.
    """
    runs: list[dict[str, Any]] = []
    method = sample.condition.method
    for i in range(timing.warmups + timing.repeats):
        with watched(backbone.device) as machine:
            video = generate(backbone, sample.spec, method)
        difference = 0
        if (digest := sha256_of_frames(video.frames)) != record.frames_sha256:
            difference = keep.difference_of(video.frames, stored())
            if keep.is_bit_stable(record) or difference > keep.TOLERATED_LEVELS:
                raise OtherPixels(
                    f"run {i + 1} of the sample alone gives frames of sha256 {digest[:12]}, stored are "
                    f"{str(record.frames_sha256)[:12]}; they differ by up to {difference} levels of 255"
                )
        runs.append(
            {
                "latency_s": video.latency_s,
                "seconds": video.seconds,
                "outside_latency": sorted(video.outside_latency),
                "peak_bytes": video.peak_bytes,
                "machine": machine,
                **({"frames_difference": difference} if difference else {}),
            }
        )
    warmups, repeats = runs[: timing.warmups], runs[timing.warmups :]
    median = sorted(repeats, key=lambda run: run["latency_s"])[len(repeats) // 2]
    return replace(
        record, timing="isolated", warmups=warmups, repeats=repeats, seconds=median["seconds"],
        outside_latency=median["outside_latency"], shared_stages=[],
        latency_s=median["latency_s"], peak_bytes=median["peak_bytes"], timed_on=environment(),
    )  # fmt: skip


DECIDES_PIXELS = ("gpu", "cpu", "threads", "packages")  # entries of a record's environment


def time_stored(store: Store, sample: Sample, timing: Timing, backbone: Callable[[], Backbone], outcome: str) -> str:
    """Times a stored sample alone, unless its record has these runs. Returns the outcome as text.

    `outcome` is the outcome of making the sample. If the runs give other frames than the stored ones, the sample fails
    and the stored one moves into quarantine. It stays as it is on a device without bit stability, and if it was made
    with another machine, number of threads or package version, because frames may then differ. It cannot be timed here
    then.
    """
    found = store.recorded(sample.folder)
    if found is None or found.status != "done" or timing.is_of(found):
        return outcome
    kind, here = sample.identity["model"]["device_type"], environment()
    made_on, this = (f"{device_name(kind, e)} with {e.get('threads')} threads" for e in (found.environment, here))
    elsewhere = f"failed to be timed alone: made on {made_on}, this is {this}; time it there"
    if device_name(kind, found.environment) != device_name(kind, here):
        return elsewhere
    try:
        if found.frames_sha256 is None:  # an older record
            found = replace(found, frames_sha256=sha256_of_frames(_stored_frames(store, sample, found)))
        timed = timed_alone(backbone(), sample, found, partial(_stored_frames, store, sample, found), timing)
    except OtherPixels as error:
        if not keep.is_bit_stable(found):
            return f"failed to be timed alone: {error}; the sample stays as it was stored"
        if any(found.environment.get(name) != here[name] for name in DECIDES_PIXELS):
            return f"{elsewhere}, with the same packages ({error})"
        store.put(sample.folder, replace(found, status="failed", dropped={}, error=f"{type(error).__name__}: {error}"))
        return f"failed: {error}"
    except (Exception, SystemExit) as error:
        free_memory()
        return f"failed to be timed alone: {type(error).__name__}: {error}"
    store.update(sample.folder, timed)
    return f"{'timed' if outcome == 'found' else outcome}; alone {timed.latency_s:.2f} s"


def _stored_frames(store: Store, sample: Sample, found: Record) -> UInt8[np.ndarray, "t h w 3"]:
    """Returns the frames of a stored sample, from its master or, if that was dropped, from its latents."""
    if MASTER in found.files:
        return read(store.folder / sample.folder / MASTER).frames
    return keep.rebuilt(store.folder / sample.folder, found, sample.condition).frames
