"""The number of CPU threads of this process."""


def use_threads(count: int, networks: bool = True) -> None:
    """Sets the number of threads of OpenCV, and of PyTorch if `networks` run. Importing PyTorch takes seconds.

    Raises ValueError unless `count` is at least 1.
    """
    if count < 1:
        raise ValueError(f"--threads must be at least 1, got {count}")
    import cv2  # imported here, because importing this package must need Python's own library alone

    cv2.setNumThreads(count)
    if networks:
        import torch

        torch.set_num_threads(count)
