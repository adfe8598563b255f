"""A network always matches the hash in its metric's id, also if its file is replaced within a process."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from metrics import METRICS, Metric, Score, embedded, named, perceptual
from metrics.weights import ALEXNET, CLIP_VIT_B_32, by_content, sha256_of
from tests.test_dover import export
from vgdfr.files import sha256

VIDEO, OTHER = np.random.default_rng(0).integers(256, size=(2, 3, 64, 64, 3), dtype=np.uint8)


def replaced(file: Path, state: dict[str, torch.Tensor], scale: float, save: Callable[..., None]) -> None:
    """Replaces a file by the same network with scaled tensors. The new file is written first and then moved."""
    save({name: value * scale if value.is_floating_point() else value for name, value in state.items()}, "new")
    Path("new").replace(file)


def pinned_anew(pin: object, file: Path) -> None:
    object.__setattr__(pin, "sha256", sha256(file))


@pytest.mark.parametrize("name", ["lpips", "clipsim", "clip_temp_evalcrafter"])
def test_a_public_network_follows_its_file(
    name: str, public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pin, metric = ALEXNET if name.startswith("lpips") else CLIP_VIT_B_32, METRICS[name]
    before, first = metric.id, metric(VIDEO, OTHER, "a dog").value
    state = torch.load(pin.file)
    replaced(pin.file, state, 1.5, torch.save)
    pinned_anew(pin, pin.file)
    second = metric(VIDEO, OTHER, "a dog").value
    assert metric.id != before and second != first
    replaced(pin.file, state, 1, torch.save)
    pinned_anew(pin, pin.file)
    assert metric(VIDEO, OTHER, "a dog").value == first, "the first content gives the first value again"


def test_ones_own_clip_follows_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "own"
    shutil.copytree(embedded.CLIP, folder)
    (metric,) = named([f"clipsim:{folder}"])
    before, first = metric.id, metric(VIDEO, prompt="a dog").value
    weights = folder / "open_clip_model.safetensors"
    replaced(weights, load_file(weights), 1.5, save_file)
    assert metric.id != before and metric(VIDEO, prompt="a dog").value != first


def test_dover_follows_its_file_and_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = export(tmp_path / "dover.onnx", clips=3)
    monkeypatch.setenv("VGDFR_DOVER_ONNX", str(file))
    metric = METRICS["vqa"]
    before = metric.id
    assert metric(VIDEO).extra["repeats"] == 3
    export(file, side=112)
    assert metric.id != before
    with pytest.raises(ValueError, match="must take aes_view"):  # the old session must not be used
        metric(VIDEO)
    without = sha256_of(file)
    (tmp_path / "dover.onnx.data").write_bytes(b"weights")
    assert sha256_of(file) != without


def test_a_network_is_loaded_once_while_its_content_stays(tmp_path: Path) -> None:
    loaded: list[bytes] = []
    read = by_content(lambda file: loaded.append(file.read_bytes()) or len(loaded))
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert (read(file), read(file)) == (1, 1)
    file.touch()  # the times change and the content does not
    assert read(file) == 1
    file.write_bytes(b"two")
    assert (read(file), loaded) == (2, [b"one", b"two"])


def test_weights_that_change_while_they_are_loaded_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    with pytest.raises(RuntimeError, match="weights changed while it was loaded; run the same command again"):
        by_content(lambda file: file.write_bytes(b"three"))(file)


def test_a_score_is_not_told_under_another_files_id(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")

    def compute(video: np.ndarray) -> Score:
        file.write_bytes(b"three")
        return Score(1.0)

    metric = Metric("own", 1, "", True, compute, weights=file)
    assert metric.attempt(metric.id, VIDEO) == "its weights changed while it was computed; run the same command again"
    assert metric.attempt(metric.id, VIDEO) == Score(1.0)


def test_the_packages_own_trunk_is_loaded_once() -> None:
    assert perceptual.embedded() is perceptual.embedded()
