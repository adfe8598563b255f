"""Checks of the caches' settings."""

import math
from typing import Any

from vgdfr.architecture import Architecture
from vgdfr.method import refuse_wrong_kind


def check_one_forward(title: str, architecture: Architecture) -> None:
    """Raises ValueError for a model that calls its DiT several times per step, as a cache with one state must."""
    if architecture.forwards_per_step != 1:
        raise ValueError(
            f"{title} keeps one state, so it would return one forward's result for another forward: it takes models "
            f"with one forward per step, got {architecture.forwards_per_step}; take another accelerator"
        )


def checked_number(name: str, value: Any, least: float | int | None = None) -> float:
    """Returns a setting as a float, so that 1 and 1.0 give one key.

    Raises ValueError unless the value is a finite number of at least `least`.
    """
    refuse_wrong_kind(name, value, (int, float))
    if not math.isfinite(value) or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least:g}"
        raise ValueError(f"{name} (accelerator.{name}) must be a finite number{bound}, got {value}")
    return float(value)


def check_count(name: str, value: Any, least: int) -> None:
    """Raises ValueError unless a setting is a whole number of at least `least`."""
    refuse_wrong_kind(name, value, int)
    if value < least:
        raise ValueError(f"{name} (accelerator.{name}) must be at least {least}, got {value}")


def check_range(low_name: str, low: Any, high_name: str, high: Any) -> None:
    """Raises ValueError unless two settings are whole numbers and the first is below the second."""
    refuse_wrong_kind(low_name, low, int)
    refuse_wrong_kind(high_name, high, int)
    if not low < high:
        raise ValueError(
            f"{low_name} (accelerator.{low_name}) must be less than {high_name}, got {low_name}={low} and "
            f"{high_name}={high}"
        )
