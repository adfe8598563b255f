"""Checks the cores, threads and GPUs of a launch's workers, without a GPU."""

import os
import sys
from pathlib import Path

import pytest
from processes import run
from studies import stored

from bench.work.cores import Place, by_socket, environment_at, places
from bench.work.launched import command_at


def test_workers_share_the_cores_evenly_and_each_gets_neighbours() -> None:
    there = [0, 1, 2, 3, 8, 9, 10]
    shares = [place.cores for place in places(3, None, 0, there)]
    assert shares == [frozenset({0, 1}), frozenset({2, 3}), frozenset({8, 9, 10})]
    assert [place.gpu for place in places(3, None, 0, there)] == [None, None, None]
    assert places(3, None, 4, there) == [Place(cores, gpu) for gpu, cores in enumerate(shares)]
    crowded = [place.cores for place in places(3, None, 0, [4, 5])]
    assert all(len(cores) == 1 for cores in crowded) and frozenset().union(*crowded) == {4, 5}


def test_a_set_of_cores_is_a_worker_s_and_goes_with_the_gpu_of_its_number() -> None:
    low, high = frozenset({0, 1}), frozenset({2})
    assert places(None, "0-1,2", 0, range(4)) == [Place(low), Place(high)]
    assert places(2, "0-1,2", 2, range(4)) == [Place(low, gpu=0), Place(high, gpu=1)]


@pytest.mark.parametrize(
    ("count", "cores", "gpus", "message"),
    [
        (None, None, 0, "say how many workers"),
        (0, None, 0, "at least 1"),
        (3, None, 2, "-n 3 asks for more workers than this machine has GPUs \\(2\\)"),
        (None, "0,1,2", 2, "--cores 0,1,2 asks for more workers than this machine has GPUs \\(2\\)"),
        (1, "x", 0, "must be sets such as"),
        (1, "3-2", 0, "must be sets such as"),
        (None, "4000", 0, "not to be had here"),
        (2, "0", 0, "does not fit"),
    ],
)
def test_workers_that_there_is_no_place_for_are_refused(
    count: int | None, cores: str | None, gpus: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        places(count, cores, gpus, range(4))


def test_a_worker_is_pinned_to_its_cores() -> None:
    command = command_at(Place(frozenset({3, 1})), ["+exp=smoke"])
    assert command == ["taskset", "-c", "1,3", sys.executable, "-m", "bench.sweep", "+exp=smoke"]


@pytest.mark.parametrize(
    ("given", "threads"), [(None, "4"), ("2", "2"), ("2,1", "2,1"), ("4", "4"), ("16", "4"), ("0", "4"), ("all", "4")]
)
def test_a_worker_has_a_thread_for_each_core_or_the_fewer_that_the_user_wants(given: str | None, threads: str) -> None:
    environment = {} if given is None else {"OMP_NUM_THREADS": given}
    for place in (Place(frozenset(range(4))), Place(frozenset(range(4)), gpu=1)):
        assert environment_at(place, environment)["OMP_NUM_THREADS"] == threads


def test_a_gpu_worker_sees_one_gpu() -> None:
    place = Place(frozenset({0}), gpu=1)
    assert environment_at(place, {"HOME": "/here"}) == {
        "HOME": "/here", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1",
    }  # fmt: skip
    users = {"CUDA_VISIBLE_DEVICES": "5,GPU-7", "OMP_NUM_THREADS": "1"}
    assert environment_at(place, users) == {**users, "CUDA_VISIBLE_DEVICES": "GPU-7"}
    assert environment_at(Place(frozenset({0})), users) == users, "a CPU worker gets none of these settings"


def test_cores_are_ordered_by_socket_then_by_core(tmp_path: Path) -> None:
    """As Linux often numbers them: first the first thread of each core of both sockets, then the second threads."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{cpu // 2 % 2}\n")
        (folder / "core_id").write_text(f"{cpu % 2}\n")
    assert by_socket(range(8), tmp_path) == [0, 4, 1, 5, 2, 6, 3, 7]
    assert by_socket({3, 1, 2}, tmp_path / "nowhere") == [1, 2, 3]


def test_gpus_count_only_for_models_that_run_on_them(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Two workers on a machine that is said to have one GPU."""
    arguments = [
        "-n", "2", "method=baseline", "model.video.height=32", "model.video.width=32", "model.video.num_frames=5",
        "model.video.num_inference_steps=2", "metrics=pixel", "prompts.limit=2", "study=tiny", f"root={tmp_path}",
        f"model.backbone.path={tiny_checkpoint}",
    ]  # fmt: skip
    one = "import torch; torch.cuda.is_available = lambda: True; torch.cuda.device_count = lambda: 1"
    refused = run("bench.launch", *arguments, "model.backbone.device=cuda", before=one)
    assert refused.returncode == 1 and "more workers than this machine has GPUs (1)" in refused.stderr, refused
    on_cpu = [*arguments, "model.backbone.device=cpu", "threads=null"]
    done = run("bench.launch", *on_cpu, before=one, OMP_NUM_THREADS="4096")
    assert done.returncode == 0 and "2 done, 0 failed, 0 missing" in done.stdout, done.stdout + done.stderr
    threads = [row.record["environment"]["threads"] for row in stored(tmp_path / "tiny")]
    assert max(threads) <= (len(os.sched_getaffinity(0)) + 1) // 2, "a worker takes its share of the cores"
