"""Read videos, and refuse those that are not whole; needs no torch, so that reports can use it."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

LOSSLESS = {"ffv1", "png", "rawvideo", "huffyuv", "ffvhuff", "apng", "qtrle"}  # of RGB pixel formats


@dataclass(frozen=True, eq=False)
class VideoFile:
    """The frames of a file as RGB, frames per second, and whether the file holds exactly what was written.

    `difference` is by how many levels of 255 frames that were made again may differ from those that are meant.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    fps: float
    lossless: bool
    difference: int = 0


def read(path: Path) -> VideoFile:
    """Raises FileNotFoundError, or ValueError naming the file where it is no video, or not all of one."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video or container.streams.video[0].average_rate is None:
                raise ValueError(f"{path} holds no video")
            stream = container.streams.video[0]
            frames, corrupt, form = [], False, None
            for frame in container.decode(stream):
                frames.append(frame.to_ndarray(format="rgb24"))
                corrupt, form = corrupt or frame.is_corrupt, frame.format
            fps, codec, expected = float(stream.average_rate or 0), stream.codec_context.name, _frames_said(stream)
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error
    if form is None or len(frames) < expected or corrupt:
        raise ValueError(f"{path} is not whole: {len(frames)} good frames of {expected}")
    depths = {component.bits for component in form.components if not component.is_alpha}
    video = np.stack(frames)
    video.flags.writeable = False  # so that metrics may remember what they know of it
    return VideoFile(video, fps, codec in LOSSLESS and form.is_rgb and depths == {8})


def _frames_said(stream: av.VideoStream) -> int:
    """How many frames the file says the stream has; 0 where it says nothing.

    By count, or by the stream's own duration: the file's may be that of its sound.
    """
    if stream.frames:
        return stream.frames
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    if tag := stream.metadata.get("DURATION"):  # Matroska's, as hours:minutes:seconds
        hours, minutes, rest = tag.split(":")
        seconds = 3600 * int(hours) + 60 * int(minutes) + float(rest)
    elif not seconds and len(stream.container.streams) == 1 and stream.container.duration:
        seconds = stream.container.duration / av.time_base
    return round(seconds * float(stream.average_rate or 0))
