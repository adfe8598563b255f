"""SSIM of the preview against scikit-image."""

from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from vgdfr.similarity import frame_similarity


def reference(a: torch.Tensor, b: torch.Tensor) -> float:
    x, y = (frame.permute(1, 2, 0).double().numpy() for frame in (a, b))
    value: Any = structural_similarity(
        x, y, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(value)


@pytest.mark.parametrize("size", [(11, 11), (16, 24), (40, 33)])
def test_equals_scikit_image(size: tuple[int, int]) -> None:
    frames = torch.rand(6, 3, *size, generator=torch.Generator().manual_seed(1))
    frames = frames.cumsum(0) / torch.arange(1, 7)[:, None, None, None]  # similar, the later the more
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


def test_bright_flat_frames_stay_within_bounds_in_both_precisions() -> None:
    """Rounding must neither divide by nothing nor find two frames more than equal."""
    frames = 0.97 + 0.01 * torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    for dtype in (torch.float32, torch.float16):
        similarity = frame_similarity(frames, dtype)
        assert max(similarity.lag1.max(), similarity.lag3.max()) <= 1
