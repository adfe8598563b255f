"""The model decides prompts, interpolator and metrics unless the command line does. Misfits are refused."""

import hashlib
import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from plans import jobs, plan

from bench.plan import prompts as prompts_module
from bench.plan.command_line import CONF
from bench.plan.compose import configs_of
from bench.plan.jobs import checked
from bench.plan.prompts import Prompts, VBenchPrompts
from bench.plan.settings import condition_of, job_of, metrics_of, prompts_of
from metrics.groups import names_of

PAPER = ["+exp=table1", "model=hunyuan_video"]
NUM_VBENCH = 944


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture
def vbench_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a file with as many prompts as VBench has, in its format, pinned in place of the real list."""
    file = tmp_path / "VBench_full_info.json"
    file.write_text(json.dumps([{"prompt_en": f"prompt {i}", "dimension": ["scene"]} for i in range(NUM_VBENCH)]))
    monkeypatch.setattr(prompts_module, "VBENCH_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


@pytest.fixture
def tiny_13b(tiny_checkpoint: Path) -> list[str]:
    """Returns the settings of the 13B model on the tiny checkpoint, with nothing to download."""
    return [
        "model=hunyuan_video", f"model.backbone.path={tiny_checkpoint}", "model.backbone.device=cpu",
        "model.backbone.dtype=float32", "interpolator=flow", "metrics=pixel",
    ]  # fmt: skip


def test_table1_of_the_13b_model_is_the_papers_without_further_flags() -> None:
    configs = configs_of([*PAPER, "comparisons=null"])
    assert [(c.method.k, c.method.theta) for c in configs] == list(
        itertools.product((5, 10, 15), (0.5, 0.6, 0.7, 0.8, 0.9))
    )
    for config in configs:
        video = OmegaConf.to_container(config.model.video)
        assert video == {
            "height": 544, "width": 960, "num_frames": 97,
            "num_inference_steps": 50, "guidance_scale": 6.0, "flow_shift": 7.0, "fps": 24,
        }  # fmt: skip
        assert prompts_of(config) == VBenchPrompts(subset=100, subset_seed=0, limit=None, seeds=[0])
        method = config.method
        assert (method.interpolator, method.interpolator_weights, method.schedule) == ("rife", None, "threshold")
        assert list(metrics_of(config)) == names_of("paper") and not config.allow_mismatch
        assert {"clip_temp", "clipsim", "vqa", "psnr", "ssim", "lpips", "cosine"} <= set(metrics_of(config))


def test_these_are_100_of_vbenchs_prompts_and_fewer_by_a_limit(vbench_file: Path) -> None:
    def loaded(*overrides: str) -> list[tuple[str, int]]:
        config = configs_of([*PAPER, f"prompts.path={vbench_file}", *overrides])[0]
        return [(prompt.text, prompt.seed_index) for prompt in prompts_of(config).load()]

    chosen = loaded()
    assert len(set(chosen)) == len(chosen) == 100 and {seed for _, seed in chosen} == {0}
    assert [text for text, _ in chosen[:4]] == ["prompt 2", "prompt 8", "prompt 25", "prompt 36"], (
        "the choice is always the same"
    )
    assert loaded("prompts.limit=7") == chosen[:7]
    assert loaded("prompts=vbench") == [(f"prompt {i}", 0) for i in range(NUM_VBENCH)]


@pytest.mark.parametrize("model", ["embedded", "hunyuan_video"])
@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("prompts=file", "prompts._target_", "bench.plan.prompts.Prompts"),
        ("prompts=embedded", "prompts.source", "embedded"),
        ("prompts=vbench", "prompts.subset", None),
        ("prompts=paper", "prompts.subset", 100),
        ("prompts.limit=3", "prompts.limit", 3),
        ("prompts.limit=null", "prompts.limit", None),
        ("prompts.seeds=[0,1]", "prompts.seeds", [0, 1]),
        ("interpolator=flow", "method.interpolator", "flow"),
        ("interpolator=linear", "method.interpolator", "linear"),
        ("interpolator=rife", "method.interpolator", "rife"),
        ("metrics=pixel", "metrics.names", ["pixel"]),
        ("metrics=embedded", "metrics.names", ["embedded"]),
        ("metrics=paper", "metrics.names", ["paper"]),
        ("model.backbone.path=elsewhere", "model.backbone.path", "elsewhere"),
        ("model.video.num_frames=33", "model.video.num_frames", 33),
        ("+resolution=720p", "model.video.width", 1280),
        ("hw=24g", "model.backbone.execution.offload", "blocks"),
        ("hw=80g", "model.backbone.min_gpu_gib", 76),
    ],
)
def test_the_command_line_wins_over_the_model(model: str, argument: str, key: str, value: object) -> None:
    arguments = [f"model={model}", argument]
    for config in (composed(*arguments), composed("+exp=table1", *arguments), *configs_of(arguments)):
        assert config.model.name == model and OmegaConf.select(config, key) == value


@pytest.mark.parametrize(("model", "limit"), [("embedded", 10), ("hunyuan_video", None)])
def test_table1_takes_prompts_of_a_file_as_many_as_the_model_says(
    model: str, limit: int | None, tmp_path: Path
) -> None:
    source = tmp_path / "mine.txt"
    source.write_text("\n".join(f"prompt {i}" for i in range(12)))
    arguments = ["+exp=table1", f"model={model}", "prompts=file", f"prompts.source={source}"]
    assert prompts_of(composed(*arguments)) == Prompts(str(source), limit, [0])
    assert len(prompts_of(composed(*arguments)).load()) == (limit or 12)
    assert len(prompts_of(composed(*arguments, "prompts.limit=11")).load()) == 11


@pytest.mark.parametrize(("arguments", "limit", "count"), [(["+exp=table1"], 10, 10), ([], None, 65)])
def test_the_embedded_models_settings_are_what_they_were(arguments: list[str], limit: int | None, count: int) -> None:
    config = composed(*arguments)
    assert prompts_of(config) == Prompts("embedded", limit, [0]) and len(prompts_of(config).load()) == count
    assert (config.model.name, config.method.interpolator, config.method.interpolator_weights) == (
        "embedded", "flow", None,
    )  # fmt: skip
    assert list(metrics_of(config)) == [
        "psnr", "psnr_frame_mean", "ssim", "cosine", "cosine_raw", "flicker", "motion", "motion_flow",
        "clipsim_embedded", "clip_temp_embedded", "vqa_embedded", "lpips_embedded",
    ]  # fmt: skip
    assert OmegaConf.to_container(config.model.video) == {
        "height": 64, "width": 64, "num_frames": 65,
        "num_inference_steps": 50, "guidance_scale": 1.0, "flow_shift": 1.0, "fps": 12,
    }  # fmt: skip


@pytest.mark.parametrize("model", ["embedded", "hunyuan_video"])
@pytest.mark.parametrize("name", sorted(file.stem for file in Path(CONF, "exp").glob("*.yaml")))
def test_every_experiment_composes_for_every_model(name: str, model: str) -> None:
    whole = {"embedded": 10, "hunyuan_video": None}[model]
    prompts, metrics = {"embedded": (Prompts, "embedded"), "hunyuan_video": (VBenchPrompts, "paper")}[model]
    for config in configs_of([f"+exp={name}", f"model={model}"]):
        others = {"rope": 20, "anchored": 25}.get(name.partition("_")[0], 10)
        assert config.prompts.limit == {"table1": whole, "rivals": whole, "smoke": 1}.get(name, others)
        judges = 40 if name.startswith("anchored") else 20 if name == "rope_assignment" else 0
        assert config.prompts.skip == judges, (
            "an experiment that reports on prompts which chose nothing skips the others"
        )
        assert isinstance(prompts_of(config), prompts) and list(metrics_of(config)) == names_of(metrics)
        assert condition_of(config).model_name == model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model=13B", "prompts=embedded"],
            "the prompts are captions of the embedded world, and model=hunyuan_video is not of that world (its "
            "model.world is open); expected prompts=paper, prompts=vbench or prompts=file; "
            "to run it all the same, add allow_mismatch=true",
        ),
        (
            ["model=13B", "prompts=file", "prompts.source=FILE", "metrics=embedded"],
            "the metrics clipsim_embedded, clip_temp_embedded, vqa_embedded, lpips_embedded look through the small "
            "judge of the embedded world, and model=hunyuan_video is not of that world (its model.world is open); "
            "expected metrics=paper or metrics=pixel; to run it all the same, add allow_mismatch=true",
        ),
        (
            ["model=13B", "prompts.path=VBENCH", "metrics.names=[psnr,lpips_embedded]"],
            "the metrics lpips_embedded look",
        ),
        (["model=13B", "prompts=embedded", "metrics=embedded"], "prompts=file; the metrics clipsim_embedded"),
        (
            ["prompts=vbench", "prompts.path=VBENCH"],
            "the prompts are VBench's, and model=embedded knows only the few words of the embedded world; expected "
            "prompts=embedded or prompts=file; to run it all the same, add allow_mismatch=true",
        ),
        (["prompts=paper", "prompts.path=VBENCH"], "the prompts are VBench's"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_unless_asked_for(
    arguments: list[str], message: str, tiny_13b: list[str], vbench_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("a prompt")
    if arguments[0] == "model=13B":
        arguments = [*tiny_13b, *arguments[1:]]
    places = {"FILE": tmp_path / "mine.txt", "VBENCH": vbench_file}
    for name, place in places.items():
        arguments = [re.sub(f"={name}$", f"={place}", argument) for argument in arguments]
    with pytest.raises(ValueError, match=re.escape(message)):
        job_of(composed(*arguments))
    job = job_of(composed(*arguments, "allow_mismatch=true"))
    assert job.prompts and job.metrics


@pytest.mark.parametrize(
    "arguments",
    [
        ["model=13B", "prompts.path=VBENCH"],
        ["model=13B", "prompts.path=VBENCH", "metrics=paper"],
        ["model=13B", "prompts=file", "prompts.source=FILE"],
        ["prompts=file", "prompts.source=FILE"],
        ["metrics=pixel"],
        ["metrics=paper"],
        ["metrics.names=[psnr,lpips_embedded,lpips]"],
    ],
)
def test_what_fits_the_model_is_accepted(
    arguments: list[str], tiny_13b: list[str], vbench_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("a prompt")
    arguments = [re.sub("=VBENCH$", f"={vbench_file}", re.sub("=FILE$", f"={tmp_path}/mine.txt", a)) for a in arguments]
    assert job_of(composed(*(tiny_13b + arguments[1:] if arguments[0] == "model=13B" else arguments))).prompts


def test_a_mismatch_is_said_before_anything_is_to_be_downloaded() -> None:
    for here in (True, False):  # False stands for a machine that does not run the job and may lack the device
        with pytest.raises(ValueError, match="^the prompts are captions of the embedded world"):
            checked(plan(*PAPER, "prompts=embedded"), here=here)
    with pytest.raises(OSError, match="are to be downloaded first"):
        checked(plan(*PAPER, "prompts=embedded", "allow_mismatch=true"), here=False)


def test_wrong_values_of_these_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="^allow_mismatch must be true or false, got 'no'$"):
        job_of(composed("allow_mismatch=no"))
    with pytest.raises(ValueError, match="^model.world must be embedded or open, got 'toy'$"):
        job_of(composed("model.world=toy"))


@pytest.mark.parametrize("form", ["global", "plain"])
def test_a_model_file_that_says_nothing_of_worlds_needs_prompts_only(form: str, tmp_path: Path) -> None:
    settings = yaml.safe_load(Path(CONF, "model", "embedded.yaml").read_text())["model"]
    settings = {name: of for name, of in settings.items() if name not in ("world", "table1_prompts")} | {"name": "mine"}
    file, source = tmp_path / "conf" / "model" / "mine.yaml", tmp_path / "prompts.txt"
    file.parent.mkdir(parents=True)
    head, body = ("# @package _global_\n", {"model": settings}) if form == "global" else ("", settings)
    file.write_text(head + yaml.safe_dump(body))
    source.write_text("\n".join(f"prompt {i}" for i in range(12)))
    mine = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "model=mine"]
    for arguments in ([], ["+exp=table1"]):
        job = job_of(composed(*mine, *arguments, f"prompts.source={source}"))
        assert len(job.prompts) == 12 and list(job.metrics) == names_of("pixel")
        assert job.condition.model_name == "mine" and composed(*mine).method.interpolator == "flow"
    with pytest.raises(ValueError, match="prompts.source has no value; give it, as prompts.source=..."):
        jobs(*mine)
    with pytest.raises(ValueError, match="captions of the embedded world, and model=mine is not of that world"):
        job_of(composed(*mine, "prompts=embedded"))
    assert job_of(composed(*mine, "prompts=embedded", "+model.world=embedded"))
