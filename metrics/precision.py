"""Where the metrics' networks run, and in what precision: float32, without TF32, on a GPU where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def device() -> torch.device:
    """The device of networks that may be large."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within the block a GPU computes float32 in float32, with the same convolution algorithms each time.

    Unless told otherwise PyTorch lets cuDNN round convolutions' inputs to TF32's 10 bits of mantissa. Nothing changes
    on a CPU. The settings are restored when the block ends.
    """
    cudnn, matmul = torch.backends.cudnn, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
