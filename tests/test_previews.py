"""Previews are small and playable, and equal frames give equal bytes."""

from pathlib import Path

import numpy as np

from metrics.video_file import read
from vgdfr.video_file import write_preview


def test_the_same_frames_are_the_same_bytes(tmp_path: Path) -> None:
    """The frames are smooth, and other work has used the memory. x264's macroblock tree then made different files."""
    steps = np.random.default_rng(0).normal(size=(17, 96, 96, 3))
    walk = steps.cumsum(1).cumsum(2)
    frames = ((walk - walk.min()) / np.ptp(walk) * 255).astype(np.uint8)
    made = set()
    for i in range(40):
        used = [np.random.default_rng(i).bytes(100_000 + 37 * i) for _ in range(5)]
        write_preview(tmp_path / "preview.mp4", frames, 12)
        made.add((tmp_path / "preview.mp4").read_bytes())
        del used
    assert len(made) == 1
    video = read(tmp_path / "preview.mp4")
    assert video.frames.shape == frames.shape and np.abs(video.frames.astype(int) - frames).mean() < 8
