"""The command line's overrides: paths with any name, values of another type, and mistakes explained in one line."""

import os
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from plans import jobs
from processes import run

from bench.plan.compose import configs_of
from bench.plan.compose.quoting import PATHS, quoted
from bench.store.study import Store

NAMES = [
    "run:1", "2026-11-25T20:52", "50%", "100%d", "a#b", "-x", "a b", "café", "cafe\u0301", "(1)", "[1]", "{a}", "a=b",
    "it's", "back\\", "back\\'s", 'say "x"', "line\nbreak", "日本", "a]b", "&;|", "42x", "tab\there", "!wow", "@home",
    "42", "010", "1.10", "1e3", "nan", "2026_11_25", "-1", "inf",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_paths_of_any_name_are_taken_as_they_are(name: str) -> None:
    for key in PATHS:
        for value in (name, f"runs/{name}", f"{name}/file.txt"):
            override = OverridesParser.create().parse_override(*quoted([f"{key}={value}"]))
            assert (override.key_or_group, override.value()) == (key, value)


@pytest.mark.parametrize("name", ["a,b", "é,ü", "1,2", "a, b"])
def test_a_comma_is_part_of_a_name_where_a_sweep_has_one(name: str) -> None:
    for key in ("root", "study"):
        assert OverridesParser.create().parse_override(*quoted([f"{key}={name}"])).value() == name
    assert quoted(["model.backbone.path=a,b"]) == ["model.backbone.path=a,b"]


def test_a_sweep_of_such_names_is_planned() -> None:
    given = ["root=run:1/café", "study=it's #1", "prompts=file", "prompts.source=~/50%.txt", "method.k=1,2"]
    for config in configs_of(given):
        place = os.path.expanduser("~/50%.txt")
        assert (config.root, config.study, config.prompts.source) == ("run:1/café", "it's #1", place)


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells do not expand a tilde after an equals sign."""
    monkeypatch.setenv("HOME", "/home/mine")
    assert quoted(["root=~/runs", "study=~x~", "method.theta=~/x"]) == [
        "root=/home/mine/runs",
        "study='~x~'",
        "method.theta=~/x",
    ]


def test_what_hydra_reads_stays_as_it_is() -> None:
    arguments = [
        "root=runs",
        "study='a b'",
        'root="x"',
        "method.theta=0.5,0.9",
        "--multirun",
        "+exp=table1",
        "study=null",
    ]
    assert quoted(arguments) == arguments
    assert all(quoted([f"{path}=a_b/c.d"]) == [f"{path}=a_b/c.d"] for path in PATHS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method.thet=0.5"], "there is no setting method.thet; did you mean method.theta? There are anchor, d"),
        (["metod=vgdfr"], "there is no setting metod; did you mean method? There are accelerator, allow_mismatch, "),
        (["model.video.num_frmes=17"], "model.video.num_frmes; did you mean model.video.num_frames?"),
        (["method=fewer_steps", "method.step=5"], "there is no setting method.step; did you mean method.steps? "),
        (["method=vgdf"], "there is no method=vgdf; did you mean method=vgdfr? There are baseline, "),
        (["+exp=tabel1"], "there is no exp=tabel1; did you mean exp=table1? There are ablation, "),
        (["interpolator=film"], "there is no interpolator=film. There are flow, linear, rife"),
        (["exp=table1"], "exp has no choice yet, so it takes a plus: +exp=table1"),
        (["+study=mine"], "study has a value already, so it takes no plus: study=mine"),
        (["method.theta.x=1"], "there is no setting method.theta.x: method.theta is a value and holds no settings"),
        (["~method.thet"], "there is no setting method.thet; did you mean method.theta?"),
        (["method.thet=0.5,0.9"], "there is no setting method.thet; did you mean method.theta?"),
        (["thetaa", "method.k=1"], "the argument 'thetaa' cannot be read: expected KEY=VALUE"),
        (["method.k=(1"], "the argument 'method.k=(1' cannot be read: expected KEY=VALUE"),
        (["+thread=2"], "there is no setting thread; did you mean threads?"),
        (["+foo=1"], "there is no setting foo. There are accelerator, allow_mismatch, comparisons, exp, "),
        (["method.thet=0.5", "method.kk=5"], "there is no setting method.thet; did you mean method.theta?"),
    ],
)  # fmt: skip
def test_a_mistake_is_explained_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        configs_of(arguments)
    said = str(caught.value)
    assert message in said and "\n" not in said and "+method.thet" not in said and "_target_" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+prompts.limits=2"], "there is no setting prompts.limits; did you mean prompts.limit?"),
        (["+model.video.frames=9"], "model.video.frames; did you mean model.video.num_frames?"),
        (["+model.backbone.foo=1"], "there is no setting model.backbone.foo. There are "),
        (["prompts=file", "prompts.source=null"], "prompts.source must be a file, such as prompts.source="),
        (["prompts=file", "prompts.source="], "prompts.source must be a file, such as prompts.source="),
        (["prompts=file", "prompts.source=true"], "prompts.source must be a file, such as prompts.source="),
    ],
)  # fmt: skip
def test_what_only_a_part_of_the_configuration_knows_is_refused_in_one_line(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as caught:
        jobs(f"root={tmp_path}", *arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("swept", "message"),
    [
        ("threads=1,2", "a sweep has one threads, got 1 and 2; run a sweep for each"),
        ("timing=shared,isolated", "a sweep has one timing, got Timing(mode='isolated', "),
        ("metrics=pixel,embedded", "a sweep has one metrics, got ("),
        ("study=choice(a,b)", "a sweep has one study, got ROOT/a and ROOT/b; run a sweep for each"),
    ],
)
def test_a_sweep_over_what_it_has_one_of_is_refused(swept: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        jobs(f"root={tmp_path}", swept)
    assert message.replace("ROOT", str(tmp_path)) in str(caught.value)


@pytest.mark.parametrize(("given", "name"), [("42", "42"), ("010", "010"), ("0.5", "0.5"), ("'true'", "true")])
def test_a_study_may_be_a_number(given: str, name: str, tmp_path: Path) -> None:
    assert jobs(f"root={tmp_path}", f"study={given}")[0].study == tmp_path / name


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("study=null", "study must be a name, such as study=mine, got null"),
        ("study=", "study must be a name, such as study=mine, got ''"),
        ("study=' '", "study must be a name, such as study=mine, got ' '"),
        ("study=true", "study must be a name, such as study=mine, got True"),
        ("study=/elsewhere/x", "study must be a name within root, got /elsewhere/x; give the folder by root=DIR"),
        ("study=../up", "study must be a name within root, got ../up; give the folder by root=DIR"),
        ("study=.", "study must be a name within root, got .; give the folder by root=DIR"),
        ("metrics.names=psnr", "metrics.names must be a list such as [psnr,ssim], got 'psnr'"),
        ("metrics.names=[1]", "metrics.names must be a list such as [psnr,ssim], got [1]"),
        ("root=null", "root must be a folder, such as root=runs, got null"),
        ("root=", "root must be a folder, such as root=runs, got ''"),
        (f"root={'a' * 300}", f"the study's folder cannot be written (File name too long): {'a' * 300}/default"),
        ("root=/proc/1/no", "the study's folder cannot be written (No such file or directory): /proc/1/no/default"),
        ("root=FILE", "the study's folder cannot be written (Not a directory): FILE/default; choose another by "),
        ("threads=0", "threads must be a whole number from 1, or null for PyTorch's own choice, got 0"),
        ("threads=two", "threads must be a whole number from 1, or null for PyTorch's own choice, got 'two'"),
        ("threads=true", "threads must be a whole number from 1, or null for PyTorch's own choice, got True"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_in_one_line(argument: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError) as caught:
        jobs(f"root={tmp_path}", argument.replace("FILE", str(file)))
    assert message.replace("FILE", str(file)) in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_only_others_may_write_is_refused_in_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "others"
    folder.mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        os.chmod(parent, parent.stat().st_mode | 0o055)
    # Hydra looks for its plugins first, because the user nobody may not be able to read Python's own library
    user = "import os; from bench.plan.compose import configs_of; configs_of([]); os.geteuid() or os.setuid(65534)"
    for arguments in ([], ["--multirun"]):
        ended = run("bench.sweep", f"root={folder}", *arguments, before=user, HYDRA_FULL_ERROR="1")
        output = ended.stdout + ended.stderr
        assert ended.returncode == 1 and output.count("\n") == 1, output
        assert "the study's folder cannot be written (Permission denied)" in output
    assert not list(folder.iterdir())


def test_a_study_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    Store(tmp_path / "a" / "b").require_writable()
    assert not list((tmp_path / "a" / "b").iterdir())
