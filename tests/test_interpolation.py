"""Filling in merged frames."""

import numpy as np
import pytest

from vgdfr.methods.interpolation import Interpolator, fill, flow, linear
from vgdfr.schedule import FrameSchedule

BY_NAME = {"flow": Interpolator(flow), "linear": Interpolator(linear)}
SCHEDULE = FrameSchedule.of_factors(33, [(1, 4), (17, 2)], frames_per_latent=4)


def moving(t: np.ndarray) -> np.ndarray:
    """Returns a video of a soft textured blob that moves `t` pixels to the right."""
    y, x = np.mgrid[0:64, 0:64]
    distance = (x[None] - 24 - t[:, None, None]) ** 2 + (y[None] - 32) ** 2
    value = 40 + 180 * np.exp(-distance / 80) * (0.8 + 0.2 * np.sin((x[None] - t[:, None, None]) * 0.8))
    return np.repeat(np.rint(value).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize("name", ["flow", "linear"])
def test_kept_frames_stay_and_a_still_video_is_restored(name: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (len(SCHEDULE.kept_frames), 32, 32, 3), np.uint8)
    filled = fill(frames, SCHEDULE, BY_NAME[name])
    assert filled.shape == (33, 32, 32, 3)
    assert (filled[list(SCHEDULE.kept_frames)] == frames).all()
    still = np.broadcast_to(frames[:1], frames.shape)
    restored = fill(np.ascontiguousarray(still), SCHEDULE, BY_NAME[name])
    assert (restored == frames[0]).all()


def test_linear_is_the_weighted_mean_at_the_right_times() -> None:
    frames = np.array(SCHEDULE.kept_frames, np.uint8)[:, None, None, None].repeat(3, -1) * 4
    expected = np.arange(33)[:, None, None, None].repeat(3, -1) * 4
    assert (fill(frames, SCHEDULE, BY_NAME["linear"]) == expected).all()


def test_flow_follows_motion_that_a_blend_doubles() -> None:
    truth = moving(np.linspace(0, 6, 5))
    errors = {
        f.__name__: np.abs(np.stack(f(truth[0], truth[4], [0.25, 0.5, 0.75])).astype(int) - truth[1:4]).mean()
        for f in (flow, linear)
    }
    assert errors["flow"] < 0.3 * errors["linear"]


def test_a_wrong_number_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps 17 frames, got 3"):
        fill(np.zeros((3, 16, 16, 3), np.uint8), SCHEDULE, BY_NAME["linear"])
