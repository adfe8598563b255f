"""Checks that every command in README, docs and conf works, and that every link and name in them leads somewhere.

The commands are taken from the pages. Each command itself parses its options, and a sweep's settings are composed.
Commands that only read a stored study run.
"""

import argparse
import re
import runpy
import shlex
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import goldens
import pytest
import yaml

from bench.plan.command_line import CONF, CommandLine
from bench.plan.compose import composed

ROOT = Path(__file__).parents[1]
HISTORY = {"log.md"}  # this page describes earlier commands
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in HISTORY)]
SETTINGS = sorted(CONF.rglob("*.yaml"))
SWEEPS = {"bench.sweep", "bench.launch", "bench.prefetch", "bench.calibrate", "bench.divergence"}
WITHOUT_OPTIONS = {"metrics.page", "bench.embedded.pictures"}
# The words that the reader replaces by a value.
VALUES = {"hw=PROFILE": "hw=80g", "NAME": "videosys", "$stage": "vae"}
READING = {"analysis.table1", "analysis.statistics", "bench.store"}
# The commands that README and docs had before `bench` got its rooms.
EARLIER = {
    "analysis.cost", "analysis.figures", "analysis.gallery", "analysis.rope_sensitivity", "analysis.statistics",
    "analysis.table1", "bench.dashboard", "bench.embedded.evaluate", "bench.embedded.pictures", "bench.embedded.train",
    "bench.launch", "bench.prefetch", "bench.score", "bench.store", "bench.sweep", "bench.track", "metrics",
    "metrics.page", "vgdfr",
}  # fmt: skip
MOVED = {"bench.track": "analysis.publish.track", "bench.dashboard": "analysis.publish.dashboard"}


def commands_in(text: str) -> Iterator[list[str]]:
    """Yields the words after `python -m` of each command in a page or a settings file."""
    text = re.sub(r"\\\n[#\s]*", "", text)
    for code, line in re.findall(r"`python\s-m\s([^`]+)`|python -m ([^`\n]*)", text):
        words = re.split(r"\s{2,}|\s#|;|\"$|\||\s>", " ".join(code.split()) or line)[0]
        if "..." not in words and not re.match(r"[\w.]+( \w+)?: ", words):  # a line of output
            yield [VALUES.get(word, word) for word in shlex.split(words)]


@cache
def commands() -> dict[tuple[str, ...], str]:
    """Returns the words of each command, with the first file that has it."""
    found: dict[tuple[str, ...], str] = {}
    for file in [*PAGES, *SETTINGS]:
        for words in commands_in(file.read_text(encoding="utf-8")):
            found.setdefault(tuple(words), file.name)
    return found


class Parsed(BaseException):
    """Ends a command after its options are parsed."""

    def __init__(self, flags: argparse.Namespace, rest: list[str]) -> None:
        super().__init__()
        self.flags, self.rest = flags, rest


@contextmanager
def ending_after_its_options() -> Iterator[None]:
    """Lets each parser in the block parse as usual and then raise `Parsed`."""
    depth = 0

    def ending(real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        def parse(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            depth += 1  # one of these methods calls another
            try:
                parsed = real(*args, **kwargs)
            finally:
                depth -= 1
            if depth:
                return parsed
            raise Parsed(*parsed) if isinstance(parsed, tuple) else Parsed(parsed, [])

        return parse

    hangup = signal.getsignal(signal.SIGHUP)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("parse_args", "parse_known_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, ending(getattr(argparse.ArgumentParser, name)))
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, hangup)  # commands outlive their terminal


def command_of(module: str) -> Callable[[], Any]:
    spec = find_spec(module)
    assert spec is not None, f"there is no module {module}"
    return import_module(f"{module}.__main__" if spec.submodule_search_locations else module).command


def parsed(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Parsed:
    command = command_of(words[0])
    monkeypatch.setattr(sys, "argv", list(words))
    with pytest.raises(Parsed) as ended, ending_after_its_options():
        command()
    return ended.value


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder with the files of docs/extending.md. The commands run from this folder."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for name, content in re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_one_condition(overrides: list[str]) -> list[str]:
    """Returns overrides that take the first value of everything over which an experiment in conf/ sweeps."""
    given = {each.partition("=")[0] for each in overrides}
    first = []
    for name in (each.removeprefix("+exp=") for each in overrides if each.startswith("+exp=")):
        if (file := CONF / "exp" / f"{name}.yaml").is_file():
            experiment = yaml.safe_load(file.read_text(encoding="utf-8"))
            swept = experiment.get("hydra", {}).get("sweeper", {}).get("params", {})
            values = {key: str(value).split(",")[0] for key, value in swept.items() if key not in given}
            first += [f"{key}={value}" for key, value in values.items()]
    return overrides + first


def test_the_settings_of_every_sweep_compose(reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command is not composed again if all of its settings occur in a longer command."""
    lines: dict[tuple[str, ...], tuple[str | None, frozenset[str]]] = {}
    for words in (words for words in commands() if words[0] in SWEEPS):
        ended = parsed(words, monkeypatch)
        assert not [each for each in ended.rest if each.startswith("-")], (commands()[words], words)
        lines[words] = ended.flags.config_dir, frozenset(ended.rest)
    assert len(lines) > 40
    composes = {line: words for words, line in lines.items()}
    for (folder, overrides), words in composes.items():
        if any(folder == other and overrides < more for other, more in composes):
            continue
        given = [each for each in words[1:] if each in overrides]
        line = CommandLine(tuple(with_one_condition(given)), None if folder is None else Path(folder), multirun=True)
        try:
            assert composed(line).configs
        except ValueError as error:
            pytest.fail(f"{commands()[words]}: python -m {' '.join(words)}: {error}")


def test_the_options_of_every_other_command_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [words for words in commands() if words[0] not in SWEEPS | {"pytest"}]
    assert len(others) > 40
    for words in others:
        if words[0] in WITHOUT_OPTIONS:
            assert callable(command_of(words[0])) and len(words) == 1, (commands()[words], words)
        elif words[1:]:
            assert parsed(words, monkeypatch).rest == [], (commands()[words], words)
        else:
            command_of(words[0])


def test_commands_that_read_a_study_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    goldens.unpacked(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    run = [words for words in commands() if words[0] in READING and "runs/table1" in words and "verify" not in words]
    assert len(run) > 4
    for words in run:
        command = command_of(words[0])
        monkeypatch.setattr(sys, "argv", list(words))
        assert not command(), (commands()[words], words)
        assert capsys.readouterr().out


def test_a_command_of_earlier_pages_runs_or_names_its_successor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in EARLIER - set(MOVED):
        assert callable(command_of(module))
    for module, successor in MOVED.items():
        monkeypatch.setattr(sys, "argv", [module, "runs/table1"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__", alter_sys=False)
        assert ended.value.code == 2 and f"python -m {successor} runs/table1" in capsys.readouterr().err


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    letters = [
        "".join(c for c in title.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN") for title in titles
    ]
    return {each.replace(" ", "-") for each in letters}


def test_links_lead_somewhere_and_the_readme_leads_to_every_page() -> None:
    reached = set()
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if re.match(r"https?:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"
            reached.add(file)
    assert not set(PAGES) - reached - {ROOT / "README.md"}


def test_make_targets_and_console_scripts_of_the_pages_are_there() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    targets = set(re.findall(r"(?:`|^ {4})make (\w+)", text, re.MULTILINE))
    rules = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"table1", "paper"} <= targets <= rules
    scripts = set(re.findall(r"`(vgdfr-[\w-]+)", text))
    assert {"vgdfr-sweep"} <= scripts
    assert scripts <= set(re.findall(r"^([\w-]+) = \"vgdfr_commands", (ROOT / "pyproject.toml").read_text(), re.M))


def test_the_architecture_page_names_files_and_functions_that_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text))
    assert len(paths) > 25
    assert not [path for path in paths if not (ROOT / path).exists()]
    for names, path in re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", text):
        for name in names.split("."):
            assert re.search(rf"(def|class) {name}\b", (ROOT / path).read_text(encoding="utf-8")), (names, path)
    for group in re.findall(r"subgraph \w+ \[\"([\w/]+):.*?end\n", text, re.DOTALL):
        drawn = re.search(rf"\[\"{group}:.*?end\n", text, re.DOTALL)
        assert drawn is not None
        for names in re.findall(r"\[\"((?:[\w.]+(?:/|\.py)(?:, )?)+)<br/>", drawn[0]):
            for name in names.split(", "):
                assert (ROOT / group / name).exists(), (group, name)
