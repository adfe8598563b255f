"""PSNR, SSIM and LPIPS as other projects' code computes them, to compare with the numbers that they print.

What each does was read in its public code, as far as it is public; the functions are ours. Only what a project
computes for videos is here.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from metrics.base import Metric, Score, Video, mean
from metrics.pixel import GAUSSIAN, decibel, frame_ssim, psnr_frame_mean, ssim
from metrics.weights import ALEXNET, LPIPS_INPUT

_UNIFORM = np.full((7, 1), 1 / 7)


def psnr_wrapped(video: Video, reference: Video) -> Score:
    """Mean over frames of PSNR whose differences and squares wrap around as bytes; infinite frames are left out.

    A difference of 16 levels counts as none. Real errors above about 10 levels are understated, down to 28 dB.
    """
    # arrays of bytes stay bytes, and so wrap
    mse = [np.square(a - b).mean(dtype=np.float64) for a, b in zip(video, reference, strict=True)]
    per_frame = decibel(np.array(mse))
    return Score(_finite_mean(per_frame), per_frame)


def psnr_frames(video: Video, reference: Video) -> Score:
    """Mean over frames of the frame's PSNR, without a cap: infinite as soon as two frames are identical."""
    return mean(
        [float(decibel(np.square(a.astype(np.int32) - b).mean())) for a, b in zip(video, reference, strict=True)]
    )


def ssim_uniform(video: Video, reference: Video) -> Score:
    """Mean over frames of SSIM with a uniform 7x7 window and sample covariance: scikit-image's defaults."""
    return mean([frame_ssim(a, b, _UNIFORM, 49 / 48) for a, b in zip(video, reference, strict=True)])


def ssim_zero_padded(video: Video, reference: Video) -> Score:
    """Mean over frames of SSIM with the Gaussian window over frames framed by zeros, which score as equal."""
    edge = len(GAUSSIAN) // 2
    framed = (np.pad(v, ((0, 0), (edge, edge), (edge, edge), (0, 0))) for v in (video, reference))
    return mean([frame_ssim(a, b, GAUSSIAN) for a, b in zip(*framed, strict=True)])


def _lpips(spatial: bool, video: Video, reference: Video) -> Score:
    from metrics import perceptual  # and so PyTorch

    return perceptual.lpips(perceptual.alexnet(ALEXNET.file, spatial), video, reference)


def _finite_mean(per_frame: Float[np.ndarray, " n"]) -> float:
    finite = per_frame[np.isfinite(per_frame)]
    return float(finite.mean()) if len(finite) else math.inf


def _metric(name: str, compute: Callable[..., Score], source: str, cannot_tell: str, **other: Any) -> Metric:
    unit, higher_is_better, extent = {
        "psnr": ("dB", True, "0-100"), "ssim": ("", True, "-1 to 1"), "lpips": ("", False, "0 and up")
    }[name.split("_")[0]]  # fmt: skip
    return Metric(
        name, 1, unit, higher_is_better, compute, needs_reference=True, range=extent, source=source,
        cannot_tell=cannot_tell, **other,
    )  # fmt: skip


_LIFTED = "how much differs where some frames are identical: each of those counts as 100 dB"
_AS_OURS = "more than lpips, which it is"
_VIDEOSYS = "VideoSys, eval/common_metrics; TeaCache's instructions name the same code"
_CACHE_DIT = "cache-dit, src/cache_dit/metrics"
_FASTVIDEO = "FastVideo, fastvideo/eval/metrics/common"
PROFILES: dict[str, tuple[Metric, ...]] = {
    "videosys": (
        _metric("psnr_videosys", psnr_frame_mean, _VIDEOSYS, _LIFTED),
        _metric("ssim_videosys", ssim, _VIDEOSYS, "more than ssim, which it is"),
        _metric(
            "lpips_videosys", partial(_lpips, True), _VIDEOSYS, "the same as lpips: near it, but another number",
            weights=ALEXNET, preprocessing=LPIPS_INPUT,
            definition="LPIPS with spatial=True: mean over frames of the map's mean.",
        ),
    ),
    "cache-dit": (
        _metric(
            "psnr_cache_dit", psnr_wrapped, f"{_CACHE_DIT}, its default --psnr-type custom",
            "large errors, and differences of 16 levels at all", pool=_finite_mean,
        ),
        _metric(
            "ssim_cache_dit", ssim_uniform, f"{_CACHE_DIT} (its LPIPS takes no videos)",
            "the same as ssim: another window",
        ),
    ),
    "sparse-videogen": (
        _metric(
            "psnr_sparse_videogen", psnr_frames,
            "Sparse-VideoGen publishes no code for it; its authors say scikit-image's PSNR, averaged over all frames "
            "(issue 10). Of SSIM and LPIPS nothing is public",
            "anything once one frame is identical: it is infinite then",
        ),
    ),
    "fastvideo": (
        _metric("psnr_fastvideo", psnr_frame_mean, f"{_FASTVIDEO}: the error clamped at 1e-10", _LIFTED),
        _metric(
            "ssim_fastvideo", ssim_zero_padded, f"{_FASTVIDEO} (what its tests call SSIM is MS-SSIM)",
            "the same as ssim: its borders are partly made up",
        ),
        _metric(
            "lpips_fastvideo", partial(_lpips, False), _FASTVIDEO, _AS_OURS, weights=ALEXNET, preprocessing=LPIPS_INPUT,
            definition="LPIPS as the package's default computes it: the same as lpips.",
        ),
    ),
}  # fmt: skip
