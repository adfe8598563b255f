"""Sets the device and the precision of the metrics' networks: float32 without TF32, on a GPU if there is one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from metrics.devices import network_device

T = TypeVar("T")


def device() -> torch.device:
    """Returns the device of networks that may be large: a GPU if PyTorch finds one, else the CPU."""
    return torch.device(network_device())


@contextmanager
def exact_float32() -> Iterator[None]:
    """Makes a GPU compute float32 in float32 within the block, and choose the same kernels each time.

    Nothing changes on a CPU. PyTorch's settings are restored when the block ends. `vgdfr.numerics` does the same for
    the generator and gives the reasons. The two packages do not import each other.
    """
    # cuBLAS reads this when it is first used (its documentation, "Results Reproducibility")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn = torch.backends.cudnn
    operators = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
    touched = (*operators, torch.backends.mkldnn.matmul)  # the older interface also changes the CPU's setting
    before, kernels = [operator.fp32_precision for operator in touched], (cudnn.deterministic, cudnn.benchmark)
    tf32, precision = _or_none(lambda: cudnn.allow_tf32), _or_none(torch.get_float32_matmul_precision)
    try:
        if tf32 is not None:
            cudnn.allow_tf32 = False
        if precision is not None:
            torch.set_float32_matmul_precision("highest")
        for operator in operators:
            operator.fp32_precision = "ieee"
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = kernels
        if tf32 is not None:
            cudnn.allow_tf32 = tf32
        if precision is not None:
            torch.set_float32_matmul_precision(precision)
        for operator, value in zip(touched, before, strict=True):
            operator.fp32_precision = value


def _or_none(read: Callable[[], T]) -> T | None:
    """Returns the setting that the older interface reads, or None if the newer interface was used before.

    PyTorch's older interface raises RuntimeError in that case.
    """
    try:
        return read()
    except RuntimeError:
        return None
