"""The runs of a study: STUDY/timing/RUN.json holds a run's prices, which `bench.work.prices` writes. Imports no torch.

Its entries: `run`, the name that records hold; `began`, `host`, `boot`, `process`, `device`, `device_type` and
`environment`; `other_busy_cores`, how many cores other processes kept busy on average while samples were made; and
`kinds`: for each kind of work the number `n` of timed blocks, the medians `wall_s` and `cpu_s` of their seconds, and
the quantiles LOW, `wall_s_low` and `cpu_s_low`. CPU seconds are None on a GPU.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.store.record import Record
from vgdfr_commands.atomic import atomic_file

FOLDER = "timing"
SCHEMA = 1
ENOUGH = 5  # blocks of a kind, after the first, that a price should be of
# kinds that keep a core busy, and that a run can repeat alone
COMPUTED = ("dit ", "decode ", "encode ", "ssim ", "merges ")
LOW = 0.05  # the quantile of a kind's seconds that other processes hardly disturb


def folder_of(study: Path) -> Path:
    return study / FOLDER


def files_in(study: Path) -> list[Path]:
    """Returns the files of the study's runs, sorted by name: the oldest run comes first."""
    return sorted(folder_of(study).glob("[!.]*.json"))


def read(file: Path) -> dict[str, Any]:
    """Returns the content of a run's file. Raises ValueError if it is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, got {content['schema']}")
        for each in content["kinds"].values():
            if not (each["n"] > 0 and 0 < each["wall_s_low"] <= each["wall_s"]):
                raise ValueError(f"expected seconds above zero, got {each}")
        _ = content["run"], content["environment"], content["device_type"], content["host"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is damaged ({error!r}); remove it: its samples have no latency then, until they are made again"
        ) from None
    return content


def runs_of(study: Path) -> Iterator[dict[str, Any]]:
    """Yields the content of each run's file, the oldest run first. Raises ValueError for a damaged file."""
    yield from map(read, files_in(study))


def damaged_runs(study: Path) -> list[str]:
    """Returns a text for each damaged file of a run."""
    said = []
    for file in files_in(study):
        try:
            read(file)
        except ValueError as error:
            said.append(str(error))
    return said


def copy_runs(source: Path, into: Path) -> None:
    """Copies the runs of the study `source` into the study `into`. A run that is there with fewer blocks is replaced.

    Damaged files stay where they are.
    """
    for file in files_in(source):
        target = folder_of(into) / file.name
        if _blocks(file) > (_blocks(target) if target.exists() else -1):
            folder_of(into).mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as partial:
                shutil.copyfile(file, partial)


def _blocks(file: Path) -> int:
    """Returns how many blocks of work a run has timed, -1 for a damaged file."""
    try:
        return sum(each["n"] for each in read(file)["kinds"].values())
    except ValueError:
        return -1


def kinds_of(record: Record) -> dict[str, int]:
    """Returns how often each kind of work occurs in a sample's latency. A record of an earlier version tells the DiT's.

    Such a record without accelerators counts its DiT passes.
    """
    if record.timed or not record.dit_passes or record.accelerated or record.latency_s is None:
        return {kind: int(count or 0) for kind, (count, _, _) in record.timed.items()}
    from vgdfr.passes import kinds_of_rows  # readers of runs are quick without vgdfr

    return kinds_of_rows(record.dit_passes)
