"""Reads videos as a player shows them, and refuses damaged files. Reports use it, too, so it imports no PyTorch."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from metrics import structure
from metrics.decoder_log import Log, collected_log, errors_of
from metrics.frame_times import FrameTimes, frame_times
from metrics.orientation import has_alpha, orientation, require_opaque

LOSSLESS = {"ffv1", "png", "rawvideo", "huffyuv", "ffvhuff", "apng", "qtrle"}  # codecs, for RGB pixel formats
INTERLACED = 2  # FFmpeg's first interlaced field order; 0 is unknown, and 1 is progressive


@dataclass(frozen=True, eq=False)
class VideoFile:
    """The frames of a file as RGB, its frames per second, and whether it holds exactly the frames that were written.

    Frames are turned and mirrored as the container says. `difference` is the number of levels, out of 255, by which
    frames that were made again may differ from the original frames. `times` is None for frames that come from no file.
    `pixel_aspect` is a displayed pixel's width over its height, and 1 if the file does not say.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    fps: float
    lossless: bool
    difference: int = 0
    times: FrameTimes | None = None
    pixel_aspect: Fraction = Fraction(1)
    interlaced: bool = False


@dataclass(frozen=True, eq=False)
class _Decoded:
    """The decoder's output: frames as a player shows them, their times, and their pixel formats."""

    frames: list[UInt8[np.ndarray, "h w 3"]]
    pts: list[int | None]
    formats: set[str]
    interlaced: bool
    turned: bool


def read(path: Path) -> VideoFile:
    """Returns the video in a file. Its frames are read-only.

    Raises FileNotFoundError for a missing file. Raises ValueError that names the file if it holds no video, is damaged
    or cut short, or has transparency.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        # "file:" because FFmpeg takes the text before a colon for a protocol; tags may have any encoding
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            if not container.streams.video:
                raise ValueError(_cut_mp4(path) or "holds no video")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError("holds video of a codec that FFmpeg has no decoder for: write it in another codec")
            _require_whole(path, container.format.name, stream)
            # read now, because the apng demuxer changes these rates while it reads frames
            rates = stream.average_rate, stream.base_rate, stream.codec_context.framerate
            decoded = _decoded(container, stream)
            aspect = stream.sample_aspect_ratio or Fraction(1)
            codec, interlaced = stream.codec_context.name, stream.codec_context.field_order >= INTERLACED
            # AVI has decoding times only, which B-frames put out of order; frames arrive in display order
            pts = sorted(decoded.pts, key=lambda n: n or 0) if container.format.name == "avi" else decoded.pts
            times = frame_times(pts, stream.time_base or Fraction(1), rates)
    except av.FFmpegError as error:
        why = _cut_mp4(path) or f"cannot be read as a video: {error.strerror}"
        raise ValueError(f"{path} {why}") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    video = np.stack(decoded.frames)
    video.flags.writeable = False  # so that metrics may share results for it, see metrics.memo
    exact = codec in LOSSLESS and all(map(_is_rgb_of_8_bits, decoded.formats))
    return VideoFile(
        video, times.fps, exact, times=times, pixel_aspect=1 / aspect if decoded.turned else aspect,
        interlaced=interlaced or decoded.interlaced,
    )  # fmt: skip


def _cut_mp4(path: Path) -> str | None:
    """Returns the reason if the file is an MP4 that was cut short, else None.

    FFmpeg cannot read such a file if its sample table is at the end.
    """
    with path.open("rb") as file:
        is_mp4 = file.read(8)[4:] == b"ftyp"
    fault = structure.fault(path, "mov") if is_mp4 else None
    return fault and f"is not whole: {fault}"


def _require_whole(path: Path, form: str, stream: av.VideoStream) -> None:
    """Raises ValueError if the file's own structure shows that it was cut short."""
    fault = structure.fault(path, form)
    if fault is None and "mov" in form.split(","):  # the sample table
        end, size = max((entry.pos + entry.size for entry in stream.index_entries), default=0), path.stat().st_size
        fault = f"a sample goes on to byte {end}, and the file ends at byte {size}" if end > size else None
    if fault:
        raise ValueError(f"is not whole: {fault}")


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> _Decoded:
    """Returns every frame. Raises ValueError for reported damage, for frames of two sizes, and for transparency."""
    frames, pts, formats, interlaced, turned = [], [], set(), False, False
    with collected_log() as log:
        for frame in _whole_frames(container, stream, log):
            formats.add(frame.format.name)
            if has_alpha(frame.format.name):
                require_opaque(frame, len(frames))
            turn = orientation(frame)
            frames.append(turn.shown(frame.to_ndarray(format="rgb24")))
            pts.append(frame.pts)
            interlaced, turned = interlaced or frame.interlaced_frame, turn.swap
            _require_one_size(frames)
    if not frames:
        raise ValueError("is not whole: no frame can be decoded")
    if stream.metadata.get("alpha_mode") == "1" and not any(map(has_alpha, formats)):
        raise ValueError(
            "has transparency, as its container says, which is not decoded here: flatten it onto a background first"
        )
    return _Decoded(frames, pts, formats, interlaced, turned)


def _whole_frames(container: av.container.InputContainer, stream: av.VideoStream, log: Log) -> Iterator[av.VideoFrame]:
    """Yields every frame. Raises ValueError at the first packet or frame that FFmpeg reports or logs as damaged."""
    count = 0
    for packet in _from_a_key_frame(container, stream):
        if packet.is_corrupt:
            raise ValueError(f"is not whole: the data after frame {count} is damaged or cut short")
        frames = packet.decode()
        if errors := errors_of(stream.codec_context.name, log):
            raise ValueError(f"is not whole: the decoder reports: {errors} (after {count} frames)")
        for frame in frames:
            if frame.is_corrupt:
                raise ValueError(f"is not whole: the decoder says that frame {count} is damaged")
            count += 1
            yield frame


def _from_a_key_frame(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """Yields every packet. In a recording that starts between key frames, it begins at the first key frame.

    Earlier packets refer to frames that the recording does not have. Only MPEG streams are such recordings, and FFmpeg
    finds their key frames itself. Other containers begin with a key frame.
    """
    packets, first = container.demux(stream), []
    while container.format.name in ("mpegts", "mpeg") and (packet := next(packets, None)):
        first.append(packet)
        if packet.is_keyframe:
            first = [packet]
            break
    yield from first
    yield from packets


def _require_one_size(frames: list[UInt8[np.ndarray, "_ _ 3"]]) -> None:
    """Raises ValueError if the last frame has another size than the first."""
    last, first = (f"{frame.shape[1]} x {frame.shape[0]}" for frame in (frames[-1], frames[0]))
    if last != first:
        raise ValueError(
            f"changes its size: frame {len(frames) - 1} is {last}, and earlier frames are {first}; write it in one size"
        )


def _is_rgb_of_8_bits(pixel_format: str) -> bool:
    form = av.VideoFormat(pixel_format)
    return form.is_rgb and {component.bits for component in form.components if not component.is_alpha} == {8}
