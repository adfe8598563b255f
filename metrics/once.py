"""What several metrics of one video need is computed once."""

import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def once(compute: Callable[..., T]) -> Callable[..., T]:
    """`compute`, remembering its last answer while the same read-only arrays are asked for.

    An array that can be written to may have changed since, so of those nothing is remembered.
    """
    last: list[tuple[tuple[weakref.ref, ...], T]] = []

    @wraps(compute)
    def remembering(*videos: Any) -> T:
        if last and len(last[0][0]) == len(videos) and all(r() is v for r, v in zip(last[0][0], videos, strict=True)):
            return last[0][1]
        answer = compute(*videos)
        last.clear()
        if not any(_may_change(video) for video in videos):
            last.append((tuple(map(weakref.ref, videos)), answer))
        return answer

    return remembering


def _may_change(video: Any) -> bool:
    """Whether the array, or the one that it is a view of, can be written to."""
    while isinstance(video, np.ndarray):
        if video.flags.writeable:
            return True
        video = video.base
    return False
