"""A sample that is timed alone runs completely, gives the stored bits, and its record lists every run."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from bench.plan.command_line import CONF
from bench.plan.job import Job, Timing
from bench.plan.settings import job_of
from bench.store.place import MASTER, Place
from bench.store.study import Store
from bench.store.upkeep import ls, samples
from bench.work import rebuild
from bench.work.machine import GPU_FIELDS, _others, state, watched
from bench.work.models import backbone_of
from bench.work.progress import Sweep
from bench.work.provenance import environment
from bench.work.worker import run
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone


def jobs(checkpoint: Path, root: Path, *overrides: str) -> list[Job]:
    """A baseline and two conditions that share its first step."""
    small = [
        f"root={root}", "study=tiny", f"model.backbone.path={checkpoint}", "model.video.num_frames=17",
        "model.video.height=32", "model.video.width=32", "model.video.num_inference_steps=3", "prompts.limit=1",
        "metrics.names=[flicker]", "method.k=1",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [job_of(compose("config", [*small, f"method.theta={t}", *overrides])) for t in (0.01, 0.02)]


def sweep(asked: list[Job]) -> Sweep:
    display = Sweep(3, 3)
    run(asked, display)
    display.close()
    return display


def test_stored_samples_are_timed_alone_without_being_made_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert sweep(jobs(tiny_checkpoint, tmp_path)).made == 3
    study = tmp_path / "tiny"
    before = {place: record for place, record in samples(study) if record}
    assert all(record.timing == "shared" and not record.repeats for record in before.values())
    assert any("denoise_full" in record.shared_stages for record in before.values())
    files = {f: f.stat().st_mtime_ns for f in study.glob("*/*/*") if f.name != "record.json"}

    assert sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated", "timing.repeats=3")).found == 3
    after = {place: record for place, record in samples(study) if record}
    assert {f: f.stat().st_mtime_ns for f in study.glob("*/*/*") if f.name != "record.json"} == files
    for place, record in after.items():
        assert (record.timing, record.shared_stages) == ("isolated", [])
        assert (len(record.warmups), len(record.repeats)) == (1, 3)
        latencies = sorted(run["latency_s"] for run in record.repeats)
        assert record.latency_s == latencies[1] > 0, "the latency is the median"
        stages = ("denoise_full", "compress", "denoise_compressed", "other")
        assert record.latency_s == pytest.approx(sum(record.seconds.get(stage, 0) for stage in stages))
        for run_ in (*record.warmups, *record.repeats):
            assert run_["machine"]["before"]["load_1min"] >= 0 and run_["machine"]["other_busy_cores"] >= 0
        timed = {"timing", "warmups", "repeats", "seconds", "shared_stages", "latency_s", "peak_bytes", "timed_on"}
        assert record.timed_on == environment() and before[place].timed_on is None
        same = {n: v for n, v in vars(record).items() if n not in timed}
        assert same == {n: v for n, v in vars(before[place]).items() if n not in timed}
    # sharing spared passes, and runs that only time are not counted
    passes, done = (sum(getattr(r, n) or 0 for r in after.values()) for n in ("passes", "passes_done"))
    assert 0 < done < passes
    assert f"{done:.0f} DiT passes instead of {passes:.0f}, {passes / done:.2f} times fewer" in ls(study)
    assert sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated", "timing.repeats=1")).found == 3
    assert sweep(jobs(tiny_checkpoint, tmp_path)).found == 3
    assert {f: r for f, r in samples(study)} == after, "the samples were timed before, so nothing is run"


def test_a_sample_whose_pixels_alone_are_others_fails(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """After the samples are stored, a hook on the real transformer changes its output."""
    (job, _) = asked = jobs(tiny_checkpoint, tmp_path)
    sweep(asked)
    backbone = backbone_of(job.condition.model)
    assert isinstance(backbone, HunyuanVideoBackbone)
    hook = backbone.transformer.register_forward_hook(lambda module, args, output: (output[0] * 1.5,))
    try:
        failed = sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated")).failed
    finally:
        hook.remove()
    assert len(failed) == 3
    records = [record for _, record in samples(tmp_path / "tiny") if record]
    assert [r.status for r in records] == ["failed"] * 3 and "the sample alone gives frames of" in (
        records[0].error or ""
    )
    assert len(list((tmp_path / "tiny" / ".quarantine").glob(f"*/*/{MASTER}"))) == 3, "kept for inspection"
    assert sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated", "timing.repeats=1")).made == 3


@pytest.mark.parametrize("other", [{"cpu": "Another CPU"}, {"threads": 64}])
def test_samples_made_elsewhere_are_left_alone(tiny_checkpoint: Path, tmp_path: Path, other: dict[str, object]) -> None:
    """Another machine or another number of threads may give other frames. No finished sample is lost."""
    (job, _) = asked = jobs(tiny_checkpoint, tmp_path)
    sweep(asked)
    study = tmp_path / "tiny"
    for place, record in list(samples(study)):
        assert record is not None
        Store(study).update(place, replace(record, environment=record.environment | other))
    before = {file: file.read_bytes() for file in study.glob("*/*/*")}
    backbone = backbone_of(job.condition.model)
    assert isinstance(backbone, HunyuanVideoBackbone)
    hook = backbone.transformer.register_forward_hook(lambda module, args, output: (output[0] * 1.5,))
    try:
        assert len(sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated")).failed) == 3
    finally:
        hook.remove()
    assert {file: file.read_bytes() for file in study.glob("*/*/*")} == before
    assert not (study / ".quarantine").exists()


@pytest.mark.parametrize(("factor", "outcome"), [(1.001, "timed"), (1.5, "failed")])
def test_where_bits_do_not_come_back_the_sample_stays_and_the_difference_is_recorded(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, outcome: str
) -> None:
    """As on a GPU, nothing goes into quarantine. Runs record a small difference. A large one is not timed."""
    monkeypatch.setattr(rebuild, "is_bit_stable", lambda record: False)
    (job, _) = asked = jobs(tiny_checkpoint, tmp_path)
    sweep(asked)
    before = {f: f.read_bytes() for f in (tmp_path / "tiny").glob("*/*/*")}
    backbone = backbone_of(job.condition.model)
    assert isinstance(backbone, HunyuanVideoBackbone)
    hook = backbone.transformer.register_forward_hook(lambda module, args, output: (output[0] * factor,))
    try:
        failed = sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated", "timing.repeats=1")).failed
    finally:
        hook.remove()
    assert not (tmp_path / "tiny" / ".quarantine").exists() and len(failed) == {"timed": 0, "failed": 3}[outcome]
    if outcome == "failed":
        assert {f: f.read_bytes() for f in (tmp_path / "tiny").glob("*/*/*")} == before
        return
    records = [record for _, record in samples(tmp_path / "tiny") if record]
    assert {record.timing for record in records} == {"isolated"}
    assert all(1 <= run["frames_difference"] <= 8 for record in records for run in (*record.warmups, *record.repeats))


def test_a_run_that_raises_leaves_the_sample_as_it_was(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (job, _) = asked = jobs(tiny_checkpoint, tmp_path)
    sweep(asked)
    before = {f: r for f, r in samples(tmp_path / "tiny")}

    def fault(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory, say")

    backbone = backbone_of(job.condition.model)
    assert isinstance(backbone, HunyuanVideoBackbone)
    hook = backbone.transformer.register_forward_pre_hook(fault)
    try:
        assert len(sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated")).failed) == 3
    finally:
        hook.remove()
    assert {f: r for f, r in samples(tmp_path / "tiny")} == before
    assert sweep(jobs(tiny_checkpoint, tmp_path, "timing=isolated", "timing.repeats=1")).found == 3


def test_another_process_at_work_is_seen() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with watched(torch.device("cpu")) as machine:
            end = os.times().elapsed + 1.0
            while os.times().elapsed < end:
                pass
    finally:
        busy.kill()
        busy.wait()
    assert machine["other_busy_cores"] > 0.1, machine
    assert machine["before"]["cpu_mhz"] is None or machine["before"]["cpu_mhz"] > 0


def test_this_process_is_not_among_the_other_users_of_the_gpu() -> None:
    assert _others(["11", "12"], "12") == {"processes": 2, "other_processes": 1}
    assert _others(["11", "12"], "13") == {"processes": 2, "other_processes": None}, "another namespace"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_its_clocks_and_its_users() -> None:
    said = state(torch.device("cuda"))["gpu"]
    assert "nvidia-smi" in said or (
        set(said) == {*GPU_FIELDS, "processes", "other_processes"} and float(said["clocks.sm"]) > 0
    )


def test_settings_that_cannot_be_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for wrong, message in (
        ({"mode": "alone"}, "timing must be shared or isolated, got 'alone'"),
        ({"repeats": 2}, "timing.repeats must be odd"),
        ({"warmups": -1}, "timing.warmups must be a whole number, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(Timing(), **wrong)
    with pytest.raises(ValueError, match="timing.repeats must be odd"):
        jobs(tiny_checkpoint, tmp_path, "timing=isolated", "timing.repeats=4")
    assert Store(tmp_path / "tiny").recorded(Place(tmp_path / "tiny", "nothing")) is None
