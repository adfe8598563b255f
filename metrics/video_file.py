"""Read videos, and refuse those that are not whole; needs no torch, so that reports can use it."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

LOSSLESS = {"ffv1", "png", "rawvideo", "huffyuv", "ffvhuff", "apng", "qtrle", "libx264rgb"}  # of RGB pixel formats


@dataclass(frozen=True, eq=False)
class VideoFile:
    """The frames of a file as RGB, frames per second, and whether the file holds exactly what was written."""

    frames: UInt8[np.ndarray, "t h w 3"]
    fps: float
    lossless: bool


def read(path: Path) -> VideoFile:
    """Raises FileNotFoundError, or ValueError naming the file where it is no video, or not all of one."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video or container.streams.video[0].average_rate is None:
                raise ValueError(f"{path} holds no video")
            stream = container.streams.video[0]
            decoded = list(container.decode(stream))
            fps, duration, codec = float(stream.average_rate or 0), container.duration, stream.codec_context.name
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error
    expected = stream.frames or (round(duration / av.time_base * fps) if duration else 0)
    if not decoded or len(decoded) < expected or any(frame.is_corrupt for frame in decoded):
        raise ValueError(f"{path} is not whole: {len(decoded)} good frames of {expected}")
    packed = [component.bits for component in decoded[0].format.components if not component.is_alpha]
    lossless = codec in LOSSLESS and decoded[0].format.is_rgb and set(packed) == {8}
    return VideoFile(np.stack([frame.to_ndarray(format="rgb24") for frame in decoded]), fps, lossless)
