"""SSIM between frames of one video that are 1, 2 and 3 apart (paper, section 3.2, step 3)."""

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
    """Returns SSIM at lags 1 to 3 of `frames` in [0, 1], averaged over RGB channels and the window's valid positions.

    The window is Gaussian, 11x11, with sigma 1.5. In float32 every device computes in float32 (no TF32), and rounding
    gives neither a negative variance nor a value above 1. In float16 the result is the released code's: pytorch_msssim
    under CUDA's autocast, with frames, products and window means in float16, squares of means in float32, and no
    clamping. That moves values by 0.02 to 0.06, and arbitrarily on bright flat frames, also above 1. A value that is
    not a number becomes -1, since it exceeds no threshold. An infinite value becomes float16's largest.

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
    """Returns the values of `frame_similarity` as one tensor per lag on the frames' device."""
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
