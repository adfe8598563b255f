"""Exact float32 and deterministic kernels, so that a sample made again has the same bits."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within the block a GPU computes float32 in float32, and chooses the same kernels each time.

    By default PyTorch lets cuDNN's convolutions round float32 inputs to TF32's 10 bits of mantissa. In SSIM a variance
    is the small difference of two large numbers, so this rounding gives arbitrary values for a clear sky. Deterministic
    cuDNN algorithms and one cuBLAS workspace give a sample made again the same bits. Nothing changes on a CPU.
    PyTorch's settings are restored when the block ends, also after an exception. The workspace setting stays.

    PyTorch has an older and a newer interface for these settings. Some getters of the older one raise if a caller has
    used the newer one. Both are therefore set here, if the older one can be read. (`metrics.precision` does the same
    for metrics; neither package imports the other.)
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
    """Returns the value of the older interface, or None if it raises because the newer one was used."""
    try:
        return read()
    except RuntimeError:
        return None
