"""Lists PSNR, SSIM and LPIPS as other projects compute them, to compare with the numbers that they print.

The definitions come from the projects' public code, as far as there is any. Only metrics that a project computes for
videos are listed. `metrics.other_projects` computes them.
"""

from typing import Any

from metrics.base import Metric
from metrics.catalogue import PERCEPTUAL
from metrics.formula import Formula
from metrics.weights import ALEXNET, LPIPS_INPUT


def _metric(name: str, project: str, compute: Formula, source: str, cannot_tell: str, **other: Any) -> Metric:
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
        _metric("psnr_videosys", "VideoSys", Formula("pixel", "psnr_frame_mean"), _VIDEOSYS, _LIFTED),
        _metric("ssim_videosys", "VideoSys", Formula("pixel", "ssim"), _VIDEOSYS,
                "more than ssim, because it is the same number"),
        _metric(
            "lpips_videosys", "VideoSys", Formula("perceptual", "lpips_score", ("alexnet_spatial",)), _VIDEOSYS,
            "more than lpips; its numbers are near those of lpips, but not equal",
            weights=ALEXNET, preprocessing=LPIPS_INPUT,
            definition="Returns LPIPS with spatial=True: the mean over frames of the map's mean.",
        ),
    ),
    "cache-dit": (
        _metric(
            "psnr_cache_dit", "cache-dit", Formula("other_projects", "psnr_wrapped"),
            f"{_CACHE_DIT}, its default --psnr-type custom", "large errors, and any difference of 16 levels",
            pool=Formula("other_projects", "finite_mean"),
        ),
        _metric(
            "ssim_cache_dit", "cache-dit", Formula("other_projects", "ssim_uniform"),
            f"{_CACHE_DIT} (its LPIPS takes no videos)",
            "more than ssim; its numbers differ because its window does",
        ),
    ),
    "sparse-videogen": (
        _metric(
            "psnr_sparse_videogen", "Sparse-VideoGen", Formula("other_projects", "psnr_frames"),
            "Sparse-VideoGen publishes no code for it; its authors say it is scikit-image's PSNR, averaged over all "
            "frames (issue 10). Nothing is public about its SSIM and LPIPS",
            "anything if one frame is identical: it is infinite then",
        ),
    ),
    "fastvideo": (
        _metric(
            "psnr_fastvideo", "FastVideo", Formula("pixel", "psnr_frame_mean"),
            f"{_FASTVIDEO}, which clamps the error at 1e-10", _LIFTED,
        ),
        _metric(
            "ssim_fastvideo", "FastVideo", Formula("other_projects", "ssim_zero_padded"),
            f"{_FASTVIDEO} (its tests call MS-SSIM SSIM)",
            "more than ssim; its numbers differ because its borders are partly padding",
        ),
        _metric(
            "lpips_fastvideo", "FastVideo", Formula("perceptual", "lpips_score", ("alexnet",)), _FASTVIDEO, _AS_OURS,
            weights=ALEXNET, preprocessing=LPIPS_INPUT,
            definition="Returns LPIPS as the package's default computes it, which equals lpips.",
        ),
    ),
}  # fmt: skip
