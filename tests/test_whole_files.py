"""Damage is what a decoder reports or a file's own structure shows; an intact file is read, whatever its container."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import CODECS, patched, scene, write

from metrics.fit import misfit
from metrics.pairs import SUFFIXES
from metrics.video_file import read

CUTS = (0.2, 0.4, 0.55, 0.7, 0.85, 0.95)


class Pipe:
    """Where PyAV writes a file without coming back to fill in its sizes."""

    def __init__(self, file: Path) -> None:
        self.opened = file.open("wb")

    def write(self, data: bytes) -> int:
        return self.opened.write(data)


@pytest.fixture(scope="module", params=[*sorted(SUFFIXES), "faststart", "fragments"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An intact file of each suffix that is listed, with noise so that it has many bytes."""
    flags = {"faststart": "+faststart", "fragments": "+frag_keyframe+empty_moov+default_base_moof"}.get(request.param)
    suffix = ".mp4" if flags else request.param
    noise = np.random.default_rng(0).integers(0, 40, (12, 48, 64, 3), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("whole")
    return write(folder / f"whole{suffix}", scene() + noise, container={"movflags": flags} if flags else None)


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
        else:  # cut between frames, where the format has no end, or after the last
            assert misfit(read(whole), cut) or np.array_equal(cut.frames, read(whole).frames)
    assert found >= len(CUTS)


@pytest.mark.parametrize("skipped, shown", [(3, 9), (4, 5), (0, 12)])
def test_an_mp4_whose_edit_list_leaves_frames_out_is_whole(skipped: int, shown: int, tmp_path: Path) -> None:
    source = write(tmp_path / "source.mp4", scene())
    delay = struct.unpack_from(">i", data := source.read_bytes(), data.index(b"elst") + 16)[0]  # of B-frames
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
    """It has no sizes of what is longer than a frame."""
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
    with pytest.raises(ValueError, match="two.mkv changes its size: frame 6 is 96 x 64, those before it are 64 x 48"):
        read(file)


@pytest.mark.parametrize("suffix", [".mkv", ".apng"])
def test_a_flipped_bit_is_found_where_the_format_has_checksums(suffix: str, tmp_path: Path) -> None:
    """FFmpeg decodes FFV1 of either without an error; Matroska's own checksums tell."""
    noise = np.random.default_rng(0).integers(0, 40, (12, 48, 64, 3), dtype=np.uint8)
    data = write(tmp_path / f"good{suffix}", scene() + noise).read_bytes()
    file = tmp_path / f"bad{suffix}"
    for at in range(len(data) // 20, len(data) * 19 // 20, len(data) // 7):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ValueError, match=f"bad{suffix} (is not whole|cannot be read as a video)"):
            read(file)


def test_damage_that_the_decoder_reports_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 40, (12, 48, 64, 3), dtype=np.uint8)
    data = bytearray(write(tmp_path / "good.mp4", scene() + noise).read_bytes())
    at = data.index(b"mdat") + 1200
    data[at : at + 300] = bytes(300)
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(
        ValueError, match="bad.mp4 (is not whole: the decoder says that frame|cannot be read as a video)"
    ):
        read(tmp_path / "bad.mp4")


def test_rates_of_ogg_are_read_though_it_states_no_mean_rate(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.ogv", scene(), rate=Fraction(25))).fps == pytest.approx(25)


def test_tags_of_another_encoding_do_not_matter(tmp_path: Path) -> None:
    file = write(tmp_path / "a.avi", scene(), title="cafX")
    file.write_bytes(file.read_bytes().replace(b"cafX", b"caf\xe9"))
    assert read(file).frames.shape == (12, 48, 64, 3)
