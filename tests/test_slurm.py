"""A sweep as tasks of a queue, by submitit's local executor: real processes, each a worker on the whole sweep."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from studies import stored

from bench.config import CONF
from bench.plan import PlanFirst, checked
from bench.prefetch import configs_of
from bench.run import units_of
from bench.tasks import check_launcher
from bench.upkeep import verify

SMALL = [
    "model.video.height=32", "model.video.width=32", "model.video.num_frames=17", "model.video.num_inference_steps=3",
    "metrics=pixel", "prompts.limit=2", "interpolator=linear", "study=tiny", "method.k=1", "method.theta=0.01,1.0",
]  # fmt: skip
LOCAL = "hydra/launcher=slurm_local"


@pytest.fixture
def arguments(tiny_checkpoint: Path, tmp_path: Path) -> list[str]:
    """Six samples: a baseline and two conditions over two prompts."""
    return [*SMALL, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.sweep", "--multirun", *arguments]


def sweep(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=1800, env=os.environ | environment
    )


def before_each_call(folder: Path, body: str) -> dict[str, str]:
    """An environment in which `body` is run before each call of the real DiT."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, sys, time, torch\ndef before(module, *_):\n"
        f" if type(module).__name__ == 'HunyuanVideoTransformer3DModel':\n  {body}\n"
        "torch.nn.modules.module.register_module_forward_pre_hook(before)\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def logs(study: Path) -> list[str]:
    """What each task said."""
    return [file.read_text() for file in study.glob("logs/*/submitit/*/*_log.out")]


def test_tasks_share_the_sweep_and_each_sample_is_made_once(arguments: list[str], tmp_path: Path) -> None:
    done = sweep(LOCAL, *arguments)
    assert done.returncode == 0 and "all tasks have ended" in done.stdout, done.stdout + done.stderr
    said = logs(tmp_path / "tiny")
    made = [int(count) for text in said for count in re.findall(r"(\d+) made, \d+ found, 0 failed of 6", text)]
    assert len(made) == 2 and sum(made) == 6, said
    assert sum(text.count(" made: ") for text in said) == 6
    ordinary = units_of(checked(*configs_of(arguments)))
    assert {row.record["key"] for row in stored(tmp_path / "tiny")} == {
        s.key for u in ordinary for s, _, _ in u.samples
    }
    assert verify(tmp_path / "tiny") == (6, [])


def test_a_task_that_is_told_to_leave_is_queued_again_and_continues(arguments: list[str], tmp_path: Path) -> None:
    """submitit's signal for preemption, in the middle of a sample: no failure is recorded, nothing is made twice."""
    study = tmp_path / "tiny"
    arguments = [a for a in arguments if not a.startswith("method.theta")]  # one condition, so one task
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
        assert time.monotonic() < until and process.poll() is None, logs(study)
        time.sleep(0.05)
    os.kill(int(notes[0].stem.rpartition("-")[2]), signal.SIGUSR2)
    said = process.communicate(timeout=1800)[0]
    assert process.returncode == 0, said
    (log,) = logs(study)
    assert "this job is preempted" in log and "Requeued job" in log and log.count("Loading pickle") == 2, log
    assert log.count(" made: ") == 4 and " failed: " not in log, log
    assert not list(study.glob(".locks/at-work-*")) and not list(study.rglob(".partial-*")), "it left cleanly"
    assert verify(study) == (4, [])


def test_a_failed_sample_is_tried_by_one_task_and_all_end_with_that_status(
    arguments: list[str], tmp_path: Path
) -> None:
    once = f"os.path.exists({str(tmp_path / 'failed')!r}) or (open({str(tmp_path / 'failed')!r}, 'w'), sys.exit(3))"
    done = sweep(LOCAL, *arguments, **before_each_call(tmp_path / "site", once))
    assert done.returncode == 1 and "1 samples failed: baseline" in done.stderr, done.stdout + done.stderr
    assert "a task failed" in done.stdout
    until = time.monotonic() + 300  # the launching process need not wait for the others
    while len(said := logs(tmp_path / "tiny")) < 2 or not all(" failed of 6" in text for text in said):
        assert time.monotonic() < until, said
        time.sleep(0.1)
    assert all("1 failed of 6 samples" in text for text in said), said
    failed = [row for row in stored(tmp_path / "tiny") if row.record["status"] == "failed"]
    assert len(failed) == 1 and "SystemExit: 3" in failed[0].record["error"]


def test_a_mistake_ends_it_before_anything_is_submitted(arguments: list[str], tmp_path: Path) -> None:
    done = sweep(LOCAL, *arguments, "+method.thta=0.5,0.6")
    assert done.returncode == 1 and "error: there is no setting method.thta; did you mean" in done.stderr, done
    assert "Traceback" not in done.stderr and "tasks" not in done.stdout and not list(tmp_path.rglob("submitit"))


def test_what_is_lacking_for_a_launcher_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        slurm, local, none = (
            compose("config", given, return_hydra_config=True) for given in (["hydra/launcher=slurm"], [LOCAL], [])
        )
    with pytest.raises(SystemExit, match="add --multirun"):  # one condition is not run on the login node either
        PlanFirst().on_run_start(slurm)
    PlanFirst().on_run_start(none)
    monkeypatch.setenv("PATH", str(tmp_path))
    check_launcher(local)
    with pytest.raises(ValueError, match="there is no sbatch, srun, scontrol here; .* hydra/launcher=slurm_local"):
        check_launcher(slurm)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"needs submitit; install it with: pip install 'vgdfr\[slurm\]'"):
        check_launcher(local)
    check_launcher(none)


def test_a_device_of_the_nodes_need_not_be_here(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with initialize_config_dir(CONF, version_base="1.3"):
        there = compose("config", [f"model.backbone.path={tiny_checkpoint}", "model.backbone.device=cuda"])
        assert checked(there, here=False)
        lacking = compose("config", ["model.backbone.path=/nowhere", "model.backbone.device=cuda"])
        with pytest.raises(SystemExit, match="/nowhere"):
            checked(lacking, here=False)


def test_every_option_of_the_slurm_conf_is_one_that_the_launcher_takes() -> None:
    """The conf names its target itself, so that a missing package is no riddle; its schema is checked here."""
    for ours, theirs in (("slurm", "submitit_slurm"), ("slurm_local", "submitit_local")):
        with initialize_config_dir(CONF, version_base="1.3"):
            launchers = [
                compose("config", [f"hydra/launcher={name}"], return_hydra_config=True).hydra.launcher
                for name in (ours, theirs)
            ]
            assert set(launchers[0]) - {"max_num_timeout"} <= set(launchers[1])  # submitit's own, both take it
            assert launchers[0]._target_ == launchers[1]._target_
    with pytest.raises(ValueError, match="no setting hydra.launcher.partitoin; did you mean hydra.launcher.partition"):
        configs_of(["hydra/launcher=slurm", "hydra.launcher.partitoin=gpu"])
