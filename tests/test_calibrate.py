"""Calibrations: fits of known laws, diffusers' own ratios, and the command with its file, its figure and its user."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import MagCacheConfig
from PIL import Image
from processes import Finished, run

from bench.plan.prompts import embedded
from bench.work.calibrating import Measured, draw, fit
from vgdfr import Baseline, HunyuanVideo, VideoSpec, generate
from vgdfr.accelerators.calibration import read
from vgdfr.accelerators.recorder import INPUT_CHANGE, OUTPUT_CHANGE, RATIO, Recorder, norm_ratio
from vgdfr.backbones.base import Backbone

POLYNOMIAL = (700.0, -400.0, 60.0, -3.0, 0.1)


def changes(noise: float = 0.0) -> Measured:
    """Returns measurements of 8 prompts in 21 steps whose output changes follow `POLYNOMIAL`, but for noise."""
    draw = np.random.default_rng(0)
    x = draw.uniform(0.01, 0.3, (8, 20))
    return Measured({INPUT_CHANGE: x, OUTPUT_CHANGE: np.polyval(POLYNOMIAL, x) + noise * draw.normal(size=x.shape)}, 21)


def test_the_fit_recovers_a_known_polynomial() -> None:
    fitted = fit("teacache", changes())
    assert fitted.values == pytest.approx(POLYNOMIAL, rel=1e-6)
    assert (
        fitted.facts["rms_residual"] < 1e-9 and fitted.facts["r2"] == pytest.approx(1) and fitted.facts["pairs"] == 160
    )
    noisy = fit("teacache", changes(0.05))
    assert noisy.facts["rms_residual"] == pytest.approx(0.05, rel=0.1) and noisy.values != pytest.approx(POLYNOMIAL)


def test_a_fit_without_enough_or_with_broken_measurements_is_refused() -> None:
    few = Measured({name: np.array([[1.0, 2.0, 3.0, 4.0]]) for name in (INPUT_CHANGE, OUTPUT_CHANGE)}, 5)
    with pytest.raises(
        ValueError, match=r"needs more than 4 different changes, got 4; take more prompts \(--prompts=N"
    ):
        fit("teacache", few)
    broken = changes()
    broken.values[OUTPUT_CHANGE][0, 0] = np.nan
    with pytest.raises(ValueError, match="a change is not finite"):
        fit("teacache", broken)
    with pytest.raises(ValueError, match="a ratio is not finite"):
        fit("magcache", Measured({RATIO: np.array([[1.0, np.inf]])}, 3))


def test_ratios_are_means_over_prompts_after_a_first_entry_of_1() -> None:
    fitted = fit("magcache", Measured({RATIO: np.array([[0.5, 1.0], [1.5, 3.0]])}, 3))
    assert fitted.values == (1.0, 1.0, 2.0) and fitted.facts["largest_deviation_over_prompts"] == 1.0


def test_a_ratio_is_a_mean_over_tokens_of_ratios_of_norms() -> None:
    new, old = torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[[0.0, 1.0], [4.0, 0.0]]])
    assert norm_ratio(new, old) == pytest.approx((5 / 1 + 2 / 4) / 2)


def test_ratios_are_those_that_diffusers_finds(
    backbone: Backbone, spec: VideoSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    found = generate(backbone, spec, Baseline(accelerators=(Recorder("ratios"),))).accelerated["Recorder"]
    dit: Any = backbone.transformer
    dit.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=spec.num_inference_steps))
    try:
        generate(backbone, spec, Baseline())
    finally:
        dit.disable_cache()
    (printed,) = re.findall(r"^\[1\.0, .*\]$", capsys.readouterr().out, re.MULTILINE)
    assert [found[f"{RATIO}{step}"] for step in (1, 2, 3)] == pytest.approx(json.loads(printed)[1:], rel=1e-6)
    assert set(found) == {"gate_asked", *(f"{RATIO}{step}" for step in (1, 2, 3))}


@pytest.mark.parametrize("accelerator", ["teacache", "magcache"])
def test_figures_are_drawn_and_equal_bytes_again(accelerator: str, tmp_path: Path) -> None:
    measured = changes(0.05)
    measured.values[RATIO] = measured.values[INPUT_CHANGE]
    values = fit(accelerator, measured).values
    for name in ("one.png", "two.png"):
        draw(accelerator, measured, values, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert len(np.unique(np.asarray(Image.open(tmp_path / "one.png").convert("L")))) > 20


# The command

SMALL = [
    "model.video.height=32",
    "model.video.width=32",
    "model.video.num_frames=17",
    "model.video.num_inference_steps=6",
]


@pytest.fixture(scope="module")
def calibrated(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Finished]]:
    root = tmp_path_factory.mktemp("root")
    ended = {
        name: run("bench.calibrate", f"accelerator={name}", *SMALL, f"model.backbone.path={tiny_checkpoint}",
                  "model.name=tiny", f"root={root}", "--prompts=2")
        for name in ("teacache", "magcache")
    }  # fmt: skip
    return root, ended


def test_the_command_writes_a_calibration_and_its_figure(
    calibrated: tuple[Path, dict[str, Finished]], tiny_checkpoint: Path
) -> None:
    root, ended = calibrated
    weights = HunyuanVideo(str(tiny_checkpoint)).dit_weights()
    for name, count in (("teacache", 5), ("magcache", 6)):
        file = root / "calibrations" / f"{name}-tiny-6steps-shift1.json"
        said = ended[name].stdout
        assert ended[name].returncode == 0 and f"wrote {file} and {file.with_suffix('.png')}" in said, ended[name]
        found = read(file)
        assert (found.accelerator, found.weights, len(found.values)) == (name, weights, count)
        assert (found.num_inference_steps, found.flow_shift) == (6, 1.0)
        last = [f"{id}, seed 1000" for id, _ in embedded()[-2:]]
        assert found.origin["prompts"] == last and found.origin["model"] == "tiny"
        assert all(f"{i + 1} of 2: {text}" in said for i, text in enumerate(last))
        assert str(tiny_checkpoint) not in file.read_text(), "the file names no place on this machine"
        assert file.with_suffix(".png").stat().st_size > 5000
    assert re.search(r"threshold=\S+ would skip about \d+% of these passes", ended["teacache"].stdout)
    assert read(root / "calibrations" / "magcache-tiny-6steps-shift1.json").values[0] == 1.0


def test_a_sweep_takes_the_calibration_of_its_model_alone(
    calibrated: tuple[Path, dict[str, Finished]], tiny_checkpoint: Path
) -> None:
    root, _ = calibrated
    file = root / "calibrations" / "teacache-tiny-6steps-shift1.json"
    cached = [*SMALL, f"root={root}", "study=cached", "method=baseline", "prompts.limit=1", "metrics=pixel",
              "accelerator=teacache", "accelerator.threshold=1e9", f"accelerator.calibration={file}"]  # fmt: skip
    refused = run("bench.sweep", *cached)
    assert refused.returncode == 1 and "is a calibration of other weights: expected those of" in refused.stderr
    assert not (root / "cached").exists()
    ended = run("bench.sweep", *cached, f"model.backbone.path={tiny_checkpoint}")
    assert ended.returncode == 0 and "2 made, 0 found, 0 failed" in ended.stdout, ended
    (record,) = [json.loads(each.read_text()) for each in (root / "cached").glob("baseline-teacache*/*/record.json")]
    (accelerator,) = record["method"]["accelerators"]
    expected = {"threshold": 1e9, "calibration": None, "coefficients": list(read(file).values)}
    assert accelerator == expected | {"name": "teacache"}
    assert record["accelerated"] == {
        "TeaCache": {"gate_asked": 6, "passes_skipped": 4, "blocks_computed": 10, "blocks_skipped": 20}
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give accelerator=teacache or accelerator=magcache, got none"),
        (["accelerator=none"], "give accelerator=teacache or accelerator=magcache, got accelerator=none"),
        (["accelerator=teacache", "method=vgdfr"], "method=vgdfr: a calibration runs the baseline alone; leave method"),
        (["accelerator=teacache", "accelerator.threshold=1"], "accelerator.threshold=1: a calibration runs the baseli"),
        (["accelerator=teacache", "+exp=table1"], "+exp=table1: a calibration runs the baseline alone; leave exp out"),
        (["accelerator=teacache", "--prompts=0"], "--prompts must be at least 1, got 0"),
        (["accelerator=teacache", "prompts.limit=3"], "--prompts must be at most the 3 prompts of the list, got 10"),
        (["accelerator=magcache", "model.video.num_inference_steps=1"], "so it needs 2 or more, got 1"),
        (["accelerator=teacache", "--output=a.png"], "--output must be a file FILE.json, got a.png"),
        (["accelerator=teacache", "prompts.limt=2"], "there is no setting prompts.limt; did you mean prompts.limit?"),
    ],
)
def test_mistakes_are_refused_in_one_line(arguments: list[str], message: str) -> None:
    ended = run("bench.calibrate", *arguments)
    assert ended.returncode == 1 and message in ended.stderr and ended.stderr.count("\n") == 1, ended
