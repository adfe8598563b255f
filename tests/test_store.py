"""Videos and samples on disk: bit-exact, complete or not there."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.record import Record
from bench.store import Store
from metrics.video_file import read
from vgdfr import VideoSpec
from vgdfr.video_file import write_master, write_preview

FRAMES = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
RECORD = Record(
    status="done", key="k" * 64, slug="baseline", model_name="m", method={"name": "baseline"}, prompt_id="p",
    seed_index=0, identity={}, reference_key=None, environment={}, created="2026-01-01T00:00:00+00:00",
)  # fmt: skip


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
    assert data.index(b"moov") < data.index(b"mdat"), "faststart: the index comes first"


def test_a_stored_sample_is_found_by_its_key_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stored = store.put("baseline/p", RECORD, FRAMES, 12)
    assert store.get("baseline/p", RECORD.key) == stored
    assert store.get("baseline/p", "other") is None and store.get("baseline/q", RECORD.key) is None
    assert [f.name for f in (tmp_path / "baseline").iterdir()] == ["p"], "nothing temporary is left"


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_sample_is_not_found_and_can_be_replaced(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    stored = store.put("baseline/p", RECORD, FRAMES, 12)
    master = tmp_path / "baseline/p/master.mkv"
    data = bytearray(master.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        master.unlink()
    else:
        master.write_bytes(data[:-10] if damage == "truncate" else data)
    assert store.get("baseline/p", RECORD.key) is None
    again = store.put("baseline/p", RECORD, FRAMES, 12)
    assert again.files["master.mkv"] == stored.files["master.mkv"]  # a preview may differ in a byte, rarely
    assert store.get("baseline/p", RECORD.key) == again


def test_a_failed_sample_is_recorded_but_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = dataclasses.replace(RECORD, status="failed", error="Traceback: it broke")
    store.put("baseline/p", failed)
    assert store.get("baseline/p", RECORD.key) is None
    assert Store.read(tmp_path / "baseline/p") == failed


def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ValueError):
        store.put("baseline/p", dataclasses.replace(RECORD, latency_s=float("nan")), FRAMES, 12)
    assert list((tmp_path / "baseline").iterdir()) == []


def test_a_record_of_another_schema_is_refused(tmp_path: Path) -> None:
    text = json.dumps({**json.loads(RECORD.to_json()), "schema": 99})
    with pytest.raises(ValueError, match="schema 1, got 99"):
        Record.from_json(text)


def test_room_is_asked_for_master_and_latents(tmp_path: Path) -> None:
    """On the real disk: what fits, what does not by its frames, what does not by its latents."""
    store, spec = Store(tmp_path), VideoSpec("a prompt", 0, 64, 64, 17, 4, 6.0, 7.0, 12)
    store.require_space(spec, 10_000)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OSError, match="MB left, and a sample may need .* make room, then the same command continues"):
        store.require_space(spec, free)
    long = dataclasses.replace(spec, num_frames=free // (64 * 64 * 3) // 4 * 4 + 1)
    with pytest.raises(OSError, match="make room"):
        store.require_space(long)


def test_plans_of_several_sweeps_add_up_and_a_damaged_one_is_written_anew(tmp_path: Path) -> None:
    store, file = Store(tmp_path), tmp_path / "plan.json"
    store.plan(["baseline/a", "vgdfr/a"])
    store.plan(["baseline/a", "baseline/b"])
    assert json.loads(file.read_text()) == {"samples": ["baseline/a", "baseline/b", "vgdfr/a"]}
    file.write_text("{")
    store.plan(["baseline/b"])
    assert json.loads(file.read_text()) == {"samples": ["baseline/b"]}
