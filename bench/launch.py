"""Several workers on one sweep: `python -m bench.launch -n 4 +exp=table1 ...` (the arguments of bench.sweep).

Each worker is a process with an even share of the cores, or with a set of its own (--cores 0-3,4-7 starts two). Where a
model runs on a GPU, each worker also gets one GPU. Workers share the study's folder, each takes whole prompts that no
other has. One that crashes is started again; the sample it died of is recorded as failed and not tried again before the
next launch. Ctrl-C ends all of them; the same command continues. A closed terminal or log does not end a launch; to
stop it when its terminal is gone: `pkill -f bench.launch`, or `pkill -f vgdfr-launch`.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import torch
from hydra.errors import HydraException

from bench import dry_run, threads
from bench.claims import DIED, left_by, note_of, skip, skipped, unit_left_by, unit_note_of
from bench.plan import checked
from bench.prefetch import configs_of
from bench.progress import say
from bench.run import units_of
from bench.store import Store
from bench.tasks import LAUNCH_BEGAN
from vgdfr_commands.start import called, outlive_terminal, run

FINE = (0, 1)  # exit statuses of a sweep that came to its end, without and with failed samples
DEATHS_OF_NOTHING = 3  # in a row, each before a sample was made or begun: starting again does not help
STOP_S = 60.0  # how long workers may take to end when asked to

# how a worker prints into the pipe that is read here, whatever the locale
PIPE = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}

CORES = Path("/sys/devices/system/cpu")
TOPOLOGY = ("physical_package_id", "core_id")


@dataclass(frozen=True)
class Place:
    """The cores that a worker runs on and the number of its GPU (None: all models run on the CPU)."""

    cores: frozenset[int]
    gpu: int | None = None


def places(count: int | None, cores: str | None, gpus: int, there: Sequence[int]) -> list[Place]:
    """Gives worker i set i of `cores`, or else an even share of the usable cores `there`, and GPU i unless `gpus` is 0.

    The cores of a share are neighbours in `there`. Raises ValueError if the machine lacks the cores or GPUs asked for.
    """
    if cores is not None:
        sets = [_range(part) for part in cores.split(",")]
        if count not in (None, len(sets)):
            raise ValueError(f"-n {count} does not fit the {len(sets)} sets of --cores {cores}")
        if missing := frozenset().union(*sets) - frozenset(there):
            raise ValueError(f"--cores names cores that are not to be had here: {sorted(missing)}")
        asked = f"--cores {cores}"
    elif count is None:
        raise ValueError("say how many workers: -n N, or --cores with a set for each")
    elif count < 1:
        raise ValueError(f"-n must be at least 1, got {count}")
    else:
        sets, asked = _shares(there, count), f"-n {count}"
    if gpus and len(sets) > gpus:
        raise ValueError(
            f"{asked} asks for more workers than this machine has GPUs ({gpus}), and a planned model runs on a GPU; "
            "ask for fewer, or choose model.backbone.device=cpu"
        )
    return [Place(each, i if gpus else None) for i, each in enumerate(sets)]


def by_socket(cores: Iterable[int], folder: Path = CORES) -> list[int]:
    """Sorts `cores` so that a socket's are neighbours, and so are the hardware threads of one physical core.

    Their numbers alone do not: Linux often numbers the first thread of every physical core before any second thread.
    """

    def position(core: int) -> tuple[int, int, int]:
        try:
            socket, number = (
                int((folder / f"cpu{core}/topology/{name}").read_text(encoding="utf-8")) for name in TOPOLOGY
            )
        except (OSError, ValueError):  # some containers hide the topology
            return 0, core, core
        return socket, number, core

    return sorted(cores, key=position)


def _shares(there: Sequence[int], count: int) -> list[frozenset[int]]:
    """Splits the cores evenly. If there are fewer cores than shares, each share is one core and some share it."""
    if count > len(there):
        return [frozenset([there[i % len(there)]]) for i in range(count)]
    edges = [i * len(there) // count for i in range(count + 1)]
    return [frozenset(there[first:last]) for first, last in pairwise(edges)]


def _range(text: str) -> frozenset[int]:
    first, _, last = text.partition("-")
    with suppress(ValueError):
        if cores := frozenset(range(int(first), int(last or first) + 1)):
            return cores
    raise ValueError(f"--cores must be sets such as 0-3,4-7, got {text!r}")


def command_at(place: Place, arguments: Sequence[str]) -> list[str]:
    """The command that runs bench.sweep on the cores of `place`."""
    return ["taskset", "-c", ",".join(map(str, sorted(place.cores))), sys.executable, "-m", "bench.sweep", *arguments]


def environment_at(place: Place, given: Mapping[str, str]) -> dict[str, str]:
    """The environment `given`, changed for a worker at `place`.

    Libraries start one thread per core, or fewer if OMP_NUM_THREADS in `given` says so; the sweep's setting `threads`
    is the number for a model on the CPU. A GPU worker sees one of the GPUs that CUDA_VISIBLE_DEVICES in `given` allows.
    """
    environment = {**given, "OMP_NUM_THREADS": str(len(place.cores))}
    asked = given.get("OMP_NUM_THREADS", "")
    first = asked.split(",")[0].strip()  # the variable may list one number per level of nesting
    if first.isdecimal() and 0 < int(first) < len(place.cores):
        environment["OMP_NUM_THREADS"] = asked
    if place.gpu is not None:
        visible = given.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[place.gpu] if visible != [""] else str(place.gpu)
    return environment


class Worker:
    """A sweep in a process of its own, its output under its number, started again while it crashes of samples."""

    def __init__(self, number: int, place: Place, arguments: Sequence[str], study: Path, began: str) -> None:
        self.number, self.place, self.arguments, self.study, self.began = number, place, arguments, study, began
        self.gave_up, self.deaths_of_nothing = False, 0
        self.start()

    def start(self) -> None:
        # in a session of its own, so that Ctrl-C reaches it once, from here
        self.process = subprocess.Popen(
            command_at(self.place, self.arguments),
            env=environment_at(self.place, os.environ) | PIPE | {LAUNCH_BEGAN: self.began},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
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
    overrides = [a for a in arguments if a not in ("--multirun", "-m")]
    jobs = checked(*configs_of(overrides))
    on_gpu = any(job.condition.model.device_type == "cuda" for job in jobs)
    where = places(count, cores, torch.cuda.device_count() if on_gpu else 0, by_socket(os.sched_getaffinity(0)))
    study = jobs[0].study
    samples = {sample.key: (sample.folder, unit.name) for unit in units_of(jobs) for sample, _, _ in unit.samples}
    began = datetime.now(UTC).isoformat(timespec="milliseconds")
    say(f"{len(samples)} samples in {study}, {len(where)} workers")
    if not on_gpu:
        threads.warn_of_busy_cores(sum(jobs[0].threads or len(place.cores) for place in where))
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
        again = shlex.join([*called("bench.launch"), *sys.argv[1:]])
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


def command() -> int:
    outlive_terminal()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, dest="count", help="workers")
    parser.add_argument("--cores", help="a set of cores for each worker, such as 0-3,4-7")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done, as bench.sweep does")
    known, rest = parser.parse_known_args()
    if known.dry_run:
        dry_run.main(rest)
        return 0
    try:
        return main(known.count, known.cores, rest)
    except HydraException as error:
        raise ValueError(error) from error


if __name__ == "__main__":
    run(command)
