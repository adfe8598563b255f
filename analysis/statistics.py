"""Means over samples, and what must not go into them."""

import math
from collections.abc import Iterable
from typing import NamedTuple


class Mean(NamedTuple):
    """`value` over `n` finite values (None if there is none); `infinite` ones are counted apart, never averaged in."""

    value: float | None
    n: int
    infinite: int


def mean(values: Iterable[float | None]) -> Mean:
    """The mean of what is there: None is skipped, infinities are counted apart."""
    present = [v for v in values if v is not None]
    finite = [v for v in present if math.isfinite(v)]
    return Mean(math.fsum(finite) / len(finite) if finite else None, len(finite), len(present) - len(finite))
