"""With how many threads a model on the CPU computes, and what is said of busy cores."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import run

from analysis.load import load
from bench import threads
from bench.machine import other_busy_cores
from bench.threads import warn_of_busy_cores

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
    # the server that commands are forked from has read OMP_NUM_THREADS already
    done = run("bench.sweep", *arguments, before="import torch; torch.set_num_threads(3)")
    assert done.returncode == 0 and f"computing on the CPU {said}" in done.stdout, done
    (row,) = load(tmp_path / "tiny")
    assert row.record["environment"]["threads"] == count
    assert ("which is slower than fewer threads" in done.stdout) == (count > len(os.sched_getaffinity(0)))


def test_busy_cores_are_told_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOK_S", 1.0)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        warn_of_busy_cores(1)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    said = capsys.readouterr().out
    assert f"of this machine's {os.cpu_count()} cores busy; latencies will be longer" in said


def test_a_process_s_own_work_is_not_the_others() -> None:
    """However busy the machine is, its cores are shared by this process and the others."""
    start, own = time.perf_counter(), time.process_time()
    others = other_busy_cores(lambda: sum(i * i for i in range(5_000_000)))
    own_cores = (time.process_time() - own) / (time.perf_counter() - start)
    assert others is not None and others + own_cores < (os.cpu_count() or 1) + 0.2
