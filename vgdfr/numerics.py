"""What float32 means while a sample is made: the same on every device, and the same each time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within the block a GPU computes float32 in float32, and chooses the same convolution algorithm each time.

    PyTorch lets cuDNN's convolutions round float32 inputs to TF32's 10 bits of mantissa unless it is told otherwise;
    in SSIM, where a variance is the small difference of two large numbers, that moves similarities by up to 0.35. With
    cuDNN held to deterministic algorithms a sample made again has the same bits. Nothing changes on a CPU. The settings
    are restored when the block ends, also by an exception.
    """
    cudnn, matmul = torch.backends.cudnn, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
