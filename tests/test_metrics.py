"""Compares pixel metrics with golden values and other implementations, and checks known mistakes."""

import math

import numpy as np
import pyiqa
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metrics import METRICS, named
from metrics.memo import memoized

FRAMES = arrays(np.uint8, (3, 13, 15, 3))


def constant(value: int, frames: int = 4) -> np.ndarray:
    return np.full((frames, 32, 32, 3), value, np.uint8)


def structured(seed: int, frames: int = 5) -> np.ndarray:
    y, x = np.mgrid[0:40, 0:36]
    waves = [127 + 80 * np.sin(x / 5 + t / 3) * np.cos(y / 7) for t in range(frames)]
    noise = np.random.default_rng(seed).normal(0, 12, (frames, 40, 36, 3))
    return np.clip(np.stack(waves)[..., None] + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("a", "b", "psnr", "ssim"),
    [(100, 116, 24.048404, 0.989089), (100, 200, 8.130804, 0.800026), (0, 255, 0.0, 0.000100)],
)
def test_golden_values(a: int, b: int, psnr: float, ssim: float) -> None:
    assert METRICS["psnr"](constant(a), constant(b)).value == pytest.approx(psnr, abs=1e-6)
    assert METRICS["psnr"](constant(b), constant(a)).value == pytest.approx(psnr, abs=1e-6), "uint8 must not wrap"
    assert METRICS["ssim"](constant(a), constant(b)).value == pytest.approx(ssim, abs=1e-6)


@given(FRAMES, FRAMES)
def test_psnr_and_ssim_equal_scikit_image(a: np.ndarray, b: np.ndarray) -> None:
    if not np.array_equal(a, b):
        expected = peak_signal_noise_ratio(b, a, data_range=255)
        assert METRICS["psnr"](a, b).value == pytest.approx(expected, abs=1e-9)
    check_ssim(a, b)


def check_ssim(a: np.ndarray, b: np.ndarray) -> None:
    expected = [
        structural_similarity(
            x, y, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for x, y in zip(a, b, strict=True)
    ]
    assert METRICS["ssim"](a, b).per_frame == pytest.approx(expected, abs=1e-9)


def test_ssim_of_structured_videos_equals_scikit_image() -> None:
    check_ssim(structured(0), structured(1))


def test_psnr_of_a_half_identical_video_in_both_conventions() -> None:
    """The PSNR of the mean error is 3 dB above the differing frames, and the capped mean is far above them.

    Infinite values are never dropped.
    """
    reference = constant(100, 4)
    video = reference.copy()
    video[2:] += 5
    mse_first, capped = METRICS["psnr"](video, reference), METRICS["psnr_frame_mean"](video, reference)
    per_frame = 10 * math.log10(255**2 / 25)
    assert mse_first.value == pytest.approx(10 * math.log10(255**2 / 12.5))
    assert mse_first.extra["identical_frames"] == 2
    assert capped.value == pytest.approx((100 + per_frame) / 2)


def test_the_three_numbers_of_a_half_identical_video() -> None:
    """The PSNR of the mean error is 37.40 dB, and the capped mean is 67.20 dB.

    A mean that drops the infinite frames would give 34.39 dB.
    """
    reference = np.full((4, 100, 100, 3), 100, np.uint8)
    video = reference.copy()
    video[2:] += 4
    video[2:].reshape(2, -1)[:, :25_540] += 1  # 85 % of these bytes differ by 5 levels, and the others by 4
    psnr, capped = METRICS["psnr"](video, reference), METRICS["psnr_frame_mean"](video, reference)
    assert psnr.per_frame is not None
    dropped = psnr.per_frame[np.isfinite(psnr.per_frame)].mean()
    assert [round(float(v), 2) for v in (psnr.value, capped.value, dropped)] == [37.40, 67.20, 34.39]


@given(FRAMES, FRAMES)
def test_flicker_and_motion_equal_numpys(a: np.ndarray, b: np.ndarray) -> None:
    steps = [np.abs(np.diff(video.astype(np.float64), axis=0)).mean((1, 2, 3)) for video in (a, b)]
    assert METRICS["flicker"](a).per_frame == pytest.approx((255 - steps[0]) / 255)
    if steps[1].any():
        assert METRICS["motion"](a, b).value == pytest.approx(steps[0].mean() / steps[1].mean())


@given(FRAMES, FRAMES)
def test_centred_cosine_and_the_capped_mean_equal_numpys(a: np.ndarray, b: np.ndarray) -> None:
    x, y = (v.reshape(len(v), -1).astype(np.float64) for v in (a, b))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    even = ~x.any(1) & ~y.any(1)
    expected = np.where(lengths > 0, (x * y).sum(1) / np.maximum(lengths, 1e-9), even)
    assert METRICS["cosine"](a, b).per_frame == pytest.approx(expected, abs=1e-9)
    mse = np.square(a.astype(np.float64) - b).mean((1, 2, 3))
    capped = np.minimum(10 * np.log10(255**2 / np.maximum(mse, 1e-12)), 100)
    assert METRICS["psnr_frame_mean"](a, b).value == pytest.approx(capped.mean())


def test_identical_videos() -> None:
    video = structured(2)
    assert METRICS["psnr"](video, video).value == math.inf
    assert METRICS["psnr_frame_mean"](video, video).value == 100
    assert METRICS["ssim"](video, video).value == pytest.approx(1)
    assert METRICS["cosine"](video, video).value == pytest.approx(1)
    assert METRICS["motion"](video, video).value == 1


def test_cosine_is_centred_correlation() -> None:
    a, b = structured(3), structured(4)
    expected = np.mean([np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)])
    assert METRICS["cosine"](a, b).value == pytest.approx(expected)
    noise = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 3), np.uint8)
    assert abs(METRICS["cosine"](*noise).value) < 0.02
    assert METRICS["cosine_raw"](*noise).value == pytest.approx(0.75, abs=0.01)


def test_flicker_and_motion() -> None:
    video = constant(100, 8)
    video[1::2] += 10
    assert METRICS["flicker"](video).value == pytest.approx(1 - 10 / 255) == pytest.approx(0.960784, abs=1e-6)
    assert METRICS["flicker"](constant(7)).value == 1
    calmer = constant(100, 8)
    calmer[1::2] += 5
    assert METRICS["motion"](calmer, video).value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="does not change at all"):
        METRICS["motion"](video, constant(7, 8))


def test_motion_flow_measures_pixels_per_frame() -> None:
    y, x = np.mgrid[0:64, 0:64]
    frames = np.stack([127 + 60 * np.sin((x - 1.5 * t) / 4) + 60 * np.sin(y / 4) for t in range(6)])
    video = np.repeat(frames.astype(np.uint8)[..., None], 3, -1)
    assert METRICS["motion_flow"](video).value == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize("name", METRICS)
def test_wrong_input_is_refused(name: str) -> None:
    metric, video = METRICS[name], structured(0)
    with pytest.raises(ValueError, match="uint8"):
        metric(video.astype(np.float64), video)
    if metric.needs_reference:
        with pytest.raises(ValueError, match="equal frame count and size"):
            metric(video[:-1], video)
        with pytest.raises(ValueError, match="got none"):
            metric(video)


def test_ids_tell_metrics_apart() -> None:
    assert len({m.id for m in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize("name", [m.name for m in METRICS.values() if not m.weights])
def test_a_videos_value_is_its_frames_pooled(name: str) -> None:
    score = METRICS[name](structured(0), structured(1))
    assert score.per_frame is not None and len(score.per_frame) in (4, 5)
    pool = METRICS[name].pool
    assert pool is None or pool(score.per_frame) == pytest.approx(score.value, rel=1e-12)


@given(FRAMES, FRAMES)
def test_exact_sums_give_numpys_mse_and_cosine(a: np.ndarray, b: np.ndarray) -> None:
    mse = np.square(a.astype(np.float64) - b).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        assert METRICS["psnr"](a, b).per_frame == pytest.approx(10 * np.log10(255**2 / mse))
    raw = [float(x @ y) for x, y in zip(a.reshape(3, -1).astype(float), b.reshape(3, -1).astype(float), strict=True)]
    lengths = np.linalg.norm(a.reshape(3, -1).astype(float), axis=1) * np.linalg.norm(b.reshape(3, -1), axis=1)
    both_dark = (a.reshape(3, -1).max(1) == 0) & (b.reshape(3, -1).max(1) == 0)
    expected = np.where(lengths > 0, raw / np.maximum(lengths, 1e-9), both_dark)
    assert METRICS["cosine_raw"](a, b).per_frame == pytest.approx(expected)


def test_ssim_in_strips_equals_scikit_image_at_any_height() -> None:
    rng = np.random.default_rng(0)
    for height in (11, 73, 74, 75, 138, 139, 200):
        a, b = rng.integers(256, size=(2, 1, height, 20, 3), dtype=np.uint8)
        check_ssim(a, b)


def test_ssim_of_bright_and_nearly_even_frames_keeps_its_digits() -> None:
    """The variance is 0.25 and the mean square is 6e4, so float32 would round most of the variance away."""
    rng = np.random.default_rng(0)
    a, b = (250 + rng.integers(2, size=(2, 40, 40, 3))).astype(np.uint8), np.full((2, 40, 40, 3), 250, np.uint8)
    check_ssim(a, b)


def test_nothing_is_remembered_of_a_video_that_may_have_changed() -> None:
    video, reference = structured(0), structured(1)
    METRICS["psnr"](video, reference)
    video[:] = reference
    assert METRICS["psnr"](video, reference).value == math.inf
    calls = []
    count = memoized(lambda *videos: calls.append(len(videos)))
    video.flags.writeable = False
    for videos in ((video,), (video,), (video, reference), (video, reference), (video,), (video, video)):
        count(*videos)
    assert calls == [1, 2, 2, 1, 2], "a video that may have changed must be read again"


def test_pyiqas_metrics_go_by_their_name_there() -> None:
    (metric,) = named(["pyiqa:piqe"])
    frames = torch.from_numpy(structured(0).repeat(4, 1).repeat(4, 2)).permute(0, 3, 1, 2) / 255
    expected = pyiqa.create_metric("piqe", device=torch.device("cpu"))(frames).flatten()
    score = metric(structured(0).repeat(4, 1).repeat(4, 2))
    assert score.per_frame == pytest.approx(expected.numpy(), rel=1e-3)
    assert metric.higher_is_better is False and pyiqa.__version__ in metric.id
    for wrong, why in (
        ("psnr", "compares with a reference"), ("lpips", "compares with a reference"), ("beauty", "is none of pyiqa's"),
        ("fid", "compares sets of images"), ("sfid", "compares sets of images"),
        ("inception_score", "is of a set of images"),
        ("clipscore", "compares with a text, as clipsim does"), ("", "is none of pyiqa's"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"pyiqa:{wrong} {why}; allowed are .* brisque.* niqe") as refused:
            named([f"pyiqa:{wrong}"])
        allowed = str(refused.value).split(": ", 1)[1].split(", ")
        assert not {"fid", "sfid", "fid_dinov2", "inception_score", "clipscore", "lpips"} & set(allowed)
    with pytest.raises(ValueError, match="unknown metric beauty; there are psnr"):
        named(["psnr", "beauty"])


@pytest.mark.parametrize("shape", [(0, 16, 16, 3), (1, 16, 16, 3), (2, 5, 20, 3), (2, 20, 5, 3)])
def test_what_a_metric_cannot_measure_is_an_error_never_nan(shape: tuple[int, ...]) -> None:
    video = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    for metric in METRICS.values():
        if metric.weights is None:
            result = metric.attempt(metric.id, video, video[::-1].copy())
            assert isinstance(result, str) or not math.isnan(result.value), metric.name
            assert shape[0] or isinstance(result, str), metric.name


def test_flow_has_both_directions() -> None:
    y, x = np.mgrid[0:64, 0:64]
    frames = np.stack([127 + 60 * np.sin(x / 4) + 60 * np.sin((y - 1.5 * t) / 4) for t in range(6)])
    video = np.repeat(frames.astype(np.uint8)[..., None], 3, -1)
    assert METRICS["motion_flow"](video).value == pytest.approx(1.5, rel=0.1)


def test_a_read_only_view_of_what_may_change_is_not_remembered() -> None:
    base, reference = structured(0), structured(1)
    view = base[:]
    for frames in (view, reference):
        frames.flags.writeable = False
    METRICS["psnr"](view, reference)
    base[:] = reference
    assert METRICS["psnr"](view, reference).value == math.inf
