"""How samples are timed: while they share work, or each alone."""

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
from vgdfr import RopeProxy, generate
from vgdfr.backbones.base import Backbone


@dataclass(frozen=True)
class Timing:
    """shared: seconds measured as samples are made, what they share once. isolated: complete runs of each sample alone.

    `warmups` runs come first and are reported apart; the sample's latency is the median of `repeats`, an odd number, so
    that it is that of one run and the sum of its stages.
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
        """Whether the record has all that is asked for."""
        return self.mode == "shared" or (
            record.timing == "isolated" and len(record.repeats) >= self.repeats and len(record.warmups) >= self.warmups
        )


class OtherPixels(Exception):
    """A sample run alone is not the one that was stored."""


Stored = Callable[[], UInt8[np.ndarray, "t h w 3"]]


def timed_alone(backbone: Backbone, sample: Sample, record: Record, stored: Stored, timing: Timing) -> Record:
    """`record` with the times of complete runs of its sample alone. Raises OtherPixels where one gives other frames.

    On a device that is not bit-stable frames may differ from the `stored` ones by TOLERATED_LEVELS; each run says by
    how much they did.
    """
    runs: list[dict[str, Any]] = []
    method = sample.condition.method
    assert not isinstance(method, RopeProxy)  # which makes no video
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
                "peak_bytes": video.peak_bytes,
                "machine": machine,
                **({"frames_difference": difference} if difference else {}),
            }
        )
    warmups, repeats = runs[: timing.warmups], runs[timing.warmups :]
    median = sorted(repeats, key=lambda run: run["latency_s"])[len(repeats) // 2]
    return replace(
        record, timing="isolated", warmups=warmups, repeats=repeats, seconds=median["seconds"], shared_stages=[],
        latency_s=median["latency_s"], peak_bytes=median["peak_bytes"], timed_on=environment(),
    )  # fmt: skip


DECIDES_PIXELS = ("gpu", "cpu", "threads", "packages")  # of what a record's environment holds


def time_stored(store: Store, sample: Sample, timing: Timing, backbone: Callable[[], Backbone], outcome: str) -> str:
    """Time a stored sample alone, unless that was done; in words, what came of it, where `outcome` came of making it.

    Other frames than the stored ones fail the sample, and what was stored goes into quarantine; but not where it was
    made elsewhere, as frames may differ between machines, numbers of threads and versions, nor on a device that is not
    bit-stable.
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
        if found.frames_sha256 is None:  # of before it was recorded
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
    """The frames of a stored sample, from its master or, where that was dropped, from its latents."""
    if MASTER in found.files:
        return read(store.folder / sample.folder / MASTER).frames
    return keep.rebuilt(store.folder / sample.folder, found, sample.condition).frames
