"""Computes PSNR and SSIM as other projects do. `metrics.profiles` says which project uses which function.

The definitions come from the projects' public code. The functions are written anew. PSNR is in dB, SSIM in [-1, 1].
"""

import math

import numpy as np
from jaxtyping import Float

from metrics.base import Score, Video, mean
from metrics.pixel import GAUSSIAN, decibel, frame_ssim

_UNIFORM = np.full((7, 1), 1 / 7)


def psnr_wrapped(video: Video, reference: Video) -> Score:
    """Returns the mean over frames of PSNR, with differences and squares that wrap around as bytes.

    Infinite frames are left out.
    A difference of 16 levels counts as zero. Errors above about 10 levels are understated: 28 dB is the least.
    """
    # arrays of bytes stay bytes, so they wrap around
    mse = [np.square(a - b).mean(dtype=np.float64) for a, b in zip(video, reference, strict=True)]
    per_frame = decibel(np.array(mse))
    return Score(finite_mean(per_frame), per_frame)


def psnr_frames(video: Video, reference: Video) -> Score:
    """Returns the mean over frames of the frame's PSNR, without a cap. It is infinite if any frame is identical."""
    return mean(
        [float(decibel(np.square(a.astype(np.int32) - b).mean())) for a, b in zip(video, reference, strict=True)]
    )


def ssim_uniform(video: Video, reference: Video) -> Score:
    """Returns the mean over frames of SSIM with a uniform 7x7 window and the sample covariance.

    These are scikit-image's defaults.
    """
    return mean([frame_ssim(a, b, _UNIFORM, 49 / 48) for a, b in zip(video, reference, strict=True)])


def ssim_zero_padded(video: Video, reference: Video) -> Score:
    """Returns the mean over frames of SSIM with the Gaussian window.

    Frames are padded with zeros, which score as equal.
    """
    edge = len(GAUSSIAN) // 2
    framed = (np.pad(v, ((0, 0), (edge, edge), (edge, edge), (0, 0))) for v in (video, reference))
    return mean([frame_ssim(a, b, GAUSSIAN) for a, b in zip(*framed, strict=True)])


def finite_mean(per_frame: Float[np.ndarray, " n"]) -> float:
    """Returns the mean of the finite values, or infinity if all values are infinite."""
    finite = per_frame[np.isfinite(per_frame)]
    return float(finite.mean()) if len(finite) else math.inf
