"""Compares the metrics of other projects' profiles with separate implementations."""

import lpips
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metrics import METRICS, PROFILES
from metrics.perceptual import to_tensor
from metrics.weights import ALEXNET

RNG = np.random.default_rng(1)
VIDEO = RNG.integers(256, size=(3, 70, 80, 3), dtype=np.uint8)
NEAR = np.clip(VIDEO + RNG.normal(0, 6, VIDEO.shape), 0, 255).astype(np.uint8)


def value(name: str, video: np.ndarray = NEAR, reference: np.ndarray = VIDEO) -> float:
    return METRICS[name](video, reference).value


def test_capped_means_of_psnr() -> None:
    per_frame = [peak_signal_noise_ratio(b, a) for a, b in zip(NEAR, VIDEO, strict=True)]
    for name in ("psnr_videosys", "psnr_fastvideo", "psnr_sparse_videogen"):
        assert value(name) == pytest.approx(np.mean(per_frame))
    half = np.concatenate([NEAR[:1], VIDEO[1:2]])
    assert value("psnr_videosys", half, VIDEO[:2]) == pytest.approx((per_frame[0] + 100) / 2)
    assert value("psnr_sparse_videogen", half, VIDEO[:2]) == np.inf


def test_cache_dit_wraps_bytes_and_leaves_identical_frames_out() -> None:
    wrapped = ((NEAR.astype(int) - VIDEO) ** 2 % 256).mean((1, 2, 3))
    assert value("psnr_cache_dit") == pytest.approx(np.mean(10 * np.log10(255**2 / wrapped)))
    assert value("psnr_cache_dit") > value("psnr_frame_mean")
    half = np.concatenate([NEAR[:1], VIDEO[1:2]])
    assert value("psnr_cache_dit", half, VIDEO[:2]) == pytest.approx(10 * np.log10(255**2 / wrapped[0]))
    dark, bright = np.full((2, 16, 16, 3), 100, np.uint8), np.full((2, 16, 16, 3), 116, np.uint8)
    assert value("psnr_cache_dit", bright, dark) == np.inf, "it counts a difference of 16 levels as zero"


def test_ssim_of_each_project() -> None:
    pairs = list(zip(NEAR, VIDEO, strict=True))
    defaults = [structural_similarity(b, a, channel_axis=2) for a, b in pairs]
    assert value("ssim_cache_dit") == pytest.approx(np.mean(defaults))
    assert value("ssim_videosys") == value("ssim")
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / 4.5)
    window = np.outer(window, window)[..., None] / window.sum() ** 2
    blurred = lambda plane: correlate(plane, window, mode="constant", cval=0.0)  # noqa: E731
    maps = []
    for a, b in ((a / 255, b / 255) for a, b in pairs):
        x, y = blurred(a), blurred(b)
        xx, yy, xy = blurred(a * a) - x * x, blurred(b * b) - y * y, blurred(a * b) - x * y
        maps.append((2 * x * y + 1e-4) * (2 * xy + 9e-4) / ((x * x + y * y + 1e-4) * (xx + yy + 9e-4)))
    assert value("ssim_fastvideo") == pytest.approx(np.mean(maps)) and value("ssim_fastvideo") != value("ssim")


@pytest.mark.usefixtures("public")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lpips_with_and_without_the_spatial_map() -> None:
    stored = torch.load(ALEXNET.file)
    for name, spatial in (("lpips_videosys", True), ("lpips_fastvideo", False)):
        network = lpips.LPIPS(net="alex", pnet_rand=True, spatial=spatial, verbose=False).eval()
        for key, weight in torch.nn.Module.state_dict(network.net).items():
            weight.copy_(stored[f"features.{key.split('.', 1)[1]}"])
        with torch.no_grad():
            expected = network(to_tensor(NEAR), to_tensor(VIDEO)).mean((1, 2, 3))
        assert METRICS[name](NEAR, VIDEO).per_frame == pytest.approx(expected.numpy(), rel=1e-4)
    assert value("lpips_videosys") != value("lpips_fastvideo") == value("lpips")


def test_profiles_hold_what_each_project_computes_for_videos() -> None:
    kinds = {name: [m.name.split("_")[0] for m in profile] for name, profile in PROFILES.items()}
    assert kinds == {
        "videosys": ["psnr", "ssim", "lpips"], "cache-dit": ["psnr", "ssim"], "sparse-videogen": ["psnr"],
        "fastvideo": ["psnr", "ssim", "lpips"],
    }  # fmt: skip
