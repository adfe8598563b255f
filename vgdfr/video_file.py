"""Write videos: a lossless master (FFV1 in Matroska) for metrics, a small preview (H.264) for people."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8


def write_master(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int) -> None:
    """Bit-exact RGB: FFV1 with pixel format bgr0."""
    _write(path, frames, fps, "ffv1", "bgr0", {})


def write_preview(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int) -> None:
    """H.264 yuv420p that a browser plays while it loads; lossy, never scored. The same frames are the same bytes.

    Without the macroblock tree, which in x264 depends on memory that it has not written: the same frames gave up to 20
    different files.
    """
    options = {"crf": "18", "x264-params": "mbtree=0", "movflags": "+faststart"}
    _write(path, frames, fps, "libx264", "yuv420p", options)


def _write(
    path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int, codec: str, pixel_format: str, options: dict[str, str]
) -> None:
    # bitexact: no random identifiers in the file, so the same frames are the same bytes
    container_options = {"fflags": "+bitexact"} | {k: v for k, v in options.items() if k == "movflags"}
    options = {k: v for k, v in options.items() if k != "movflags"}
    # file: because FFmpeg takes what stands before a colon for a protocol
    with av.open(f"file:{path}", "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        stream.codec_context.thread_count = 1  # the same bytes every time
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
