"""Differences to a reference, pixel by pixel: PSNR, SSIM, cosine similarity. All in float64."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.ndimage import correlate1d

from metrics.base import Metric, Score, Video

PSNR_CAP_DB = 100.0
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(video: Video, reference: Video) -> Score:
    """10 log10(255^2 / MSE) in dB, the MSE over the whole video first; infinite for identical videos."""
    mse = _frame_mse(video, reference)
    return Score(float(_decibel(mse.mean())), _decibel(mse), {"identical_frames": float((mse == 0).sum())})


def psnr_frame_mean(video: Video, reference: Video) -> Score:
    """Mean over frames of the frame's PSNR, capped at 100 dB (the convention of VideoSys and TeaCache)."""
    per_frame = np.minimum(_decibel(_frame_mse(video, reference)), PSNR_CAP_DB)
    return Score(float(per_frame.mean()), per_frame)


def ssim(video: Video, reference: Video) -> Score:
    """Mean over frames of the structural similarity (Wang et al., 2004), in [-1, 1].

    Gaussian 11x11 window of sigma 1.5, valid region only, population covariance, per RGB channel.
    """
    if min(video.shape[1:3]) < SSIM_WINDOW:
        raise ValueError(f"ssim needs frames of at least {SSIM_WINDOW} pixels a side, got {list(video.shape[1:3])}")
    per_frame = np.array([_frame_ssim(a, b) for a, b in zip(video, reference, strict=True)])
    return Score(float(per_frame.mean()), per_frame)


def cosine(video: Video, reference: Video) -> Score:
    """Mean over frames of the cosine similarity of mean-centred pixels, in [-1, 1].

    Without centring, unrelated noise scores 0.75; that is `cosine_raw`. A constant frame has no direction: it scores
    1 against an equal frame after centring, that is another constant one, and 0 against any other.
    """
    return _cosine(video, reference, centred=True)


def cosine_raw(video: Video, reference: Video) -> Score:
    """Mean over frames of the plain cosine similarity of pixels, in [0, 1]."""
    return _cosine(video, reference, centred=False)


PIXEL = (
    Metric("psnr", 1, "dB", True, psnr, needs_reference=True),
    Metric("psnr_frame_mean", 1, "dB", True, psnr_frame_mean, needs_reference=True),
    Metric("ssim", 1, "", True, ssim, needs_reference=True),
    Metric("cosine", 1, "", True, cosine, needs_reference=True),
    Metric("cosine_raw", 1, "", True, cosine_raw, needs_reference=True),
)


def _frame_mse(video: Video, reference: Video) -> Float[np.ndarray, " t"]:
    # frame by frame: float64 of a whole video would be eight times its size; int32 keeps uint8 from wrapping
    return np.array(
        [np.square(a.astype(np.int32) - b).mean(dtype=np.float64) for a, b in zip(video, reference, strict=True)]
    )


def _decibel(mse: Any) -> Any:
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / np.float64(mse))


def _frame_ssim(a: np.ndarray, b: np.ndarray) -> float:
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    window /= window.sum()
    edge = SSIM_WINDOW // 2
    x, y = a.astype(np.float64), b.astype(np.float64)
    planes = np.stack([x, y, x * x, y * y, x * y])
    blurred = correlate1d(correlate1d(planes, window, axis=1), window, axis=2)[:, edge:-edge, edge:-edge]
    mx, my, xx, yy, xy = blurred
    luminance = (2 * mx * my + SSIM_C1) / (mx**2 + my**2 + SSIM_C1)
    structure = (2 * (xy - mx * my) + SSIM_C2) / ((xx - mx**2) + (yy - my**2) + SSIM_C2)
    return float((luminance * structure).mean())


def _cosine(video: Video, reference: Video, centred: bool) -> Score:
    per_frame = []
    for a, b in zip(video, reference, strict=True):
        x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        if centred:
            x, y = x - x.mean(), y - y.mean()
        length = np.linalg.norm(x) * np.linalg.norm(y)
        per_frame.append(x @ y / length if length else float(np.array_equal(x, y)))
    return Score(float(np.mean(per_frame)), np.array(per_frame))
