"""The user's plotting settings and locale do not change results, and read-only folders do not end a command."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from processes import AS_ANY_USER, Finished, run
from test_figures import study as made_study
from test_store import FRAMES, RECORD

from analysis import Study, figures
from analysis.table import table_of
from bench.store.study import Store
from bench.work.files import files_of
from vgdfr.files import REMEMBERED_BYTES, sha256, sha256_of_weights

study = made_study  # the fixture
ROOT = Path(__file__).parents[1]
HOSTILE = (
    "text.usetex: True\nfont.family: serif\nfont.size: 30\nfont.weight: bold\naxes.facecolor: red\naxes.xmargin: 0.4\n"
    "lines.antialiased: False\nimage.origin: lower\nsavefig.bbox: tight\nsavefig.transparent: True\n"
    "svg.fonttype: none\nnonsense: 3\n"
)
JUPYTER = "module://matplotlib_inline.backend_inline"


def read_only(folder: Path) -> Path:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# Figures


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, bytes]]]:
    """Yields a study and one of its figures, drawn in this process."""
    folder = tmp_path_factory.mktemp("plain")
    made = made_study._get_wrapped_function()(folder)
    drawn = figures.draw(table_of(Study(made)), folder / "out", ["tradeoff"])
    assert all(each.files for each in drawn)
    yield made, contents(folder / "out")


@pytest.mark.parametrize(
    ("rc", "environment"),
    [
        (None, {"MPLBACKEND": JUPYTER}),
        (HOSTILE.encode(), {"MPLCONFIGDIR": os.devnull}),  # matplotlib's own folder cannot be written, either
        (HOSTILE.encode(), {"MPLBACKEND": "nonsense"}),
        (b"# caf\xe9\n" + HOSTILE.encode(), {}),
    ],
    ids=["jupyter", "matplotlibrc", "matplotlibrc and unknown backend", "matplotlibrc in latin-1"],
)
def test_the_users_plotting_settings_change_no_byte_of_a_figure(
    plain: tuple[Path, dict[str, bytes]], tmp_path: Path, rc: bytes | None, environment: dict[str, str]
) -> None:
    made, expected = plain
    if rc is not None:
        (tmp_path / "matplotlibrc").write_bytes(rc)
    arguments = [str(made), "--only", "tradeoff", "--out", str(tmp_path / "out")]
    there = f"import os; os.chdir({str(tmp_path)!r})"
    done = run("analysis.figures", *arguments, before=there, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path / "out") == expected


def test_a_session_keeps_its_own_plotting_settings(plain: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    made, expected = plain
    own: dict[Any, Any] = {"text.usetex": True, "font.size": 30.0, "axes.facecolor": "red", "savefig.bbox": "tight"}
    with matplotlib.rc_context(own):
        figures.draw(table_of(Study(made)), tmp_path / "out", ["tradeoff"])
        assert {name: matplotlib.rcParams[name] for name in own} == own
    assert contents(tmp_path / "out") == expected


def test_a_session_that_imports_us_first_still_has_its_matplotlibrc(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nbackend: svg\n", encoding="utf-8")
    session = (
        f"import os; os.chdir({str(tmp_path)!r})\nimport bench.drawing, matplotlib\n"
        "assert matplotlib.rcParams['font.size'] == 30 and matplotlib.get_backend() == 'svg'"
    )
    subprocess.run([sys.executable, "-c", session], check=True)


# Locale


def without_encoding(source: str) -> list[int]:
    """Returns the lines that open, read, write or pipe text and leave the encoding to the locale."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(k.arg in ("encoding", None) for k in node.keywords):
            continue
        method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = getattr(node.func.value, "id", "") if isinstance(node.func, ast.Attribute) else ""
        given = [*node.args[0 if method else 1 :][:1], *(k.value for k in node.keywords if k.arg == "mode")]
        binary = any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in given)
        opens = name in ("open", "fdopen", "NamedTemporaryFile", "FileHandler") and owner not in ("av", "os", "Image")
        pipes = any(k.arg in ("text", "universal_newlines") for k in node.keywords)
        if name in ("read_text", "write_text") or (opens and not binary) or pipes:
            found.append(node.lineno)
    return found


def test_every_read_write_and_pipe_names_its_encoding() -> None:
    assert without_encoding("open(f)\nf.open('a')\nf.read_text()\nrun(c, text=True)\nopen(f, 'w')") == [1, 2, 3, 4, 5]
    assert not without_encoding("open(f, 'rb')\nf.open('ab')\nf.open(encoding='utf-8')\nav.open(f)\nImage.open(f)")
    files = [file for part in ("analysis", "bench", "conf", "metrics", "vgdfr") for file in (ROOT / part).rglob("*.py")]
    found = {str(f.relative_to(ROOT)): lines for f in files if (lines := without_encoding(f.read_text("utf-8")))}
    assert len(files) > 100 and found == {}


@pytest.mark.parametrize("module", ["table1", "gallery"])
def test_reports_are_the_same_bytes_in_a_locale_that_is_not_utf8(study: Path, tmp_path: Path, module: str) -> None:
    made = study.rename(study.with_name("rüns"))
    for file in made.glob("*/00-still/record.json"):
        file.write_text(file.read_text("utf-8").replace("a 00-still", "a „still“ θ"), encoding="utf-8")
    outs = []
    for number, locale in enumerate(("C.UTF-8", "C")):
        # the encoding of standard output is named, so that only files are tested
        settings = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-m", f"analysis.{module}", str(made), "--out", str(tmp_path / f"out{number}")]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", env=os.environ | settings, timeout=1800)
        assert (done.returncode, done.stderr) == (0, "")
        outs.append(contents(tmp_path / f"out{number}"))
    assert outs[0] == outs[1] and len(outs[0]) == (6 if module == "table1" else 4)
    name = "table1.md" if module == "table1" else "index.html"
    assert "rüns" in outs[0][name].decode()


def test_a_study_whose_name_is_not_utf8_is_reported(study: Path, tmp_path: Path) -> None:
    made = study.rename(study.with_name(os.fsdecode(b"caf\xe9")))
    assert run("analysis.table1", str(made), "--out", str(tmp_path / "out")).returncode == 0
    assert r"Study `caf\xe9`" in (tmp_path / "out" / "table1.md").read_text("utf-8")


# Cache

SWEEP = (
    "--multirun", "method.k=2", "method.theta=0.5", "prompts.limit=1", "model.video.num_frames=17",
    "model.video.num_inference_steps=4", "metrics=pixel",
)  # fmt: skip


def test_a_sweep_goes_on_without_a_cache_and_says_so_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    place = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "VGDFR_CACHE": ""}
    done = run("bench.sweep", *SWEEP, f"root={tmp_path}", "study=made", before=AS_ANY_USER, **place)
    assert done.returncode == 0 and "2 made, 0 found, 0 failed" in done.stdout
    said = done.stdout + done.stderr
    assert said.count("no cache") == said.count("VGDFR_CACHE=FOLDER names another place") == 1
    assert f"no cache: {home}/.cache/vgdfr cannot be written: Permission denied" in said
    assert not list(home.iterdir())


def test_a_cache_below_a_file_costs_the_note_of_a_hash_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "weights"
    with weights.open("wb") as file:
        file.truncate(REMEMBERED_BYTES)
    monkeypatch.setenv("VGDFR_CACHE", str(weights / "cache"))
    assert sha256_of_weights(weights) == sha256(weights)
    sha256_of_weights.cache_clear()
    sha256_of_weights(weights)
    assert len(caplog.records) == 1, "hashed once in a process"
    assert "Not a directory" in caplog.text and "VGDFR_CACHE=FOLDER names another place" in caplog.text


def test_a_download_without_a_cache_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("bench.prefetch", "interpolator=rife", VGDFR_CACHE=str(tmp_path / "file" / "cache"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "cannot be written: Not a directory; VGDFR_CACHE=FOLDER names another place" in done.stderr


# Read-only studies


def report(module: str, *arguments: object, **environment: str) -> Finished:
    return run(f"analysis.{module}", *map(str, arguments), before=AS_ANY_USER, **environment)


@pytest.mark.parametrize("module", ["table1", "statistics"])
def test_a_read_only_study_is_printed_and_what_was_not_written_is_said(
    study: Path, tmp_path: Path, module: str
) -> None:
    written = report(module, study)
    assert (written.returncode, written.stderr) == (0, "")
    expected = contents(study / "report")
    shutil.rmtree(study / "report")
    done = report(module, read_only(study))
    assert done.returncode == 0 and done.stdout == written.stdout
    said, _, reason = done.stderr.removeprefix("not written: ").partition(". ")
    assert set(said.split(", ")) == set(expected)
    assert reason == f"{study}/report cannot be written: Permission denied; choose another folder with --out DIR\n"
    elsewhere = report(module, study, "--out", tmp_path / "out")
    assert (elsewhere.returncode, elsewhere.stderr) == (0, "")
    assert contents(tmp_path / "out") == expected


def test_an_out_that_cannot_be_written_is_an_error_after_the_table(study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = report("table1", study, "--out", tmp_path / "file")
    assert done.returncode == 1 and done.stdout.startswith("| Method")
    assert (
        done.stderr == f"error: {tmp_path}/file cannot be written: File exists; choose another folder with --out DIR\n"
    )


@pytest.mark.parametrize("module", ["figures", "gallery", "paper"])
def test_what_only_writes_names_out_for_a_read_only_study(study: Path, tmp_path: Path, module: str) -> None:
    options = ["--only", "tradeoff"] if module == "figures" else []
    done = report(module, read_only(study), *options)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "cannot be written: Permission denied; choose another folder with --out DIR" in done.stderr
    if module == "gallery":  # the other commands take seconds, and write through the same function
        assert report(module, study, "--out", tmp_path / "out").returncode == 0
        assert contents(tmp_path / "out")


def test_ls_and_verify_of_a_read_only_study(tmp_path: Path) -> None:
    store = Store(tmp_path / "made")
    located = {"spec": {"prompt": "a", "seed": 0, "num_frames": len(FRAMES)}, "model": {}}
    for name, record in (("baseline/p", RECORD), ("baseline/q", replace(RECORD, prompt_id="q", identity=located))):
        store.put(store.at(name), record, files_of(FRAMES, 12))
        store.at(name).file("master.mkv").write_bytes(b"cut")
    before = contents(read_only(store.folder))
    listed = run("bench.store", "ls", str(store.folder), before=AS_ANY_USER)
    assert (listed.returncode, listed.stderr) == (0, "") and "2 samples, 2 done" in listed.stdout
    done = run("bench.store", "verify", str(store.folder), before=AS_ANY_USER)
    assert done.returncode == 1 and done.stdout.endswith("2 samples checked, 2 damaged\n")
    for place in ("baseline/p", "baseline/q"):
        why = f"not moved to .quarantine, {store.folder} cannot be written: Permission denied"
        assert f"{place}: master.mkv is not what was written; {why}" in done.stdout
    assert contents(store.folder) == before
