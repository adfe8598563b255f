"""The prices of a run: how long each kind of work takes in this process, for the latencies of reports.

A run is one sweep in one process on one machine. STUDY/timing/RUN.json holds the seconds of each kind, see
`bench.store.runs`. The first block of a kind warms up and does not count.
"""

import json
import os
import platform
import re
import uuid
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from bench.store.record import Record
from bench.store.runs import COMPUTED, ENOUGH, LOW, SCHEMA, folder_of, kinds_of
from bench.work.provenance import device_name, environment
from bench.work.records import schedule_of_record
from vgdfr import Backbone, VideoSpec
from vgdfr.account import Shared
from vgdfr.methods.compression import STAGE, operation_of
from vgdfr.numerics import exact_float32
from vgdfr.passes import Pass, kind_of
from vgdfr.sampling import Sampling, sampling
from vgdfr.schedule import FrameSchedule
from vgdfr.stopwatch import Took
from vgdfr_commands.atomic import atomic_file

_WHOLE_PASS = re.compile(r"dit (\d+)x(\d+)x(\d+)")  # one pass, see `vgdfr.passes.kind_of`
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class _Seen:
    """The times of the blocks of one kind after the first. CPU seconds are NaN on a GPU."""

    wall_s: array = field(default_factory=lambda: array("d"))
    cpu_s: array = field(default_factory=lambda: array("d"))


class Prices:
    """The prices of this run. `run` is its name, which records hold."""

    def __init__(self, study: Path, device_type: str) -> None:
        self._began = datetime.now(UTC)
        self.run = f"{self._began:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}"
        self._folder, self._device_type = folder_of(study), device_type
        self._seen: dict[str, _Seen] = {}
        self._busy_cores: list[float] = []

    def add(self, observed: Iterable[tuple[str, Took]], machine: dict[str, Any] | None = None) -> None:
        """Adds the times of blocks. `machine` is the state of the machine meanwhile, see `bench.work.machine`."""
        for kind, took in observed:
            if kind not in self._seen:
                self._seen[kind] = _Seen()
                continue
            self._seen[kind].wall_s.append(took.wall_s)
            self._seen[kind].cpu_s.append(float("nan") if took.cpu_s is None else took.cpu_s)
        if machine and machine.get("other_busy_cores") is not None:
            self._busy_cores.append(machine["other_busy_cores"])

    def lacking(self, kinds: Iterable[str]) -> list[str]:
        """Returns the kinds that can be repeated and were timed less often than a good price needs, each once."""
        return [kind for kind in dict.fromkeys(kinds) if kind.startswith(COMPUTED) and self._count(kind) < ENOUGH]

    def _count(self, kind: str) -> int:
        return len(self._seen[kind].wall_s) if kind in self._seen else 0

    def keep(self) -> None:
        """Writes the prices into the study."""
        self._folder.mkdir(parents=True, exist_ok=True)
        seen = {kind: each for kind, each in sorted(self._seen.items()) if each.wall_s}
        content = {
            "schema": SCHEMA,
            "run": self.run,
            "began": self._began.isoformat(timespec="seconds"),
            "host": platform.node(),
            "boot": _BOOT.read_text(encoding="utf-8").strip() if _BOOT.is_file() else None,
            "process": os.getpid(),
            "device_type": self._device_type,
            "device": device_name(self._device_type, environment()),
            "environment": environment(),
            "other_busy_cores": round(fmean(self._busy_cores), 3) if self._busy_cores else None,
            "kinds": {kind: _summary(each) for kind, each in seen.items()},
        }
        with atomic_file(self._folder / f"{self.run}.json") as partial:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @torch.inference_mode()
    @exact_float32()
    def measure(self, backbone: Backbone, spec: VideoSpec, records: Sequence[Record]) -> None:
        """Times the kinds of work in `records` that this run has not timed often enough, in turns.

        A study that is continued has samples of earlier runs. Their kinds get prices in this run too, so that both
        sides of a comparison are of one run. A pass in which a cache skipped layers cannot be repeated alone, and
        neither can the stage of a method from outside this project; these kinds keep the times that they have.
        """
        kinds = self.lacking(kind for record in records for kind in kinds_of(record))
        if not kinds:
            return
        schedules = {len(s.kept_latents): s for s in map(schedule_of_record, records) if s is not None}
        with sampling(backbone, Shared(spec), "prices") as run, run.account.stage("other"):
            work = [(kind, one) for kind in kinds if (one := _repeatable(run, kind, schedules))]
            for turn in range(ENOUGH + 1):
                for kind, one in work:
                    if turn <= ENOUGH - self._count(kind):
                        one()
        self.add(run.account.observed)


def _summary(seen: _Seen) -> dict[str, Any]:
    summary: dict[str, Any] = {"n": len(seen.wall_s)}
    for name, values in (("wall_s", seen.wall_s), ("cpu_s", seen.cpu_s)):
        low, median = (float(v) for v in np.quantile(np.array(values), (LOW, 0.5)))
        summary |= {name: None, f"{name}_low": None} if np.isnan(median) else {
            name: round(median, 7), f"{name}_low": round(low, 7)
        }  # fmt: skip
    return summary


def _repeatable(run: Sampling, kind: str, schedules: dict[int, FrameSchedule]) -> Any:
    """Returns a function that does work of this kind once, or None if only a sample can."""
    x, codec = run.noise, run.backbone.codec
    if operation := operation_of(kind, codec, x):

        def operate() -> None:
            with run.stage(STAGE, kind=operation.kind):
                operation.compute()

        return operate
    if not (size := _WHOLE_PASS.match(kind)):
        return None
    frames, height, width = map(int, size.groups())
    full, forwards = tuple(x.shape[-3:]), run.backbone.architecture.forwards_per_step
    if kind != kind_of(Counter([Pass(frames, height, width, forwards, 1.0, 1.0)])):
        return None
    if frames in schedules and frames < full[0] and (height, width) == full[1:]:
        return _shortened(run, schedules[frames])
    small = x[:, :, :frames, :height, :width].contiguous()
    return (lambda: run.velocity(small, 1.0)) if tuple(small.shape[-3:]) == (frames, height, width) else None


def _shortened(run: Sampling, schedule: FrameSchedule) -> Any:
    kept = list(schedule.kept_latents)
    positions = [[float(at) for at in kept]] * run.backbone.architecture.num_layers

    def once() -> None:
        with run.shortened(schedule, positions):
            run.velocity(run.noise[:, :, kept], 1.0)

    return once
