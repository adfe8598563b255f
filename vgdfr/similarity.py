"""SSIM between the frames 1, 2 and 3 apart of one video (paper, section 3.2, step 3)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vgdfr.schedule import Similarity

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # for a data range of 1


def frame_similarity(frames: Float[Tensor, "t 3 h w"], dtype: torch.dtype = torch.float32) -> Similarity:
    """SSIM at lags 1-3 of `frames` in [0, 1]: Gaussian 11x11 window, sigma 1.5, valid region, per RGB channel.

    Computed in `dtype` (the released code: float16, which moves values by 0.02-0.06). Window means and squares are
    computed once per frame and serve all three lags. Raises ValueError for frames smaller than the window.
    """
    if min(frames.shape[-2:]) < WINDOW:
        raise ValueError(
            f"SSIM needs frames of at least {WINDOW}x{WINDOW} pixels, got {tuple(frames.shape[-2:])}; "
            "remove fewer spatial levels of the VAE or generate larger videos"
        )
    x = frames.to(dtype)
    mean = _blur(x)
    variance = (_blur(x * x) - mean * mean).clamp(min=0)  # never below, whatever rounding says

    def ssim(lag: int) -> Float[Tensor, " n"]:
        if lag >= len(x):
            return x.new_empty(0)
        a, b, mean_a, mean_b = x[:-lag], x[lag:], mean[:-lag], mean[lag:]
        covariance = _blur(a * b) - mean_a * mean_b
        luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
        structure = (2 * covariance + C2) / (variance[:-lag] + variance[lag:] + C2)
        return (luminance * structure).mean((1, 2, 3)).clamp(max=1)

    return Similarity(ssim(1), ssim(2), ssim(3))


def _blur(x: Float[Tensor, "t c h w"]) -> Float[Tensor, "t c h2 w2"]:
    offsets = torch.arange(WINDOW, device=x.device, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    window = (window / window.sum()).to(x.dtype)
    planes = x.flatten(0, 1)[:, None]
    planes = F.conv2d(F.conv2d(planes, window[None, None, :, None]), window[None, None, None, :])
    return planes[:, 0].unflatten(0, x.shape[:2])
