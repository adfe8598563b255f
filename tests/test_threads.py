"""The number of threads of a model on the CPU, and the warning about busy cores."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import run
from studies import stored

from bench.work import threads
from bench.work.machine import busy_by_others, other_busy_cores
from bench.work.threads import warn_of_busy_cores

SMALL = [
    "model.video.height=32", "model.video.width=32", "model.video.num_frames=5", "model.video.num_inference_steps=2",
    "metrics=pixel", "method=baseline", "prompts.limit=1", "study=tiny",
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "count", "said"),
    [
        ([], 1, "with 1 thread (threads=N"),
        (["threads=2"], 2, "with 2 threads (threads=N"),
        (["threads=null"], 3, "with 3"),
    ],
)
def test_a_model_on_the_cpu_computes_with_one_thread_unless_told_otherwise(
    tiny_checkpoint: Path, tmp_path: Path, given: list[str], count: int, said: str
) -> None:
    arguments = [*SMALL, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}", *given]
    # commands are forked from a server that has read OMP_NUM_THREADS already
    done = run("bench.sweep", *arguments, before="import torch; torch.set_num_threads(3)")
    assert done.returncode == 0 and f"computing on the CPU {said}" in done.stdout, done
    (row,) = stored(tmp_path / "tiny")
    assert row.record["environment"]["threads"] == count
    assert ("which is slower than fewer threads" in done.stdout) == (count > len(os.sched_getaffinity(0)))


def test_busy_cores_are_told_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOK_S", 1.0)
    cores = os.sched_getaffinity(0)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in cores]
    try:
        warn_of_busy_cores(1)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    said = capsys.readouterr().out
    assert f"of the {len(cores)} cores busy that this process may use; latencies will be longer" in said


def test_a_process_s_own_work_is_not_the_others() -> None:
    """In 2 s three cores' worth of work was done, and this process did one core's worth."""
    assert busy_by_others(6.0, 2.0, 2.0) == 2.0
    assert busy_by_others(1.99, 2.0, 2.0) == 0.0, "ticks are rounded"


def test_only_the_cores_that_a_process_may_use_are_looked_at() -> None:
    """One core counts at most one core's work of the system's own count. An unknown core gives no number."""
    core = min(os.sched_getaffinity(0))
    one = other_busy_cores(lambda: time.sleep(0.3), {core})
    assert one is not None and one <= 1.2
    assert other_busy_cores(lambda: None, {10**6}) is None
