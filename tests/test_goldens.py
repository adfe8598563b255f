"""Compares with the golden values of tests/goldens.py: keys, latents, frames, layer errors, metric ids, reports.

`tests/goldens.py` describes the values and writes them. The last test needs no golden file: it writes the methods out
on the model's parts and compares bit by bit.
"""

import difflib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import goldens
import numpy as np
import processes
import pytest
import torch
from diffusers import HunyuanVideoTransformer3DModel
from torch import Tensor

from analysis import Study
from analysis.columns import metrics_of
from bench.store.record import Record
from vgdfr import Baseline, FewerSteps, Vgdfr, VideoSpec, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone

RECORDS = 208  # the number of records in the stored studies


def test_keys_slugs_folders_and_recorded_settings_are_those_of_stored_samples() -> None:
    assert json.loads(json.dumps(goldens.keys())) == json.loads(goldens.KEYS.read_text())


def test_the_settings_of_the_golden_conditions_are_of_every_kind() -> None:
    """Goldens of default values would pin little, so every setting of Vgdfr has at least two values."""
    conditions = json.loads(goldens.KEYS.read_text())["conditions"].values()
    settings = [c["recorded"] for c in conditions if c["recorded"]["name"] == "vgdfr"]
    same = {name for name in settings[0] if len({json.dumps(s[name]) for s in settings}) == 1}
    # these two need a file and a larger video; tests/test_keys.py pins their part of a key
    assert same == {"name", "interpolator_weights", "spatial_levels"}


def test_metric_ids_are_those_of_stored_scores() -> None:
    assert goldens.metric_ids() == json.loads(goldens.METRIC_IDS.read_text())


def test_latents_frames_and_layer_errors_have_the_same_bits_alone_and_shared() -> None:
    """The videos are made in a process of its own, with kernels that are the same on every x86-64 CPU."""
    stored = json.loads(goldens.BITS.read_text())
    made = goldens.bits_of_a_process(goldens.FORCED)
    assert made["kernels"] == "DEFAULT", "the CPU's own kernels were used, so no kernels were forced"
    assert made["fresh"] == made["shared"]
    differing = sorted(name for name in stored["fresh"] if made["fresh"].get(name) != stored["fresh"][name])
    if made["rope_proxy"] != stored["rope_proxy"]:
        differing.append("rope_proxy")
    here, there = goldens.versions(), stored["versions"]
    if differing and here != there:
        others = ", ".join(f"{name} {here[name]}, not {there[name]}" for name in here if here[name] != there[name])
        pytest.skip(f"the goldens' bits are of other versions ({others}), and these give others: {differing}")
    assert not differing
    assert set(made["fresh"]) == set(stored["fresh"])


def test_the_golden_videos_merge_everything_something_and_nothing() -> None:
    schedules = {name: v["schedule"] for name, v in json.loads(goldens.BITS.read_text())["fresh"].items()}
    kept = {name: sum(length // factor for _, length, factor in s) for name, s in schedules.items() if s}
    assert kept["nothing_merged"] == 33 and kept["all_merged"] == 17 and 17 < kept["threshold"] < 33
    assert [name for name in kept if kept[name] == 33] == ["nothing_merged"]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return goldens.unpacked(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module", params=goldens.COMMANDS, ids=[name for name, *_ in goldens.COMMANDS])
def reported(
    request: pytest.FixtureRequest, studies: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Returns a command's stored report, and the folder of the report that it writes now."""
    name, module, arguments = request.param
    out = tmp_path_factory.mktemp("report")
    result = processes.run(module, *goldens.arguments_at(studies, arguments), "--out", str(out))
    assert result.returncode == 0, result.stdout + result.stderr
    return goldens.REPORTS / name, out


@pytest.mark.parametrize("suffix", goldens.COMPARED)
def test_reports_on_a_stored_study_are_byte_for_byte_the_same(reported: tuple[Path, Path], suffix: str) -> None:
    stored, made = (goldens.compared(folder, suffix) for folder in reported)
    assert stored and set(made) == set(stored)
    for name, golden in stored.items():
        if made[name].read_bytes() != golden.read_bytes():
            before, after = (file.read_text().splitlines() for file in (golden, made[name]))
            changes = "\n".join(difflib.unified_diff(before, after, lineterm="", n=0))
            allowed = "" if suffix == ".csv" else "; if its prose was changed on purpose: tests/goldens.py --write"
            pytest.fail(f"{name} changed{allowed}\n{changes}")


def test_stored_records_and_scores_stay_readable(studies: Path) -> None:
    files = sorted(studies.glob("*/*/*/record.json"))
    records = [Record.from_json(file.read_text()) for file in files]
    assert len(records) == RECORDS and {record.status for record in records} == {"done", "failed"}
    for file, record in zip(files, records, strict=True):
        stored, again = json.loads(file.read_text()), json.loads(record.to_json())
        if errors := stored.pop("layer_errors"):  # the older name, from a time when every method made a video
            assert (again["data"], again["makes_video"]) == (errors, False)
        assert {name: again[name] for name in stored} == stored, "nothing is lost"
    samples = Study(*(studies / name for name in ("table1", "rope_sensitivity", "rope_proxy"))).samples
    assert set(samples["folder"]) == {str(file.parent) for file in files}
    scored = {(n, id) for n in metrics_of(samples) for id in samples[f"{n}.id"][samples[n].notna()]}
    assert scored == set(json.loads(goldens.METRIC_IDS.read_text()).items())


def sigmas_of(spec: VideoSpec, steps: int) -> list[float]:
    """Returns noise levels from 1 to 0, evenly spaced and then shifted, in float32 as in diffusers."""
    even = np.array([1 - i / steps for i in range(steps)], np.float32)
    return [*(spec.flow_shift * even / (1 + (spec.flow_shift - 1) * even)).tolist(), 0.0]


def followed(velocity: Callable[[Tensor, float], Tensor], x: Tensor, sigmas: list[float]) -> tuple[Tensor, Tensor]:
    """Takes Euler steps from the first of `sigmas` to the last. Returns the last latent and the last velocity."""
    v = torch.zeros_like(x)
    for here, there in zip(sigmas[:-1], sigmas[1:], strict=True):
        v = velocity(x, here)
        x = x + (there - here) * v
    return x, v


def as_bytes(frames: Tensor) -> np.ndarray:
    return ((frames / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@contextmanager
def rotated(
    transformer: HunyuanVideoTransformer3DModel, noise: Tensor, kept: list[int], global_layers: tuple[int, ...]
) -> Iterator[None]:
    """Gives every layer's attention rows of the full latent's tables in the block, by the layer's own positions."""
    tables = [table.unflatten(0, (noise.shape[2], -1)) for table in transformer.rope(noise)]
    with ExitStack() as hooks:
        for number, block in enumerate([*transformer.transformer_blocks, *transformer.single_transformer_blocks]):
            positions = kept if number in global_layers else list(range(len(kept)))
            own = tuple(table[positions].flatten(0, 1) for table in tables)

            def replace(module: Any, args: Any, kwargs: Any, own: tuple[Tensor, ...] = own) -> Any:
                return args, kwargs | {"image_rotary_emb": own}

            hooks.callback(block.attn.register_forward_pre_hook(replace, with_kwargs=True).remove)
        yield


@pytest.mark.parametrize("steps", [4, 3])
@torch.inference_mode()
def test_the_baselines_are_euler_steps_written_out_bit_for_bit(backbone: Backbone, spec: VideoSpec, steps: int) -> None:
    video = generate(backbone, spec, Baseline() if steps == spec.num_inference_steps else FewerSteps(steps))
    x, _ = followed(backbone.velocity(spec), backbone.noise(spec), sigmas_of(spec, steps))
    assert video.latents is not None and torch.equal(video.latents, x)
    assert np.array_equal(video.frames, as_bytes(backbone.codec.decode(x)))


@pytest.mark.parametrize("k", [1, 2])
@torch.inference_mode()
def test_vgdfr_is_its_loop_written_out_bit_for_bit(backbone: Backbone, spec: VideoSpec, k: int) -> None:
    """The loop has steps, one-step denoise, means of frames, encoding, renoise, DyRoPE and blends.

    Theta is so low that every block merges.
    """
    assert isinstance(backbone, HunyuanVideoBackbone)
    video = generate(backbone, spec, Vgdfr(k=k, theta=0.01, global_layers=(1, 4), interpolator="linear"))
    velocity, noise, sigmas = backbone.velocity(spec), backbone.noise(spec), sigmas_of(spec, 4)
    x, v = followed(velocity, noise, sigmas[: k + 1])
    with backbone.codec.reduced(1):
        preview = backbone.codec.decode(x - sigmas[k] * v)
        # frame 0, 16 frames in fours, 8 frames in twos, and 8 unmerged frames
        by_four, by_two = preview[1:17].unflatten(0, (4, 4)).mean(1), preview[17:25].unflatten(0, (4, 2)).mean(1)
        clean = backbone.codec.encode(torch.cat([preview[:1], by_four, by_two, preview[25:]]))
    kept = [0, 1, 5, 7, 8]
    y = sigmas[k] * noise[:, :, kept] + (1 - sigmas[k]) * clean
    with rotated(backbone.transformer, noise, kept, (1, 4)):
        y, _ = followed(velocity, y, sigmas[k:])
    assert video.latents is not None and torch.equal(video.latents, y)
    frames, places = as_bytes(backbone.codec.decode(y)), [0, 1, 5, 9, 13, 17, 19, 21, 23, *range(25, 33)]
    expected = [np.interp(range(33), places, pixel) for pixel in frames.reshape(len(places), -1).T]
    assert np.array_equal(video.frames[places], frames)
    assert np.abs(video.frames - np.transpose(expected).reshape(video.frames.shape)).max() <= 0.5 + 1e-4
