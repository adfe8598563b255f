"""Says on which device the metrics' networks run. Ids of metrics hold the answer, so it must not cost an import."""

import ctypes
import sys

from metrics.installed import constants_of, folder_of

CUDA_PROVIDER = "CUDAExecutionProvider"  # onnxruntime's name for its code for NVIDIA's GPUs


def network_device() -> str:
    """Returns the device of PyTorch's networks: "cuda" if PyTorch finds a GPU, else "cpu".

    Imports PyTorch only if it might find a GPU.
    """
    if "torch" not in sys.modules and not _may_find_gpu():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _may_find_gpu() -> bool:
    """Returns False if PyTorch cannot find a GPU: it is built without CUDA, or NVIDIA's driver is not installed.

    Returns True if its files do not tell, as with builds for ROCm and on systems other than Linux.
    """
    built_for = constants_of("torch", "version.py")
    if built_for is None:
        return False
    if built_for.get("hip") or sys.platform != "linux":
        return True
    if built_for.get("cuda", "unknown") is None:
        return False
    try:
        ctypes.CDLL("libcuda.so.1")  # the driver's library, which PyTorch loads, too
    except OSError:
        return False
    return True


def dover_device() -> str:
    """Returns the device of DOVER: "cuda" if onnxruntime has code for NVIDIA's GPUs, else "cpu".

    Without onnxruntime the answer is "cpu", and there is no score. Imports onnxruntime only if it ships that code,
    which is a library of its own in every release since 1.20, the oldest that pyproject.toml allows.
    """
    folder = folder_of("onnxruntime")
    if folder is None or not any((folder / "capi").glob("*onnxruntime_providers_cuda*")):
        return "cpu"
    import onnxruntime

    return "cuda" if CUDA_PROVIDER in onnxruntime.get_available_providers() else "cpu"
