"""SSIM between the frames 1, 2 and 3 apart of one video (paper, section 3.2, step 3)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vgdfr.numerics import exact_float32
from vgdfr.schedule import Similarity

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # for a data range of 1
HALF_MAX = 65504.0


def frame_similarity(frames: Float[Tensor, "t 3 h w"], dtype: torch.dtype = torch.float32) -> Similarity:
    """SSIM at lags 1-3 of `frames` in [0, 1]: Gaussian 11x11 window, sigma 1.5, valid region, per RGB channel.

    In float32 it is float32 on every device (no TF32), and rounding leads neither to a negative variance nor above 1.
    In float16 it is what the released code computes: pytorch_msssim under CUDA's autocast, where frames, products and
    window means are float16 and squares of means float32, and nothing is clamped. That moves values by 0.02 to 0.06,
    and on bright flat frames anywhere, above 1 too. A value that is not a number is -1, since it exceeds no threshold;
    an infinite one is float16's largest.

    Window means and squares are computed once per frame and serve all three lags. Raises ValueError for frames smaller
    than the window.
    """
    if min(frames.shape[-2:]) < WINDOW:
        raise ValueError(
            f"SSIM needs frames of at least {WINDOW}x{WINDOW} pixels, got {tuple(frames.shape[-2:])}; "
            "remove fewer spatial levels of the VAE or generate larger videos"
        )
    return Similarity(*ssim_at_lags(frames, dtype))


def ssim_at_lags(frames: Float[Tensor, "t 3 h w"], dtype: torch.dtype) -> list[Float[Tensor, " n"]]:
    """`frame_similarity` as tensors on the frames' device."""
    as_released = dtype == torch.float16
    with exact_float32():
        x = frames.to(dtype)
        mean = _blur(x)
        squared = mean.float() ** 2 if as_released else mean**2
        variance = _blur(x * x) - squared
        if not as_released:
            variance = variance.clamp(min=0)

        def ssim(lag: int) -> Float[Tensor, " n"]:
            if lag >= len(x):
                return x.new_empty(0)
            product = mean[:-lag] * mean[lag:]
            covariance = _blur(x[:-lag] * x[lag:]) - product
            luminance = (2 * product + C1) / (squared[:-lag] + squared[lag:] + C1)
            structure = (2 * covariance + C2) / (variance[:-lag] + variance[lag:] + C2)
            values = (luminance * structure).mean((1, 2, 3))
            if as_released:
                return values.nan_to_num(nan=-1.0, posinf=HALF_MAX, neginf=-HALF_MAX)
            return values.clamp(max=1)

        return [ssim(lag) for lag in (1, 2, 3)]


def _blur(x: Float[Tensor, "t c h w"]) -> Float[Tensor, "t c h2 w2"]:
    offsets = torch.arange(WINDOW, device=x.device, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    window = (window / window.sum()).to(x.dtype)
    planes = x.flatten(0, 1)[:, None]
    planes = F.conv2d(F.conv2d(planes, window[None, None, :, None]), window[None, None, None, :])
    return planes[:, 0].unflatten(0, x.shape[:2])
