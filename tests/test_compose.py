"""The command line of a sweep: its flags, and the conditions that it composes."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from plans import jobs, line, plan
from processes import run

from bench.plan import command_line
from bench.plan.command_line import CONF
from bench.plan.compose import composed
from bench.plan.units import units_of

EXPERIMENTS = sorted(file.stem for file in CONF.glob("exp/*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_condition_is_as_hydra_composes_it(name: str) -> None:
    """Conditions that differ in values alone are composed once, but Hydra composes every condition here."""
    given = plan(f"+exp={name}", "prompts.limit=1")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for overrides, config in zip(given.conditions, given.configs, strict=True):
            assert config == compose("config", list(overrides))


def my_experiment(folder: Path, text: str) -> list[str]:
    (folder / "exp").mkdir(parents=True, exist_ok=True)
    (folder / "exp" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    return ["--config-dir", str(folder), "+exp=mine"]


SWEEPS = """
study: mixed
prompts: {limit: 1}
sweeps:
  - {method: vgdfr, method.k: "5,10", method.theta: [0.5, 0.7]}
  - {method: fewer_steps, method.steps: 20}
  - {method: baseline_rerun}
"""


def test_an_experiment_may_hold_several_sweeps(tmp_path: Path) -> None:
    """Then one study mixes methods with different settings, without --multirun."""
    mine = my_experiment(tmp_path, SWEEPS)
    composed_alone = composed(command_line.parsed(command_line.parser([], None), mine)[0])
    slugs = [job.condition.slug for job in jobs(*mine, f"root={tmp_path}")]
    vgdfr = [f"vgdfr-k{k}-theta{theta}" for k in (5, 10) for theta in (0.5, 0.7)]
    assert slugs == [*vgdfr, "fewersteps-steps=20", "baselinererun"] and len(composed_alone.configs) == 6
    assert [job.condition.slug for job in jobs(*mine, f"root={tmp_path}", "model.video.num_frames=33")] == slugs


COMPARISONS = """
study: mixed
prompts: {limit: 1}
hydra: {mode: MULTIRUN, sweeper: {params: {method: vgdfr, method.k: "5,10", method.theta: 0.5}}}
comparisons:
  - {method: fewer_steps, method.steps: "${oc.select:model.fewer_steps,[]}"}
  - {method: interpolated, method.k: 10, method.theta: 0.5}
"""


METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml") if file.stem != "custom")


@pytest.mark.parametrize("name", METHODS)
def test_every_methods_file_makes_a_checked_method(name: str, tmp_path: Path) -> None:
    (job,) = jobs(f"method={name}", f"root={tmp_path}")
    assert job.condition.slug


def test_comparisons_are_made_unless_the_command_line_sets_the_method(tmp_path: Path) -> None:
    mine = [*my_experiment(tmp_path, COMPARISONS), f"root={tmp_path}"]
    paper = ["vgdfr-k5-theta0.5", "vgdfr-k10-theta0.5"]
    ceiling = "interpolated-k10-theta0.5"

    def slugs(*overrides: str) -> list[str]:
        return [job.condition.slug for job in jobs(*mine, *overrides)]

    assert slugs() == slugs("model.video.num_frames=33") == [
        *paper, "fewersteps-steps=25", "fewersteps-steps=35", ceiling
    ]  # fmt: skip
    assert slugs("method.theta=0.7") == ["vgdfr-k5-theta0.7", "vgdfr-k10-theta0.7"]
    assert slugs("method.k=4") == ["vgdfr-k4-theta0.5"]
    assert len(plan(*mine, "accelerator=custom", "accelerator._target_=x.Y").configs) == 2
    assert slugs("comparisons=null") == paper
    assert slugs("model.fewer_steps=[]") == [*paper, ceiling], "an empty list gives no conditions"
    assert slugs("model.fewer_steps=[12]") == [*paper, "fewersteps-steps=12", ceiling]
    with pytest.raises(ValueError, match="steps .method.steps. must be below num_inference_steps .30., got 35 .in the"):
        slugs("model.video.num_inference_steps=30")


def test_table_1_has_its_comparisons_for_each_model_that_names_step_counts(tmp_path: Path) -> None:
    for model, steps in (("embedded", (25, 35)), ("hunyuan_video", (17, 40))):
        given = plan("+exp=table1", f"model={model}")
        counts = [config.method.steps for config in given.configs if config.method._target_ == "vgdfr.FewerSteps"]
        assert tuple(counts) == steps and len(given.configs) == 15 + 6
    assert len(plan("+exp=table1", "method.k=5").configs) == 5
    custom = plan("+exp=table1", "model=custom", "prompts.source=mine.txt")
    assert not any("fewer_steps" in " ".join(given) for given in custom.conditions)


def test_comparisons_that_are_no_list_of_override_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comparisons must be a list of override sets, such as .* got "):
        plan(*my_experiment(tmp_path, "comparisons: {method: baseline}\n"))


def test_a_sweep_of_the_experiments_sweeper_is_common_to_all_its_sets(tmp_path: Path) -> None:
    common = "hydra: {sweeper: {params: {'+resolution': '64px,96px'}}}\nsweeps: [{method: baseline}, {method.k: 5}]\n"
    configs = plan(*my_experiment(tmp_path, common)).configs
    assert [(config.method._target_, config.model.video.height) for config in configs] == [
        ("vgdfr.Baseline", 64), ("vgdfr.Baseline", 96), ("vgdfr.Vgdfr", 64), ("vgdfr.Vgdfr", 96)
    ]  # fmt: skip


MISTAKES = [
    ("stduy: mine\n", "the experiment's file has a setting stduy, which nothing reads; did you mean study?"),
    (
        "sweep: [{method: vgdfr}]\n",
        "the experiment's file has a setting sweep, which nothing reads; did you mean sweeps?",
    ),
    ("study: mine\nsweeps: [{method: vgdfr}\n", "exp/mine.yaml, line 4: this is not YAML"),
    ("sweeps: [{method.k: 5}, {method.q: 1}]\n", "there is no setting method.q. There are"),
    ("sweeps: [{method.k: 5}, {method.q: 1}]\n", "(in the condition method.q=1 "),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_in_an_experiments_file_is_explained(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        plan(*my_experiment(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_an_experiment_without_its_first_line_is_refused_and_its_own_names_are_allowed(tmp_path: Path) -> None:
    mine = my_experiment(tmp_path, "mine_k: 7\nhydra: {sweeper: {params: {method.k: '${mine_k}'}}, mode: MULTIRUN}\n")
    assert [config.method.k for config in plan(*mine).configs] == [7]
    (tmp_path / "exp" / "mine.yaml").write_text("study: mine\n")
    with pytest.raises(ValueError, match="must begin with the line: # @package _global_"):
        plan(*mine)


@pytest.mark.parametrize("sweeps", ["{method: vgdfr}", "[vgdfr]", "vgdfr", "[]"])
def test_sweeps_that_are_no_list_of_override_sets_are_refused(sweeps: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sweeps must be a list of override sets, such as .* got "):
        plan(*my_experiment(tmp_path, f"sweeps: {sweeps}\n"))


def test_lists_are_swept_in_sets_and_values_in_hydras_parameters(tmp_path: Path) -> None:
    text = "hydra: {mode: MULTIRUN, sweeper: {params: {metrics.names: [psnr, ssim]}}}\n"
    (config,) = plan(*my_experiment(tmp_path, text)).configs
    assert config.metrics.names == ["psnr", "ssim"]
    text = "sweeps: [{method.k: [5, 6], prompts: file, prompts.source: 'a b (1).txt'}]\n"
    configs = plan(*my_experiment(tmp_path, text)).configs
    assert [(config.method.k, config.prompts.source) for config in configs] == [(5, "a b (1).txt"), (6, "a b (1).txt")]


def test_two_experiments_in_one_sweep_are_refused() -> None:
    with pytest.raises(ValueError, match="a sweep has one experiment"):
        plan("+exp=table1,ablation")


def test_several_values_need_the_flag() -> None:
    alone, _ = command_line.parsed(command_line.parser([], None), ["method.k=5,10"])
    with pytest.raises(ValueError, match=r"^method.k=5,10 names several values: add --multirun to sweep over them"):
        composed(alone)
    comma, _ = command_line.parsed(command_line.parser([], None), ["method.theta=0,7"])
    with pytest.raises(ValueError, match="a decimal point is a full stop"):
        composed(comma)
    assert len(plan("method.k=5,10").configs) == len(plan("method.k=range(5,7)").configs) == 2


REFUSED = [
    (["--hydra-help"], "Hydra's flag --hydra-help is not taken here: --help lists"),
    (["--config-name=mine"], "Hydra's flag --config-name is not taken here: your own experiment is a file"),
    (["-cn", "mine"], "Hydra's flag -cn is not taken here"),
    (["--dryrun"], "there is no flag --dryrun; there are --help, --multirun, --config-dir, and overrides"),
    (["hydra/sweeper=optuna"], "hydra/sweeper=optuna is not taken here"),
    (["hydra.run.dir=x"], "hydra.run.dir is not followed here, as a run's log and configuration lie in STUDY/logs"),
    (["hydra/launcher=joblib"], "there is no hydra/launcher=joblib"),
    (["hydra/job_logging=none"], "hydra/job_logging is not followed here"),
    (["=3"], "the argument '=3' cannot be read: expected KEY=VALUE"),
    (["hydra.launcher.workers=2"], "hydra.launcher.workers is a setting of a queue: add hydra/launcher=slurm or"),
    (["method.k=interval(1,5)"], "expected values, a choice or a range to sweep over"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_hydra_would_follow_and_a_sweep_would_not_is_refused_by_name(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        plan(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("hydra", "message"),
    [
        ("{callbacks: {mine: {_target_: my_pkg.Mine}}}", "hydra.callbacks are not called here"),
        ("{run: {dir: elsewhere}}", "hydra.run.dir is not followed here"),
        ("{sweeper: {max_batch_size: 3}}", "another hydra/sweeper is not taken here"),
    ],
)
def test_an_experiment_that_changes_hydra_is_refused(hydra: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        plan(*my_experiment(tmp_path, f"hydra: {hydra}\n"))


def test_a_class_that_moved_is_named_with_its_new_place() -> None:
    with pytest.raises(ValueError, match="_target_=bench.prompts.Prompts has moved: write bench.plan.prompts.Prompts"):
        jobs("prompts=file", "prompts.source=mine.txt", "prompts._target_=bench.prompts.Prompts")


def test_the_flags_of_a_command_line_give_it_again(tmp_path: Path) -> None:
    given = line("a=1", "--config-dir", str(tmp_path), "b=2")
    assert line(*given.arguments()) == given


def test_help_lists_the_choices_also_those_of_a_users_folder(tmp_path: Path) -> None:
    mine = my_experiment(tmp_path, "study: mine\n")
    for command in ("bench.sweep", "bench.launch", "bench.prefetch"):
        said = run(command, "--help", *mine[:2])
        assert (
            said.returncode == 0
            and "  exp: ablation, anchored, anchored_ablation, anchored_equal_work, anchored_placement, length, mine, "
            in said.stdout
        ), said
        assert "--config-dir [FOLDER]" in said.stdout


def test_cfg_prints_each_condition_and_writes_nothing(tmp_path: Path) -> None:
    said = run("bench.sweep", "--cfg", "job", "--multirun", "method.k=5,10", f"root={tmp_path}")
    documents = [OmegaConf.create(text) for text in said.stdout.split("---\n")]
    assert [config.method.k for config in documents] == [5, 10] and not list(tmp_path.iterdir())
    said = run("bench.sweep", "--cfg", "job", "--resolve", "model=embedded")
    assert "embedded_checkpoint" not in said.stdout and said.returncode == 0


SMALL = ["prompts.limit=1", "model.video.num_frames=17", "model.video.num_inference_steps=3", "metrics=pixel"]


def test_flags_that_belong_to_others_are_refused(tmp_path: Path) -> None:
    for given, message in (
        (["--resolve"], "--resolve goes with --cfg"),
        (["--assumed-tflops", "5"], "--assumed-tflops and --assumed-tokens go with --dry-run"),
        (["--cfg", "job", "--dry-run"], "--dry-run and --cfg print different things"),
    ):
        said = run("bench.sweep", *given, f"root={tmp_path}")
        assert said.returncode == 1 and message in said.stderr and not list(tmp_path.iterdir())


def test_a_run_keeps_its_configuration_and_overrides_beside_its_log_and_a_refused_one_leaves_nothing(
    tmp_path: Path,
) -> None:
    refused = run("bench.sweep", f"root={tmp_path}", *SMALL, "method.k=60")
    assert refused.returncode == 1 and not list(tmp_path.iterdir())
    given = ["--multirun", "method=fewer_steps", "method.steps=1,2", f"root={tmp_path}", "study=s", *SMALL]
    done = run("bench.sweep", *given)
    assert done.returncode == 0, done
    (folder,) = (tmp_path / "s" / "logs").iterdir()
    assert OmegaConf.to_container(OmegaConf.load(folder / "overrides.yaml")) == given[1:]
    configs = [OmegaConf.create(text) for text in (folder / "config.yaml").read_text().split("---\n")]
    assert [config.method.steps for config in configs] == [1, 2]
    told = [text.split(" ", 1)[1] for text in (folder / "sweep.log").read_text().splitlines()]
    assert told == done.stdout.splitlines(), "the log holds the sweep's output"


def test_equal_conditions_are_planned_once(tmp_path: Path) -> None:
    several = jobs(*my_experiment(tmp_path, "sweeps: [{method.k: 5}, {method.k: '5,6'}]\n"), f"root={tmp_path}")
    assert len(several) == 3 and {len(unit.samples) for unit in units_of(several)} == {3}


@pytest.mark.parametrize(
    "given",
    [
        ["model.video.num_frames=17", "++model.video={num_frames: 9}"],
        ["++model.video={num_frames: 9}", "model.video.num_frames=17"],
        ["method.k=7", "~method.theta"],
        ["+exp=mine", "mygroup=b"],
    ],
)
def test_values_are_set_in_the_order_and_from_the_files_that_hydra_takes(given: list[str], tmp_path: Path) -> None:
    """The folder of the search path has a group that conf/ does not have."""
    my_experiment(tmp_path, "defaults: [{/mygroup: a}]\n")
    (tmp_path / "mygroup").mkdir()
    for name in ("a", "b"):
        (tmp_path / "mygroup" / f"{name}.yaml").write_text(f"name: {name}\n")
    (config,) = plan(f"hydra.searchpath=['file://{tmp_path}']", *given).configs
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert config == compose("config", [f"hydra.searchpath=['file://{tmp_path}']", *given])


def test_a_list_within_a_swept_list_is_one_value(tmp_path: Path) -> None:
    configs = plan(*my_experiment(tmp_path, "sweeps: [{method.global_layers: [[0, 1], [2], all]}]\n")).configs
    assert [config.method.global_layers for config in configs] == [[0, 1], [2], "all"]


def test_a_flag_that_only_another_command_has_is_refused_and_not_offered() -> None:
    for command, flag in (("bench.launch", "--cfg"), ("bench.prefetch", "--dry-run")):
        said = run(command, flag)
        there = said.stderr.partition("; there are ")[2]
        assert said.returncode == 1 and "--multirun" in there and flag not in there, said
    said = run("bench.sweep", "--resolve")
    assert said.returncode == 1 and "--resolve goes with --cfg" in said.stderr, said


def test_a_setting_that_one_condition_lacks_is_refused_with_the_condition() -> None:
    message = "there is no setting method.k; method has none (in the condition method=baseline method.k=3)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plan("method=vgdfr,baseline", "method.k=3")
