"""Checks that the metadata of a container about its frames are applied, reported, or a reason to refuse the pair."""

import csv
import io
import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw
from videos import Frames, scene, with_matrix, write

from metrics.__main__ import main, parse
from metrics.video_file import read

ONE = 1 << 16
TURNS: dict[str, tuple[tuple[int, int, int, int], Callable[[Frames], Frames]]] = {
    "90": ((0, ONE, -ONE, 0), lambda v: np.rot90(v, -1, (1, 2))),
    "180": ((-ONE, 0, 0, -ONE), lambda v: np.rot90(v, 2, (1, 2))),
    "270": ((0, -ONE, ONE, 0), lambda v: np.rot90(v, 1, (1, 2))),
    "mirrored left to right": ((-ONE, 0, 0, ONE), lambda v: v[:, :, ::-1]),
    "mirrored top to bottom": ((ONE, 0, 0, -ONE), lambda v: v[:, ::-1]),
    "90, mirrored": ((0, ONE, ONE, 0), lambda v: v.swapaxes(1, 2)),
    "270, mirrored": ((0, -ONE, -ONE, 0), lambda v: v[:, ::-1, ::-1].swapaxes(1, 2)),
}


def said(*arguments: Any, status: int = 0) -> str:
    printed: list[str] = []
    assert main(parse([str(a) for a in arguments]), printed.append) == status
    return printed[0]


def refused(reference: Path, generated: Path) -> str:
    """Returns the reason why a pair is not scored."""
    (video,) = json.loads(said(reference, generated, "--metrics", "psnr", "--json", status=1))["videos"]
    assert video["psnr"] is None
    return video["error"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("up") / "up.mp4", scene())


@pytest.mark.parametrize("name", TURNS)
def test_frames_are_turned_and_mirrored_as_the_container_says(name: str, up: Path, tmp_path: Path) -> None:
    matrix, turned = TURNS[name]
    file = with_matrix(tmp_path / "turned.mp4", up, *matrix)
    assert np.array_equal(read(file).frames, turned(read(up).frames)) and read(file).frames.flags.c_contiguous


def test_a_clip_and_its_upside_down_copy_are_not_equal(up: Path, tmp_path: Path) -> None:
    down = with_matrix(tmp_path / "down.mp4", up, *TURNS["180"][0])
    (video,) = json.loads(said(up, down, "--metrics", "psnr", "--json"))["videos"]
    assert 0 < video["psnr"] < 20
    right = with_matrix(tmp_path / "right.mp4", up, *TURNS["90"][0])
    assert "got [12, 48, 64] at 24 fps and [12, 64, 48] at 24 fps" in refused(up, right)


@pytest.mark.parametrize("matrix", [(46341, 46341, -46341, 46341), (ONE, ONE // 2, 0, ONE), (ONE // 2, 0, 0, ONE // 2)])
def test_a_matrix_that_is_no_turn_by_90_degrees_is_refused(
    matrix: tuple[int, int, int, int], up: Path, tmp_path: Path
) -> None:
    file = with_matrix(tmp_path / "askew.mp4", up, *matrix)
    why = refused(up, file)
    assert f"{file} asks for its frames to be shown by the matrix" in why and "no turn by a multiple of 90 deg" in why


def with_alpha(alpha: int) -> Frames:
    return np.concatenate([scene(), np.full((12, 48, 64, 1), alpha, np.uint8)], -1)


def test_transparency_is_refused_and_alpha_without_it_is_ignored(tmp_path: Path) -> None:
    opaque, clear, nearly = with_alpha(255), with_alpha(0), with_alpha(255)
    nearly[7, 3, 5, 3] = 254
    for suffix, codec, pixels in ((".mkv", "ffv1", "bgra"), (".mov", "qtrle", "argb"), (".apng", "apng", "rgba")):
        file = write(tmp_path / f"opaque{suffix}", opaque, codec, pixels)
        assert np.array_equal(read(file).frames, scene()) and read(file).lossless
        for name, frames, where in (("clear", clear, "frame 0, alpha 0"), ("nearly", nearly, "frame 7, alpha 254")):
            why = refused(file, write(tmp_path / f"{name}{suffix}", frames, codec, pixels))
            assert f"{name}{suffix} has transparency ({where}): flatten it onto a background first" in why


def test_transparency_that_the_decoder_leaves_out_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "clear.webm", with_alpha(100), "libvpx-vp9", "yuva420p")
    assert "has transparency, as its container says, which is not decoded here" in refused(file, file)


@pytest.mark.parametrize("options", [{"optimize": True}, {"disposal": 2}, {"disposal": 1}])
def test_a_gif_is_transparent_only_where_its_composed_frames_are(options: dict[str, Any], tmp_path: Path) -> None:
    """Writers give unchanged pixels a transparent colour."""
    for name, background in (("opaque", (0, 0, 128, 255)), ("clear", (0, 0, 0, 0))):
        frames = [Image.new("RGBA", (64, 48), background) for _ in range(4)]
        for i, frame in enumerate(frames):
            ImageDraw.Draw(frame).rectangle((4 * i, 20, 4 * i + 12, 40), "red")
        frames[0].save(tmp_path / f"{name}.gif", save_all=True, append_images=frames[1:], duration=80, **options)
    assert read(tmp_path / "opaque.gif").frames[2, [0, 30], 14].tolist() == [[0, 0, 128], [255, 0, 0]]
    with pytest.raises(ValueError, match=r"clear.gif has transparency"):
        read(tmp_path / "clear.gif")


def test_pixel_aspect_ratios_fit_or_are_said(up: Path, tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.mp4", scene(), aspect=Fraction(4, 3))
    assert "equal pixel aspect ratios, got 1:1 and 4:3" in refused(up, wide)
    remark = "both have pixels of 4:3, which are compared as they are stored"
    assert f"wide: {remark}" in said(wide, wide, "--metrics", "psnr")
    assert json.loads(said(wide, wide, "--metrics", "psnr", "--json"))["videos"][0]["remarks"] == [remark]
    (row,) = csv.DictReader(said(wide, wide, "--metrics", "psnr", "--csv").splitlines())
    assert row["remarks"] == remark
    tall = with_matrix(tmp_path / "tall.mp4", wide, *TURNS["90"][0])
    assert read(tall).pixel_aspect == Fraction(3, 4), "the ratio belongs to the frame as it is displayed"


@pytest.mark.parametrize("aspect, fits", [("1280:1281", True), ("1281:1280", True), ("64:65", False), ("32:33", False)])
def test_pixel_aspect_ratios_may_differ_by_less_than_a_pixel_of_the_width(
    aspect: str, fits: bool, up: Path, tmp_path: Path
) -> None:
    """FFmpeg scales 1920 x 1080 to 854 x 480 with pixels of 1280:1281."""
    file = write(tmp_path / "scaled.mp4", scene(), aspect=Fraction(aspect.replace(":", "/")))
    for pair, got in (((up, file), f"1:1 and {aspect}"), ((file, up), f"{aspect} and 1:1")):
        if fits:
            remark = f"pixels are of {got.replace('and', 'and of')}, which is 0.05 pixels of the width and is ignored"
            (video,) = json.loads(said(*pair, "--metrics", "psnr", "--json"))["videos"]
            assert video["remarks"] == [remark]
        else:
            assert f"equal pixel aspect ratios, got {got}" in refused(*pair)


def test_interlacing_fits_or_is_said(up: Path, tmp_path: Path) -> None:
    by_frame = write(tmp_path / "frame.mp4", scene(), flags="+ilme+ildct")
    by_container = write(tmp_path / "container.mkv", scene(), field_order="tt")
    progressive = write(tmp_path / "p.mkv", scene())
    assert "must both be interlaced or both be progressive, got progressive and interlaced" in refused(up, by_frame)
    assert "must both be interlaced or both be progressive, got interlaced and progressive" in refused(
        by_container, progressive
    )
    assert "both are interlaced, and a frame's two fields" in said(by_frame, by_frame, "--metrics", "psnr")
    assert "interlaced" not in said(up, up, "--metrics", "psnr")


def gif(file: Path, pause: int) -> Path:
    """Writes twelve frames of 80 ms, and shows the frame `pause` for 400 ms.

    Pillow joins equal frames and adds their times.
    """
    frames = []
    for i in range(12):
        frame = Image.new("RGB", (64, 64), "navy")
        ImageDraw.Draw(frame).rectangle((4 * i, 20, 4 * i + 12, 44), "red")
        frames += [frame] * (5 if i == pause else 1)
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=80)
    return file


def test_uneven_frame_times_do_not_fit(tmp_path: Path) -> None:
    paused = refused(gif(tmp_path / "ref.gif", 2), gif(tmp_path / "gen.gif", 9))
    assert "videos must have even frame times, and the frame times of the reference are uneven" in paused
    assert "frame 3 comes 0.4 s after frame 2, and the mean step is 0.1091 s" in paused
    even, dropped = (
        write(tmp_path / f"{n}.mkv", scene(), rate=12, milliseconds=lambda i, gap=n: i * 83 + 83 * (i > gap))
        for n in (99, 5)
    )
    assert "frame times of the generated video are uneven: frame 6 comes 0.166 s after frame 5" in refused(
        even, dropped
    )
    assert "uneven" in refused(dropped, dropped)
    faster = write(tmp_path / "faster.mkv", scene(), rate=12, milliseconds=lambda i: 100 * i - 45 * max(i - 6, 0))
    assert "frame 0 is 0.77 frames away from an even grid at the mean of 12.57 fps" in refused(faster, faster)


def test_frame_times_that_differ_by_more_than_half_a_frame_do_not_fit(tmp_path: Path) -> None:
    early, late, even = (
        write(tmp_path / f"{name}.mkv", scene(), rate=10, milliseconds=lambda i, by=by: 100 * i + by * (i == 6))
        for name, by in (("early", -40), ("late", 40), ("even", 0))
    )
    assert "these differ by more than half a frame: frame 6 at 0.56 s and 0.64 s" in refused(early, late)
    said(early, even, "--metrics", "psnr")


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 24, 60])
@pytest.mark.parametrize("suffix", [".gif", ".flv", ".webm", ".mp4", ".ts", ".avi", ".mpg", ".apng", ".wmv", ".nut"])
def test_rounded_times_fit_and_other_rates_do_not(suffix: str, rate: Fraction | int, tmp_path: Path) -> None:
    master = write(tmp_path / "master.mkv", scene(), rate=rate)
    other = write(tmp_path / f"other{suffix}", scene(), rate=rate)
    assert "psnr" in said(master, other, "--metrics", "psnr")
    slower = write(tmp_path / "slower.mkv", scene(), rate=rate * 4 / 5 if isinstance(rate, Fraction) else rate * 4 // 5)
    assert any(why in refused(slower, other) for why in ("equal length, size and fps, got", "more than half a frame"))


def test_rates_that_both_files_say_must_be_equal(tmp_path: Path) -> None:
    """These files are too short to tell the rates apart by their times."""
    files = [write(tmp_path / f"{i}.mkv", scene(3), rate=rate) for i, rate in enumerate((30, Fraction(30000, 1001)))]
    assert "at 30 fps and [3, 48, 64] at 29.97003 fps" in refused(*files)


def test_a_first_time_other_than_0_does_not_matter(tmp_path: Path) -> None:
    """B-frames delay an FLV's first frame, and a recording may start anywhere."""
    master = write(tmp_path / "master.mkv", scene(), rate=12)
    started = write(tmp_path / "started.mkv", scene(), rate=12, milliseconds=lambda i: 5000 + round(i * 1000 / 12))
    assert math.isinf(float(said(master, started, "--metrics", "psnr").splitlines()[1].split()[-1]))
    delayed = write(tmp_path / "delayed.flv", scene(), rate=12)
    assert read(delayed).times is not None and "uneven" not in said(master, delayed, "--metrics", "psnr")


def test_every_lossy_file_is_named(tmp_path: Path) -> None:
    for folder in ("ref", "gen"):
        (tmp_path / folder).mkdir()
        for name in "abcdefg":
            write(tmp_path / folder / f"{name}.{'mkv' if name == 'a' and folder == 'ref' else 'mp4'}", scene(3))
    folders = tmp_path / "ref", tmp_path / "gen"
    lossy = {n: [str(f / f"{n}.mp4") for f in folders if (n, f.name) != ("a", "ref")] for n in "abcdefg"}
    line = next(x for x in said(*folders, "--metrics", "psnr").splitlines() if x.startswith("lossy input: "))
    assert line.removeprefix("lossy input: ").split("; the scores")[0].split(", ") == [
        f for n in lossy for f in lossy[n]
    ]
    videos = json.loads(said(*folders, "--metrics", "psnr", "--json"))["videos"]
    assert {v["name"]: v["lossy"] for v in videos} == lossy and not any(v["lossless"] for v in videos)
    rows = csv.DictReader(said(*folders, "--metrics", "psnr", "--csv").splitlines())
    assert {row["name"]: row["lossy"].split("; ") for row in rows} == lossy


@pytest.mark.parametrize(("orientation", "turned"), [(None, (1, 1)), (1, (1, 1)), (3, (-1, -1)), (4, (-1, 1))])
def test_the_orientation_in_exif_is_applied(orientation: int | None, turned: tuple[int, int], tmp_path: Path) -> None:
    """The file is Motion JPEG with EXIF in each frame, as cameras write it."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24], picture[:, 40:, 0] = 200, 120
    exif = Image.Exif()
    exif[0x10F] = "a camera"
    if orientation:
        exif[0x112] = orientation
    file, saved = tmp_path / "exif.avi", io.BytesIO()
    Image.fromarray(picture).save(saved, "jpeg", exif=exif, quality=95, subsampling=0)
    with av.open(f"file:{file}", "w") as container:
        stream = container.add_stream("mjpeg", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj444p"
        for i in range(3):
            packet = av.Packet(saved.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 24)
            container.mux(packet)
    shown = picture[:: turned[0], :: turned[1]]
    assert np.abs(read(file).frames[1].astype(int) - shown).max() < 30
