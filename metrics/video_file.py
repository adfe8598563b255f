"""Read videos as a player shows them, and refuse damaged ones; needs no torch, so that reports can use it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from metrics import structure
from metrics.decoder_log import Log, errors_of, listen
from metrics.frame_times import FrameTimes, frame_times
from metrics.orientation import has_alpha, orientation, require_opaque

LOSSLESS = {"ffv1", "png", "rawvideo", "huffyuv", "ffvhuff", "apng", "qtrle"}  # of RGB pixel formats
INTERLACED = 2  # of FFmpeg's field orders the first that is; 0 is unknown, 1 progressive


@dataclass(frozen=True, eq=False)
class VideoFile:
    """The frames of a file as RGB, frames per second, and whether the file holds exactly what was written.

    Frames are turned and mirrored as the container says. `difference` is by how many levels of 255 frames that were
    made again may differ from those that are meant. `times` is None for frames that come from no file. `pixel_aspect`
    is a pixel's width over its height as shown, 1 where the file says nothing.
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
    """What the decoder gave: frames as shown, their times, and their pixel formats."""

    frames: list[UInt8[np.ndarray, "h w 3"]]
    pts: list[int | None]
    formats: set[str]
    interlaced: bool
    turned: bool


def read(path: Path) -> VideoFile:
    """Raises FileNotFoundError, or ValueError naming the file where it is no video, not all of one, or transparent."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        # file: because FFmpeg takes what stands before a colon for a protocol; tags may be of any encoding
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            if not container.streams.video:
                raise ValueError(_cut_mp4(path) or "holds no video")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError("holds video of a codec that FFmpeg has no decoder for: write it in another codec")
            _require_whole(path, container.format.name, stream)
            # before frames are read: the apng demuxer changes them
            rates = stream.average_rate, stream.base_rate, stream.codec_context.framerate
            decoded = _decoded(container, stream)
            aspect = stream.sample_aspect_ratio or Fraction(1)
            codec, interlaced = stream.codec_context.name, stream.codec_context.field_order >= INTERLACED
            # AVI has times of decoding only, which B-frames jumble; frames come in the order they are shown
            pts = sorted(decoded.pts, key=lambda n: n or 0) if container.format.name == "avi" else decoded.pts
            times = frame_times(pts, stream.time_base or Fraction(1), rates)
    except av.FFmpegError as error:
        why = _cut_mp4(path) or f"cannot be read as a video: {error.strerror}"
        raise ValueError(f"{path} {why}") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    video = np.stack(decoded.frames)
    video.flags.writeable = False  # so that metrics may remember what they know of it
    exact = codec in LOSSLESS and all(map(_is_rgb_of_8_bits, decoded.formats))
    return VideoFile(
        video, times.fps, exact, times=times, pixel_aspect=1 / aspect if decoded.turned else aspect,
        interlaced=interlaced or decoded.interlaced,
    )  # fmt: skip


def _cut_mp4(path: Path) -> str | None:
    """Says that an MP4 was cut short, which FFmpeg cannot read where the table of its samples stands at the end."""
    with path.open("rb") as file:
        is_mp4 = file.read(8)[4:] == b"ftyp"
    fault = structure.fault(path, "mov") if is_mp4 else None
    return fault and f"is not whole: {fault}"


def _require_whole(path: Path, form: str, stream: av.VideoStream) -> None:
    """Raise ValueError for a file that its own structure shows to be cut short."""
    fault = structure.fault(path, form)
    if fault is None and "mov" in form.split(","):  # the sample table
        end, size = max((entry.pos + entry.size for entry in stream.index_entries), default=0), path.stat().st_size
        fault = f"a sample goes on to byte {end}, and the file ends at byte {size}" if end > size else None
    if fault:
        raise ValueError(f"is not whole: {fault}")


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> _Decoded:
    """Every frame. Raises ValueError for what is reported as damaged, for frames of two sizes, and for transparency."""
    frames, pts, formats, interlaced, turned = [], [], set(), False, False
    with listen() as log:
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
    """Every frame. Raises ValueError at the first packet or frame that is reported, or logged, as damaged."""
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
    """Every packet, but of a recording that starts between key frames those from the first key frame on.

    What comes before refers to frames that the recording does not have. A recording is an MPEG stream, whose key frames
    FFmpeg finds itself; other containers begin with one.
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
    """Raise ValueError where the last frame is of another size than the first."""
    last, first = (f"{frame.shape[1]} x {frame.shape[0]}" for frame in (frames[-1], frames[0]))
    if last != first:
        raise ValueError(
            f"changes its size: frame {len(frames) - 1} is {last}, those before it are {first}; write it in one size"
        )


def _is_rgb_of_8_bits(pixel_format: str) -> bool:
    form = av.VideoFormat(pixel_format)
    return form.is_rgb and {component.bits for component in form.components if not component.is_alpha} == {8}
