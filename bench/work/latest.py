"""Remembers the latest results of a computation, so that equal questions are answered once."""

from collections import OrderedDict
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds up to `most` results, each by a key with everything that decides the result. None is the key of nothing."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._results: OrderedDict[tuple[Any, ...], T] = OrderedDict()

    def get(self, key: tuple[Any, ...] | None) -> T | None:
        """Returns the result, or None if it is not there."""
        return None if key is None else self._results.get(key)

    def put(self, key: tuple[Any, ...] | None, result: T) -> None:
        """Keeps the result, and forgets the oldest one if there are too many."""
        if key is not None:
            self._results[key] = result
            if len(self._results) > self._most:
                self._results.popitem(last=False)
