"""Kills and interrupts sweeps, and runs several side by side, with real processes and real signals."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
from forking import HERE
from processes import Finished, run, start
from studies import stored

from bench.store.claims import claimed, left_by, note_of, unit_note_of
from bench.store.upkeep import faults, gc, samples, verify

SMALL = [
    "--multirun", "model.video.height=32", "model.video.width=32", "model.video.num_frames=17",
    "model.video.num_inference_steps=5", "metrics=pixel", "prompts.limit=3", "interpolator=linear", "study=tiny",
    "method.k=1", "method.theta=0.01,1.0",
]  # fmt: skip
MERGING = "vgdfr-k1-theta0.01-interpolator=linear"


@pytest.fixture
def arguments(tiny_checkpoint: Path, tmp_path: Path) -> list[str]:
    """Returns the arguments for nine samples: a baseline and two conditions over three prompts."""
    return arguments_of(tiny_checkpoint, tmp_path)


def arguments_of(checkpoint: Path, root: Path) -> list[str]:
    return [*SMALL, f"root={root}", f"model.backbone.path={checkpoint}"]


@pytest.fixture(scope="module")
def finished(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study of a sweep without faults, made in a fresh process. Tests must not change it."""
    root = tmp_path_factory.mktemp("clean")
    done = run("bench.sweep", *arguments_of(tiny_checkpoint, root))
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "tiny"


def intact(study: Path) -> int:
    """Returns the number of finished samples. Fails if one of them is not whole when it is read again."""
    for last in (False, False, True):
        try:
            found = list(samples(study))
        except ValueError as error:  # there is no sample yet, or the only sample has failed and is just being replaced
            assert "holds no sample" in str(error)
            return 0
        done = [(folder, record) for folder, record in found if record is None or record.status == "done"]
        wrong = [each for folder, record in done for each in faults(folder, record)]
        if last or not wrong:
            break
        time.sleep(0.5)  # a worker may drop a master after its record was read
    assert wrong == []
    keys = [record.key for _, record in done if record]
    assert len(set(keys)) == len(keys), "the study has a sample twice"
    return len(done)


def slow(folder: Path) -> dict[str, str]:
    """Returns an environment in which each call of the DiT takes longer, so that signals arrive during a sample."""
    return at_each_call(folder, "time.sleep(0.3)")


def at_each_call(
    folder: Path, body: str, settings: str = "", module: str = "HunyuanVideoTransformer3DModel"
) -> dict[str, str]:
    """Returns an environment in which `body` runs after each call of the real `module`. It may replace `output`."""
    folder.mkdir()
    code = [
        "import json, os, resource, signal, sys, time", "from pathlib import Path", "import torch", settings,
        "def fault(module, args, output):",
        f"    if type(module).__name__ != {module!r} or output[0].is_meta: return",  # FLOPs are counted on meta
        "    from bench.store.claims import note_of, unit_note_of",
        textwrap.indent(textwrap.dedent(body).strip(), "    "),
        "torch.nn.modules.module.register_module_forward_hook(fault)",
    ]  # fmt: skip
    (folder / "sitecustomize.py").write_text("\n".join(code))
    return {"PYTHONPATH": str(folder)}


FAULTS = """
place = json.loads(note_of(Path(STUDY), os.getpid()).read_text())["place"]
step = calls[place] = calls.get(place, 0) + 1
wrong = next((fault for sample, fault in SAMPLES.items() if place.startswith(sample)), "")
if wrong == "memory" and step == 2:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**20, limits[1]))  # less memory than the process uses already
    try:
        torch.empty(2**28).fill_(1)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
if wrong == "exception" and step == 4:
    raise RuntimeError("at step 4")
if wrong == "exit":
    sys.exit(3)
if wrong == "nan":
    return (output[0] * float("nan"),)
"""
SAMPLES = {
    f"{MERGING}/00-": "memory", "baseline/01-": "exception", f"{MERGING}/02-": "nan", "baseline/02-": "exit"
}  # fmt: skip


@pytest.fixture(scope="module")
def faulty(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, Path, list[str]]:
    """Runs a sweep in which four samples fail, each in another way. Returns its output, its study and its arguments."""
    root = tmp_path_factory.mktemp("faulty")
    settings = f"STUDY, SAMPLES, calls = {str(root / 'tiny')!r}, {SAMPLES!r}, {{}}\n"
    arguments = arguments_of(tiny_checkpoint, root)
    return run("bench.sweep", *arguments, **at_each_call(root / "site", FAULTS, settings)), root / "tiny", arguments


def failure(faulty: tuple[Finished, Path, list[str]], fault: str) -> dict:
    """Returns the record of the sample that `fault` hit. The sample must have no other file."""
    _, study, _ = faulty
    (sample,) = [sample for sample, kind in SAMPLES.items() if kind == fault]
    (folder,) = study.glob(f"{sample}*")
    assert [file.name for file in folder.iterdir()] == ["record.json"]
    return json.loads((folder / "record.json").read_text())


def test_out_of_memory_costs_one_sample(faulty: tuple[Finished, Path, list[str]]) -> None:
    record = failure(faulty, "memory")
    assert record["status"] == "failed" and "allocate memory" in record["error"], record["error"]


def test_an_exception_at_step_4_costs_one_sample(faulty: tuple[Finished, Path, list[str]]) -> None:
    record = failure(faulty, "exception")
    assert record["status"] == "failed" and record["error"].strip().endswith("RuntimeError: at step 4")


def test_latents_that_are_not_numbers_are_a_failure_of_that_name(faulty: tuple[Finished, Path, list[str]]) -> None:
    record = failure(faulty, "nan")
    assert record["status"] == "nan" and "decoded values are not finite" in record["error"]


def test_sys_exit_within_a_method_costs_one_sample(faulty: tuple[Finished, Path, list[str]]) -> None:
    assert failure(faulty, "exit")["error"].strip().endswith("SystemExit: 3")
    said, _, _ = faulty
    assert said.returncode == 1 and "5 made, 0 found, 4 failed of 9 samples" in said.stdout, said.stdout
    assert "4 failed; the same command tries only these again" in said.stdout


def test_after_failures_samples_are_bit_identical_and_the_same_command_makes_the_rest(
    faulty: tuple[Finished, Path, list[str]], finished: Path
) -> None:
    """This includes samples that the same process made after an exception at step 4."""
    _, study, arguments = faulty
    clean = {file.relative_to(finished): file.read_bytes() for file in finished.glob("*/*/*.mkv")}
    before = {file.relative_to(study): file.read_bytes() for file in study.glob("*/*/*.mkv")}
    assert len(clean) == 9 and len(before) == 5 and before == {file: clean[file] for file in before}
    assert "4 made, 5 found, 0 failed" in run("bench.sweep", *arguments).stdout
    assert {file.relative_to(study): file.read_bytes() for file in study.glob("*/*/*.mkv")} == clean


def test_a_video_of_one_colour_is_a_failure_of_that_name(arguments: list[str], tmp_path: Path) -> None:
    """The decoder gives grey for one sample."""
    body = """
    place = json.loads(note_of(Path(STUDY), os.getpid()).read_text())["place"]
    if place.startswith("baseline/01-"):
        return torch.zeros_like(output)
    """
    settings = f"STUDY = {str(tmp_path / 'tiny')!r}\n"
    site = at_each_call(tmp_path / "site", body, settings, module="HunyuanVideoDecoder3D")
    said = run("bench.sweep", *arguments, **site)
    assert said.returncode == 1 and "8 made, 0 found, 1 failed of 9 samples" in said.stdout, said.stdout
    (record,) = [row.record for row in stored(tmp_path / "tiny") if row.record["status"] != "done"]
    assert record["status"] == "constant" and "every pixel of every frame is RGB" in record["error"]


def test_weights_that_were_copied_in_part_are_refused_before_anything_is_done(
    tiny_checkpoint: Path, arguments: list[str], tmp_path: Path
) -> None:
    half = tmp_path / "half"
    shutil.copytree(tiny_checkpoint, half)
    (weights,) = (half / "transformer").glob("*.safetensors")
    data = weights.read_bytes()
    for kept in (len(data) // 2, 5):
        weights.write_bytes(data[:kept])
        said = run("bench.sweep", *arguments, f"model.backbone.path={half}")
        assert said.returncode == 1 and "Traceback" not in said.stderr, said.stderr
        assert f"{weights.name} is cut short" in said.stderr and not (tmp_path / "tiny").exists()


def test_a_worker_that_dies_of_a_sample_is_started_again_and_the_sample_is_a_visible_failure(
    arguments: list[str], tmp_path: Path
) -> None:
    body = """
    place = json.loads(note_of(Path(STUDY), os.getpid()).read_text())["place"]
    if place.startswith("baseline/01-"):
        os._exit(7)
    """
    site = at_each_call(tmp_path / "site", body, f"STUDY = {str(tmp_path / 'tiny')!r}\n")
    first = run("bench.launch", "-n", "1", *arguments, before=HERE, **site)
    assert first.returncode == 1, first.stdout + first.stderr
    assert "worker 1 ended by exit status 7" in first.stdout
    assert "8 done, 1 failed, 0 missing of 9 samples" in first.stdout
    (failed,) = [row for row in stored(tmp_path / "tiny") if row.record["status"] == "failed"]
    assert failed.record["error"] == "the process ended while it made this sample: exit status 7"
    assert intact(tmp_path / "tiny") == 8
    again = run("bench.sweep", *arguments)
    assert again.returncode == 0 and "1 made, 8 found" in again.stdout, again.stdout + again.stderr
    assert intact(tmp_path / "tiny") == 9


def test_a_worker_that_dies_of_scoring_is_started_again_and_goes_on_with_the_next_prompt(
    arguments: list[str], tmp_path: Path
) -> None:
    """The worker dies at the first prompt's second, stored sample. Only LPIPS has such a module in this sweep."""
    body = """
    if "00-" in unit_note_of(Path(STUDY), os.getpid()).read_text():
        os.kill(os.getpid(), signal.SIGSEGV)
    """
    site = at_each_call(tmp_path / "site", body, f"STUDY = {str(tmp_path / 'tiny')!r}\n", module="Conv2d")
    arguments.append("metrics.names=[psnr,lpips_embedded]")
    said = run("bench.launch", "-n", "1", *arguments, before=HERE, **site)
    assert said.returncode == 1, said.stdout + said.stderr
    assert "worker 1 ended by signal 11 (SIGSEGV) at 00-" in said.stdout and "given up" not in said.stdout, said.stdout
    assert "8 done, 1 failed, 0 missing of 9 samples" in said.stdout, said.stdout
    assert said.stdout.count("ended by") == 1 and intact(tmp_path / "tiny") == 8, said.stdout
    again = run("bench.sweep", *arguments)
    assert again.returncode == 0 and "1 made, 8 found" in again.stdout, again.stdout + again.stderr


def test_two_sweeps_in_one_folder_make_each_sample_once(arguments: list[str], tmp_path: Path) -> None:
    both = [start("bench.sweep", *arguments) for _ in range(2)]
    said = [sweep.wait() for sweep in both]
    assert [process.returncode for process in said] == [0, 0], said
    made = [int(process.stdout.split(" made, ")[0].rsplit(None, 1)[1]) for process in said]
    assert sum(made) == 9 and intact(tmp_path / "tiny") == 9, made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_all_workers_and_the_same_command_continues(
    arguments: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    """The same holds for SIGTERM, which a cluster sends before it kills."""
    workers = {signal.SIGINT: "2", signal.SIGTERM: "1"}[number]
    launch = start("bench.launch", "-n", workers, *arguments, before=HERE, **slow(tmp_path / "site"))
    launch.wait_for("made:")
    launch.send_signal(number)
    said = launch.wait(120)
    assert said.returncode == 130 and f"go on with: python -m bench.launch -n {workers} " in said.stdout, said
    assert not list((tmp_path / "tiny" / ".locks").glob("at-work-*")), "a worker is still running"
    before = intact(tmp_path / "tiny")
    assert 0 < before < 9
    again = run("bench.sweep", *arguments)
    assert again.returncode == 0 and f"{9 - before} made, {before} found" in again.stdout, again.stdout + again.stderr
    assert intact(tmp_path / "tiny") == 9


@pytest.mark.parametrize("keep", ["all", "latents"])
def test_workers_killed_at_random_moments_leave_nothing_half_written(
    arguments: list[str], tmp_path: Path, keep: str
) -> None:
    """kill -9 hits one of four workers four times: in turn a worker that makes a sample, and any worker."""
    rng, study = random.Random(0), tmp_path / "tiny"
    arguments.append(f"keep={keep}")
    launch = start("bench.launch", "-n", "4", *arguments, before=HERE, **slow(tmp_path / "site"))
    kills = 0
    while kills < 4 and launch.poll() is None:
        time.sleep(rng.uniform(0.1, 0.8))
        at_work = {int(note.stem.rpartition("-")[2]) for note in (study / ".locks").glob("at-work-*.json")}
        if not at_work and not kills:  # all workers are still starting
            continue
        assert launch.process.pid is not None
        running = [pid for pid in children(launch.process.pid) if runs(pid)]
        chosen = [pid for pid in running if pid in at_work] if kills % 2 == 0 else running
        if not chosen:
            continue
        with suppress(ProcessLookupError):
            os.kill(rng.choice(chosen), signal.SIGKILL)
            kills += 1
        intact(study)
    said = launch.wait().stdout
    assert kills > 2 and said.count("signal 9 (SIGKILL)") > 2 and "is recorded as failed" in said, said
    assert " 0 missing of 9 samples" in said or "given up" in said, said
    again = run("bench.sweep", *arguments)
    assert again.returncode == 0 and intact(study) == 9, again.stdout + again.stderr
    assert verify(study) == (9, []) and len(list(study.glob("[!.]*/*/master.mkv"))) == {"all": 9, "latents": 0}[keep]


@pytest.mark.parametrize(
    ("moment", "module"),
    [("make", "HunyuanVideoTransformer3DModel"), ("load", "LlamaModel")],
    ids=["making", "loading"],
)
def test_workers_end_within_seconds_of_a_launcher_that_is_killed(
    arguments: list[str], tmp_path: Path, moment: str, module: str
) -> None:
    """After kill -9 the launcher cannot tell its workers. While it loads, a worker here ignores the interrupt, too."""
    body = {
        "make": "Path(SEEN).touch(); time.sleep(60)",
        "load": """
            Path(SEEN).touch()
            while True:
                try:
                    time.sleep(60)
                except KeyboardInterrupt:
                    pass
        """,
    }[moment]
    site = at_each_call(tmp_path / "site", body, f"SEEN = {str(tmp_path / 'seen')!r}\n", module)
    site["VGDFR_CACHE"] = str(tmp_path / "cache")  # no prompt is embedded yet, so loading runs the text encoder
    launch = start("bench.launch", "-n", "2", *arguments, before=HERE, **site)
    until = time.monotonic() + 300
    while not (tmp_path / "seen").exists():
        assert time.monotonic() < until and launch.poll() is None, launch.stdout
        time.sleep(0.05)
    assert launch.process.pid is not None
    workers = children(launch.process.pid)
    launch.send_signal(signal.SIGKILL)
    began = time.monotonic()
    while any(map(runs, workers)):
        assert time.monotonic() < began + 10, launch.stdout
        time.sleep(0.05)
    launch.wait()
    assert len(workers) == 2 and not list((tmp_path / "tiny").glob("[!.]*/.partial-*"))
    if moment == "make":
        assert not list((tmp_path / "tiny").glob(".locks/at-*")), "an interrupted worker removes its notes"


def runs(pid: int) -> bool:
    """Returns whether the process has not ended. A zombie has ended, though it is still listed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Returns the processes that a process has started and has not waited for."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def test_damaged_samples_go_into_quarantine_and_are_made_anew(
    arguments: list[str], tmp_path: Path, finished: Path
) -> None:
    study = shutil.copytree(finished, tmp_path / "tiny")
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
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "error: there is no setting metod; did you mean method?" in done.stderr


def test_what_a_dead_process_held_is_free_and_what_it_was_at_is_known(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bench.store.claims import claimed, note_of\n"
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


def test_gc_removes_old_notes_of_this_machine_s_dead_processes_only(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = [note(tmp_path, gone.pid) for note in (note_of, unit_note_of)]
    others = [note.with_name(note.name.replace(f"-{gone.pid}", f"-other-{gone.pid}")) for note in mine]
    alive = note_of(tmp_path, os.getpid())
    alive.parent.mkdir()
    for note in (*mine, *others, alive):
        note.write_text("{}")
        os.utime(note, (0, 0))
    assert len(gc(tmp_path, quarantined=False, really=True)) == 2
    assert sorted(alive.parent.iterdir()) == sorted([*others, alive])


def test_a_full_disk_ends_the_sweep_with_what_is_stored_whole(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The disk is a real file system in memory. Another file fills it while the third sample is made.

    The second sample merges nothing, so it makes no DiT pass of its own.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    fill = f"""
    calls.append(1)
    if len(calls) == 6:
        with suppress(OSError), open({str(disk / "other")!r}, "wb", buffering=0) as other:
            while True:
                other.write(bytes(4096))
    """
    try:
        arguments = arguments_of(tiny_checkpoint, disk)
        site = at_each_call(tmp_path / "site", fill, "from contextlib import suppress; calls = []")
        full = run("bench.sweep", *arguments, **site)
        assert full.returncode == 1 and "Traceback" not in full.stdout + full.stderr, full.stdout + full.stderr
        assert "stopped: OSError: [Errno 28] No space left on device" in full.stdout, full.stdout
        assert intact(disk / "tiny") == 2 and "2 made, 0 found, 0 failed of 9 samples" in full.stdout
        assert not list(disk.glob("tiny/[!.]*/.partial-*"))
        (disk / "other").unlink()
        assert run("bench.sweep", *arguments).returncode == 0 and intact(disk / "tiny") == 9
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# This stands for a full disk if none can be mounted: the second master is written to /dev/full. The error is real.
FULL_AT_SECOND = """
import vgdfr.video_file
write_master, masters = vgdfr.video_file.write_master, []
def write_until_full(path, frames, fps):
    masters.append(path)
    if len(masters) != 2:
        return write_master(path, frames, fps)
    path.write_bytes(b"a part")
    with open("/dev/full", "wb", buffering=0) as full:
        full.write(b"the rest")
import bench.work.files
bench.work.files.write_master = vgdfr.video_file.write_master = write_until_full
"""


def test_a_full_disk_ends_the_sweep_also_where_it_is_a_stand_in(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """This test also runs for an ordinary user, who may not mount a file system."""
    arguments = [*arguments_of(tiny_checkpoint, tmp_path), "prompts.limit=1"]
    full = run("bench.sweep", *arguments, before=FULL_AT_SECOND)
    assert full.returncode == 1 and "Traceback" not in full.stdout + full.stderr, full.stdout + full.stderr
    assert "stopped: OSError: [Errno 28] No space left on device" in full.stdout, full.stdout
    assert intact(tmp_path / "tiny") == 1 and "1 made, 0 found, 0 failed of 3 samples" in full.stdout
    assert not list(tmp_path.glob("tiny/[!.]*/.partial-*"))
    again = run("bench.sweep", *arguments)
    assert "2 made, 1 found, 0 failed" in again.stdout and intact(tmp_path / "tiny") == 3


def test_a_disk_too_small_for_a_sample_is_said_before_it_starts(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The disk is a real file system in memory, which is too small at first and is then enlarged."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "none", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        arguments = [*arguments_of(tiny_checkpoint, disk), "prompts.limit=1", "model.video.height=64"]
        said = run("bench.sweep", *arguments)
        assert said.returncode == 1 and "stopped: OSError" in said.stdout, said.stdout + said.stderr
        assert "a sample may need 0.2 MB; make room, then the same command continues" in said.stdout
        assert "loading" not in said.stdout and not list(disk.glob("tiny/[!.]*/*/record.json"))
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        assert "3 made, 0 found, 0 failed" in run("bench.sweep", *arguments).stdout
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_the_page_of_faults_names_tests_that_are_there() -> None:
    tests = Path(__file__).parent
    _, rows = (tests.parent / "docs" / "faults.md").read_text().split("|---|---|---|\n")
    for line in rows.splitlines():
        names = re.findall(r"`((?:test_\w+\.py(?:::)?)?(?:test_\w+)?)`", line.rsplit("|", 2)[1])
        assert names, line
        for name in names:
            file, _, test = name.rpartition("::") if ".py" in name else ("test_faults.py", "", name)
            file, test = (test, "") if test.endswith(".py") else (file, test)
            assert not test or f"def {test}(" in (tests / file).read_text(), name
            assert (tests / file).is_file(), name
