"""Checks that a video file is complete, from the sizes, ends and checksums that its own format states.

FFmpeg silently reads many files that were cut short as shorter videos, and Matroska files with a wrong checksum. Damage
that FFmpeg reports itself (every cut of an MPEG program stream) is not checked here. Nothing is estimated: formats that
do not state where they end (a stream of NUT packets, a transport stream that is cut between packets) are not judged,
and neither is data after the media, such as a tag that a player appended.
"""

import mmap
import re
import zlib
from collections.abc import Callable
from pathlib import Path

Data = mmap.mmap

SEGMENT, CLUSTER, TRACKS = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b"  # Matroska's elements
CRC_32 = b"\xbf\x84"  # identifier and size of the element that may come first in another element
# the identifiers of elements that a file, a Segment and a Cluster may contain
EBML_ID = re.compile(
    rb"\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x1f\x43\xb6\x75|\x16\x54\xae\x6b|\x11\x4d\x9b\x74|\x15\x49\xa9\x66"
    rb"|\x1c\x53\xbb\x6b|\x19\x41\xa4\x69|\x10\x43\xa7\x70|\x12\x54\xc3\x67|\x58\x54|[\xec\xbf\xa0\xa3\xa7\xab\xaf\xe7]"
)
BOXES = b"ftyp moov mdat moof mfra styp sidx ssix prft emsg pdin meta meco udta uuid free skip wide pnot".split()
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
Y4M_HEADER = re.compile(rb"YUV4MPEG2 W(?P<width>\d+) H(?P<height>\d+)(?: C(?P<chroma>\w+)| [^\n C][^\n ]*)*\n")
Y4M_PLANES = {"420": (2, 2), "411": (4, 1), "422": (2, 1), "444": (1, 1)}  # luma columns and rows for one chroma sample


def fault(file: Path, form: str) -> str | None:
    """Returns the evidence that the file is damaged, or None if there is none.

    `form` is FFmpeg's name of the container, such as "matroska,webm".
    """
    check = next((check for name, check in CHECKS.items() if name in form.split(",")), None)
    if check is None or file.stat().st_size == 0:
        return None
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return check(data)


def _beyond(data: Data, end: int, part: str) -> str | None:
    return f"{part} goes on to byte {end}, and the file ends at byte {len(data)}" if end > len(data) else None


def _matroska(data: Data) -> str | None:
    at, end = 0, len(data)  # `end` is the end of the file, or of its Segment
    while at < end and (named := EBML_ID.match(data[at : at + 4])):
        identifier = named[0]
        size_at = at + len(identifier)
        length = _vint_length(data[size_at]) if size_at < len(data) else 1
        at = size_at + length
        if found := _beyond(data, at, "a Matroska element's header"):
            return found
        size = int.from_bytes(data[size_at:at], "big") & ((1 << 7 * length) - 1)
        if size == (1 << 7 * length) - 1:  # the size is unknown, and the element's children follow
            if identifier not in (SEGMENT, CLUSTER):
                return None
            continue
        if found := _beyond(data, at + size, "a Matroska element"):
            return found
        if identifier == SEGMENT:
            end = at + size
            continue
        body = data[at : at + size] if identifier in (CLUSTER, TRACKS) else b""
        if body[:2] == CRC_32 and zlib.crc32(body[6:]) != int.from_bytes(body[2:6], "little"):
            return f"the checksum of the Matroska element at byte {at} does not match its content"
        at += size
    return None


def _vint_length(first: int) -> int:
    return 9 - first.bit_length() if first else 8


def _boxes(data: Data) -> str | None:
    at = 0
    # fragments may follow each other up to the end; data without the name of a box is a tag or text
    while (kind := data[at + 4 : at + 8]) and any(name.startswith(kind) for name in BOXES):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0 marks the last box, which has no size; other values are no box
            return None
        if found := _beyond(data, at + size, f"the box {kind.decode('latin-1')}"):
            return found
        at += size
    return None


def _riff(data: Data) -> str | None:
    at, complete = 0, False
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"RIFF":  # some writers get this size wrong by a few bytes, but not the sizes of its chunks
            at, complete = at + 12, False  # a large file has several RIFF chunks, each with frames
            continue
        if kind == b"LIST" and size in (0, 0xFFFFFFFF):  # the size was never filled in, as in a stream
            return None
        if found := _beyond(data, at + 8 + size, f"the chunk {kind.decode('latin-1')}"):
            return None if complete else found
        complete = complete or data[at + 8 : at + 12] == b"movi"
        at += 8 + size + size % 2
    return None


def _asf(data: Data) -> str | None:
    properties = data.find(ASF_FILE_PROPERTIES)
    if properties >= 0 and data[properties + 88] & 1:  # a broadcast states no sizes
        return None
    at, kind = 0, b""
    while kind != ASF_DATA and at + 24 <= len(data):
        kind, size = data[at : at + 16], int.from_bytes(data[at + 16 : at + 24], "little")
        if size < 24:
            return None
        at += size
        if found := _beyond(data, at, "an ASF object"):
            return found
    return None


def _flv(data: Data) -> str | None:
    at = int.from_bytes(data[5:9], "big") + 4
    while data[at : at + 1] in (b"\x08", b"\x09", b"\x12"):  # sound, video and script; other bytes are no tag
        if at + 11 > len(data):
            return "it ends within the header of an FLV tag"
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big")
        if found := _beyond(data, at, "an FLV tag"):
            return found
        at += 4
    return None


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
    return None if all(flags & 4 for flags in last.values()) else "an Ogg stream has no end-of-stream page"


def _gif(data: Data) -> str | None:
    def colours(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    at, kind = 13 + (colours(data[10]) if len(data) > 10 else 0), b""
    while at < len(data) and (block := data[at : at + 2])[0] in (0x2C, 0x21, 0):
        if block[0] == 0:  # some writers put bytes of 0 between blocks
            at += 1
            continue
        kind = block
        if kind[0] == 0x2C:  # an image has colours, then a byte, then blocks
            at += 10 + colours(data[at + 9] if at + 9 < len(data) else 0) + 1
        else:  # an extension
            at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    if at > len(data) or (at == len(data) and kind == b"\x21\xf9"):  # this extension announces another image
        return "the GIF trailer is missing"
    return None  # some writers omit the trailer after a complete image


def _png(data: Data) -> str | None:
    at = 8
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if found := _beyond(data, at, f"the chunk {kind.decode('latin-1')}"):
            return found
        if kind == b"IEND":
            return None
    return "the PNG has no IEND chunk"


def _transport_stream(data: Data) -> str | None:
    for size in (188, 192, 204):
        # a recording may begin within a packet; packets of 192 bytes begin with 4 bytes of time
        first = next((i for i in range(size) if data[i : i + 5 * size : size] == b"\x47" * 5), None)
        if first is not None:
            at = first + (len(data) - first) // size * size
            cut = data[at : at + 1] == b"\x47" and at + 188 > len(data)
            return "it ends within a packet of the transport stream" if cut else None
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
    rest = data[at : at + 5]
    return "it ends within the header of a frame" if rest and b"FRAME".startswith(rest) else None


CHECKS: dict[str, Callable[[Data], str | None]] = {
    "matroska": _matroska, "mov": _boxes, "avi": _riff, "asf": _asf, "flv": _flv, "ogg": _ogg, "gif": _gif,
    "apng": _png, "mpegts": _transport_stream, "yuv4mpegpipe": _y4m,
}  # fmt: skip
