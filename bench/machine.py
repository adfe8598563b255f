"""What else a machine does while something is timed on it: load, clocks, other users of the GPU."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

GPU_FIELDS = (
    "utilization.gpu", "clocks.sm", "clocks.max.sm", "clocks.mem", "temperature.gpu", "power.draw", "memory.used",
)  # fmt: skip  # in %, MHz, MHz, MHz, degrees Celsius, W, MiB


@contextmanager
def watched(device: torch.device) -> Iterator[dict[str, Any]]:
    """A dict that holds, once the block has ended, what the machine did beside it.

    `before` and `after` are `state`; `other_busy_cores` is how many cores others kept busy on average, None where
    the system does not tell.
    """
    said: dict[str, Any] = {"before": state(device)}
    start, busy, own = time.perf_counter(), _busy_s(), _own_s()
    yield said
    wall, busy_after, own_after = time.perf_counter() - start, _busy_s(), _own_s()
    said["other_busy_cores"] = None
    if busy is not None and busy_after is not None:
        said["other_busy_cores"] = round(max(0.0, (busy_after - busy - own_after + own) / wall), 3)
    said["after"] = state(device)


def state(device: torch.device) -> dict[str, Any]:
    """Load average of one minute, mean clock of the cores in MHz, and on a GPU what nvidia-smi says of it.

    What the system does not tell is None; why nvidia-smi says nothing stands under its name.
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
    """How many processes beside this one the GPU has; None in a container that does not see its own number there."""
    return {"processes": len(pids), "other_processes": len(pids) - 1 if own in pids else None}


def _cpu_mhz() -> float | None:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    clocks = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    return round(sum(clocks) / len(clocks), 1) if clocks else None


def _busy_s() -> float | None:
    """Core-seconds that all processes of the machine have been at work since it started."""
    file = Path("/proc/stat")
    if not file.is_file():
        return None
    user, nice, system, _, _, irq, softirq, *_ = map(int, file.read_text(encoding="utf-8").splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
