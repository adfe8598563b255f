"""A sample that is made but cannot be stored is a failed sample. The other samples continue."""

import os
from pathlib import Path

import pytest
from processes import AS_ANY_USER, Finished, run
from studies import stored

from bench.store.study import is_full

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


def sweep(checkpoint: Path, root: Path, *more: str, before: str = "") -> Finished:
    small = [
        "--multirun", "model.video.height=32", "model.video.width=32", "model.video.num_frames=17",
        "model.video.num_inference_steps=3", "metrics=pixel", "prompts.limit=1", "interpolator=linear", "study=tiny",
        "method.k=1", "method.theta=0.01,1.0", f"root={root}", f"model.backbone.path={checkpoint}",
    ]  # fmt: skip
    return run("bench.sweep", *small, *more, before=before)


def test_samples_that_cannot_be_stored_are_failed_samples_with_their_tracebacks(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """No file may be larger than 20,000 bytes, as with a quota. Masters are larger."""
    done = sweep(tiny_checkpoint, tmp_path, before=LIMIT.format(20_000))
    assert done.returncode == 1 and "0 made, 0 found, 3 failed of 3 samples" in done.stdout, done
    assert "Traceback" not in done.stdout + done.stderr
    records = [row.record for row in stored(tmp_path / "tiny")]
    assert {record["status"] for record in records} == {"failed"}
    assert all("Traceback" in record["error"] and "File too large" in record["error"] for record in records)
    assert not list(tmp_path.rglob("*.mkv")) and not list(tmp_path.rglob(".partial*"))
    again = sweep(tiny_checkpoint, tmp_path)
    assert again.returncode == 0 and "3 made, 0 found, 0 failed" in again.stdout, again


def test_a_file_where_a_sample_goes_costs_that_sample_and_nothing_is_computed_for_it(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    slug = "vgdfr-k1-theta0.01-interpolator=linear"
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / slug).write_text("in the way")
    done = sweep(tiny_checkpoint, tmp_path)
    assert done.returncode == 1 and "2 made, 0 found, 1 failed of 3 samples" in done.stdout, done
    assert f"a folder of samples cannot be written (File exists): {tmp_path}/tiny/{slug}" in done.stdout
    assert f"failed: {slug} 00-still" in done.stdout and "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "tiny" / slug).read_text() == "in the way"


def test_a_sample_that_cannot_be_read_costs_that_sample_only(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert sweep(tiny_checkpoint, tmp_path).returncode == 0
    (folder,) = (tmp_path / "tiny").glob("vgdfr-k1-theta0.01-*/00-still*")
    folder.chmod(0o000)
    try:
        done = sweep(tiny_checkpoint, tmp_path, before=AS_ANY_USER)
    finally:
        folder.chmod(0o755)
    assert done.returncode == 1 and "0 made, 2 found, 1 failed of 3 samples" in done.stdout, done
    assert "failed: PermissionError" in done.stdout and "Traceback" not in done.stdout + done.stderr
    assert sweep(tiny_checkpoint, tmp_path).returncode == 0


def test_a_full_disk_alone_ends_a_sweep() -> None:
    """The error is that of /dev/full. A file that is too large, or a closed folder, fails only its own sample."""
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert is_full(caught.value)
    for other in (PermissionError(13, "no"), OSError(27, "File too large"), ValueError("no")):
        assert not is_full(other)


def test_a_study_whose_name_is_a_protocol_to_ffmpeg_is_made(tiny_checkpoint: Path, tmp_path: Path) -> None:
    place = f"import os; os.chdir({str(tmp_path)!r})"
    done = sweep(tiny_checkpoint, Path("run:1"), before=place)
    assert done.returncode == 0 and "3 made, 0 found, 0 failed of 3 samples" in done.stdout, done
    assert len(stored(tmp_path / "run:1" / "tiny")) == 3
    assert os.listdir(tmp_path) == ["run:1"]
