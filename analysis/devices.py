"""Tells the devices that a study's samples were made or timed on."""

from typing import Any

from analysis.load import Row


def devices(rows: list[Row]) -> list[str]:
    """Returns the distinct devices as text: kind, name and, for a CPU, threads.

    The device of a sample with isolated runs is the device of these runs.
    """
    pairs = {(id(model_identity(r)), id(_timed_in(r))): r for r in rows}.values()
    return sorted({_device(r) for r in pairs})


def mixture(rows: list[Row]) -> str | None:
    """Returns a warning for readers if the samples were made on several devices, else None."""
    there = devices(rows)
    if len(there) < 2:
        return None
    return f"Made on different devices, so rows may differ by the device alone: {'; '.join(there)}."


def _device(row: Row) -> str:
    kind, environment = model_identity(row).get("device_type"), _timed_in(row) or {}
    name = environment.get("cpu") if kind == "cpu" else environment.get("gpu")
    threads = environment.get("threads") if kind == "cpu" else None  # on a CPU, threads change latencies and last bits
    how = f"with {threads} thread{'s' * (threads != 1)}" if threads else None
    return " ".join(part for part in (kind, name, how) if part) or "unknown"


def _timed_in(row: Row) -> dict[str, Any] | None:
    """Returns the environment in which the sample's latency was measured."""
    return row.record.get("timed_on") or row.record.get("environment")


def model_identity(row: Row) -> dict[str, Any]:
    """Returns the identity of the sample's model."""
    return row.record["identity"]["model"]
