"""With how many threads this process computes on the CPU."""


def use_threads(count: int, networks: bool = True) -> None:
    """Sets OpenCV's number of threads, and PyTorch's where `networks` run; importing PyTorch takes seconds.

    Raises ValueError unless `count` is at least 1.
    """
    if count < 1:
        raise ValueError(f"--threads must be at least 1, got {count}")
    import cv2  # here, since this package is imported before anything that is not in Python's own library

    cv2.setNumThreads(count)
    if networks:
        import torch

        torch.set_num_threads(count)
