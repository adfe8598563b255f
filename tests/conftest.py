"""A tiny random checkpoint in diffusers' folder format, made once per test run and loaded by the real loader."""

from collections.abc import Iterator
from pathlib import Path

import open_clip
import other_packages  # noqa: F401  tests import the packages that this module makes importable
import pytest
import torch
import torchvision
from huggingface_hub import constants
from hypothesis import settings
from tiny import SPEC, write_checkpoint

from metrics.weights import ALEXNET, CLIP_VIT_B_32
from vgdfr import HunyuanVideo, VideoSpec
from vgdfr.backbones.base import Backbone
from vgdfr.files import sha256

# A slow machine must not fail a test, and runs must be repeatable.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gives tests a cache and a hub folder of their own, so that they do not touch the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGDFR_CACHE", str(tmp_path_factory.mktemp("cache")))
        hub = str(tmp_path_factory.mktemp("hub"))
        patch.setenv("HF_HUB_CACHE", hub)
        patch.setattr(constants, "HF_HUB_CACHE", hub)
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def backbone(tiny_checkpoint: Path) -> Backbone:
    return HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu").load()


@pytest.fixture(scope="session")
def spec() -> VideoSpec:
    return SPEC


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Writes small random weights in the public files' formats, in the places of the real files."""
    monkeypatch.setenv("VGDFR_CACHE", str(tmp_path))
    torch.manual_seed(0)
    small = open_clip.CLIP(
        16,
        open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32),
        open_clip.CLIPTextCfg(layers=1, width=64, heads=1),
        quick_gelu=True,
    )
    CLIP_VIT_B_32.file.parent.mkdir(parents=True)
    torch.save(small.state_dict(), CLIP_VIT_B_32.file)
    torch.save(torchvision.models.alexnet().state_dict(), ALEXNET.file)
    pins = [(weights, weights.sha256) for weights in (CLIP_VIT_B_32, ALEXNET)]
    for weights, _ in pins:
        object.__setattr__(weights, "sha256", sha256(weights.file))  # pins these files in the test
    yield tmp_path
    for weights, pin in pins:
        object.__setattr__(weights, "sha256", pin)


# Files whose tests take a minute or more. Two workers share the files, so the longest start first.
LONGEST = (
    "test_extending", "test_kills", "test_execution", "test_slurm", "test_faults", "test_end_to_end", "test_paper",
    "test_publish", "test_compose", "test_config_dir", "test_worker",
)  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first. `--no-loadscope-reorder` keeps this order; xdist's own is by number of tests."""
    order = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))
