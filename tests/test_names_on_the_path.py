"""A user's files with our names, another Python, and an installed wheel: the messages, and the wheel's content."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from processes import Finished, run
from studies import stored

from bench.work.provenance import CODE, code_sha256, hash_of_code
from vgdfr.video_file import write_master
from vgdfr_commands import scripts
from vgdfr_commands.surroundings import SCRIPTS

ROOT = Path(__file__).parent.parent
PACKAGES = ("vgdfr", "bench", "conf", "metrics", "analysis", "vgdfr_commands")
SMALL = [
    "method=baseline", "model.video.height=32", "model.video.width=32", "model.video.num_frames=5",
    "model.video.num_inference_steps=2", "metrics=pixel", "prompts.limit=1", "study=tiny",
]  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the content of a wheel, and in bin/ its console scripts as pip writes them."""
    folder = tmp_path_factory.mktemp("wheel")
    source, out, site = folder / "source", folder / "out", folder / "site"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.iterdir()
    zipfile.ZipFile(wheel).extractall(site)
    (site / "bin").mkdir()
    for name, value in declared().items():
        entry = EntryPoint(name, value, "console_scripts")
        text = f"import sys\nfrom {entry.module} import {entry.attr}\nsys.exit({entry.attr}())\n"
        (site / "bin" / name).write_text(f"#!{sys.executable}\n{text}")
        (site / "bin" / name).chmod(0o755)
    return site


def declared() -> dict[str, str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Returns a user's folder with files and folders that have our packages' names. None of them may be run."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("metrics.py", "vgdfr.py"):
        (folder / name).write_text("print('the user\\'s own code was run')\n")
    for name in ("bench", "conf", "analysis"):
        (folder / name).mkdir()
        (folder / name / "notes.txt").touch()
    return folder


def python(folder: Path, *arguments: object, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
        timeout=1800,
    )


@pytest.mark.parametrize(
    ("module", "hiding", "script"),
    [
        ("bench.store", "metrics.py", "vgdfr-store"),
        ("bench.sweep", "vgdfr.py", "vgdfr-sweep"),
        ("analysis.table1", "metrics/__init__.py", "vgdfr-table1"),
        ("analysis.figures", "bench/__init__.py", "vgdfr-figures"),
    ],
)
def test_a_file_that_hides_a_package_of_ours_is_named_in_one_line(
    module: str, hiding: str, script: str, tmp_path: Path
) -> None:
    """`python -m` looks into the current folder first. No code of the user may be run."""
    (tmp_path / hiding).parent.mkdir(exist_ok=True)
    (tmp_path / hiding).write_text("print('the user\\'s own code was run')\n")
    done = python(tmp_path, "-m", module, "ls", "somewhere")
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / hiding} hides this project's own package '{hiding[:5]}"), line
    assert f"Run {script}, " in line and "another folder" in line


def test_as_a_library_it_is_an_import_error_of_the_same_words(mine: Path) -> None:
    code = "try:\n    import analysis.study\nexcept ImportError as error:\n    print(error)\n"
    said = python(mine, "-c", code).stdout
    assert said.startswith(f"{mine / 'vgdfr.py'} hides this project's own package 'vgdfr' (in {ROOT})"), said
    fine = python(mine.parent, "-c", "import metrics, bench; print(metrics.__file__)")
    assert fine.stdout == f"{ROOT / 'metrics' / '__init__.py'}\n", fine


def test_console_scripts_do_not_look_into_the_current_folder(installed: Path, mine: Path) -> None:
    for name, brightness in (("a", 200), ("b", 190)):
        write_master(mine / f"{name}.mkv", np.full((2, 16, 16, 3), brightness, np.uint8), 12)
    done = python(mine, installed / "bin" / "vgdfr-metrics", "a.mkv", "b.mkv", "--metrics", "psnr,ssim", path=installed)
    assert done.returncode == 0 and "28.1308" in done.stdout and "own code" not in done.stdout, done
    done = python(mine, installed / "bin" / "vgdfr-table1", "nowhere", path=installed)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("error: nowhere is no folder"), done
    done = python(mine, installed / "bin" / "vgdfr-statistics", "--help", path=installed)
    assert done.returncode == 0 and done.stdout.startswith("usage: vgdfr-statistics "), done


def test_a_launch_by_its_console_script_starts_workers_that_do_not_either(
    tiny_checkpoint: Path, tmp_path: Path, mine: Path
) -> None:
    arguments = [*SMALL, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}"]
    done = by_script("launch", "-n", "1", *arguments, folder=mine)
    assert done.returncode == 0 and "1 done, 0 failed, 0 missing" in done.stdout, done
    assert "own code" not in done.stdout
    (row,) = stored(tmp_path / "tiny")
    assert row.record["environment"]["command"].startswith("python -m bench.sweep method=baseline ")


def test_a_record_names_the_command_and_the_code_that_made_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}"]
    assert by_script("sweep", *arguments, folder=tmp_path).returncode == 0
    assert run("bench.sweep", *arguments, "model.video.num_inference_steps=3").returncode == 0
    made = sorted((row.record for row in stored(tmp_path / "tiny")), key=lambda record: record["created"])
    commands = [record["environment"]["command"] for record in made]
    assert [command[: command.index(" method")] for command in commands] == ["vgdfr-sweep", "python -m bench.sweep"]
    assert {record["environment"]["code_sha256"] for record in made} == {code_sha256()}


def by_script(name: str, *arguments: str, folder: Path) -> Finished:
    """Runs the console script of a command of `bench` in `folder`.

    The script ends the process, so the module that `run` names is not run.
    """
    before = f"""
import os, sys
os.chdir({str(folder)!r})
sys.argv = ["/bin/vgdfr-{name}", *{arguments!r}]
sys.modules["__main__"].__spec__ = None
from vgdfr_commands.scripts import {name}
{name}()
"""
    return run(f"bench.{name}", before=before, PYTHONPATH=str(ROOT))


def test_there_is_a_console_script_for_each_command() -> None:
    assert set(declared()) == set(SCRIPTS.values())
    for module, name in SCRIPTS.items():
        entry = EntryPoint(name, declared()[name], "console_scripts")
        (runs,) = getattr(scripts, entry.attr).args
        assert entry.module == "vgdfr_commands.scripts" and runs.removesuffix(".__main__") == module
        tree = ast.parse((ROOT / (runs.replace(".", "/") + ".py")).read_text())
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "command"]
        assert len(functions) == 1 and not functions[0].args.args, f"{runs} has a function `command` of no arguments"


def test_a_wheel_holds_all_files_and_is_told_from_another_build(installed: Path, tmp_path: Path) -> None:
    ours = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert ours - {file.relative_to(installed).as_posix() for file in installed.rglob("*")} == set()
    assert hash_of_code(installed) == code_sha256()
    for changed, same in (("vgdfr/schedule.py", False), ("conf/config.yaml", False), ("analysis/render.py", True)):
        copy = tmp_path / changed.replace("/", "-")
        for package in (*CODE, "conf", "analysis"):
            shutil.copytree(
                installed / package,
                copy / package,
                ignore=lambda _, names: [n for n in names if "." in n and not n.endswith((".py", ".yaml"))],
            )
        with (copy / changed).open("a") as file:
            file.write("\n")
        assert (hash_of_code(copy) == code_sha256()) is same, changed


def test_records_of_before_have_no_hash_and_are_read(tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}"]
    assert run("bench.sweep", *arguments).returncode == 0
    (file,) = (tmp_path / "tiny").glob("*/*/record.json")
    record = json.loads(file.read_text())
    del record["environment"]["code_sha256"]
    file.write_text(json.dumps(record))
    again = run("bench.sweep", *arguments)
    assert "0 made, 1 found, 0 failed of 1 samples" in again.stdout, again
    assert run("bench.store", "ls", str(tmp_path / "tiny")).returncode == 0


@pytest.mark.parametrize("module", ["bench.sweep", "bench.embedded.train", "analysis.table1", "metrics", "vgdfr"])
def test_a_python_without_the_packages_says_how_to_enter_the_environment(module: str, tmp_path: Path) -> None:
    """-S leaves out site-packages, so this Python has none of the packages, like the system's Python."""
    for package in ("vgdfr", "bench", "metrics", "analysis", "vgdfr_commands"):
        (tmp_path / package).symlink_to(ROOT / package)
    (tmp_path / "pyproject.toml").touch()

    def said() -> str:
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-m", module], cwd=tmp_path, capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 1 and done.stdout == "", done
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"error: {sys.executable} does not have the packages") and "numpy" in line
        return line

    assert said().endswith(
        f"make the environment first, in {tmp_path}: make setup; then enter it: . .venv/bin/activate"
    )
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    assert said().endswith("; enter the environment first: . .venv/bin/activate")


def test_a_python_that_is_too_old_says_so() -> None:
    files = ["bench/__init__.py", "analysis/__init__.py", "metrics/__init__.py", "vgdfr/__init__.py"]
    for name in (*files, "vgdfr_commands/__init__.py", "vgdfr_commands/surroundings.py"):
        ast.parse((ROOT / name).read_text(), feature_version=(3, 8))
    code = "import sys; sys.version_info, sys.argv = (3, 8, 10), ['-m']; import {}"
    for package in ("bench", "analysis", "metrics", "vgdfr"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(package)], cwd=ROOT, capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done
        assert done.stderr.startswith("error: Python 3.11 or newer is needed, got 3.8.10 ("), done
