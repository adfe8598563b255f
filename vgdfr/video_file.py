"""Writes videos: a lossless master (FFV1 in Matroska) for metrics, a small preview (H.264) for people, lossless MP4."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8


def write_master(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int) -> None:
    """Writes bit-exact RGB: FFV1 with pixel format bgr0."""
    _write(path, frames, fps, "ffv1", "bgr0", {})


def write_lossless_mp4(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int) -> None:
    """Writes bit-exact RGB as H.264 in MP4, for tools that read no Matroska. Few players and browsers show it.

    x264 with qp=0 is lossless, and its RGB form (High 4:4:4 Predictive) has no conversion to YUV. Decoders that build
    on FFmpeg, such as decord and OpenCV, return the same bytes.
    """
    _write(path, frames, fps, "libx264rgb", "rgb24", {"qp": "0", "preset": "veryfast"})


def write_preview(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int) -> None:
    """Writes H.264 yuv420p, which a browser plays while it loads. It is lossy and never scored.

    The same frames give the same bytes. x264's macroblock tree is off, since it reads memory that x264 has not written:
    with it the same frames gave up to 20 different files.
    """
    options = {"crf": "18", "x264-params": "mbtree=0", "movflags": "+faststart"}
    _write(path, frames, fps, "libx264", "yuv420p", options)


def _write(
    path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int, codec: str, pixel_format: str, options: dict[str, str]
) -> None:
    # bitexact writes no random identifiers, so that the same frames give the same bytes
    container_options = {"fflags": "+bitexact"} | {k: v for k, v in options.items() if k == "movflags"}
    options = {k: v for k, v in options.items() if k != "movflags"}
    # the prefix "file:" is needed because FFmpeg reads the text before a colon as a protocol
    with av.open(f"file:{path}", "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        stream.codec_context.thread_count = 1  # several threads would give different bytes
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
