"""Several workers on one sweep: `python -m bench.launch -n 4 +exp=table1 ...` (the arguments of bench.sweep).

One process per GPU, or per set of cores (--cores 0-3,4-7 gives two). Workers share the study's folder, each takes whole
prompts that no other has. One that crashes is started again; the sample it died of is recorded as failed and not tried
again before the next launch. Ctrl-C ends all of them; the same command continues.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from hydra.errors import HydraException

from bench.claims import DIED, left_by, note_of, skip, skipped, unit_left_by, unit_note_of
from bench.plan import checked
from bench.prefetch import configs_of
from bench.progress import say
from bench.run import units_of
from bench.store import Store
from bench.tasks import LAUNCH_BEGAN

FINE = (0, 1)  # exit statuses of a sweep that came to its end, without and with failed samples
DEATHS_OF_NOTHING = 3  # in a row, each before a sample was made or begun: starting again does not help
STOP_S = 60.0  # how long workers may take to end when asked to


@dataclass(frozen=True)
class Place:
    """Where a worker runs: cores (None: all), and the GPU's number (None: as the environment says)."""

    cores: frozenset[int] | None = None
    gpu: int | None = None


def places(count: int | None, cores: str | None, gpus: int) -> list[Place]:
    """One per set of cores, else per GPU, else the machine's cores shared evenly among `count`. Raises ValueError."""
    if cores is not None:
        sets = [frozenset(_range(part)) for part in cores.split(",")]
        if count not in (None, len(sets)):
            raise ValueError(f"-n {count} does not fit the {len(sets)} sets of --cores {cores}")
        if missing := frozenset().union(*sets) - os.sched_getaffinity(0):
            raise ValueError(f"--cores names cores that are not to be had here: {sorted(missing)}")
        return [Place(cores=each) for each in sets]
    if count is None:
        raise ValueError("say how many workers: -n N, or --cores with a set for each")
    if count < 1:
        raise ValueError(f"-n must be at least 1, got {count}")
    if gpus:
        if count > gpus:
            raise ValueError(f"-n {count} is more than the {gpus} GPUs of this machine")
        return [Place(gpu=i) for i in range(count)]
    there = sorted(os.sched_getaffinity(0))
    return [Place(cores=frozenset(there[i::count] or [there[i % len(there)]])) for i in range(count)]


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError:
        raise ValueError(f"--cores must be sets such as 0-3,4-7, got {text!r}") from None


class Worker:
    """A sweep in a process of its own, its output under its number, started again while it crashes of samples."""

    def __init__(self, number: int, place: Place, arguments: Sequence[str], study: Path, began: str) -> None:
        self.number, self.place, self.arguments, self.study, self.began = number, place, arguments, study, began
        self.gave_up, self.deaths_of_nothing = False, 0
        self.start()

    def start(self) -> None:
        environment = os.environ | {LAUNCH_BEGAN: self.began, "PYTHONUNBUFFERED": "1"}
        if self.place.gpu is not None:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            environment["CUDA_VISIBLE_DEVICES"] = visible[self.place.gpu] if visible != [""] else str(self.place.gpu)
        command = [sys.executable, "-m", "bench.sweep", *self.arguments]
        if self.place.cores is not None:
            environment["OMP_NUM_THREADS"] = str(len(self.place.cores))
            command = ["taskset", "-c", ",".join(map(str, sorted(self.place.cores))), *command]
        # in a session of its own, so that Ctrl-C reaches it once, from here
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._pass_on, args=(self.process,), daemon=True)
        self.reader.start()

    def _pass_on(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                say(f"[{self.number}] {line.rstrip()}")

    def look(self) -> bool:
        """Whether it is still at work; after a crash the sample is marked, and another process started."""
        status = self.process.poll()
        if status is None:
            return True
        self.reader.join()
        if status in FINE or self.gave_up:
            return False
        left, left_unit = left_by(self.study, self.process.pid), unit_left_by(self.study, self.process.pid)
        for note in (note_of, unit_note_of):
            note(self.study, self.process.pid).unlink(missing_ok=True)
        how = f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"
        at = ""
        if left is not None:
            (place, record), store = left, Store(self.study)
            if store.get(place, record.key) is None:  # else it had just been stored
                store.put(place, replace(record, error=f"{DIED}: {how}"))
                at = f" at {place}, which is recorded as failed"
        elif left_unit is not None:  # it scored, restored or timed what is there, or loaded a model
            skip(self.study, left_unit[0], self.began)
            at = f" at {left_unit[0]}, while it made no sample; no worker of this launch tries that again"
        came_on = left is not None or (left_unit is not None and left_unit[1] > 0)
        self.deaths_of_nothing = 0 if came_on else self.deaths_of_nothing + 1
        if self.deaths_of_nothing == DEATHS_OF_NOTHING:
            say(f"worker {self.number} ended by {how}{at}; {DEATHS_OF_NOTHING} times before it had done any; given up")
            self.gave_up = True
            return False
        say(f"worker {self.number} ended by {how}{at}; started again")
        self.start()
        return True

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def wait(self, until: float) -> None:
        """Until `time.monotonic()` is `until`; then it is killed."""
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()


def main(count: int | None, cores: str | None, arguments: list[str]) -> int:
    """The exit status: 0, 1 with failed or missing samples, 130 when interrupted. Raises ValueError for wrong input."""
    where = places(count, cores, torch.cuda.device_count())
    overrides = [a for a in arguments if a not in ("--multirun", "-m")]
    jobs = checked(*configs_of(overrides))
    study = jobs[0].study
    samples = {sample.key: (sample.folder, unit.name) for unit in units_of(jobs) for sample, _, _ in unit.samples}
    began = datetime.now(UTC).isoformat(timespec="milliseconds")
    say(f"{len(samples)} samples in {study}, {len(where)} workers")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a cluster sends is taken as Ctrl-C
    workers = [Worker(i + 1, place, arguments, study, began) for i, place in enumerate(where)]
    try:
        while any([worker.look() for worker in workers]):
            time.sleep(0.2)
    except KeyboardInterrupt:
        for worker in workers:
            worker.stop()
        until = time.monotonic() + STOP_S
        for worker in workers:
            worker.wait(until)
        again = shlex.join(["python", "-m", "bench.launch", *sys.argv[1:]])
        say(f"interrupted: what is finished is stored; go on with: {again}")
        return 130
    store, passed_over = Store(study), skipped(study, began)
    records = [(store.recorded(folder), unit in passed_over) for folder, unit in samples.values()]
    failed = sum(over or (record is not None and record.status != "done") for record, over in records)
    done = sum(not over and record is not None and record.status == "done" for record, over in records)
    for unit in sorted(passed_over):  # what was made of it may lack scores
        say(f"failed: all of {unit}, which a worker died at; the next launch tries it again")
    say(f"{done} done, {failed} failed, {len(samples) - done - failed} missing of {len(samples)} samples")
    return int(done < len(samples))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, dest="count", help="workers")
    parser.add_argument("--cores", help="a set of cores for each worker, such as 0-3,4-7")
    known, rest = parser.parse_known_args()
    try:
        sys.exit(main(known.count, known.cores, rest))
    except (ValueError, OSError, HydraException) as error:
        sys.exit(f"error: {error}")
