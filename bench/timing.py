"""How samples are timed: while they share work, or each alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

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


def timed_alone(backbone: Backbone, sample: Sample, record: Record, frames_sha256: str, timing: Timing) -> Record:
    """`record` with the times of complete runs of its sample alone. Raises OtherPixels where one gives other frames."""
    runs: list[dict[str, Any]] = []
    method = sample.condition.method
    assert not isinstance(method, RopeProxy)  # which makes no video
    for i in range(timing.warmups + timing.repeats):
        with watched(backbone.device) as machine:
            video = generate(backbone, sample.spec, method)
        if (digest := sha256_of_frames(video.frames)) != frames_sha256:
            raise OtherPixels(
                f"run {i + 1} of the sample alone gives frames of sha256 {digest[:12]}, stored are {frames_sha256[:12]}"
            )
        runs.append(
            {
                "latency_s": video.latency_s,
                "seconds": video.seconds,
                "peak_bytes": video.peak_bytes,
                "machine": machine,
            }
        )
    warmups, repeats = runs[: timing.warmups], runs[timing.warmups :]
    median = sorted(repeats, key=lambda run: run["latency_s"])[len(repeats) // 2]
    return replace(
        record, timing="isolated", warmups=warmups, repeats=repeats, seconds=median["seconds"], shared_stages=[],
        latency_s=median["latency_s"], peak_bytes=median["peak_bytes"], frames_sha256=frames_sha256,
        timed_on=environment(),
    )  # fmt: skip


DECIDES_PIXELS = ("gpu", "cpu", "threads", "packages")  # of what a record's environment holds


def time_stored(store: Store, sample: Sample, timing: Timing, backbone: Callable[[], Backbone], outcome: str) -> str:
    """Time a stored sample alone, unless that was done; in words, what came of it, where `outcome` came of making it.

    Other frames than the stored ones fail the sample, and what was stored goes into quarantine; but not where it was
    made elsewhere, as frames may differ between machines, numbers of threads and versions.
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
        digest = found.frames_sha256 or sha256_of_frames(read(store.folder / sample.folder / MASTER).frames)
        timed = timed_alone(backbone(), sample, found, digest, timing)
    except OtherPixels as error:
        if any(found.environment.get(name) != here[name] for name in DECIDES_PIXELS):
            return f"{elsewhere}, with the same packages ({error})"
        store.put(sample.folder, replace(found, status="failed", dropped={}, error=f"{type(error).__name__}: {error}"))
        return f"failed: {error}"
    except (Exception, SystemExit) as error:
        free_memory()
        return f"failed to be timed alone: {type(error).__name__}: {error}"
    store.update(sample.folder, timed)
    return f"{'timed' if outcome == 'found' else outcome}; alone {timed.latency_s:.2f} s"
