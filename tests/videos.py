"""Small video files of any container, written with PyAV."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

Frames = UInt8[np.ndarray, "t h w c"]
CODECS = {
    ".mkv": ("ffv1", "bgr0"), ".mp4": ("libx264", "yuv420p"), ".avi": ("libx264", "yuv420p"),
    ".mov": ("qtrle", "rgb24"), ".webm": ("libvpx-vp9", "yuv420p"), ".m4v": ("mpeg4", "yuv420p"),
    ".gif": ("gif", "rgb8"),
    ".y4m": ("rawvideo", "yuv420p"), ".nut": ("ffv1", "bgr0"), ".ts": ("libx264", "yuv420p"),
    ".mpg": ("mpeg2video", "yuv420p"), ".mpeg": ("mpeg1video", "yuv420p"), ".apng": ("apng", "rgb24"),
    ".flv": ("libx264", "yuv420p"), ".wmv": ("wmv2", "yuv420p"), ".ogv": ("libvpx", "yuv420p"),
    ".3gp": ("mpeg4", "yuv420p"),
}  # fmt: skip


def scene(count: int = 12, height: int = 48, width: int = 64) -> Frames:
    """Returns a bright left half with a red square that moves over it. The frames look different in every rotation."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[:, :, : width // 2] = 200
    for i in range(count):
        frames[i, 8:20, 2 * i : 2 * i + 16] = (230, 30, 30)
    return frames


def write(
    file: Path,
    frames: Frames,
    codec: str | None = None,
    pixels: str | None = None,
    rate: Fraction | int = 24,
    milliseconds: Callable[[int], int] | None = None,
    aspect: Fraction | None = None,
    container: dict[str, str] | None = None,
    into: Any = None,
    form: str | None = None,
    title: str = "",
    **options: str,
) -> Path:
    """Encodes RGB or RGBA frames by `codec` or the usual codec of the suffix. `milliseconds` gives a frame's time.

    `into` is an object to write to instead of the file, in the container `form`. `title` is a tag of the file.
    """
    layout = "rgba" if frames.shape[-1] == 4 else "rgb24"
    usual = CODECS[file.suffix]
    with av.open(into or f"file:{file}", "w", format=form, options=container or {}) as opened:
        opened.metadata["title"] = title
        stream = opened.add_stream(codec or usual[0], rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.codec_context.gop_size = pixels or usual[1], 6
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format=layout)
            if milliseconds is not None:
                picture.pts, picture.time_base = milliseconds(i), Fraction(1, 1000)
            opened.mux(stream.encode(picture))
        opened.mux(stream.encode())
    return file


def patched(file: Path, source: Path, box: bytes, offset: int, form: str, *values: int) -> Path:
    """Copies an MP4 with other numbers in one box, `offset` bytes after the box's name."""
    data = bytearray(source.read_bytes())
    struct.pack_into(form, data, data.index(box) + offset, *values)
    file.write_bytes(data)
    return file


def with_matrix(file: Path, source: Path, a: int, b: int, c: int, d: int) -> Path:
    """Copies an MP4 with this display matrix in its track header, in units of 1/65536."""
    return patched(file, source, b"tkhd", 44, ">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
