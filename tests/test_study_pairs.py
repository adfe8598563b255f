"""`python -m metrics` on two conditions of a study pairs samples by prompt and seed, for any keys."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from bench.store.place import MASTER, RECORD
from metrics import METRICS
from metrics import pairs as module
from metrics.__main__ import main, parse
from metrics.pairs import pairs
from metrics.video_file import read
from vgdfr import Baseline, HunyuanVideo
from vgdfr.video_file import write_master, write_preview

PROMPTS = {"00-still-s0": "a red circle stays still over sand", "01-slow-s0": "a blue cross moves slowly over water"}


def sample(condition: Path, name: str, key: str, side: int = 32, frames: int = 5, seed: int = 0) -> Path:
    """Writes a sample's folder in a study's form."""
    folder = condition / f"{name}-{key}"
    folder.mkdir(parents=True)
    video = np.random.default_rng(seed).integers(256, size=(frames, side, side, 3), dtype=np.uint8)
    write_master(folder / "master.mkv", video, 12)
    write_preview(folder / "preview.mp4", video, 12)
    spec = {"prompt": PROMPTS[name], "num_frames": frames, "height": side, "width": side}
    digest = hashlib.sha256((folder / "master.mkv").read_bytes()).hexdigest()
    record = {"identity": {"spec": spec}, "files": {"master.mkv": digest}}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def conditions(tmp_path: Path) -> tuple[Path, Path]:
    """Returns a baseline and another condition. With their keys, pairing by order would be wrong."""
    baseline, other = tmp_path / "study" / "baseline", tmp_path / "study" / "vgdfr-k5-theta0.7"
    for i, name in enumerate(PROMPTS):
        sample(baseline, name, f"{i}aaaaaaa", seed=i)
        sample(other, name, f"{9 - i}bbbbbbb", seed=10 + i)
    (other / ".partial-00").mkdir()
    (other / ".partial-00" / "master.mkv").write_bytes(b"half")
    return baseline, other


def said(*arguments: Any, status: int = 0) -> str:
    printed: list[str] = []
    assert main(parse([str(a) for a in arguments]), printed.append) == status
    return printed[0]


def test_two_conditions_are_paired_by_prompt_and_seed_and_masters_alone_are_scored(
    conditions: tuple[Path, Path],
) -> None:
    videos = json.loads(said(*conditions, "--metrics", "psnr,clipsim_embedded", "--json"))["videos"]
    assert [video["name"] for video in videos] == list(PROMPTS) and all(video["lossless"] for video in videos)
    for video in videos:
        ours, reference = (read(next(c.glob(f"{video['name']}-*/master.mkv"))).frames for c in reversed(conditions))
        assert video["psnr"] == METRICS["psnr"](ours, reference).value
        clipsim = METRICS["clipsim_embedded"](ours, prompt=PROMPTS[video["name"]]).value
        assert video["clipsim_embedded"] == pytest.approx(clipsim), "the record gives the prompt"


def test_two_studies_two_samples_and_two_masters_are_paired_so_too(
    conditions: tuple[Path, Path], tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(conditions[0].parent, again)
    names = [pair.name for pair in pairs(conditions[0].parent, again)]
    assert names == [f"{c.name}/{name}" for c in conditions for name in PROMPTS]
    folders = [next(c.glob("00-still-s0-*")) for c in conditions]
    for one, other in (folders, [folder / "master.mkv" for folder in folders]):
        (pair,) = pairs(one, other)
        assert (pair.name, pair.reference) == ("00-still-s0", folders[0] / "master.mkv")
        assert pair.generated == folders[1] / "master.mkv"


def test_prompts_of_a_file_are_taken_before_those_of_the_records(conditions: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(dict.fromkeys(PROMPTS, "something else")))
    command = (*conditions, "--metrics", "clipsim_embedded", "--json")
    recorded, given = (json.loads(said(*command, *more))["videos"] for more in ((), ("--prompts", tmp_path / "p.json")))
    assert all(a["clipsim_embedded"] != b["clipsim_embedded"] for a, b in zip(recorded, given, strict=True))


def change(condition: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    file = next(condition.glob("00-still-s0-*")) / "record.json"
    record = json.loads(file.read_text())
    edit(record)
    file.write_text(json.dumps(record))


def test_what_does_not_belong_together_is_refused(conditions: tuple[Path, Path]) -> None:
    baseline, other = conditions
    clip = (*conditions, "--metrics", "clipsim_embedded")
    change(other, lambda record: record["identity"]["spec"].update(prompt="another"))
    with pytest.raises(ValueError, match="00-still-s0: the samples have different prompts: 'a red .*' and 'another'"):
        said(*clip)
    change(other, lambda record: record.pop("identity"))
    with pytest.raises(
        ValueError, match=r"record.json is damaged \(KeyError: 'identity'\); .*bench.store verify .*study"
    ):
        said(*clip)
    failed = next(baseline.glob("01-slow-s0-*"))
    (failed / "master.mkv").unlink()
    (failed / "preview.mp4").unlink()
    with pytest.raises(
        ValueError,
        match=r"theta0.7 has videos that .*baseline does not have: 01-slow-s0 \(its sample there has no master\)$",
    ):
        said(*conditions, "--metrics", "psnr")


def test_a_master_that_is_not_what_was_written_costs_its_own_pair(conditions: tuple[Path, Path]) -> None:
    master = next(conditions[1].glob("00-still-s0-*/master.mkv"))
    write_master(master, np.zeros((5, 32, 32, 3), np.uint8), 12)  # the video is whole and has the right length and size
    videos = json.loads(said(*conditions, "--metrics", "psnr", "--json", status=1))["videos"]
    assert "master.mkv is not what was written; move it away: python -m bench.store verify" in videos[0]["error"]
    assert videos[0]["psnr"] is None and videos[1]["psnr"] > 0


def test_a_preview_never_stands_for_a_master_that_was_not_kept(conditions: tuple[Path, Path]) -> None:
    for condition in conditions:
        (next(condition.glob("00-still-s0-*")) / "master.mkv").unlink()
    assert [pair.name for pair in pairs(*conditions)] == ["01-slow-s0"], (
        "they are left out on both sides, like failed samples"
    )
    for condition in conditions:
        change(condition, lambda record: record.update(files={}, dropped=record["files"]))
    message = r"baseline/00-still-s0-0a{7}: the master was not kept; .* keep=all, .*: python -m bench.score$"
    with pytest.raises(ValueError, match=message):
        pairs(*conditions)
    folders = [next(condition.glob("00-still-s0-*")) for condition in conditions]
    with pytest.raises(ValueError, match=message):
        pairs(*folders)
    (pair,) = pairs(*(folder / "preview.mp4" for folder in folders))
    assert pair.generated.name == "preview.mp4", "a named file is used"


def test_several_videos_of_a_prompt_and_seed_are_told_apart_by_size_and_length(conditions: tuple[Path, Path]) -> None:
    for condition, key in zip(conditions, ("cccccccc", "dddddddd"), strict=True):
        sample(condition, "00-still-s0", key, side=48)
    names = [pair.name for pair in pairs(*conditions)]
    assert names == ["00-still-s0-5x32x32", "00-still-s0-5x48x48", "01-slow-s0-5x32x32"]
    sample(conditions[0], "00-still-s0", "eeeeeeee")
    with pytest.raises(ValueError, match="baseline has two videos named 00-still-s0-5x32x32: 00-.*mkv; name one"):
        pairs(*conditions)


def test_the_pattern_is_how_samples_are_named() -> None:
    """metrics knows a study's folders only by their names. This test connects the pattern with bench's names."""
    settings = VideoSettings(32, 32, 5, 4, 1.0, 1.0, 12)
    condition = Condition("embedded", HunyuanVideo("nowhere"), settings, Baseline())
    made = condition.sample(Prompt("07-fast", "a dog", 3), {"weights_sha256": "0" * 64})
    match = module.SAMPLE.fullmatch(Path(made.folder).name)
    assert match and match[1] == "07-fast-s3" and set(made.identity["spec"]) >= {"prompt", "num_frames", "height"}
    assert (module.MASTER, module.RECORD) == (MASTER, RECORD)
