"""Read videos; needs no torch, so that reports can use it. They are written by `vgdfr.video_file`."""

from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8


def read(path: Path) -> tuple[UInt8[np.ndarray, "t h w 3"], float]:
    """All frames as RGB, and the frame rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        if not frames or stream.average_rate is None:
            raise ValueError(f"{path} holds no video frames")
        return np.stack(frames), float(stream.average_rate)
