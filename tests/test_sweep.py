"""The command in processes of its own, on the tiny checkpoint: results, resuming, failures and bad input."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from plans import jobs
from processes import Finished
from processes import run as run_command
from safetensors.torch import load_file, save_file
from studies import stored

from bench.plan.command_line import CONF
from bench.plan.settings import job_of
from bench.plan.units import conditions_of
from bench.work.models import _loaded, backbone_of
from bench.work.progress import Sweep
from bench.work.worker import run
from vgdfr import Vgdfr, VideoSpec
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone

GRID = ["--multirun", "method.k=1,2", "method.theta=0.01,1.0", "prompts.limit=2"]
SMALL = ["model.video.num_frames=17", "model.video.num_inference_steps=3", "model.video.flow_shift=7.0"]


def sweep(*arguments: str) -> Finished:
    return run_command("bench.sweep", *arguments)


@pytest.fixture(scope="module")
def study(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Runs a sweep of the baseline and four conditions over two prompts. Returns its arguments and its folder."""
    root = tmp_path_factory.mktemp("runs")
    arguments = [*GRID, f"root={root}", "study=tiny", f"model.backbone.path={tiny_checkpoint}", *SMALL]
    result = sweep(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "loading" in result.stdout and "10 made, 0 found, 0 failed of 10 samples" in result.stdout
    return arguments, root / "tiny"


def test_every_sample_has_its_record_files_and_scores(study: tuple[list[str], Path]) -> None:
    rows = stored(study[1])
    assert len(rows) == 10
    for row in rows:
        written = {"latents.safetensors", "master.mkv", "preview.mp4"}
        assert {f.name for f in row.folder.iterdir()} == {*written, "record.json", "scores.json"}
        assert set(row.record["files"]) == written and row.record["timing"] == "shared"
        assert row.record["seconds"]["decode"] > 0 and row.record["environment"]["packages"]["torch"]
        if row.record["method"]["name"] == "baseline":
            alone = {"flicker", "motion_flow", "clipsim_embedded", "clip_temp_embedded", "vqa_embedded"}
            assert row.record["schedule"] is None and set(row.scores) == alone
        else:
            assert row.record["reference_key"] and {"psnr", "ssim", "cosine", "motion"} <= set(row.scores)
        if row.record["method"].get("theta") == 1.0:
            assert row.record["token_ratio"] == 1 and row.scores["psnr"] == float("inf") and row.record["notes"]
        if row.record["method"].get("theta") == 0.01:
            assert row.record["token_ratio"] < 1 and len(row.record["similarity"]["lag1"]) == 16


def test_the_same_command_again_computes_nothing(study: tuple[list[str], Path]) -> None:
    arguments, folder = study
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("master.mkv")}
    result = sweep(*arguments)
    assert result.returncode == 0 and "0 made, 10 found, 0 failed of 10 samples" in result.stdout
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("master.mkv")} == before
    assert "loading" not in result.stdout, "a model was loaded without need"


def test_a_lost_sample_comes_back_bit_for_bit(study: tuple[list[str], Path]) -> None:
    arguments, folder = study
    victim = next(folder.glob("vgdfr-k2-theta0.01/*"))
    master = (victim / "master.mkv").read_bytes()
    shutil.rmtree(victim)
    result = sweep(*arguments)
    assert "1 made, 9 found" in result.stdout and (victim / "master.mkv").read_bytes() == master


def test_failed_samples_are_recorded_counted_and_alone_retried(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Only merging needs the VAE's encoder, which holds NaN. So all merging samples fail, and no baseline does."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    file = broken / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({k: v * float("nan") if k.startswith("encoder") else v for k, v in weights.items()}, file)
    arguments = [
        f"root={tmp_path}", "study=tiny", f"model.backbone.path={broken}", *SMALL, "prompts.limit=2", "method.k=1",
        "method.theta=0.01",
    ]  # fmt: skip
    result = sweep(*arguments)
    assert result.returncode == 1
    assert "2 made, 0 found, 2 failed of 4 samples" in result.stdout
    assert "the same command tries only these again" in result.stdout
    failed = [row.record for row in stored(tmp_path / "tiny") if row.record["status"] == "nan"]
    assert len(failed) == 2 and "decoded values are not finite" in failed[0]["error"]
    again = sweep(*arguments)
    assert again.returncode == 1 and "0 made, 2 found, 2 failed of 4 samples" in again.stdout


def test_a_failed_baseline_is_retried_and_what_compares_with_it_is_scored_then(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """A hook on the real transformer raises in one prompt's baseline, and is then removed."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"root={tmp_path}", "study=tiny", f"model.backbone.path={tiny_checkpoint}", *SMALL]
        job = job_of(compose("config", [*overrides, "prompts.limit=2", "method.k=1", "method.theta=0.01"]))
    backbone = backbone_of(job.condition.model)
    assert isinstance(backbone, HunyuanVideoBackbone)
    calls = iter(range(1_000_000))

    def fault(*_: object) -> None:
        if next(calls) == 1:
            raise RuntimeError("out of memory, say")

    hook = backbone.transformer.register_forward_pre_hook(fault)
    first = Sweep(4, 4)
    run([job], first)
    hook.remove()
    assert (first.made, first.failed) == (3, ["baseline 00-still"])
    rows = {(r.record["slug"], r.record["prompt_id"]): r for r in stored(job.study)}
    assert "out of memory, say" in rows["baseline", "00-still"].record["error"]
    orphan = rows["vgdfr-k1-theta0.01", "00-still"]
    assert "psnr" not in orphan.scores and "no finished baseline" in orphan.reasons["psnr"]

    second = Sweep(4, 1)
    run([job], second)
    assert (second.made, second.found, second.failed) == (1, 3, [])
    rows = {(r.record["slug"], r.record["prompt_id"]): r for r in stored(job.study)}
    assert rows["vgdfr-k1-theta0.01", "00-still"].scores["psnr"] > 0


@pytest.mark.parametrize("name", sorted(file.stem for file in Path(CONF, "exp").glob("*.yaml")))
def test_every_experiment_has_the_conditions_it_says(name: str, tmp_path: Path) -> None:
    """The experiments are planned as the command plans them. A condition that does not fit its model would raise."""
    rows = {c.slug + str(c.video) for job in jobs(f"+exp={name}", f"root={tmp_path}") for c in conditions_of(job)}
    said = re.search(r"# Cost:  (\d+) conditions?", Path(CONF, "exp", f"{name}.yaml").read_text())
    assert said is not None and len(rows) == int(said[1])


BAD_INPUT = [
    (["method.theta=1.5"], "theta must be in (0, 1], got 1.5"),
    (["method.theta=0.0"], "theta must be in (0, 1], got 0"),
    (["method.k=0"], "k must be at least 1"),
    (["method.k=50"], "k must be below num_inference_steps (50), got 50"),
    (["prompts.limit=x"], "prompts.limit must be"),
    (["prompts.seeds=1"], "prompts.seeds must be a list"),
    (["model.backbone.device=gpu"], "device must be"),
    (["model.backbone.path=check/points"], "neither a folder nor in the Hugging Face cache"),
    (["model.video.num_frames=64"], "num_frames must be 4n+1 for this VAE, got 64; nearest are 61 and 65"),
    (["model.video.height=60"], "height must be divisible by 16, got 60; nearest are 48 and 64"),
    (["method.global_layers=[0,99]"], "global_layers must be between 0 and 4 for this model, got [99]"),
    (["prompts=file", "prompts.source=EMPTY"], "no prompt in"),
    (["prompts=file", "prompts.source=nowhere.txt"], "which is no file"),
    (["prompts.limit=0"], "prompts.limit must be at least 1"),
    (["prompts.skip=-1"], "prompts.skip must be a whole number from 0, got -1"),
    (["prompts.skip=x"], "prompts.skip must be a whole number from 0, got 'x'"),
    (["prompts.skip=65"], "prompts.skip must be below 65, the number of prompts in embedded, got 65"),
    (["metrics.names=[psnr,fvd]"], "unknown metric fvd"),
    (["model.backbone.path=LACKING"], "lacks tokenizer/tokenizer_config.json, transformer/*.safetensors, vae"),
    (["model.backbone.path=./nowhere"], "no checkpoint folder at ./nowhere"),
    (["method=token_ratio", "method.token_ratio=1.5"], "token_ratio must be in (0, 1], got 1.5"),
    (["method=uniform", "method.theta=0.5"], "the uniform schedule has no theta"),
    (["method=fewer_steps", "method.steps=50"], "steps (method.steps) must be below num_inference_steps (50), got 50"),
    (["method.full_steps=45"], "full_steps must be below the 45 steps left after k, got 45: no step would be left"),
    (["method.spatial_levels=3"], "spatial_levels must be one of [1, 2] for this VAE and 64x64 videos"),
    (["interpolator=rife", "interpolator.weights=nowhere.pkl"], "no RIFE weights at nowhere.pkl; check the path"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT)
def test_bad_input_is_refused_before_a_model_loads(
    tiny_checkpoint: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """The input is composed and checked as the command does it first. The next test runs the command itself."""
    (tmp_path / "empty.txt").write_text("\n \n")
    lacking = tmp_path / "lacking"
    shutil.copytree(tiny_checkpoint, lacking)
    shutil.rmtree(lacking / "vae")
    next((lacking / "transformer").glob("*.safetensors")).unlink()
    (lacking / "tokenizer" / "tokenizer_config.json").unlink()
    places = {"EMPTY": str(tmp_path / "empty.txt"), "LACKING": str(lacking)}
    for name, place in places.items():
        arguments = [a.replace(name, place) for a in arguments]
    _loaded.clear()
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        jobs(f"model.backbone.path={tiny_checkpoint}", *arguments)
    assert not _loaded


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method.theta=1.5"], "error: theta must be in (0, 1], got 1.5"),
        (["method.theta=high"], "error: theta must be a number, got 'high'"),
        (["--multirun", "method.theta=0.5,7"], "error: theta must be in (0, 1], got 7"),
        (["--multirun", "model.video.num_frames=33,high"], "error: num_frames must be a whole number, got 'high'"),
        (
            ["--multirun", "method.k=5,60"],
            "run on the merged latent (in the condition method.k=60 ",
        ),
        (["prompts=file"], "error: prompts.source has no value; give it, as prompts.source=..."),
        (["method.schedule=random"], "schedule must be one of threshold, token_ratio, uniform, got 'random'"),
        (["method.placement=free"], "placement must be one of aligned, least_error, got 'free'"),
        (["method.residual=all"], "residual must be one of none, kept, mean, got 'all'"),
        (["method.anchor=true"], "anchor must be a finite number of at least 0, or null for no anchor, got True"),
        (["method.thta=0.5"], "error: there is no setting method.thta; did you mean method.theta?"),
        (["--multirun", "method.thta=0.5,0.7"], "error: there is no setting method.thta; did you mean method.theta?"),
        (["+exp=tabel1"], "error: there is no exp=tabel1; did you mean exp=table1?"),
        (["study=null"], "error: study must be a name, such as study=mine, got null"),
    ],
)
def test_the_command_ends_with_the_message_and_has_done_nothing(
    tiny_checkpoint: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = sweep(*arguments, f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}")
    output = result.stdout + result.stderr
    assert result.returncode != 0 and message in output, output
    assert "Traceback" not in output and "loading" not in output
    assert not list(tmp_path.rglob("record.json"))


def test_keys_hold_what_decides_the_pixels(study: tuple[list[str], Path]) -> None:
    records = [row.record for row in stored(study[1])]
    assert len({r["key"] for r in records}) == len(records)
    identity = json.loads(json.dumps(records[0]["identity"]))
    assert set(identity) == {"generator_version", "model", "method", "spec"}
    known = {"weights_sha256", "dtype", "device_type", "tiling", "execution"}
    # the pixels of the 13B model and of the tests' checkpoint have changed since 0.1.0
    assert set(identity["model"]) == known | {"vae_attention", "tokenizer"}
    assert set(identity["spec"]) == {f.name for f in fields(VideoSpec)}
    vgdfr = next(r["identity"]["method"] for r in records if r["method"]["name"] == "vgdfr")
    # the content of RIFE's weights counts, and not their path; a setting that was added later counts if it is given
    first = {f.name for f in fields(Vgdfr) if not f.metadata.get("later")}
    assert set(vgdfr) == {"name", *first} - {"interpolator_weights"}
