"""A dry run describes the planned sweep without a GPU, Slurm or weights, and leaves nothing on disk."""

import json
import re
from pathlib import Path

import processes
import pytest
from plans import dry_run, line

from bench.dry_run import ASSUMED_TFLOPS, ASSUMED_TOKENS, Assumed, describe_sweep
from vgdfr.flops import Flops
from vgdfr.presets import PRESETS
from vgdfr.schedule import uniform


def hunyuan(height: int, width: int) -> Flops:
    model = PRESETS["hunyuan_video"].model
    return Flops(model.configuration(), model.tiling, height, width, 97)


def work_of_the_papers_rows(flops: Flops) -> float:
    """Returns full passes: the baseline's 50 serve every k, and 5 thetas continue for 45, 40 and 35 steps each."""
    return 50 + 5 * (45 + 40 + 35) * flops.cost_ratio(round(ASSUMED_TOKENS * 25))


def test_a_launchers_is_the_sweeps(tmp_path: Path) -> None:
    arguments = ["+exp=smoke", f"root={tmp_path}", "--dry-run"]
    sweep, launch = processes.run("bench.sweep", *arguments), processes.run("bench.launch", "-n", "2", *arguments)
    assert sweep.returncode == launch.returncode == 0 and "22 conditions, 1 prompts" in sweep.stdout == launch.stdout


def test_the_papers_table_on_the_13b_model(tmp_path: Path) -> None:
    """The test also plans for a cluster that does not exist."""
    arguments = ["+exp=table1", "model=hunyuan_video", "hw=48g", f"root={tmp_path}", "hydra/launcher=slurm"]
    said = processes.run("bench.sweep", *arguments, "comparisons=null", "--dry-run", HF_HUB_OFFLINE="1")
    assert said.returncode == 0, said.stderr
    assert "16 conditions, 100 prompts and seeds, 1,600 samples; 0 finished" in said.stdout
    assert "vgdfr-k15-theta0.9-interpolator=rife\n" in said.stdout
    for name in ("model-00001-of-00004.safetensors", "RIFE 4.26 heavy", "VBench's prompts", "42.50 GB  in 30 file(s)"):
        assert name in said.stdout
    assert re.search(r"preview 3\d\.\d.*largest 3\d\.\d, which fits the hw profile's GPU of 43 GiB", said.stdout)
    about = work_of_the_papers_rows(hunyuan(544, 960))
    assert f"DiT work of a prompt: about {about:.0f} and at most 650 full passes" in said.stdout
    assert "vqa will be a dash without an ONNX export of DOVER" in said.stdout
    hours = 100 * 650 * hunyuan(544, 960).dit(25) / (ASSUMED_TFLOPS * 1e12) / 3600
    found = re.search(r"at most (\d+) GPU-hours, at 183 TFLOP/s", said.stdout)
    assert found and hours < int(found[1]) < 1.1 * hours, "the VAE's work makes up the difference"
    assert not list(tmp_path.iterdir())


def test_the_papers_table_with_its_comparisons_on_the_13b_model(tmp_path: Path) -> None:
    """Small frames have fewer tiles, so their memory is found sooner."""
    small = ["model.video.height=160", "model.video.width=160"]
    whole = dry_run("+exp=table1", "model=hunyuan_video", "hw=48g", f"root={tmp_path}", "hydra/launcher=slurm", *small)
    assert "22 conditions, 100 prompts and seeds, 2,200 samples; 0 finished" in whole
    flops = hunyuan(160, 160)
    about = work_of_the_papers_rows(flops)
    # fewer steps, the baseline again, and the steps of uniform merging; the ceilings make no pass of their own
    more = 17 + 40 + 50 + 45 * flops.cost_ratio(len(uniform(97, 4, frames_per_latent=4).kept_latents))
    assert f"DiT work of a prompt: about {about + more:.0f} and at most {650 + more:.0f} full passes" in whole


def test_work_that_depends_on_no_schedule_is_one_number(tmp_path: Path) -> None:
    said = dry_run(
        f"root={tmp_path}", "method=fewer_steps", "method.steps=10,25", "prompts.limit=3", "prompts.seeds=[0,1]"
    )
    assert "3 conditions, 6 prompts and seeds, 18 samples" in said and "85 full passes" in said
    said = dry_run(f"root={tmp_path}", "method=uniform", "method.k=5,10", "prompts.limit=3")
    assert "at most" not in said and "where schedules keep" not in said
    two = (f"root={tmp_path}", "method=uniform,vgdfr", "prompts.limit=3")
    assert "where schedules keep 0.6" in dry_run(*two)
    assert "where schedules keep 1 of the tokens" in describe_sweep(line(*two), Assumed(tokens=1.0))
    alone = dry_run(
        f"root={tmp_path}", "method=fewer_steps", "method.steps=10", "timing=isolated", "timing.prompts=null"
    )
    once = dry_run(f"root={tmp_path}", "method=fewer_steps", "method.steps=10")
    of_baseline = dry_run(f"root={tmp_path}", "method=baseline", "timing=isolated", "timing.prompts=null")
    work = [
        float(re.findall(r"timing: ([\d.,]+) TFLOP", text)[0].replace(",", "")) for text in (alone, once, of_baseline)
    ]
    assert work[0] / work[1] == pytest.approx(5, rel=0.05), "one warm-up and three repeats in addition"
    assert work[2] < work[0], "a baseline alone needs no more than that"


def test_the_passes_that_depend_on_no_schedule_are_those_of_a_real_sweep(tmp_path: Path) -> None:
    small = ["model.video.num_frames=17", "model.video.num_inference_steps=6", "prompts.limit=1", "metrics=pixel"]
    arguments = ["method=fewer_steps", "method.steps=2,3", f"root={tmp_path}", "study=s", *small]
    assert "DiT work of a prompt: 11 full passes" in dry_run(*arguments)
    made = processes.run("bench.sweep", "--multirun", *arguments)
    assert made.returncode == 0, made.stderr
    records = [json.loads(file.read_text()) for file in tmp_path.glob("s/*/*/record.json")]
    assert sum(record["passes_done"] for record in records) == 11
    assert "3 finished samples of these conditions" in dry_run(*arguments)
    for changed in (["model.video.num_frames=33"], ["method.steps=4,5", "method=fewer_steps"]):
        said = dry_run(*arguments, *changed)
        assert ("0 finished" if "num" in changed[0] else "1 finished") in said


def test_videos_of_several_lengths_are_told_apart(tmp_path: Path) -> None:
    said = dry_run(f"root={tmp_path}", "method.k=2", "model.video.num_frames=33,65", "prompts.limit=2")
    assert "4 conditions, 2 prompts and seeds, 8 samples" in said
    assert "vgdfr-k2-theta0.7, 64x64x33\n" in said and "baseline, 64x64x65\n" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method.k=60"], "k must be below num_inference_steps (50), got 60"),
        (["model=hunyuan_video", "prompts=embedded"], "captions of the embedded world"),
        (["model=hunyuan_video", "method.global_layers=[70]"], "between 0 and 59 for this model, got [70]"),
        (["metrics.names=[pnsr]"], "unknown metric pnsr"),
        (["--assumed-tflops=0"], "--assumed-tflops must be positive, got 0.0"),
        (["no_such_key=1"], "no_such_key"),
        (["keep=bogus"], "keep must be one of all, latents, scores, got 'bogus'"),
        (
            ["model=hunyuan_video", "model.backbone.dtype=bf16"],
            "dtype must be float32, bfloat16 or float16, got 'bf16'",
        ),
        (["hw=24g"], "this hw profile is for a GPU of 21 GiB, but the model runs on cpu"),
        (["prompts=file"], "prompts.source has no value; give it, as prompts.source=..."),
        (["threads=0"], "threads must be a whole number from 1, or null for PyTorch's own choice, got 0"),
        (["+timing.foo=3"], "there is no setting timing.foo. There are mode, prompts, repeats, warmups"),
        (["--cfg", "job"], "--dry-run and --cfg print different things; give one of them"),
    ],
)
def test_a_dry_run_refuses_what_the_sweep_would(arguments: list[str], message: str, tmp_path: Path) -> None:
    said = processes.run("bench.sweep", f"root={tmp_path}", "--dry-run", *arguments)
    assert said.returncode == 1 and message in said.stderr and "Traceback" not in said.stderr, said.stderr
    assert not list(tmp_path.iterdir())
