"""Shares a computation between several metrics of one video."""

import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def memoized(compute: Callable[..., T]) -> Callable[..., T]:
    """Returns `compute` with a memory of its last result.

    The result is used again if the next call gets the same read-only arrays. Nothing is remembered for an array that
    can be written to, because its values may have changed.
    """
    last: list[tuple[tuple[weakref.ref, ...], T]] = []

    @wraps(compute)
    def with_memory(*videos: Any) -> T:
        if last and len(last[0][0]) == len(videos) and all(r() is v for r, v in zip(last[0][0], videos, strict=True)):
            return last[0][1]
        result = compute(*videos)
        last.clear()
        if not any(_is_writeable(video) for video in videos):
            last.append((tuple(map(weakref.ref, videos)), result))
        return result

    return with_memory


def _is_writeable(video: Any) -> bool:
    """Returns whether the array, or an array that it is a view of, can be written to."""
    while isinstance(video, np.ndarray):
        if video.flags.writeable:
            return True
        video = video.base
    return False
