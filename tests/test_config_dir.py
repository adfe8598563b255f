"""--config-dir names a user's folder with the structure of conf/. A mistake is explained in one line, as without it."""

from pathlib import Path

import pytest
from forking import HERE
from plans import line
from processes import run

from bench.plan.command_line import CommandLine, groups
from bench.plan.compose import configs_of

SMALL = ["prompts.limit=1", "model.video.num_frames=17", "model.video.num_inference_steps=6", "metrics=pixel"]
EXPERIMENT = """# @package _global_
study: mine
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      method: quick,vgdfr
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with a file in each group. Hydra's grammar would not accept the folder's name."""
    files = {
        "method/quick.yaml": "_target_: vgdfr.FewerSteps\nsteps: 2\n",
        "accelerator/cache.yaml": "_target_: my_cache.SkipCalls\nevery: 2\n",
        "model/small.yaml": "# @package _global_\ndefaults:\n  - embedded\nmodel:\n  video:\n    height: 32\n",
        "prompts/two.yaml": "_target_: bench.plan.prompts.Prompts\nsource: my_prompts.txt\nseeds: [0]\nlimit: 2\n",
        "exp/mine.yaml": EXPERIMENT,
    }
    for name, text in files.items():
        file = tmp_path / "my conf #1" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "my conf #1"


@pytest.mark.parametrize("flag", [["--config-dir", "DIR"], ["--config-dir=DIR"], ["-cd", "DIR"]])
def test_the_flag_is_taken_out_wherever_it_stands(flag: list[str], folder: Path) -> None:
    flag = [word.replace("DIR", str(folder)) for word in flag]
    assert line("a=1", *flag, "--multirun", "b=2") == CommandLine(("a=1", "b=2"), folder, multirun=True)
    assert line("a=1").config_dir is None


def test_every_group_takes_files_of_ones_own(folder: Path) -> None:
    given = ["--config-dir", str(folder), "+exp=mine"]
    assert [config.method._target_ for config in configs_of(given)] == ["vgdfr.FewerSteps", "vgdfr.Vgdfr"]
    (config,) = configs_of(
        ["--config-dir", str(folder), "method=quick", "accelerator=cache", "model=small", "prompts=two"]
    )
    assert (config.method.steps, config.accelerator.every) == (2, 2)
    assert (config.model.video.height, config.model.video.width, config.prompts.limit) == (32, 64, 2)
    with pytest.raises(ValueError, match="there is no method=quick"):
        configs_of(["method=quick"])  # the folder must not affect the next command


def test_a_group_of_ones_own_is_known(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "a.yaml").write_text("value: 1\n")
    assert configs_of(["--config-dir", str(folder), "+mine=a"])[0].mine.value == 1
    assert groups(folder)["mine"] == ["a"] and "mine" not in groups(None)


MISTAKES = [
    (["method=quik"], "there is no method=quik; did you mean method=quick? There are baseline, "),
    (["method=quick", "method.stps=2"], "there is no setting method.stps; did you mean method.steps? There are steps"),
    (["+exp=min"], "there is no exp=min; did you mean exp=mine? There are ablation, "),
    (["method=quick", "method.steps=2", "+root=x"], "root has a value already, so it takes no plus: root=x"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_explained_in_one_line(arguments: list[str], message: str, folder: Path) -> None:
    with pytest.raises(ValueError) as caught:
        configs_of(["--config-dir", str(folder), *arguments])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_that_does_not_exist_and_one_with_our_names_are_refused(folder: Path) -> None:
    for arguments in (["--config-dir", "nowhere"], ["--config-dir=nowhere"]):
        with pytest.raises(ValueError, match=r"must name a folder with files such as .*; nowhere is no folder"):
            line(*arguments)
    for arguments in (["--config-dir"], ["--config-dir="]):
        with pytest.raises(ValueError, match="--config-dir takes a folder, such as --config-dir my_conf"):
            line(*arguments)
    (folder / "method" / "vgdfr.yaml").write_text("_target_: my_pkg.Mine\n")
    with pytest.raises(ValueError, match=r"method/vgdfr.yaml would not be read, as conf/ has a method/vgdfr.yaml"):
        line("--config-dir", str(folder))


def test_every_command_takes_the_flag_and_refuses_alike(folder: Path, tmp_path: Path) -> None:
    """Flags may stand between overrides. A launch hands the flag on to its workers."""
    given = [*SMALL, "--config-dir", str(folder), "+exp=mine", f"root={tmp_path / 'runs'}"]
    plan = run("bench.sweep", *given, "--dry-run")
    assert plan.returncode == 0 and "3 conditions, 1 prompts and seeds" in plan.stdout, plan
    assert run("bench.launch", "-n", "1", *given, "--dry-run").stdout == plan.stdout
    assert run("bench.prefetch", *given).stdout == "nothing to download\n"
    launched = run("bench.launch", "-n", "1", *given, "method.k=2")
    assert launched.returncode == 1 and "there is no setting method.k. There are steps" in launched.stderr, launched
    (folder / "exp" / "mine.yaml").write_text(EXPERIMENT.replace("quick,vgdfr", "quick"))
    launched = run("bench.launch", "-n", "1", *given, before=HERE)
    assert launched.returncode == 0 and "2 done, 0 failed" in launched.stdout, launched
    swept = run("bench.sweep", *given)
    assert swept.returncode == 0 and "0 made, 2 found" in swept.stdout, swept
    again = ["method=quick", "--multirun", "--config-dir", str(folder), "method.steps=1,2", "study=mine"]
    swept = run("bench.sweep", *again, *SMALL, given[-1])
    assert swept.returncode == 0 and "1 made, 2 found" in swept.stdout, swept
    for command in (["bench.sweep"], ["bench.sweep", "--dry-run"], ["bench.launch", "-n", "1"], ["bench.prefetch"]):
        for words, message in (
            (["--config-dir", "nowhere"], "nowhere is no folder"),
            (MISTAKES[0][0], "method=quick?"),
        ):
            refused = run(*command, "--config-dir", str(folder), *words)
            said = refused.stdout + refused.stderr
            assert refused.returncode == 1 and message in said and said.count("\n") == 1, refused
