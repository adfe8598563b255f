"""Compares the preview's SSIM with scikit-image, and in half precision with the released code's package."""

from typing import Any

import numpy as np
import pytest
import pytorch_msssim
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity
from torch.overrides import TorchFunctionMode

from vgdfr.methods.similarity import frame_similarity


def reference(a: torch.Tensor, b: torch.Tensor) -> float:
    x, y = (frame.permute(1, 2, 0).double().numpy() for frame in (a, b))
    value: Any = structural_similarity(
        x, y, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(value)


@pytest.mark.parametrize("size", [(11, 11), (16, 24), (40, 33)])
def test_equals_scikit_image(size: tuple[int, int]) -> None:
    frames = torch.rand(6, 3, *size, generator=torch.Generator().manual_seed(1))
    frames = frames.cumsum(0) / torch.arange(1, 7)[:, None, None, None]  # later frames are more similar
    similarity = frame_similarity(frames)
    for lag, values in ((1, similarity.lag1), (2, similarity.lag2), (3, similarity.lag3)):
        expected = [reference(frames[i], frames[i + lag]) for i in range(6 - lag)]
        np.testing.assert_allclose(values, expected, atol=2e-5)


def test_a_still_video_is_one_and_half_precision_is_another_number() -> None:
    frame = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    still = frame_similarity(frame.expand(5, 3, 32, 32))
    np.testing.assert_allclose(still.lag1, 1, atol=1e-5)
    frames = frame + 0.05 * torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    exact, half = frame_similarity(frames), frame_similarity(frames, torch.float16)
    assert 0 < np.abs(exact.lag1 - half.lag1).max() < 0.1


def test_frames_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 11x11 pixels"):
        frame_similarity(torch.zeros(5, 3, 8, 16))


def test_bright_flat_frames_stay_within_bounds_in_float32() -> None:
    """Rounding must not divide by zero, and must not make a similarity larger than one."""
    frames = 0.97 + 0.01 * torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    similarity = frame_similarity(frames)
    assert max(similarity.lag1.max(), similarity.lag3.max()) <= 1


class CudaAutocast(TorchFunctionMode):
    """Does what CUDA's autocast does to the released code's SSIM of float16 frames: powers are in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.pow:
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("bright", [False, True])
def test_float16_is_the_released_codes(bright: bool) -> None:
    """The released code calls pytorch_msssim on float16 frames. Bright flat frames exceed 1, and this is not hidden."""
    frames = torch.rand(7, 3, 24, 40, generator=torch.Generator().manual_seed(3))
    frames = 0.97 + 0.01 * frames if bright else frames.cumsum(0) / torch.arange(1, 8)[:, None, None, None]
    half, similarity = frames.half(), frame_similarity(frames, torch.float16)
    for lag, values in ((1, similarity.lag1), (2, similarity.lag2), (3, similarity.lag3)):
        with CudaAutocast():
            expected = pytorch_msssim.ssim(half[:-lag], half[lag:], size_average=False, data_range=1.0)
        np.testing.assert_allclose(values, expected.double().numpy(), atol=1e-6)
    assert (similarity.lag1.max() > 1) == bright


def test_what_is_no_number_in_float16_merges_nothing() -> None:
    frames = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    frames[2] = float("nan")
    similarity = frame_similarity(frames, torch.float16)
    assert list(similarity.lag1[1:3]) == [-1, -1] and similarity.lag1[0] > 0


class EmulatedTF32(TorchFunctionMode):
    """Emulates a GPU's convolutions on this CPU. While cuDNN may use TF32, their inputs have 10 bits of mantissa."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.conv2d and torch.backends.cudnn.allow_tf32:
            args = (*(self.rounded(a) if isinstance(a, torch.Tensor) else a for a in args[:2]), *args[2:])
        return func(*args, **(kwargs or {}))

    @staticmethod
    def rounded(x: torch.Tensor) -> torch.Tensor:
        bits = x.float().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def naive(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(pytorch_msssim.ssim(a[None], b[None], data_range=1.0))


def test_tf32_does_not_reach_the_similarity() -> None:
    """The frames are a clear sky that brightens and darkens a little. In TF32 the usual formula gives any number."""
    sky = torch.tensor([0.9468, 0.9404, 0.9623, 0.955, 0.9473])[:, None, None, None]
    frames = (sky + 0.0005 * torch.linspace(0, 1, 32)[:, None]).expand(5, 3, 32, 32)
    exact, plain = frame_similarity(frames), naive(frames[0], frames[1])
    with EmulatedTF32():
        assert abs(naive(frames[0], frames[1]) - plain) > 0.3, "the emulation shows what TF32 does"
        emulated = frame_similarity(frames)
    assert np.array_equal(emulated.lag1, exact.lag1) and exact.lag1[0] == pytest.approx(plain, abs=1e-2)
    assert torch.backends.cudnn.allow_tf32, "other computations do not change"
