"""How samples are timed: while they share work, or each alone."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.condition import Sample
from bench.machine import watched
from bench.record import Record, sha256_of_frames
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
    )  # fmt: skip
