"""`python -m vgdfr PROMPT` prints and writes one video, and refuses bad input before a model loads."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from bench.plan.command_line import CONF
from bench.plan.settings import job_of
from metrics.video_file import read
from vgdfr.__main__ import MODELS, parse
from vgdfr.one_prompt import GAP, main, side_by_side
from vgdfr.presets import PRESETS

SMALL = ["--height", "32", "--width", "32", "--num-frames", "33", "--num-inference-steps", "4", "--k", "2"]


def test_a_comparison_is_written_side_by_side_and_described(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clip.mp4"
    main(
        parse(
            ["a red circle", *SMALL, "--theta", "0.01", "--compare", "--path", str(tiny_checkpoint), "--out", str(out)]
        )
    )
    printed = capsys.readouterr().out
    assert "schedule     0, 1-16 (4 into 1), 17-24 (2 into 1), 25-32" in printed
    assert "token ratio  0.56" in printed and "denoise_compressed" in printed and "speed-up" in printed
    video = read(out)
    frames, fps = video.frames, video.fps
    assert frames.shape == (33, 32, 64 + GAP, 3) and fps == 12


def test_side_by_side_keeps_both() -> None:
    a, b = np.zeros((2, 4, 6, 3), np.uint8), np.full((2, 4, 6, 3), 9, np.uint8)
    both = side_by_side(a, b)
    assert np.array_equal(both[:, :, :6], a) and np.array_equal(both[:, :, -6:], b)


def test_the_command_offers_every_preset() -> None:
    assert tuple(PRESETS) == MODELS


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_conf_says(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("config", [f"model={name}", "model.backbone.device=cpu"])
        if name == "embedded":
            assert job_of(config).condition.model == PRESETS[name].model
    video, backbone = config.model.video, config.model.backbone
    preset = PRESETS[name]
    assert {k: v for k, v in video.items() if k != "_target_"} == preset.video
    assert backbone.dtype == preset.model.dtype
    assert name == "embedded" or backbone.path == preset.model.path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "50"], "k must be below num_inference_steps (50), got 50"),
        (["--theta", "2"], "theta must be in (0, 1], got 2"),
        (["--num-frames", "64"], "num_frames must be 4n+1"),
        (["--out", "nowhere/clip.mp4"], "--out must be an .mp4 file in a folder that exists"),
        (["--path", "./nowhere"], "no checkpoint folder at ./nowhere"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        main(parse(["a prompt", *arguments]))
    assert message in str(caught.value)


def test_the_command_ends_with_the_message() -> None:
    result = subprocess.run([sys.executable, "-m", "vgdfr", " "], capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.strip().endswith("error: prompt must not be empty")
