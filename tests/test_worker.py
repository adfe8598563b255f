"""The work on a unit: an outcome is a value, a line names a shared computation once, and a note names the unit."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from bench.plan.command_line import CONF
from bench.plan.job import Job
from bench.plan.settings import job_of
from bench.plan.units import units_of
from bench.store.claims import unit_note_of
from bench.store.study import Store
from bench.store.upkeep import samples
from bench.work.models import _codecs, _loaded, backbone_of
from bench.work.outcome import Explained, Outcome, failed
from bench.work.prices import Prices
from bench.work.progress import Sweep, text_of
from bench.work.worker import run, run_unit
from vgdfr import Backbone

MADE = Outcome("made", frames_sha256="a", seconds=7.94, token_ratio=0.412, passes=30.0, passes_done=12.0)
SHARED = Outcome("made", frames_sha256="a", seconds=7.94, token_ratio=0.412, passes=30.0)


@pytest.mark.parametrize(
    ("outcome", "same_as", "text"),
    [
        (Outcome("found"), None, "found"),
        (MADE, None, "made: 7.9 s, token ratio 0.41"),
        (MADE, "vgdfr-k5", "made: same video as vgdfr-k5"),
        (Outcome("made", seconds=7.94, alone_s=6.5), None, "made: 7.9 s, token ratio 1.00; alone 6.50 s"),
        (Outcome("timed", alone_s=6.5), None, "timed; alone 6.50 s"),
        (failed("make", RuntimeError("no memory")), None, "failed: RuntimeError: no memory"),
        (failed("make", RuntimeError("no memory")), "baseline", "failed: as baseline"),
        (failed("score", Explained("its frames are gone")), None, "failed to be scored: its frames are gone"),
        (failed("time", SystemExit(3)), None, "failed to be timed alone: SystemExit: 3"),
        (
            Outcome("failed", reason="it broke", unrecorded="OSError: no"),
            None,
            "failed: it broke; the failure cannot be recorded: OSError: no",
        ),
        (Outcome("passed over"), None, "failed: passed over, a worker of this launch died at its unit"),
    ],
)
def test_every_outcome_has_one_text(outcome: Outcome, same_as: str | None, text: str) -> None:
    assert text_of(outcome, same_as) == text


def test_a_full_disk_is_no_outcome_of_a_sample() -> None:
    with pytest.raises(OSError, match="No space left") as caught, open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    with pytest.raises(OSError, match="No space left"):
        failed("score", caught.value)


def test_outcomes_are_counted_by_their_kinds() -> None:
    sweep = Sweep(6, 3)
    for kind in ("found", "timed", "passed over", "failed", "made"):
        sweep.end(kind, "p", Outcome(kind))  # type: ignore[arg-type]
    sweep.end("vgdfr", "p", MADE)
    assert (sweep.made, sweep.found, sweep.failed) == (2, 2, ["passed over p", "failed p"])
    assert sweep.close().endswith("6 samples in 0 s; 12 DiT passes instead of 30, 2.50 times fewer")


def test_a_line_tells_a_shared_computation_once_in_each_unit(capsys: pytest.CaptureFixture[str]) -> None:
    sweep, broken = Sweep(12, 0), failed("make", RuntimeError("no memory"))
    for unit in ("p", "q"):
        sweep.begin_unit()
        for condition, outcome in (
            ("a", MADE), ("b", SHARED), ("rerun", MADE), ("c", Outcome("made", frames_sha256="b")),
            ("d", broken), ("e", broken),
        ):  # fmt: skip
            sweep.end(condition, unit, outcome)
    lines = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    expected = [
        "a {} made: 7.9 s, token ratio 0.41",
        "b {} made: same video as a",
        "rerun {} made: 7.9 s, token ratio 0.41",  # this sample was computed again, so it has its own seconds
        "c {} made: 0.0 s, token ratio 1.00",
        "d {} failed: RuntimeError: no memory",
        "e {} failed: as d",
    ]
    assert lines == [line.format(unit) for unit in ("p", "q") for line in expected]
    assert len(sweep.failed) == 4, "every failed sample is counted"


Jobs = Callable[..., list[Job]]


@pytest.fixture
def jobs(tiny_checkpoint: Path, tmp_path: Path) -> Jobs:
    """Jobs of two conditions that merge the same frames, over one prompt: three samples."""

    def composed(*overrides: str) -> list[Job]:
        small = [
            f"root={tmp_path}", "study=tiny", f"model.backbone.path={tiny_checkpoint}", "model.video.num_frames=17",
            "model.video.height=32", "model.video.width=32", "model.video.num_inference_steps=3", "prompts.limit=1",
            "metrics.names=[flicker]", "method.k=1",
        ]  # fmt: skip
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return [job_of(compose("config", [*small, f"method.theta={t}", *overrides])) for t in (0.01, 0.02)]

    return composed


def test_conditions_with_one_schedule_are_told_to_give_the_same_video(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    run(jobs(), Sweep(3, 3))
    said = capsys.readouterr().out
    same = [
        f"vgdfr-k1-theta{a} 00-still made: same video as vgdfr-k1-theta{b}"
        for a, b in (("0.02", "0.01"), ("0.01", "0.02"))
    ]
    assert any(line in said for line in same), "conditions run in a random order"
    assert said.count("token ratio") == 2, said
    records = {place.condition: record for place, record in samples(jobs()[0].study) if record}
    assert records["vgdfr-k1-theta0.02"].frames_sha256 == records["vgdfr-k1-theta0.01"].frames_sha256


def loads_of(asked: list[Job]) -> list[bool]:
    """Runs the only unit of `asked`. Returns whether a note named the unit, for each request for the model."""
    (unit,) = units_of(asked)
    study, noted = asked[0].study, []

    def load() -> Backbone:
        noted.append(unit_note_of(study, os.getpid()).exists())
        return backbone_of(asked[0].condition.model)

    sweep = Sweep(3, 3)
    run_unit(unit, Store(study), load, sweep, Prices(study, "cpu"))
    assert sweep.seen == 3 and not sweep.failed
    assert not unit_note_of(study, os.getpid()).exists()
    return noted


def test_no_note_names_a_unit_while_its_model_loads(jobs: Jobs) -> None:
    """Otherwise a launch would pass over a unit after a worker died while it loaded the model."""
    _loaded.clear()
    first, *later = loads_of(jobs())
    assert not first and all(later), "the model is loaded before the note is written, and used while it exists"
    assert len(later) >= 3
    _loaded.clear()
    assert loads_of(jobs()) == [], "stored samples need no model"
    first, *later = loads_of(jobs("timing=isolated", "timing.repeats=1"))
    assert not first and all(later) and len(later) >= 3
    _codecs.clear()
    assert loads_of(jobs("timing=isolated", "timing.repeats=1")) == []
