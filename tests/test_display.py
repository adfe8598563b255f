"""Output that cannot be written or encoded neither ends a command nor changes its exit status."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import Finished, run
from studies import stored

from vgdfr.video_file import write_master

SMALL = [
    "method=baseline", "model.video.height=32", "model.video.width=32", "model.video.num_frames=5",
    "model.video.num_inference_steps=2", "metrics=pixel", "prompts.limit=2", "study=tiny",
]  # fmt: skip

# Each code runs in the command's process before the command, and takes away its standard output (1) and errors (2).
NO_READER = """
import os
r, w = os.pipe()
for number in {numbers}:
    os.dup2(w, number)
os.close(r), os.close(w)
"""
FULL_DISK = "import os; [os.dup2(os.open('/dev/full', os.O_WRONLY), number) for number in (1, 2)]"
CLOSED = "import os, sys; os.close(1), os.close(2); sys.stdout = sys.stderr = None"
NON_BLOCKING = """
import os, threading, time
r, w = os.pipe()
os.set_blocking(w, False)
os.dup2(w, 1)
def read_slowly():
    while True:
        time.sleep(0.01), os.read(r, 65536)
threading.Thread(target=read_slowly, daemon=True).start()
"""
# The command's own terminal is closed after the first output. The kernel then sends SIGHUP.
LOST_TERMINAL = """
import fcntl, os, sys, termios, threading
os.setsid()
master, terminal = os.openpty()
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for number in (0, 1, 2):
    os.dup2(terminal, number)
os.close(terminal)
os.environ["TERM"] = "xterm"
def close_soon():
    seen = b""
    while b"tiny" not in seen:
        seen += os.read(master, 1000)
    os.close(master)
threading.Thread(target=close_soon, daemon=True).start()
sys.stdout = open(1, "w", buffering=1, closefd=False)
"""
FAIL = """
import torch
def fail(module, *_):
    if type(module).__name__ == "HunyuanVideoTransformer3DModel":
        raise RuntimeError("no")
torch.nn.modules.module.register_module_forward_pre_hook(fail)
"""


def sweep(root: Path, tiny_checkpoint: Path, before: str, *more: str, **environment: str) -> Finished:
    arguments = [*SMALL, f"root={root}", f"model.backbone.path={tiny_checkpoint}", *more]
    return run("bench.sweep", *arguments, before=before, **environment)


def statuses(study: Path) -> list[str]:
    return [row.record["status"] for row in stored(study)]


@pytest.mark.parametrize(
    "before",
    [
        NO_READER.format(numbers=(1,)),
        NO_READER.format(numbers=(1, 2)),
        FULL_DISK,
        CLOSED,
        NON_BLOCKING,
        LOST_TERMINAL,
    ],
    ids=["stdout-without-reader", "neither-has-a-reader", "full-disk", "closed", "non-blocking", "lost-terminal"],
)
def test_a_sweep_makes_all_samples_whatever_becomes_of_its_display(
    before: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    done = sweep(tmp_path, tiny_checkpoint, before)
    assert done.returncode == 0, done
    assert statuses(tmp_path / "tiny") == ["done", "done"]


def test_the_exit_status_is_the_samples_also_without_a_display(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = sweep(tmp_path, tiny_checkpoint, NO_READER.format(numbers=(1, 2)) + FAIL)
    assert done.returncode == 1
    assert statuses(tmp_path / "tiny") == ["failed", "failed"]


def test_a_report_is_written_without_a_reader(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert sweep(tmp_path, tiny_checkpoint, "", "method=vgdfr", "method.k=1").returncode == 0
    for module, files in (("table1", ("table1.md", "table1.csv")), ("gallery", ("gallery/index.html",))):
        done = run(f"analysis.{module}", str(tmp_path / "tiny"), before=NO_READER.format(numbers=(1, 2)))
        assert done.returncode == 0 and all((tmp_path / "tiny" / "report" / file).is_file() for file in files)


def test_a_launcher_without_a_display_reads_on_what_its_workers_print(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The worker prints more than a pipe holds, in no known encoding, and the launcher keeps reading."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys\nif 'bench.sweep' in sys.orig_argv: os.write(1, b'\\xff\\xe9' * 100_000 + b'\\n')\n"
    )
    arguments = ["-n", "1", *SMALL, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}"]
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    done = run("bench.launch", *arguments, before=NO_READER.format(numbers=(1, 2)), PYTHONPATH=path)
    assert done.returncode == 0, done
    assert statuses(tmp_path / "tiny") == ["done", "done"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns two folders with a video of the same name. The name is not UTF-8."""
    folder, name = tmp_path_factory.mktemp("pair"), os.fsdecode(b"caf\xe9 \xc3\xa9")
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    for side in ("reference", "generated"):
        (folder / side).mkdir()
        write_master(folder / "video.mkv", frames, 12)
        (folder / "video.mkv").rename(folder / side / f"{name}.mkv")
    return folder / "reference", folder / "generated"


def shell(line: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs `line` in a shell with $METRICS set to the command on `arguments`: a real start and end of Python."""
    command = shlex.join([sys.executable, "-m", "metrics", *map(str, arguments), "--metrics", "psnr"])
    return subprocess.run(
        ["bash", "-c", line.replace("$METRICS", command)],
        capture_output=True,
        env=os.environ | environment,
        timeout=1800,
    )


@pytest.mark.parametrize(
    "line",
    [
        "$METRICS | true; exit ${PIPESTATUS[0]}",
        "$METRICS 2>&1 | true; exit ${PIPESTATUS[0]}",
        "$METRICS >/dev/full 2>&1",
        "$METRICS <&- >&- 2>&-",
    ],
)
@pytest.mark.parametrize(("status", "right"), [(0, True), (1, False)])
def test_a_command_ends_with_its_own_status_whatever_becomes_of_its_output(
    line: str, status: int, right: bool, pair: tuple[Path, Path]
) -> None:
    done = shell(line, *(pair if right else (pair[0], pair[0] / "nowhere")))
    assert (done.returncode, done.stdout) == (status, b"")
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1", "PYTHONUNBUFFERED": "1"},
        {"PYTHONIOENCODING": "utf-8"},
    ],
    ids=["C", "ascii", "latin-1", "utf-8"],
)
def test_names_are_printed_in_any_encoding(environment: dict[str, str], pair: tuple[Path, Path]) -> None:
    done = shell("$METRICS", *pair, "--csv", **environment)
    utf8 = "é" if "PYTHONIOENCODING" in environment else r"\xc3\xa9"  # in the locale C, names are not decoded
    name = f"caf\\xe9 {utf8}".encode(environment.get("PYTHONIOENCODING", "ascii"), "backslashreplace")
    assert done.returncode == 0 and done.stdout.splitlines()[1].startswith(name), done


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_no_encoding_has_is_escaped(encoding: str) -> None:
    """Half of a surrogate pair stands for a byte of a name that is not UTF-8."""
    code = "from vgdfr_commands.display import steady; steady(); print('caf\\udce9')"
    done = shell(f'"{sys.executable}" -c "{code}"', PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, rb"caf\udce9" + b"\n", b"")


@pytest.mark.parametrize(
    ("work", "status", "error"),
    [
        ("None", 0, ""),
        ("3", 3, ""),
        ("int('x')", 1, "error: invalid literal for int() with base 10: 'x'\n"),
        ("open('/nowhere')", 1, "error: [Errno 2] No such file or directory: '/nowhere'\n"),
        ("signal.raise_signal(signal.SIGINT)", 130, ""),
        ("sys.exit('error: no')", 1, "error: no\n"),
    ],
)
def test_all_commands_end_alike(work: str, status: int, error: str) -> None:
    # a shell's background job ignores SIGINT, and its children inherit that
    start = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = f"{start}from vgdfr_commands.start import run\nrun(lambda: {work})"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=1800)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", error)
    for file in [
        file for folder in ("vgdfr", "metrics", "bench", "analysis") for file in (root / folder).rglob("*.py")
    ]:
        _, found, tail = file.read_text().partition('if __name__ == "__main__":\n')
        assert not found or "run(" in tail or "moved(" in tail, f"{file} ends in another way"
