"""Checks the output of `python -m metrics`, and the input that it refuses."""

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from jaxtyping import UInt8
from processes import run

import conf
from metrics import METRICS
from metrics.__main__ import main, parse
from metrics.groups import groups, names_of
from metrics.page import page
from metrics.video_file import VideoFile, read
from vgdfr.video_file import write_master, write_preview

Frames = UInt8[np.ndarray, "t h w 3"]


def moving(frames: int = 6, shift: int = 0, side: int = 32) -> Frames:
    t, y, x = np.mgrid[0:frames, 0:side, 0:side]
    wave = 127.5 + 127 * np.sin(0.3 * x + 0.2 * y + 0.4 * t + 0.1 * shift)
    return np.stack([wave, np.roll(wave, 3, 1), 255 - wave], -1).astype(np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Returns two folders of two videos, written in different orders: pairing by time or position would fail."""
    for side, names in (("ref", ("a", "b")), ("gen", ("b", "a"))):
        (tmp_path / side / "deep").mkdir(parents=True)
        for name in names:
            shift = {"a": 0, "b": 7}[name] + (side == "gen")
            write_master(tmp_path / side / "deep" / f"{name}.mkv", moving(shift=shift), 12)
    return tmp_path / "ref", tmp_path / "gen"


def said(*arguments: Any, status: int = 0) -> str:
    """Returns the printed text, and checks the exit status."""
    printed: list[str] = []
    assert main(parse([str(a) for a in arguments]), printed.append) == status
    (text,) = printed
    return text


def test_two_files_give_what_the_metrics_say(folders: tuple[Path, Path]) -> None:
    files = [folder / "deep" / "a.mkv" for folder in folders]
    out = json.loads(said(*files, "--json", "--per-frame", "--metrics", "psnr,ssim,flicker"))
    (video,) = out["videos"]
    for name in ("psnr", "ssim", "flicker"):
        expected = METRICS[name](moving(shift=1), moving())
        assert video[name] == pytest.approx(expected.value)
        assert video["per_frame"][name] == pytest.approx(expected.per_frame)
        assert out["metrics"][name] == METRICS[name].id
    assert video["lossless"] is True


def test_folders_are_paired_by_name(folders: tuple[Path, Path]) -> None:
    rows = list(csv.DictReader(said(*folders, "--csv", "--metrics", "psnr").splitlines()))
    expected = {
        f"deep/{n}": METRICS["psnr"](moving(shift=s + 1), moving(shift=s)).value for n, s in (("a", 0), ("b", 7))
    }
    assert {row["name"]: float(row["psnr"]) for row in rows} == pytest.approx(expected)
    table = said(*folders, "--metrics", "psnr")
    assert "mean of finite values" in table and f"{sum(expected.values()) / 2:.4f}" in table and "lossy" not in table


def test_identical_videos_are_infinitely_alike_and_stay_valid_json(folders: tuple[Path, Path]) -> None:
    file = folders[0] / "deep" / "a.mkv"
    assert json.loads(said(file, file, "--json", "--metrics", "psnr"))["videos"][0]["psnr"] == "inf"
    assert "inf" in said(file, file, "--metrics", "psnr")


def test_lossy_input_is_said(tmp_path: Path) -> None:
    write_preview(tmp_path / "a.mp4", moving(), 12)
    write_master(tmp_path / "a.mkv", moving(), 12)
    out = said(tmp_path / "a.mkv", tmp_path / "a.mp4", "--metrics", "psnr")
    assert f"lossy input: {tmp_path / 'a.mp4'};" in out and math.isfinite(float(out.splitlines()[1].split()[-1]))


def test_prompts_come_from_a_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    prompts = {"deep/a": "a red circle over sand", "deep/b": "a blue cross over water"}
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    (tmp_path / "p.txt").write_text("".join(f"{name}\t{prompt}\n" for name, prompt in prompts.items()))
    outs = [said(*folders, "--metrics", "clipsim_embedded", "--prompts", tmp_path / f) for f in ("p.json", "p.txt")]
    assert outs[0] == outs[1]


def test_a_prompt_longer_than_the_metrics_model_reads_is_said_in_every_form(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "long.tsv").write_text(f"deep/a\t{'red ' * 300}\ndeep/b\t{'red ' * 30}\n")
    asked = (*folders, "--metrics", "clipsim_embedded,psnr", "--prompts", tmp_path / "long.tsv")
    note = "clipsim_embedded compares with the beginning of the prompt alone, its first 32 tokens: deep/a"
    assert said(*asked).splitlines()[-1] == note
    rows = list(csv.DictReader(said(*asked, "--csv").splitlines()))
    assert [row["clipsim_embedded_prompt_cut_to"] for row in rows] == ["32", ""]
    extra = [video["extra"]["clipsim_embedded"] for video in json.loads(said(*asked, "--json"))["videos"]]
    assert extra == [{"truncated": 1, "context_length": 32}, {"truncated": 0}]
    assert "_prompt_cut_to" not in said(*folders, "--csv", "--metrics", "psnr")
    (tmp_path / "short.csv").write_text("name,prompt,seed\ndeep/a,red,1\ndeep/b,blue,2\n")
    table = said(*folders, "--metrics", "clipsim_embedded", "--prompts", tmp_path / "short.csv")
    assert "beginning of the prompt" not in table


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Returns a folder of videos that cannot be compared with the references of the same names in `good`."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    write_master(tmp_path / "bad" / "a.mkv", moving(shift=1), 12)
    write_master(tmp_path / "bad" / "short.mkv", moving(5), 12)
    write_master(tmp_path / "bad" / "small.mkv", moving(side=16), 12)
    write_master(tmp_path / "bad" / "fast.mkv", moving(), 24)
    (tmp_path / "bad" / "text.mkv").write_text("no video")
    write_master(tmp_path / "good" / "a.mkv", moving(), 12)
    whole = (tmp_path / "good" / "a.mkv").read_bytes()
    (tmp_path / "bad" / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bad" / "z.mkv").write_bytes(whole)
    for name in ("short", "small", "fast", "text", "cut", "z"):
        (tmp_path / "good" / f"{name}.mkv").write_bytes(whole)
    return tmp_path / "bad"


MISFITS = {
    "short": r"videos must be of equal length.*\[6, 32, 32\].*\[5, 32, 32\].*short.mkv",
    "small": "videos must be of equal length.*small.mkv",
    "fast": "at 12 fps and .* at 24 fps",
    "text": "text.mkv cannot be read as a video",
    "cut": "cut.mkv (is not whole|cannot be read)",
}


def test_pairs_that_do_not_fit_cost_their_own_scores_only(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = bad.parent / "good"
    table = said(good, bad, "--metrics", "psnr,ssim", status=1)
    assert capsys.readouterr().err == ("error: 5 of 7 pairs could not be scored: cut, fast, short, small, text\n")
    expected = METRICS["psnr"](moving(shift=1), moving()).value
    assert re.search(rf"^a +{expected:.4f} ", table, re.M) and re.search(r"^z +inf +1.0000$", table, re.M)
    assert "psnr is infinite for 1 of 2 videos; the mean leaves them out" in table
    videos = {v["name"]: v for v in json.loads(said(good, bad, "--metrics", "psnr", "--json", status=1))["videos"]}
    rows = {r["name"]: r for r in csv.DictReader(said(good, bad, "--metrics", "psnr", "--csv", status=1).splitlines())}
    assert videos["a"]["psnr"] == float(rows["a"]["psnr"]) == expected and videos["a"]["error"] is None
    for name, why in MISFITS.items():
        assert re.search(rf"^{name} +- +-$", table, re.M) and re.search(
            f"^{name} could not be scored: .*{why}", table, re.M
        )
        assert videos[name]["psnr"] is None and videos[name]["lossless"] is None and rows[name]["psnr"] == ""
        assert re.search(why, videos[name]["error"]) and re.search(why, rows[name]["reason"])
        assert re.search(why, said(good / f"{name}.mkv", bad / f"{name}.mkv", "--metrics", "psnr", status=1))


def test_what_is_wrong_before_anything_is_computed_is_refused_by_name(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    ref, gen = folders
    good = ref / "deep" / "a.mkv"
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / "a.mkv").write_bytes(good.read_bytes())
    (tmp_path / "lone" / "a.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    write_master(gen / "deep" / "c.mkv", moving(), 12)
    for arguments, message in (
        ((ref, gen), "gen has videos that .*ref does not have: deep/c$"),
        ((good, gen), "expected two files or two folders"),
        ((ref, tmp_path / "empty"), r"empty holds no video \("),
        ((ref, tmp_path / "lone"), "ref has videos that .*lone does not have: "),
        ((good, tmp_path / "nowhere"), "there is nothing at .*nowhere"),
        ((good, good, "--metrics", "psnr,beauty"), "unknown metric beauty; there are the groups consistency, .*; psnr"),
        ((good, good, "--metrics", "pyiqa"), "unknown metric pyiqa"),
        ((good, good, "--metrics", ","), "no metric is named"),
        ((good, good, "--metrics", "pyiqa:fid"), "pyiqa:fid compares sets of images; allowed are"),
        ((good, good, "--metrics", "clipsim_embedded"), "no prompt for a; --prompts takes a JSON object"),
        ((good, good, "--metrics", "lpips"), "lpips needs torchvision AlexNet .* gets it from https://"),
        ((good, good, "--per-frame"), "--per-frame goes with --json"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            said(*arguments)


def test_names_are_paired_never_positions(folders: tuple[Path, Path]) -> None:
    """Both folders hold the same number of videos, but one name differs."""
    (folders[1] / "deep" / "b.mkv").rename(folders[1] / "deep" / "c.mkv")
    with pytest.raises(ValueError, match="ref has videos that .*gen does not have: deep/b$"):
        said(*folders)


def test_a_metric_that_works_nowhere_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frozen = np.repeat(moving()[:1], 6, 0)
    write_master(tmp_path / "a.mkv", frozen, 12)
    out = said(tmp_path / "a.mkv", tmp_path / "a.mkv", "--metrics", "psnr,motion", status=1)
    assert "no motion: ValueError: motion is a ratio" in out
    assert capsys.readouterr().err == "error: no value for any video: motion\n"
    # motion was not requested and is shown next to the metric
    said(tmp_path / "a.mkv", tmp_path / "a.mkv", "--metrics", "flicker")


@pytest.mark.parametrize("names", ["flicker,psnr", "clip_temp_embedded,psnr"])
def test_motion_stands_beside_what_rewards_frozen_videos(names: str, folders: tuple[Path, Path]) -> None:
    asked = names.split(",")
    header = said(*folders, "--metrics", names).splitlines()[0]
    assert header.split() == ["video", asked[0], "motion", "(ratio)", "psnr", "(dB)"]
    videos = json.loads(said(*folders, "--metrics", f"motion,{names}", "--json"))["videos"]
    assert [name for name in videos[0] if name in METRICS] == ["motion", *asked], "once"


def test_groups_of_metrics_are_those_of_a_sweep(folders: tuple[Path, Path]) -> None:
    for file in (Path(conf.__file__).parent / "metrics").glob("*.yaml"):
        assert yaml.safe_load(file.read_text()) == {"names": [file.stem]} and file.stem in groups()
    names = ["psnr", "psnr_frame_mean", "ssim", "cosine", "cosine_raw", "flicker", "motion", "motion_flow"]
    assert names_of("pixel") == names
    assert set(json.loads(said(*folders, "--metrics", "pixel", "--json"))["metrics"]) == {*names}
    assert names_of("pixel,lpips_embedded,psnr") == [*names, "lpips_embedded"]
    assert "vqa" in names_of("paper")


def test_ctrl_c_prints_what_is_there(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked_at: list[str] = []

    def interrupted(file: Path) -> VideoFile:
        looked_at.append(file.stem)
        if looked_at.count("b"):
            raise KeyboardInterrupt
        return read(file)

    monkeypatch.setattr("metrics.__main__.read", interrupted)
    videos = json.loads(said(*folders, "--metrics", "psnr", "--json", status=130))["videos"]
    assert [video["name"] for video in videos] == ["deep/a"] and videos[0]["psnr"] > 0
    assert capsys.readouterr().err == "error: interrupted: 1 of 2 pairs were scored\n"


def test_scoring_the_lossy_preview_is_another_number_and_is_said(tmp_path: Path) -> None:
    """Public code scores mp4 files by mistake, so the encoder's loss adds to the method's changes."""
    grain = np.random.default_rng(0).normal(0, 1, (6, 64, 64, 3))
    videos = {"ref": moving(side=64), "gen": np.clip(moving(side=64) + grain, 0, 255).round().astype(np.uint8)}
    for name, frames in videos.items():
        write_master(tmp_path / f"{name}.mkv", frames, 12)
        write_preview(tmp_path / f"{name}.mp4", frames, 12)
    scores = {
        suffix: json.loads(said(*(tmp_path / f"{n}.{suffix}" for n in videos), "--metrics", "psnr", "--json"))[
            "videos"
        ][0]
        for suffix in ("mkv", "mp4")
    }
    assert scores["mkv"]["psnr"] == METRICS["psnr"](videos["gen"], videos["ref"]).value
    assert scores["mkv"]["lossless"] and not scores["mp4"]["lossless"]
    assert abs(scores["mp4"]["psnr"] - scores["mkv"]["psnr"]) > 1


def test_the_command_prints_a_table_and_errors_on_one_line(folders: tuple[Path, Path]) -> None:
    command = ["metrics", *map(str, folders)]
    done = run(*command)
    assert done.returncode == 0 and done.stdout.splitlines()[0].split()[:3] == ["video", "psnr", "(dB)"]
    done = run(*command[:-1], "nowhere")
    assert done.returncode == 1 and done.stderr == "error: there is nothing at nowhere\n"
    (folders[1] / "deep" / "b.mkv").write_bytes(b"no video")
    done = run(*command, "--csv")
    assert done.returncode == 1 and done.stderr == "error: 1 of 2 pairs could not be scored: deep/b\n"
    assert [row["name"] for row in csv.DictReader(done.stdout.splitlines())] == ["deep/a", "deep/b"]


def test_a_file_is_read_as_written(tmp_path: Path) -> None:
    write_master(tmp_path / "a.mkv", moving(), 12)
    video = read(tmp_path / "a.mkv")
    assert np.array_equal(video.frames, moving()) and video.fps == 12 and video.lossless


def test_a_profile_stands_beside_the_metrics_and_what_cannot_be_had_is_a_dash(folders: tuple[Path, Path]) -> None:
    out = said(*folders, "--metrics", "psnr,ssim", "--profile", "videosys", status=1).splitlines()
    assert out[0].split() == "video psnr (dB) ssim psnr_videosys (dB) ssim_videosys lpips_videosys".split()
    for line in out[1:4]:
        assert line.split()[-1] == "-" and line.split()[-2] == line.split()[-4]
    assert (
        out[-1].startswith("no lpips_videosys: torchvision AlexNet (LPIPS) is not at ") and "bench.prefetch" in out[-1]
    )
    videos = json.loads(said(*folders, "--metrics", "psnr", "--profile", "fastvideo", "--json", status=1))["videos"]
    assert all(
        v["lpips_fastvideo"] is None and v["psnr_fastvideo"] == pytest.approx(v["psnr"], abs=0.5) for v in videos
    )


def test_the_page_of_metrics_is_what_the_metrics_say() -> None:
    assert (Path(__file__).parent.parent / "docs" / "metrics.md").read_text() == page()
    for metric in METRICS.values():
        assert metric.range and metric.source and metric.cannot_tell, metric.name
        assert metric.description, metric.name
    assert all("motion" in METRICS[name].cannot_tell for name in ("flicker", "clip_temp"))


def test_a_metric_that_fails_costs_its_own_value_and_says_of_which_video(tmp_path: Path) -> None:
    for side, frozen in (("ref", True), ("gen", False)):
        for name in ("a", "b"):
            frames = np.repeat(moving()[:1], 6, 0) if frozen and name == "a" else moving(shift=side == "gen")
            (tmp_path / side).mkdir(exist_ok=True)
            write_master(tmp_path / side / f"{name}.mkv", frames, 12)
    out = said(tmp_path / "ref", tmp_path / "gen", "--metrics", "psnr,motion")
    assert "no motion of a: ValueError: motion is a ratio to the reference's" in out and out.count(" - ") + 1 >= 1
    videos = json.loads(said(tmp_path / "ref", tmp_path / "gen", "--metrics", "psnr,motion", "--json"))["videos"]
    assert videos[0]["motion"] is None and "does not change" in videos[0]["reasons"]["motion"]
    assert videos[1]["motion"] > 0 and videos[0]["psnr"] > 0 and videos[0]["extra"]["psnr"] == {"identical_frames": 0}


def test_values_of_frames_are_valid_json_where_one_is_infinite(tmp_path: Path) -> None:
    half = np.concatenate([moving()[:3], moving(shift=1)[3:]])
    write_master(tmp_path / "a.mkv", moving(), 12)
    write_master(tmp_path / "b.mkv", half, 12)
    text = said(tmp_path / "a.mkv", tmp_path / "b.mkv", "--metrics", "psnr", "--json", "--per-frame")
    (video,) = json.loads(text, parse_constant=pytest.fail)["videos"]
    assert video["per_frame"]["psnr"][:3] == ["inf"] * 3 and video["per_frame"]["psnr"][3] > 0


def test_a_file_with_longer_sound_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "sound.mkv"
    with av.open(str(file), "w") as container:
        pictures, sound = container.add_stream("ffv1", rate=12), container.add_stream("pcm_s16le", rate=8000)
        pictures.width = pictures.height = 32
        pictures.pix_fmt = "bgr0"
        for frame in moving():
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))
        container.mux(pictures.encode())
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        quiet.sample_rate = 8000
        container.mux(sound.encode(quiet))
        container.mux(sound.encode())
    assert np.array_equal(read(file).frames, moving())
