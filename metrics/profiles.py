"""PSNR, SSIM and LPIPS as other projects compute them, to compare with the numbers that they print.

The definitions come from the projects' public code, as far as there is any. The functions are ours. Only metrics that a
project computes for videos are here.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from metrics.base import Metric, Score, Video, mean
from metrics.learned import PERCEPTUAL
from metrics.pixel import GAUSSIAN, decibel, frame_ssim, psnr_frame_mean, ssim
from metrics.weights import ALEXNET, LPIPS_INPUT

_UNIFORM = np.full((7, 1), 1 / 7)


def psnr_wrapped(video: Video, reference: Video) -> Score:
    """Mean over frames of PSNR, with differences and squares that wrap around as bytes. It leaves out infinite frames.

    A difference of 16 levels counts as zero. Errors above about 10 levels are understated: 28 dB is the least.
    """
    # arrays of bytes stay bytes, so they wrap around
    mse = [np.square(a - b).mean(dtype=np.float64) for a, b in zip(video, reference, strict=True)]
    per_frame = decibel(np.array(mse))
    return Score(_finite_mean(per_frame), per_frame)


def psnr_frames(video: Video, reference: Video) -> Score:
    """Mean over frames of the frame's PSNR, without a cap. It is infinite if any frame is identical."""
    return mean(
        [float(decibel(np.square(a.astype(np.int32) - b).mean())) for a, b in zip(video, reference, strict=True)]
    )


def ssim_uniform(video: Video, reference: Video) -> Score:
    """Mean over frames of SSIM with a uniform 7x7 window and the sample covariance, scikit-image's defaults."""
    return mean([frame_ssim(a, b, _UNIFORM, 49 / 48) for a, b in zip(video, reference, strict=True)])


def ssim_zero_padded(video: Video, reference: Video) -> Score:
    """Mean over frames of SSIM with the Gaussian window. Frames are padded with zeros, which score as equal."""
    edge = len(GAUSSIAN) // 2
    framed = (np.pad(v, ((0, 0), (edge, edge), (edge, edge), (0, 0))) for v in (video, reference))
    return mean([frame_ssim(a, b, GAUSSIAN) for a, b in zip(*framed, strict=True)])


def _lpips(spatial: bool, video: Video, reference: Video) -> Score:
    from metrics import perceptual  # imports PyTorch

    return perceptual.lpips(perceptual.alexnet(ALEXNET.file, spatial), video, reference)


def _finite_mean(per_frame: Float[np.ndarray, " n"]) -> float:
    finite = per_frame[np.isfinite(per_frame)]
    return float(finite.mean()) if len(finite) else math.inf


def _metric(
    name: str, project: str, compute: Callable[..., Score], source: str, cannot_tell: str, **other: Any
) -> Metric:
    quantity = name.split("_")[0]
    unit, digits, higher_is_better, extent, network = {
        "psnr": ("dB", 2, True, "0-100", ""), "ssim": ("", 3, True, "-1 to 1", ""),
        "lpips": ("", 3, False, "0 and up", PERCEPTUAL),
    }[quantity]  # fmt: skip
    return Metric(
        name, 1, unit, higher_is_better, compute, title=f"{quantity.upper()} ({project})", digits=digits,
        network=network, needs_reference=True, range=extent, source=source, cannot_tell=cannot_tell, **other,
    )  # fmt: skip


_LIFTED = "how much differs if some frames are identical: each identical frame counts as 100 dB"
_AS_OURS = "more than lpips, because it is the same number"
_VIDEOSYS = "VideoSys, eval/common_metrics; TeaCache's instructions name the same code"
_CACHE_DIT = "cache-dit, src/cache_dit/metrics"
_FASTVIDEO = "FastVideo, fastvideo/eval/metrics/common"
PROFILES: dict[str, tuple[Metric, ...]] = {
    "videosys": (
        _metric("psnr_videosys", "VideoSys", psnr_frame_mean, _VIDEOSYS, _LIFTED),
        _metric("ssim_videosys", "VideoSys", ssim, _VIDEOSYS, "more than ssim, because it is the same number"),
        _metric(
            "lpips_videosys", "VideoSys", partial(_lpips, True), _VIDEOSYS,
            "more than lpips; its numbers are near those of lpips, but not equal",
            weights=ALEXNET, preprocessing=LPIPS_INPUT,
            definition="LPIPS with spatial=True: the mean over frames of the map's mean.",
        ),
    ),
    "cache-dit": (
        _metric(
            "psnr_cache_dit", "cache-dit", psnr_wrapped, f"{_CACHE_DIT}, its default --psnr-type custom",
            "large errors, and any difference of 16 levels", pool=_finite_mean,
        ),
        _metric(
            "ssim_cache_dit", "cache-dit", ssim_uniform, f"{_CACHE_DIT} (its LPIPS takes no videos)",
            "more than ssim; its numbers differ because its window does",
        ),
    ),
    "sparse-videogen": (
        _metric(
            "psnr_sparse_videogen", "Sparse-VideoGen", psnr_frames,
            "Sparse-VideoGen publishes no code for it; its authors say it is scikit-image's PSNR, averaged over all "
            "frames (issue 10). Nothing is public about its SSIM and LPIPS",
            "anything if one frame is identical: it is infinite then",
        ),
    ),
    "fastvideo": (
        _metric(
            "psnr_fastvideo", "FastVideo", psnr_frame_mean, f"{_FASTVIDEO}, which clamps the error at 1e-10", _LIFTED
        ),
        _metric(
            "ssim_fastvideo", "FastVideo", ssim_zero_padded, f"{_FASTVIDEO} (its tests call MS-SSIM SSIM)",
            "more than ssim; its numbers differ because its borders are partly padding",
        ),
        _metric(
            "lpips_fastvideo", "FastVideo", partial(_lpips, False), _FASTVIDEO, _AS_OURS,
            weights=ALEXNET, preprocessing=LPIPS_INPUT,
            definition="LPIPS as the package's default computes it, which equals lpips.",
        ),
    ),
}  # fmt: skip
