"""Tells where a number comes from: code, versions, machine."""

import hashlib
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vgdfr_commands.start import called, running

CODE = ("vgdfr", "metrics", "bench")
SWEEP = "bench.sweep"
_PACKAGES = ("vgdfr", "torch", "diffusers", "transformers", "numpy", "opencv-python-headless", "av")


@cache
def environment() -> dict[str, Any]:
    """Returns the description of machine and code that every record holds."""
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return {
        "commit": _commit(),
        "code_sha256": code_sha256(),
        "command": _command(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "gpu": gpu and gpu.name,
        "gpu_bytes": gpu and gpu.total_memory,
        "cuda": torch.version.cuda if gpu else None,
    }


def device_name(device_type: str, environment: dict[str, Any]) -> str | None:
    """Returns the name of the GPU, or of the CPU, that makes samples on a device of this type in `environment`."""
    return environment.get("cpu" if device_type == "cpu" else "gpu")


@cache
def code_sha256() -> str:
    """Returns one hash over the code that decides pixels and scores: the *.py of `CODE`, and conf's *.yaml.

    A wheel and the checkout that it was built from have the same hash. Two different builds of one version differ.
    """
    return hash_of_code(Path(__file__).parents[2])


def hash_of_code(folder: Path) -> str:
    """Returns `code_sha256` of the packages in `folder`."""
    files = [file for package in CODE for file in (folder / package).rglob("*.py")]
    files += (folder / "conf").rglob("*.yaml")
    hashed = hashlib.sha256()
    for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in files):
        content = file.read_bytes()
        hashed.update(f"{name}\n{len(content)}\n".encode())
        hashed.update(content)
    return hashed.hexdigest()


def _command() -> str | None:
    """Returns the sweep's command, or None if this process is no sweep."""
    return shlex.join([*called(SWEEP), *sys.argv[1:]]) if running() == SWEEP else None


def _commit() -> str | None:
    """Returns the checkout's commit, marked if files differ from it, or None for an installed package."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=True,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD") + ("-modified" if git("status", "--porcelain", "-uno") else "")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
