"""A dry run says what a sweep would do, without a GPU, Slurm, weights or a trace on disk."""

import re
from pathlib import Path

import processes
import pytest

from bench.dry_run import ASSUMED_TFLOPS, describe_sweep
from vgdfr.flops import Flops
from vgdfr.presets import PRESETS
from vgdfr.schedule import uniform


@pytest.fixture(scope="module")
def hunyuan() -> Flops:
    preset = PRESETS["hunyuan_video"]
    return Flops(preset.model.architecture(), preset.model.tiling, 544, 960, 97)


def test_a_launchers_is_the_sweeps(tmp_path: Path) -> None:
    arguments = ["+exp=smoke", f"root={tmp_path}", "--dry-run"]
    sweep, launch = processes.run("bench.sweep", *arguments), processes.run("bench.launch", "-n", "2", *arguments)
    assert sweep.returncode == launch.returncode == 0 and "16 conditions, 1 prompts" in sweep.stdout == launch.stdout


def test_the_papers_table_on_the_13b_model(tmp_path: Path, hunyuan: Flops) -> None:
    """Also for a cluster that is not there."""
    arguments = ["+exp=table1", "model=hunyuan_video", "hw=48g", f"root={tmp_path}", "hydra/launcher=slurm"]
    said = processes.run("bench.sweep", *arguments, "--dry-run", HF_HUB_OFFLINE="1")
    assert said.returncode == 0, said.stderr
    assert "16 conditions, 100 prompts and seeds, 1,600 samples; 0 samples" in said.stdout
    assert "vgdfr-k15-theta0.9-interpolator=rife\n" in said.stdout
    for name in ("model-00001-of-00004.safetensors", "RIFE 4.26 heavy", "VBench's prompts", "42.50 GB  in 30 file(s)"):
        assert name in said.stdout
    assert re.search(r"preview 3\d\.\d.*largest 3\d\.\d, which fits the hw profile's GPU of 43 GiB", said.stdout)
    # the baseline's 50 passes carry every k; 5 thetas each go on for 45, 40 and 35 steps
    low = 50 + 5 * (45 + 40 + 35) * hunyuan.cost_ratio(len(uniform(97).kept_latents))
    assert f"DiT work of a prompt: {low:.0f} (everything merges) to 650 (nothing does) full passes" in said.stdout
    hours = 100 * 650 * hunyuan.dit(25) / (ASSUMED_TFLOPS * 1e12) / 3600
    found = re.search(r"to (\d+) \(nothing does\) GPU-hours, at 183 TFLOP/s", said.stdout)
    assert found and hours < int(found[1]) < 1.1 * hours, "what is above is the VAE's"
    assert not list(tmp_path.iterdir())


def test_work_that_depends_on_no_schedule_is_one_number(tmp_path: Path) -> None:
    said = describe_sweep(
        [f"root={tmp_path}", "method=fewer_steps", "method.steps=10,25", "prompts.limit=3", "prompts.seeds=[0,1]"]
    )
    assert "3 conditions, 6 prompts and seeds, 18 samples" in said and "85 full passes" in said
    said = describe_sweep([f"root={tmp_path}", "method=uniform", "method.k=5,10", "prompts.limit=3"])
    assert "everything merges" not in said
    alone = describe_sweep([f"root={tmp_path}", "method=fewer_steps", "method.steps=10", "timing=isolated"])
    once = describe_sweep([f"root={tmp_path}", "method=fewer_steps", "method.steps=10"])
    work = [float(re.findall(r"timing: ([\d.,]+) TFLOP", text)[0].replace(",", "")) for text in (alone, once)]
    assert work[0] / work[1] == pytest.approx(5, rel=0.05), "a warm-up and three repeats more"


def test_what_is_stored_is_counted_and_videos_of_several_lengths_are_told_apart(tmp_path: Path) -> None:
    arguments = [f"root={tmp_path}", "study=s", "method.k=2", "model.video.num_frames=33,65", "prompts.limit=2"]
    for place in ("baseline/a", "vgdfr-k2-theta0.7/a", "another/a"):
        (tmp_path / "s" / place).mkdir(parents=True)
        (tmp_path / "s" / place / "record.json").touch()
    said = describe_sweep(arguments)
    assert "4 conditions, 2 prompts and seeds, 8 samples; 2 samples of these conditions are recorded" in said
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
    ],
)
def test_a_dry_run_refuses_what_the_sweep_would(arguments: list[str], message: str, tmp_path: Path) -> None:
    said = processes.run("bench.sweep", f"root={tmp_path}", "--dry-run", *arguments)
    assert said.returncode == 1 and message in said.stderr and "Traceback" not in said.stderr, said.stderr
    assert not list(tmp_path.iterdir())
