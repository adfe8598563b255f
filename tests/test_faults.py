"""Sweeps that are killed, interrupted and run side by side: real processes, real signals."""

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from analysis.load import load
from bench.claims import claimed, left_by, note_of
from bench.launch import Place, places
from bench.upkeep import faults, samples, verify

SMALL = [
    "--multirun", "model.video.height=32", "model.video.width=32", "model.video.num_frames=17",
    "model.video.num_inference_steps=4", "metrics=pixel", "prompts.limit=3", "interpolator=linear", "study=tiny",
    "method.k=1", "method.theta=0.01,1.0",
]  # fmt: skip


@pytest.fixture
def arguments(tiny_checkpoint: Path, tmp_path: Path) -> list[str]:
    """Nine samples: a baseline and two conditions over three prompts."""
    return [*SMALL, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}"]


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(module, *arguments), capture_output=True, text=True, timeout=600, env=os.environ | environment
    )


def intact(study: Path) -> int:
    """How many finished samples there are, each whole; fails where one is not."""
    done = [(folder, record) for folder, record in samples(study) if record is None or record.status == "done"]
    assert [wrong for folder, record in done for wrong in faults(folder, record)] == []
    keys = [record.key for _, record in done if record]
    assert len(set(keys)) == len(keys), "a sample is there twice"
    return len(done)


def dying(folder: Path, how: str, at: int) -> dict[str, str]:
    """An environment in which the DiT's call number `at` of the first process to come so far ends it by `how`."""
    return at_each_call(
        folder,
        f"""
        if next(calls) == {at}:
            try:
                os.close(os.open({str(folder / "died")!r}, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            {how}
        """,
    )


def slow(folder: Path) -> dict[str, str]:
    """An environment in which each call of the DiT takes a while, so that a signal finds a sample being made."""
    return at_each_call(folder, "time.sleep(0.4)")


def at_each_call(folder: Path, body: str) -> dict[str, str]:
    """An environment in which `body` is run before each call of the real DiT."""
    folder.mkdir()
    code = [
        "import os, signal, sys, time", "import torch", "calls = iter(range(10**9))", "def fault(module, *_):",
        "    if type(module).__name__ != 'HunyuanVideoTransformer3DModel': return",
        textwrap.indent(textwrap.dedent(body).strip(), "    "),
        "torch.nn.modules.module.register_module_forward_pre_hook(fault)",
    ]  # fmt: skip
    (folder / "sitecustomize.py").write_text("\n".join(code))
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    ("how", "said"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "signal 9 (SIGKILL)"), ("os._exit(7)", "exit status 7")],
)
def test_a_worker_that_dies_of_a_sample_is_started_again_and_the_sample_is_a_visible_failure(
    arguments: list[str], tmp_path: Path, how: str, said: str
) -> None:
    first = run("bench.launch", "-n", "1", *arguments, **dying(tmp_path / "site", how, 5))
    assert first.returncode == 1, first.stdout + first.stderr
    assert f"worker 1 ended by {said}" in first.stdout and "8 done, 1 failed, 0 missing of 9 samples" in first.stdout
    (failed,) = [row for row in load(tmp_path / "tiny") if row.record["status"] == "failed"]
    assert failed.record["error"] == f"the process ended while it made this sample: {said}"
    assert intact(tmp_path / "tiny") == 8
    again = run("bench.launch", "-n", "1", *arguments)
    assert again.returncode == 0 and "9 done, 0 failed, 0 missing" in again.stdout, again.stdout + again.stderr
    assert intact(tmp_path / "tiny") == 9


def test_sys_exit_within_a_method_costs_one_sample(arguments: list[str], tmp_path: Path) -> None:
    first = run("bench.sweep", *arguments, **dying(tmp_path / "site", "sys.exit(3)", 5))
    assert first.returncode == 1 and "8 made, 0 found, 1 failed of 9 samples" in first.stdout, first.stdout
    assert "SystemExit: 3" in first.stdout
    assert run("bench.sweep", *arguments).returncode == 0 and intact(tmp_path / "tiny") == 9


def test_two_sweeps_in_one_folder_make_each_sample_once(arguments: list[str], tmp_path: Path) -> None:
    both = [subprocess.Popen(command("bench.sweep", *arguments), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    made = [int(text.split(" made, ")[0].rsplit(None, 1)[1]) for text in said]
    assert sum(made) == 9 and intact(tmp_path / "tiny") == 9, made


def test_ctrl_c_ends_all_workers_and_the_same_command_continues(arguments: list[str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("bench.launch", "-n", "2", *arguments),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | slow(tmp_path / "site"),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "made:" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "go on with: python -m bench.launch -n 2 " in rest, rest
    assert not list((tmp_path / "tiny" / ".locks").glob("at-work-*")), "no worker is left"
    before = intact(tmp_path / "tiny")
    assert 0 < before
    again = run("bench.launch", "-n", "2", *arguments)
    assert again.returncode == 0 and intact(tmp_path / "tiny") == 9, again.stdout + again.stderr


def test_workers_killed_at_random_moments_leave_nothing_half_written(arguments: list[str], tmp_path: Path) -> None:
    """kill -9, again and again, among four workers; what is read is whole at any time, and in the end all is there."""
    rng, study = random.Random(0), tmp_path / "tiny"
    launch = subprocess.Popen(
        command("bench.launch", "-n", "4", *arguments),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | slow(tmp_path / "site"),
    )
    kills = 0
    while kills < 4 and launch.poll() is None:
        time.sleep(rng.uniform(0.1, 0.8))
        notes = sorted((study / ".locks").glob("at-work-*.json"))
        if notes:
            try:
                os.kill(int(rng.choice(notes).stem.rpartition("-")[2]), signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
            if any(study.glob("[!.]*/*/record.json")):
                intact(study)
    said = launch.communicate(timeout=600)[0]
    assert kills > 0 and " 0 missing of 9 samples" in said, said
    again = run("bench.launch", "-n", "2", *arguments)
    assert again.returncode == 0 and intact(study) == 9, again.stdout + again.stderr
    assert verify(study) == (9, [])


def test_damaged_samples_go_into_quarantine_and_are_made_anew(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench.sweep", *arguments).returncode == 0
    study = tmp_path / "tiny"
    flipped, short, gone = (next(study.glob(f"{name}/*")) for name in ("baseline", "*theta0.01*", "*theta1.0*"))
    data = bytearray((flipped / "master.mkv").read_bytes())
    data[len(data) // 2] ^= 1
    (flipped / "master.mkv").write_bytes(data)
    (short / "master.mkv").write_bytes((short / "master.mkv").read_bytes()[:-200])
    (gone / "preview.mp4").unlink()
    done = run("bench.store", "verify", str(study))
    assert done.returncode == 1 and "9 samples checked, 3 damaged" in done.stdout
    assert "master.mkv is not what was written" in done.stdout and "preview.mp4 is not there" in done.stdout
    assert "3 made, 6 found" in run("bench.sweep", *arguments).stdout and intact(study) == 9
    assert "9 samples, 9 done" in run("bench.store", "ls", str(study)).stdout
    assert "removed" in run("bench.store", "gc", str(study), "--quarantined").stdout
    assert not (study / ".quarantine").exists() and intact(study) == 9
    assert run("bench.store", "verify", str(tmp_path / "nowhere")).stderr.startswith("error: ")


def test_a_mistake_is_one_line_before_any_worker_starts(tmp_path: Path) -> None:
    done = run("bench.launch", "-n", "2", "metod=1", f"root={tmp_path}")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "Could not override 'metod'" in done.stderr


def test_what_a_dead_process_held_is_free_and_what_it_was_at_is_known(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bench.claims import claimed, note_of\n"
        "with claimed(Path(sys.argv[1]), 'a') as mine:\n"
        " print(mine, flush=True); sys.stdin.read(1); os._exit(1)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    with claimed(tmp_path, "a") as mine:
        assert not mine
    other.communicate("x")
    with claimed(tmp_path, "a") as mine:
        assert mine
    assert left_by(tmp_path, other.pid) is None
    note_of(tmp_path, other.pid).write_text("{")
    assert left_by(tmp_path, other.pid) is None


def test_places_for_workers() -> None:
    assert places(2, None, gpus=8) == [Place(gpu=0), Place(gpu=1)]
    there = sorted(os.sched_getaffinity(0))
    assert places(None, str(there[0]), gpus=0) == [Place(cores=frozenset({there[0]}))]
    assert frozenset().union(*(p.cores or frozenset() for p in places(2, None, gpus=0))) == frozenset(there)
    for count, cores, gpus, message in (
        (None, None, 0, "say how many workers"), (0, None, 0, "at least 1"), (3, None, 2, "more than the 2 GPUs"),
        (1, "x", 0, "must be sets such as"), (None, "4000", 0, "not to be had here"), (2, "0", 0, "does not fit"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            places(count, cores, gpus)


def test_a_full_disk_ends_the_sweep_with_what_is_stored_whole(arguments: list[str], tmp_path: Path) -> None:
    """RLIMIT_FSIZE: no file may grow beyond a few bytes, so writing a master fails as on a full disk."""
    code = ("import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); sys.argv = sys.argv[1:]; "
            "runpy.run_module('bench.sweep', run_name='__main__', alter_sys=True)")  # fmt: skip
    full = subprocess.run(
        [sys.executable, "-c", code, "bench.sweep", *arguments], capture_output=True, text=True, timeout=600
    )
    assert full.returncode == 1, full.stdout + full.stderr
    assert not list((tmp_path / "tiny").glob("[!.]*/*/record.json"))
    assert run("bench.sweep", *arguments).returncode == 0 and intact(tmp_path / "tiny") == 9


def test_the_page_of_faults_names_tests_that_are_there() -> None:
    tests = Path(__file__).parent
    for line in (tests.parent / "docs" / "faults.md").read_text().splitlines()[8:]:
        for name in re.findall(r"`((?:test_\w+\.py(?:::)?)?(?:test_\w+)?)`", line.rsplit("|", 2)[1]):
            file, _, test = name.rpartition("::") if ".py" in name else ("test_faults.py", "", name)
            file, test = (test, "") if test.endswith(".py") else (file, test)
            assert f"def {test}" in (tests / file).read_text(), name
