"""The outcome of a worker's attempt at one sample. `bench.work.progress` makes the text for people from it."""

from dataclasses import dataclass
from typing import Literal

from bench.store.study import is_full

Kind = Literal["found", "made", "timed", "failed", "passed over"]
Step = Literal["make", "score", "time"]


class Explained(Exception):
    """An exception whose message tells people everything, so that no text adds the name of its class."""


def reason_of(error: BaseException) -> str:
    """Returns the reason for a failure in one sentence."""
    return str(error) if isinstance(error, Explained) else f"{type(error).__name__}: {error}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker did with one sample.

    kind: "found" for a sample that was stored before, "made", "timed" for a stored sample that now was timed alone,
        "failed", or "passed over" because a worker of this launch died at the sample's unit.
    step: the step that failed.
    reason: why the step failed.
    unrecorded: why the failure could not be recorded; empty if it was recorded or need not be.
    unscored: the metrics that have no value for the sample, each with the reason.
    frames_sha256: the hash of a made sample's frames; None for a method that makes no video.
    seconds, token_ratio: latency and token ratio of a made sample. A sample without cost has no token ratio.
    passes, passes_done: the DiT passes of a made sample, if made alone and as they ran, as its record has them.
    alone_s: the latency of the sample if it was timed alone.
    note: what people should know at once about a made sample, such as an accelerator that skipped nothing.
    """

    kind: Kind
    step: Step = "make"
    reason: str = ""
    unrecorded: str = ""
    unscored: tuple[tuple[str, str], ...] = ()
    frames_sha256: str | None = None
    seconds: float = 0.0
    token_ratio: float | None = 1.0
    passes: float = 0.0
    passes_done: float = 0.0
    alone_s: float | None = None
    note: str = ""

    @property
    def has_failed(self) -> bool:
        return self.kind in ("failed", "passed over")

    @property
    def lacks_scores(self) -> bool:
        """Whether the next sweep scores the sample again, and so needs its frames."""
        return self.has_failed or bool(self.unscored)


def failed(step: Step, error: BaseException) -> Outcome:
    """Returns the outcome of a `step` that raised `error`, so that the sweep goes on with the other samples.

    Raises `error` again if the disk is full, because no other sample could be stored, either.
    """
    if is_full(error):
        raise error
    return Outcome("failed", step, reason_of(error))
