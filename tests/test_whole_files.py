"""Damage is found by a decoder's report or by a file's structure. An intact file is read from any container."""

import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import CODECS, Frames, patched, scene, write

from metrics.__main__ import main, parse
from metrics.fit import misfit
from metrics.pairs import SUFFIXES
from metrics.video_file import read

CUTS = (0.2, 0.4, 0.55, 0.7, 0.85, 0.95)


class Pipe:
    """An output in which PyAV cannot go back to fill in sizes."""

    def __init__(self, file: Path) -> None:
        self.opened = file.open("wb")

    def write(self, data: bytes) -> int:
        return self.opened.write(data)


def noisy() -> Frames:
    """Returns frames that have many bytes in any codec."""
    return scene() + np.random.default_rng(0).integers(0, 40, (12, 48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=[*sorted(SUFFIXES), "faststart", "fragments"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes an intact file of each listed suffix, with noise so that it has many bytes."""
    flags = {"faststart": "+faststart", "fragments": "+frag_keyframe+empty_moov+default_base_moof"}.get(request.param)
    suffix = ".mp4" if flags else request.param
    folder = tmp_path_factory.mktemp("whole")
    return write(folder / f"whole{suffix}", noisy(), container={"movflags": flags} if flags else None)


def test_every_suffix_that_is_listed_is_read(whole: Path) -> None:
    video = read(whole)
    assert video.frames.shape == (12, 48, 64, 3) and video.times is not None
    assert np.abs(video.times.seconds - np.arange(12) / 24).max() < 0.02 and video.fps == pytest.approx(24, rel=0.01)
    assert set(CODECS) == SUFFIXES


def test_a_file_that_is_cut_short_is_refused_or_has_fewer_frames(whole: Path, tmp_path: Path) -> None:
    data, found = whole.read_bytes(), 0
    for size in [*(int(len(data) * cut) for cut in CUTS), len(data) - 40, len(data) - 5, len(data) - 1]:
        file = tmp_path / f"cut{whole.suffix}"
        file.write_bytes(data[:size])
        try:
            cut = read(file)
        except ValueError as error:
            assert str(error).startswith(f"{file} ")
            found += 1
        else:  # a cut between frames if the format has no end, or after the last frame
            complete = np.array_equal(cut.frames, read(whole).frames)
            assert complete or misfit(read(whole), cut)
            found += complete  # MPEG files are padded
    assert found >= len(CUTS)


@pytest.mark.parametrize("skipped, shown", [(3, 9), (4, 5), (0, 12)])
def test_an_mp4_whose_edit_list_leaves_frames_out_is_whole(skipped: int, shown: int, tmp_path: Path) -> None:
    source = write(tmp_path / "source.mp4", scene())
    delay = struct.unpack_from(">i", data := source.read_bytes(), data.index(b"elst") + 16)[0]  # the delay of B-frames
    file = patched(tmp_path / "edit.mp4", source, b"elst", 12, ">Ii", 1000 * shown // 24, delay + 512 * skipped)
    video = read(file)
    assert np.array_equal(video.frames, read(source).frames[skipped : skipped + shown]) and video.fps == 24


def test_an_flv_with_b_frames_is_whole(tmp_path: Path) -> None:
    assert read(write(tmp_path / "b.flv", scene(24), rate=12)).frames.shape[0] == 24


def test_a_matroska_file_of_variable_rate_is_whole_and_fits_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "vfr.mkv", scene(24), rate=12, milliseconds=lambda i: i * 83 + 900 * (i > 12))
    video = read(file)
    assert np.array_equal(video.frames, scene(24)) and video.lossless
    assert "even frame times" in (misfit(video, video) or "")


@pytest.mark.parametrize(
    "suffix, form, options",
    [
        (".mkv", "matroska", {}),
        (".webm", "webm", {"live": "1"}),
        (".avi", "avi", {}),
        (".flv", "flv", {}),
        (".wmv", "asf", {}),
        (".nut", "nut", {}),
        (".mp4", "mp4", {"movflags": "+frag_keyframe+empty_moov"}),
    ],
)  # fmt: skip
def test_a_file_written_to_a_pipe_is_whole(suffix: str, form: str, options: dict[str, str], tmp_path: Path) -> None:
    """The file lacks the sizes of all parts longer than a frame."""
    file = tmp_path / f"piped{suffix}"
    pipe = Pipe(file)
    write(file, scene(), container=options, into=pipe, form=form)
    pipe.opened.close()
    assert read(file).frames.shape == (12, 48, 64, 3) and read(file).fps == 24


def test_a_size_that_changes_names_the_file_the_frame_and_both_sizes(tmp_path: Path) -> None:
    file = tmp_path / "two.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mjpeg", rate=24)
        other = av.CodecContext.create("mjpeg", "w")
        for encoder, (height, width) in ((stream, (48, 64)), (other, (64, 96))):
            encoder.height, encoder.width, encoder.pix_fmt = height, width, "yuvj420p"
            encoder.time_base = Fraction(1, 24)
        for encoder, start in ((stream, 0), (other, 6)):
            for i, frame in enumerate(scene(6, encoder.height, encoder.width)):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuvj420p")
                picture.pts, picture.time_base = start + i, Fraction(1, 24)
                for packet in encoder.encode(picture):
                    packet.stream = stream
                    container.mux(packet)
    with pytest.raises(
        ValueError, match="two.mkv changes its size: frame 6 is 96 x 64, and earlier frames are 64 x 48"
    ):
        read(file)


@pytest.mark.parametrize("suffix, codec", [(".mkv", None), (".apng", None), (".nut", None), (".avi", "ffv1")])
def test_a_flipped_bit_is_found_where_the_format_has_checksums(suffix: str, codec: str | None, tmp_path: Path) -> None:
    """Matroska, PNG and slices of FFV1 have checksums. FFmpeg logs a wrong checksum and continues to decode."""
    good = write(tmp_path / f"good{suffix}", noisy(), codec, "bgr0" if codec else None)
    data, frames = good.read_bytes(), read(good).frames
    file, media = tmp_path / f"bad{suffix}", range(len(data) // 4, len(data) * 3 // 4, len(data) // 7)
    for at in media:
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ValueError, match=f"bad{suffix} (is not whole|cannot be read as a video)"):
            read(file)
    assert np.array_equal(read(good).frames, frames), "such a file is read while others are refused"


def test_a_wrong_checksum_is_told_in_the_decoders_words_each_time(tmp_path: Path) -> None:
    """PyAV omits a message that equals the last one, unless it is told not to."""
    data = bytearray(write(tmp_path / "good.nut", noisy()).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.nut").write_bytes(data)
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    for _ in range(3):
        with pytest.raises(ValueError, match=r"whole: the decoder reports: slice CRC mismatch \w+! at 0.\d+ sec"):
            read(tmp_path / "bad.nut")
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


def test_what_others_log_and_other_threads_read_is_not_the_files_fault(tmp_path: Path) -> None:
    good = write(tmp_path / "good.nut", noisy())
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.nut").write_bytes(data)

    def outcome(file: Path) -> bool:
        av.logging.log(av.logging.ERROR, "an encoder", "an error of its own")
        try:
            return len(read(file).frames) == 12
        except ValueError as error:
            assert "the decoder reports: slice CRC mismatch" in str(error)
            return False

    files = [good, tmp_path / "bad.nut"] * 6
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(outcome, files)) == [True, False] * 6


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "libx265"])
def test_a_recording_that_starts_between_key_frames_is_read_from_the_next_on(codec: str, tmp_path: Path) -> None:
    """The decoder's messages about the frames before the key frame are no damage."""
    source = write(tmp_path / "source.ts", np.tile(noisy(), (3, 1, 1, 1)), codec, bf="2")
    data = source.read_bytes()
    for packets, inside in ((20, 0), (33, 0), (33, 100)):
        file = tmp_path / "started.ts"
        file.write_bytes((b"" if inside else data[: 188 * 3]) + data[188 * packets + inside :])
        assert 12 <= len(read(file).frames) < 36


def test_a_codec_without_a_decoder_costs_its_own_file_only(tmp_path: Path) -> None:
    for name in ("ref", "gen"):
        (tmp_path / name).mkdir()
        for video in ("a", "b"):
            write(tmp_path / name / f"{video}.mp4", scene(3))
    odd = tmp_path / "gen" / "a.mp4"
    odd.write_bytes(odd.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(ValueError, match="a.mp4 holds video of a codec that FFmpeg has no decoder for"):
        read(odd)
    printed: list[str] = []
    assert main(parse([str(tmp_path / "ref"), str(tmp_path / "gen"), "--metrics", "psnr"]), printed.append) == 1
    assert "has no decoder for" in printed[0] and "\nb " in printed[0]


TAILS = {
    "ID3 tag": b"TAG" + b"x" * 125, "APE tag": b"APETAGEX\xd0\7\0\0\x40" + b"\0" * 19, "text": b"<xml>some text</xml>",
    "newline": b"\n", "NUL": b"\0" * 64, "short": b"\1xxx", "element": b"\x1a" * 100,
}  # fmt: skip


def test_what_follows_the_media_is_not_judged(whole: Path, tmp_path: Path) -> None:
    """A NUT or Y4M file ends with its last packet or frame, and FFmpeg refuses anything after it."""
    if whole.suffix in (".nut", ".y4m"):
        return
    frames, file = read(whole).frames, tmp_path / f"tail{whole.suffix}"
    for name, tail in TAILS.items():
        file.write_bytes(whole.read_bytes() + tail)
        assert np.array_equal(read(file).frames, frames), name


def test_a_gif_may_lack_its_trailer_after_an_image_and_hold_nul_between_blocks(tmp_path: Path) -> None:
    data = write(tmp_path / "whole.gif", noisy()).read_bytes()
    frames, file = read(tmp_path / "whole.gif").frames, tmp_path / "other.gif"
    for other in (data[:-1], data[:-1] + b"\0;", data[:-1] + b"\0\0", data + b"\0\0"):
        file.write_bytes(other)
        assert np.array_equal(read(file).frames, frames)
    control = data.rindex(b"\x21\xf9\x04")  # the control block of the last image
    for size in (control + 2, control + 5, control + 8, control + 12, len(data) - 2):
        file.write_bytes(data[:size])
        with pytest.raises(ValueError, match="other.gif is not whole: the GIF trailer is missing"):
            read(file)


def test_damage_that_the_decoder_reports_is_refused(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "good.mp4", noisy()).read_bytes())
    at = data.index(b"mdat") + 1200
    data[at : at + 300] = bytes(300)
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(
        ValueError, match="bad.mp4 (is not whole: the decoder (says that frame|reports)|cannot be read as a video)"
    ):
        read(tmp_path / "bad.mp4")


def test_rates_of_ogg_are_read_though_it_states_no_mean_rate(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.ogv", scene(), rate=Fraction(25))).fps == pytest.approx(25)


def test_tags_of_another_encoding_do_not_matter(tmp_path: Path) -> None:
    file = write(tmp_path / "a.avi", scene(), title="cafX")
    file.write_bytes(file.read_bytes().replace(b"cafX", b"caf\xe9"))
    assert read(file).frames.shape == (12, 48, 64, 3)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.66, 0.8])
def test_an_mp4_without_its_end_is_said_to_be_cut(share: float, tmp_path: Path) -> None:
    """The table of samples is at the end of the file. FFmpeg only says that the data is invalid."""
    file = write(tmp_path / "cut.mp4", scene())
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(ValueError, match="cut.mp4 is not whole: the box (mdat|moov) goes on to byte"):
        read(file)
