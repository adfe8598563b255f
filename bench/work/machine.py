"""Observes a machine while a sample is timed on it: load, clocks, other users of the GPU."""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

GPU_FIELDS = (
    "utilization.gpu", "clocks.sm", "clocks.max.sm", "clocks.mem", "temperature.gpu", "power.draw", "memory.used",
)  # fmt: skip  # in %, MHz, MHz, MHz, degrees Celsius, W, MiB


@contextmanager
def watched(device: torch.device) -> Iterator[dict[str, Any]]:
    """Yields a dict that describes, once the block has ended, what other processes did on the machine meanwhile.

    `before` and `after` hold `state`. `other_busy_cores` is the average number of cores that other processes kept busy,
    or None if the system does not tell.
    """
    said: dict[str, Any] = {"before": state(device)}
    others = _others_since()
    yield said
    said["other_busy_cores"] = others()
    said["after"] = state(device)


def other_busy_cores(meanwhile: Callable[[], object], cores: Collection[int]) -> float | None:
    """Returns how many of `cores` other processes kept busy on average while `meanwhile` ran.

    Returns None if the system does not tell. This process must run on these cores only.
    """
    others = _others_since(cores)
    meanwhile()
    return others()


def _others_since(cores: Collection[int] | None = None) -> Callable[[], float | None]:
    """Returns a function that tells how many cores other processes have kept busy on average since now."""
    start, busy, own = time.perf_counter(), _busy_s(cores), _own_s()

    def others() -> float | None:
        wall, busy_s, own_s = time.perf_counter() - start, _busy_s(cores), _own_s()
        return None if busy is None or busy_s is None else busy_by_others(busy_s - busy, own_s - own, wall)

    return others


def busy_by_others(busy_s: float, own_s: float, wall_s: float) -> float:
    """Returns the number of cores that others kept busy. This process used `own_s` of `busy_s` core-seconds."""
    return round(max(0.0, (busy_s - own_s) / wall_s), 3)


def state(device: torch.device) -> dict[str, Any]:
    """Returns the load average of one minute, the cores' mean clock in MHz, and for a GPU the output of nvidia-smi.

    A value is None if the system does not tell it. If nvidia-smi fails, the entry "nvidia-smi" holds the reason.
    """
    said: dict[str, Any] = {"load_1min": os.getloadavg()[0], "cpu_mhz": _cpu_mhz()}
    if device.type == "cuda":
        said["gpu"] = _gpu(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    return said


def _gpu(gpu: str) -> dict[str, Any]:
    def ask(query: str) -> list[list[str]]:
        command = ["nvidia-smi", f"--id={gpu}", query, "--format=csv,noheader,nounits"]
        said = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="backslashreplace", check=True, timeout=30
        ).stdout
        return [[part.strip() for part in line.split(",")] for line in said.strip().splitlines()]

    try:
        (values,) = ask(f"--query-gpu={','.join(GPU_FIELDS)}")
        pids = [pid for pid, *_ in ask("--query-compute-apps=pid,used_memory")]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return {"nvidia-smi": f"{type(error).__name__}: {error}"}
    return dict(zip(GPU_FIELDS, values, strict=True)) | _others(pids, str(os.getpid()))


def _others(pids: list[str], own: str) -> dict[str, Any]:
    """Returns how many processes use the GPU, and how many of them are others.

    The second number is None in a container, where this process's number is not among `pids`.
    """
    return {"processes": len(pids), "other_processes": len(pids) - 1 if own in pids else None}


def _cpu_mhz() -> float | None:
    """Returns the cores' mean clock in MHz, or None if the system does not tell."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    clocks = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    return round(sum(clocks) / len(clocks), 1) if clocks else None


def _busy_s(cores: Collection[int] | None = None) -> float | None:
    """Returns the core-seconds that all processes have used since the machine started, on `cores` (None: all cores).

    Returns None if the system does not tell.
    """
    file = Path("/proc/stat")
    if not file.is_file():
        return None
    lines = {name: times for name, *times in map(str.split, file.read_text(encoding="utf-8").splitlines())}
    names = ["cpu"] if cores is None else [f"cpu{core}" for core in cores]
    if any(name not in lines for name in names):  # a container may list other cores than it uses
        return None
    ticks = 0
    for name in names:
        user, nice, system, _, _, irq, softirq, *_ = map(int, lines[name])
        ticks += user + nice + system + irq + softirq
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Returns the core-seconds that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
