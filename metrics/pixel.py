"""Compares a video with its reference, pixel by pixel: PSNR, SSIM and cosine similarity.

Sums of bytes are whole numbers below 2^53, so they are exact as float64. Everything else is computed in float64.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from metrics.base import Score, Video, mean
from metrics.memo import memoized

PSNR_CAP_DB = 100.0
GAUSSIAN = cv2.getGaussianKernel(11, 1.5, cv2.CV_64F)  # a column with unit sum
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
STRIP = 64  # rows that SSIM reads at a time; these fit the processor's cache, which is 1.4x faster than all rows


def psnr(video: Video, reference: Video) -> Score:
    """Returns 10 log10(255^2 / MSE) in dB, with the MSE over the whole video. It is infinite for identical videos."""
    per_frame = decibel(_sums(video, reference).mse)
    return Score(psnr_of_frames(per_frame), per_frame, {"identical_frames": float(np.isinf(per_frame).sum())})


def psnr_of_frames(per_frame: Float[np.ndarray, " t"]) -> float:
    """Returns the PSNR in dB of several frames from the PSNR of each: squared errors are averaged, not decibels."""
    return float(decibel(np.mean(255.0**2 / 10 ** (per_frame / 10))))


def psnr_frame_mean(video: Video, reference: Video) -> Score:
    """Returns the mean over frames of the frame's PSNR in dB, which is capped at 100 dB."""
    return mean(np.minimum(decibel(_sums(video, reference).mse), PSNR_CAP_DB))


def ssim(video: Video, reference: Video) -> Score:
    """Returns the mean over frames of the structural similarity, in [-1, 1].

    It uses a Gaussian 11x11 window of sigma 1.5, the valid region only, and the population covariance per RGB channel.
    """
    return mean([frame_ssim(a, b, GAUSSIAN) for a, b in zip(video, reference, strict=True)])


def cosine(video: Video, reference: Video) -> Score:
    """Returns the mean over frames of the cosine similarity of mean-centred pixels, in [-1, 1].

    A constant frame has no direction after centring. It scores 1 against another constant frame, and 0 against any
    other frame.
    """
    s = _sums(video, reference)
    return mean(_cosine(s.n * s.xy - s.x * s.y, s.n * s.xx - s.x**2, s.n * s.yy - s.y**2))


def cosine_raw(video: Video, reference: Video) -> Score:
    """Returns the mean over frames of the plain cosine similarity of pixels, in [0, 1]."""
    s = _sums(video, reference)
    return mean(_cosine(s.xy, s.xx, s.yy))


@dataclass(frozen=True, eq=False)
class _Sums:
    """The sums of x, y, x^2, y^2 and (x - y)^2 over the `n` bytes x and y of each pair of frames."""

    n: int
    x: Float[np.ndarray, " t"]
    y: Float[np.ndarray, " t"]
    xx: Float[np.ndarray, " t"]
    yy: Float[np.ndarray, " t"]
    dd: Float[np.ndarray, " t"]

    @property
    def mse(self) -> Float[np.ndarray, " t"]:
        """Returns the mean squared error of each pair of frames, in squared levels."""
        return self.dd / self.n

    @property
    def xy(self) -> Float[np.ndarray, " t"]:
        """Returns the sums of x y, which follow from the other sums."""
        return (self.xx + self.yy - self.dd) / 2


@memoized
def _sums(video: Video, reference: Video) -> _Sums:
    sums = [
        [
            sum(cv2.sumElems(a)), sum(cv2.sumElems(b)),
            cv2.norm(a, cv2.NORM_L2SQR), cv2.norm(b, cv2.NORM_L2SQR), cv2.norm(a, b, cv2.NORM_L2SQR),
        ]
        for a, b in zip(video, reference, strict=True)
    ]  # fmt: skip
    return _Sums(video[0].size, *np.rint(sums).T)  # cv2's sums are within 1e-4 of whole numbers


def decibel(mse: Any) -> Any:
    """Returns the PSNR in dB of mean squared errors of bytes. It is infinite for 0."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / np.float64(mse))


def _cosine(
    xy: Float[np.ndarray, " t"], xx: Float[np.ndarray, " t"], yy: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    length = np.sqrt(xx) * np.sqrt(yy)
    both_zero = ((xx == 0) & (yy == 0)).astype(np.float64)
    return np.divide(xy, length, out=both_zero, where=length > 0).clip(-1, 1)


def frame_ssim(
    a: UInt8[np.ndarray, "h w 3"],
    b: UInt8[np.ndarray, "h w 3"],
    window: Float[np.ndarray, "n 1"],
    unbiased: float = 1.0,
) -> float:
    """Returns SSIM in [-1, 1], averaged over all positions at which the window lies within the frame.

    The window is the product of the column `window`, which has unit sum, and its transpose. Covariances are multiplied
    by `unbiased`: n^2 / (n^2 - 1) gives the sample covariance of a uniform window. The denominators need only
    E[x^2] + E[y^2], so four images are blurred instead of five.

    Raises ValueError for a frame that is smaller than the window.
    """
    if min(a.shape[:2]) < len(window):
        raise ValueError(f"SSIM needs frames of at least {len(window)} pixels a side, got {list(a.shape[:2])}")
    edge = len(window) // 2

    def blurred(plane: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h2 w2 3"]:
        return cv2.sepFilter2D(plane, cv2.CV_64F, window, window)[edge:-edge, edge:-edge]

    total = count = 0
    for top in range(0, len(a) - 2 * edge, STRIP):
        x, y = (frame[top : top + STRIP + 2 * edge].astype(np.float64) for frame in (a, b))
        mx, my = blurred(x), blurred(y)
        mxy, squares = mx * my, mx**2 + my**2
        luminance = (2 * mxy + SSIM_C1) / (squares + SSIM_C1)
        covariance, variances = unbiased * (blurred(x * y) - mxy), unbiased * (blurred(x * x + y * y) - squares)
        structure = (2 * covariance + SSIM_C2) / (variances + SSIM_C2)
        similarity = luminance * structure
        total, count = total + similarity.sum(), count + similarity.size
    return float(total / count)
