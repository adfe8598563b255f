"""Videos and samples on disk are bit-exact, and a sample is complete or absent."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.store.place import Place
from bench.store.record import Record
from bench.store.study import Store
from bench.work.files import files_of, largest_bytes
from metrics.video_file import read
from vgdfr import VideoSpec
from vgdfr.video_file import write_master, write_preview

FRAMES = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
RECORD = Record(
    status="done", key="k" * 64, slug="baseline", model_name="m", method={"name": "baseline"}, prompt_id="p",
    seed_index=0, identity={}, reference_key=None, environment={}, created="2026-01-01T00:00:00+00:00",
)  # fmt: skip
VIDEO = files_of(FRAMES, 12)


def test_masters_are_bit_exact_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.mkv"):
        write_master(tmp_path / name, FRAMES, 12)
    video = read(tmp_path / "a.mkv")
    frames, fps = video.frames, video.fps
    assert np.array_equal(frames, FRAMES) and fps == 12
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_previews_play_in_a_browser(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None, None] * 6, (9, 32, 48, 3))
    write_preview(tmp_path / "a.mp4", np.ascontiguousarray(smooth), 12)
    video = read(tmp_path / "a.mp4")
    frames, fps = video.frames, video.fps
    assert frames.shape == FRAMES.shape and fps == 12
    assert np.abs(frames.astype(int) - smooth).mean() < 4
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "faststart puts the index first"


def test_a_place_names_the_folder_the_condition_and_the_files_of_a_sample(tmp_path: Path) -> None:
    place = Store(tmp_path).at("vgdfr-k5/00-still-s0-1a2b3c4d")
    assert place == Place(tmp_path, "vgdfr-k5/00-still-s0-1a2b3c4d") and str(place) == place.name
    assert place.folder == tmp_path / "vgdfr-k5" / "00-still-s0-1a2b3c4d" and place.condition == "vgdfr-k5"
    assert place.file("master.mkv") == place.folder / "master.mkv" and "/" not in place.claim


def test_a_store_lists_its_samples_and_neither_hidden_nor_unfinished_folders(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(store.at("vgdfr/q"), dataclasses.replace(RECORD, status="failed"))
    store.put(store.at("baseline/p"), RECORD, VIDEO)
    store.quarantine(store.at("baseline/p"))
    store.put(store.at("baseline/r"), RECORD, VIDEO)
    (tmp_path / "baseline" / ".partial-1").mkdir()
    (tmp_path / "baseline" / ".partial-1" / "record.json").write_text("{}")
    (tmp_path / "baseline" / "empty").mkdir()
    assert store.places() == [store.at("baseline/r"), store.at("vgdfr/q")]


def test_restored_files_are_listed_and_other_latents_are_refused(tmp_path: Path) -> None:
    store, latents = Store(tmp_path), {"latents": torch.zeros(1, 2)}
    place = store.at("baseline/p")
    stored = store.put(place, RECORD, files_of(FRAMES, 12, latents))
    dropped = store.drop(place, stored, ["master.mkv", "latents.safetensors"])
    assert set(dropped.files) == {"preview.mp4"} and store.get(place, RECORD.key) == dropped
    with pytest.raises(ValueError, match="latents.safetensors made again are not those recorded"):
        store.restore(place, dropped, files_of(FRAMES, 12, {"latents": torch.ones(1, 2)}, preview=False))
    assert {file.name for file in place.folder.iterdir()} == {"record.json", "preview.mp4"}
    assert store.restore(place, dropped, files_of(FRAMES, 12, latents, preview=False)) == stored
    assert [folder.name for folder in (tmp_path / "baseline").iterdir()] == ["p"], "no temporary folder is left"


def test_a_stored_sample_is_found_by_its_key_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stored = store.put(store.at("baseline/p"), RECORD, VIDEO)
    assert store.get(store.at("baseline/p"), RECORD.key) == stored
    assert store.get(store.at("baseline/p"), "other") is None and store.get(store.at("baseline/q"), RECORD.key) is None
    assert [f.name for f in (tmp_path / "baseline").iterdir()] == ["p"], "no temporary file is left"


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_sample_is_not_found_and_can_be_replaced(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    stored = store.put(store.at("baseline/p"), RECORD, VIDEO)
    master = tmp_path / "baseline/p/master.mkv"
    data = bytearray(master.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        master.unlink()
    else:
        master.write_bytes(data[:-10] if damage == "truncate" else data)
    assert store.get(store.at("baseline/p"), RECORD.key) is None
    again = store.put(store.at("baseline/p"), RECORD, VIDEO)
    assert again.files["master.mkv"] == stored.files["master.mkv"]  # a preview may differ in a byte, rarely
    assert store.get(store.at("baseline/p"), RECORD.key) == again


def test_a_failed_sample_is_recorded_but_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = dataclasses.replace(RECORD, status="failed", error="Traceback: it broke")
    store.put(store.at("baseline/p"), failed)
    assert store.get(store.at("baseline/p"), RECORD.key) is None
    assert store.read(store.at("baseline/p")) == failed


def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ValueError):
        store.put(store.at("baseline/p"), dataclasses.replace(RECORD, latency_s=float("nan")), VIDEO)
    assert list((tmp_path / "baseline").iterdir()) == []


def test_a_record_of_another_schema_is_refused(tmp_path: Path) -> None:
    text = json.dumps({**json.loads(RECORD.to_json()), "schema": 99})
    with pytest.raises(ValueError, match="schema 1, got 99"):
        Record.from_json(text)


def test_room_is_asked_for_master_and_latents(tmp_path: Path) -> None:
    """The disk is real. One sample fits, one is too large by its latents, and one by its frames."""
    store, spec = Store(tmp_path), VideoSpec("a prompt", 0, 64, 64, 17, 4, 6.0, 7.0, 12)
    store.require_space(largest_bytes(spec, 10_000))
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OSError, match="MB left, and a sample may need .* make room, then the same command continues"):
        store.require_space(largest_bytes(spec, free))
    long = dataclasses.replace(spec, num_frames=free // (64 * 64 * 3) // 4 * 4 + 1)
    with pytest.raises(OSError, match="make room"):
        store.require_space(largest_bytes(long, 0))


def test_plans_of_several_sweeps_add_up_and_a_damaged_one_is_written_anew(tmp_path: Path) -> None:
    store, file = Store(tmp_path), tmp_path / "plan.json"
    store.plan(["baseline/a", "vgdfr/a"])
    store.plan(["baseline/a", "baseline/b"])
    assert json.loads(file.read_text()) == {"samples": ["baseline/a", "baseline/b", "vgdfr/a"]}
    file.write_text("{")
    store.plan(["baseline/b"])
    assert json.loads(file.read_text()) == {"samples": ["baseline/b"]}
