"""Whether a video file is all there, by what its own format says of sizes, ends and checksums.

FFmpeg reads many a file that was cut short as a shorter video, and Matroska with a wrong checksum, without a word.
Nothing is estimated here: a format that does not say where it ends (a stream of NUT packets, a transport stream that is
cut between packets) is not judged.
"""

import mmap
import re
import zlib
from collections.abc import Callable
from pathlib import Path

Data = mmap.mmap

SEGMENT, CLUSTER, TRACKS = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b"  # elements of Matroska
CRC_32 = b"\xbf\x84"  # the element that an element may begin with: its name and its size
EBML_ID = re.compile(rb"[\x1a\x18\x1f\x11\x15\x1c\x16\x19\x12\x10\xec\xbf\xa0\xa3\xa7\xab\xaf\xe7\x58]")
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
Y4M_HEADER = re.compile(rb"YUV4MPEG2 W(?P<width>\d+) H(?P<height>\d+)(?: C(?P<chroma>\w+)| [^\n C][^\n ]*)*\n")
Y4M_PLANES = {"420": (2, 2), "411": (4, 1), "422": (2, 1), "444": (1, 1)}  # chroma: columns, rows of luma for one


def fault(file: Path, form: str) -> str | None:
    """What shows that the file is not as it was written; None where nothing does.

    `form` is FFmpeg's name of the container, such as "matroska,webm".
    """
    check = next((check for name, check in CHECKS.items() if name in form.split(",")), None)
    if check is None or file.stat().st_size == 0:
        return None
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return check(data)


def _beyond(data: Data, end: int, what: str) -> str | None:
    return f"{what} goes on to byte {end}, and the file ends at byte {len(data)}" if end > len(data) else None


def _matroska(data: Data) -> str | None:
    at = 0
    while at < len(data) and EBML_ID.match(data[at : at + 1]):
        identifier = data[at : at + _vint_length(data[at])]
        size_at = at + len(identifier)
        length = _vint_length(data[size_at]) if size_at < len(data) else 1
        at = size_at + length
        if found := _beyond(data, at, "a Matroska element's header"):
            return found
        size = int.from_bytes(data[size_at:at], "big") & ((1 << 7 * length) - 1)
        if size == (1 << 7 * length) - 1:  # unknown: what follows are its children
            if identifier not in (SEGMENT, CLUSTER):
                return None
            continue
        if found := _beyond(data, at + size, "a Matroska element"):
            return found
        if identifier == SEGMENT:
            continue
        body = data[at : at + size] if identifier in (CLUSTER, TRACKS) else b""
        if body[:2] == CRC_32 and zlib.crc32(body[6:]) != int.from_bytes(body[2:6], "little"):
            return f"the checksum of the Matroska element at byte {at} is of other bytes"
        at += size
    return None


def _vint_length(first: int) -> int:
    return 9 - first.bit_length() if first else 8


def _boxes(data: Data) -> str | None:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0 is the last box, without a size; else there is no box
            return None
        if found := _beyond(data, at + size, f"the box {data[at + 4 : at + 8].decode('latin-1')}"):
            return found
        at += size
    return "it ends within the header of a box" if any(data[at:]) else None


def _riff(data: Data) -> str | None:
    at = 0
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"RIFF":  # its own size is wrong by a few bytes with some writers; its chunks' are not
            at += 12
            continue
        if kind == b"LIST" and size in (0, 0xFFFFFFFF):  # never filled in, as in a stream
            return None
        if found := _beyond(data, at + 8 + size, f"the chunk {kind.decode('latin-1')}"):
            return found
        at += 8 + size + size % 2
    return None


def _asf(data: Data) -> str | None:
    properties = data.find(ASF_FILE_PROPERTIES)
    if properties >= 0 and data[properties + 88] & 1:  # a broadcast, without sizes
        return None
    at = 0
    while at + 24 <= len(data):
        size = int.from_bytes(data[at + 16 : at + 24], "little")
        if size < 24:
            return None
        at += size
        if found := _beyond(data, at, "an ASF object"):
            return found
    return None


def _flv(data: Data) -> str | None:
    at = int.from_bytes(data[5:9], "big") + 4
    while at + 11 <= len(data):
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big")
        if found := _beyond(data, at, "an FLV tag"):
            return found
        at += 4
    return "it ends within the header of an FLV tag" if at < len(data) else None


def _ogg(data: Data) -> str | None:
    at, last = 0, {}
    while at + 27 <= len(data) and data[at : at + 4] == b"OggS":
        lengths = data[at + 27 : at + 27 + data[at + 26]]
        last[data[at + 14 : at + 18]] = data[at + 5]
        at += 27 + data[at + 26] + sum(lengths)
        if found := _beyond(data, at, "an Ogg page"):
            return found
    if data[at : at + 4] == b"OggS":
        return "it ends within the header of an Ogg page"
    return None if all(flags & 4 for flags in last.values()) else "the last page of an Ogg stream is not there"


def _gif(data: Data) -> str | None:
    def colours(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    at = 13 + (colours(data[10]) if len(data) > 10 else 0)
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x2C:  # an image: its colours, then a byte, then blocks
            at += 10 + colours(data[at + 9] if at + 9 < len(data) else 0) + 1
        elif data[at] == 0x21:  # an extension
            at += 2
        else:
            return f"there is no block of a GIF at byte {at}"
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return None if at < len(data) else "the end mark of a GIF is not there"


def _png(data: Data) -> str | None:
    at = 8
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if found := _beyond(data, at, f"the chunk {kind.decode('latin-1')}"):
            return found
        if kind == b"IEND":
            return None
    return "the end mark of a PNG is not there"


def _transport_stream(data: Data) -> str | None:
    for size, first in ((188, 0), (192, 4), (204, 0)):
        if all(data[at : at + 1] in (b"\x47", b"") for at in range(first, 5 * size, size)):
            return f"it ends within a packet of {size} bytes" if len(data) % size else None
    return None


def _program_stream(data: Data) -> str | None:
    at = 0
    while at + 6 <= len(data) and data[at : at + 3] == b"\0\0\1" and data[at + 3] >= 0xBA:
        if data[at + 3] == 0xBA:  # a pack: of MPEG-2 with stuffing, or of MPEG-1
            at += 14 + (data[at + 13] & 7 if at + 13 < len(data) else 0) if data[at + 4] >> 6 == 1 else 12
        else:
            at += 6 + int.from_bytes(data[at + 4 : at + 6], "big")
        if found := _beyond(data, at, "an MPEG packet"):
            return found
    return None


def _y4m(data: Data) -> str | None:
    header = Y4M_HEADER.match(data)
    if header is None:
        return None
    width, height, chroma = int(header["width"]), int(header["height"]), (header["chroma"] or b"420").decode("latin-1")
    per_chroma = Y4M_PLANES.get(chroma[:3])
    size = width * height
    if per_chroma:
        size += 2 * (-(-width // per_chroma[0])) * (-(-height // per_chroma[1]))
    elif not chroma.startswith("mono"):
        return None
    size += width * height if chroma == "444alpha" else 0
    size *= 2 if re.fullmatch(r"\d+p\d+|mono\d+", chroma) and not chroma.endswith("mono8") else 1
    at = header.end()
    while data[at : at + 5] == b"FRAME":
        end = data.find(b"\n", at)
        at = (end if end >= 0 else len(data)) + 1 + size
        if found := _beyond(data, at, "a frame"):
            return found
    return "it ends within the header of a frame" if at < len(data) else None


CHECKS: dict[str, Callable[[Data], str | None]] = {
    "matroska": _matroska, "mov": _boxes, "avi": _riff, "asf": _asf, "flv": _flv, "ogg": _ogg, "gif": _gif,
    "apng": _png, "mpegts": _transport_stream, "mpeg": _program_stream, "yuv4mpegpipe": _y4m,
}  # fmt: skip
