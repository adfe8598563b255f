"""What float32 means while a sample is made: the same on every device, and the same each time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within the block a GPU computes float32 in float32, and chooses the same convolution algorithm each time.

    PyTorch lets cuDNN's convolutions round float32 inputs to TF32's 10 bits of mantissa unless it is told otherwise;
    in SSIM, where a variance is the small difference of two large numbers, that gives any number for a clear sky. With
    cuDNN held to deterministic algorithms, and cuBLAS to one workspace, a sample made again has the same bits. Nothing
    changes on a CPU. PyTorch's settings are restored when the block ends, also by an exception.
    """
    # cuBLAS reads this when it is first used (its documentation, "Results Reproducibility")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn, matmul = torch.backends.cudnn, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
