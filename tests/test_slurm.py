"""A sweep as tasks of a queue, by submitit's local executor. Each task is a real process and a worker."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plans import jobs, line, plan
from processes import Finished, run
from studies import stored

from bench.plan.job import Launcher
from bench.plan.jobs import checked
from bench.plan.units import units_of
from bench.store.upkeep import verify
from bench.work.sweep import sweep as run_sweep
from bench.work.tasks import check_launcher, executor_of, useful_workers

SMALL = [
    "model.video.height=32", "model.video.width=32", "model.video.num_frames=17", "model.video.num_inference_steps=3",
    "metrics=pixel", "prompts.limit=2", "interpolator=linear", "study=tiny", "method.k=1", "method.theta=0.01,1.0",
]  # fmt: skip
LOCAL, TWO = "hydra/launcher=slurm_local", "hydra.launcher.workers=2"


@pytest.fixture
def arguments(tiny_checkpoint: Path, tmp_path: Path) -> list[str]:
    """Returns the arguments for six samples: a baseline and two conditions over two prompts."""
    return [*SMALL, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.sweep", "--multirun", *arguments]


def sweep(*arguments: str, **environment: str) -> Finished:
    return run("bench.sweep", "--multirun", *arguments, **environment)


def before_each_call(folder: Path, body: str) -> dict[str, str]:
    """Returns an environment in which `body` runs before each call of the real DiT."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, signal, sys, time, torch\ndef before(module, *_):\n"
        f" if type(module).__name__ == 'HunyuanVideoTransformer3DModel':\n  {body}\n"
        "torch.nn.modules.module.register_module_forward_pre_hook(before)\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def logs(study: Path) -> list[str]:
    """Returns the output of each task."""
    return [file.read_text() for file in study.glob("logs/*/submitit/*/*_log.out")]


def test_tasks_share_the_sweep_and_each_sample_is_made_once(arguments: list[str], tmp_path: Path) -> None:
    done = sweep(LOCAL, TWO, *arguments)
    assert done.returncode == 0 and "all tasks have ended" in done.stdout, done.stdout + done.stderr
    assert "6 of 6 samples stored, 0 failed; 0 of 2 workers running" in done.stdout, done.stdout
    said = logs(tmp_path / "tiny")
    made = [int(count) for text in said for count in re.findall(r"(\d+) made, \d+ found, 0 failed of 6", text)]
    assert len(made) == 2 and sum(made) == 6, said
    assert sum(text.count(" made: ") for text in said) == 6
    ordinary = units_of(jobs(*arguments))
    assert {row.record["key"] for row in stored(tmp_path / "tiny")} == {
        s.key for u in ordinary for s, _, _ in u.samples
    }
    assert verify(tmp_path / "tiny") == (6, [])


def test_a_task_that_is_told_to_leave_is_queued_again_and_continues(arguments: list[str], tmp_path: Path) -> None:
    """submitit's signal for preemption comes in the middle of a sample.

    No failure is recorded, and no sample is made twice.
    """
    study = tmp_path / "tiny"
    arguments = [a for a in arguments if not a.startswith("method.theta")]
    process = subprocess.Popen(
        command(LOCAL, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | before_each_call(tmp_path / "site", "time.sleep(0.3)"),
    )
    until = time.monotonic() + 300
    while not any(" made: " in text for text in logs(study)) or not (
        notes := list(study.glob(".locks/at-work-*.json"))
    ):
        assert process.poll() is None, (process.communicate()[0], logs(study))
        assert time.monotonic() < until, logs(study)
        time.sleep(0.05)
    os.kill(int(notes[0].stem.rpartition("-")[2]), signal.SIGUSR2)
    said = process.communicate(timeout=1800)[0]
    assert process.returncode == 0, said
    (log,) = logs(study)
    assert "this job is preempted" in log and "Requeued job" in log and log.count("Loading pickle") == 2, log
    assert log.count(" made: ") == 4 and " failed: " not in log, log
    assert not list(study.glob(".locks/at-work-*")) and not list(study.rglob(".partial-*")), "the task ended cleanly"
    assert verify(study) == (4, [])


def test_a_failed_sample_is_tried_by_one_task_and_all_end_with_that_status(
    arguments: list[str], tmp_path: Path
) -> None:
    once = f"os.path.exists({str(tmp_path / 'failed')!r}) or (open({str(tmp_path / 'failed')!r}, 'w'), sys.exit(3))"
    done = sweep(LOCAL, TWO, *arguments, **before_each_call(tmp_path / "site", once))
    assert done.returncode == 1 and "1 samples failed: baseline" in done.stderr, done.stdout + done.stderr
    assert "a task failed" in done.stdout
    said = logs(tmp_path / "tiny")
    assert len(said) == 2 and all("1 failed of 6 samples" in text for text in said), said
    failed = [row for row in stored(tmp_path / "tiny") if row.record["status"] == "failed"]
    assert len(failed) == 1 and "SystemExit: 3" in failed[0].record["error"]


def test_a_task_that_may_not_be_queued_again_fails_with_that_reason(arguments: list[str], tmp_path: Path) -> None:
    """For submitit, a task that is told to leave in its last ten minutes is out of time."""
    leave = "os.kill(os.getpid(), signal.SIGUSR2)"
    done = sweep(
        LOCAL, "hydra.launcher.timeout_min=10", "hydra.launcher.max_num_timeout=0", *arguments,
        **before_each_call(tmp_path / "site", leave),
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "a task failed: " in done.stdout and "timed-out too many times" in done.stdout, done.stdout


def test_a_mistake_ends_it_before_anything_is_submitted(arguments: list[str], tmp_path: Path) -> None:
    done = sweep(LOCAL, *arguments, "+method.thta=0.5,0.6")
    assert done.returncode == 1 and "error: there is no setting method.thta; did you mean" in done.stderr, done
    assert "Traceback" not in done.stderr and "tasks" not in done.stdout and not list(tmp_path.rglob("submitit"))


def launcher(*arguments: str) -> Launcher:
    found = plan(*arguments).launcher
    assert found is not None
    return found


def test_what_is_lacking_for_a_launcher_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slurm, local = launcher("hydra/launcher=slurm"), launcher(LOCAL)
    monkeypatch.setenv("PATH", str(tmp_path))
    check_launcher(local)
    with pytest.raises(ValueError, match="there is no sbatch, srun, scontrol here; .* hydra/launcher=slurm_local"):
        check_launcher(slurm)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"needs submitit; install it with: pip install 'vgdfr\[slurm\]'"):
        check_launcher(local)
    assert plan().launcher is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("hydra.launcher.workers=0", "hydra.launcher.workers must be a whole number of at least 1, got 0"),
        ("hydra.launcher.timeout_min=soon", 'Parameter "timeout_min" expected type'),
        ("+hydra.launcher.partition=gpu", "Unknown argument 'partition' for executor 'local'"),
        ("hydra.launcher.nodes=2", "LocalExecutor can use only one node"),
    ],
)
def test_a_setting_that_submitit_does_not_take_is_refused_and_nothing_is_written(
    setting: str, message: str, arguments: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        run_sweep(line(LOCAL, setting, *arguments))
    assert not (tmp_path / "tiny").exists()


def test_a_device_of_the_nodes_need_not_be_here(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    there = plan("hydra/launcher=slurm", f"model.backbone.path={tiny_checkpoint}", "model.backbone.device=cuda")
    assert checked(there)
    lacking = plan("hydra/launcher=slurm", "model.backbone.path=/nowhere", "model.backbone.device=cuda")
    with pytest.raises((ValueError, OSError), match="/nowhere"):
        checked(lacking)


def test_every_option_of_the_slurm_conf_is_one_that_submitit_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Options without a value get one here. submitit only asks whether there is an srun."""
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("slurm", "slurm_local"):
        ours = launcher(f"hydra/launcher={name}")
        values = {"setup": ["true"], "mem_gb": 1} | dict.fromkeys(("mem_per_gpu", "mem_per_cpu", "gres"), "1G")
        filled = {key: values.get(key, 1) if value is None else value for key, value in ours.settings.items()}
        executor = executor_of(Launcher(name, filled), tmp_path / name)
        assert executor._executor.parameters["tasks_per_node" if name == "slurm_local" else "ntasks_per_node"] == 1
    mistyped = "no setting hydra.launcher.partitoin; did you mean hydra.launcher.partition"
    with pytest.raises(ValueError, match=mistyped):
        plan("hydra/launcher=slurm", "hydra.launcher.partitoin=gpu")


def test_no_more_workers_are_started_than_cores_and_units_allow(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two prompts make two units of work."""
    both = tuple(checked(plan(*arguments)))
    os.sched_setaffinity(0, {min(cores := os.sched_getaffinity(0))})
    try:
        assert useful_workers(both, launcher(LOCAL, "hydra.launcher.workers=3")) == 1
        assert "1 instead of 3 workers, because this process may use 1 cores" in capsys.readouterr().out
        assert useful_workers(both, launcher("hydra/launcher=slurm", "hydra.launcher.workers=3")) == 2
        assert "2 instead of 3 workers, because the sweep has 2 prompts and seeds" in capsys.readouterr().out
        assert useful_workers(both, launcher("hydra/launcher=slurm", "hydra.launcher.workers=2")) == 2
        assert capsys.readouterr().out == ""
    finally:
        os.sched_setaffinity(0, cores)


def test_a_task_carries_a_class_of_the_user_s_own(arguments: list[str], tmp_path: Path) -> None:
    """PYTHONPATH leads to the class, in the command's process and in the task's process."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_method.py").write_text(
        "from vgdfr import Baseline\nclass Mine(Baseline):\n    version = 1\n"
    )
    own = [a for a in arguments if not a.startswith(("method.", "prompts.limit"))]
    own += ["prompts.limit=1", "method=custom", "method._target_=my_method.Mine"]
    path = os.pathsep.join([str(tmp_path / "mine"), os.environ.get("PYTHONPATH", "")])
    done = sweep(LOCAL, *own, PYTHONPATH=path)
    assert done.returncode == 0 and "samples stored, 0 failed; 0 of 1 workers running" in done.stdout, (
        done.stdout + done.stderr
    )
    assert "my_method.Mine" in {row.record["method"].get("name") for row in stored(tmp_path / "tiny")}
