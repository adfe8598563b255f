"""Runs several workers on one sweep: `python -m bench.launch -n 4 +exp=table1 ...` (the arguments of bench.sweep).

Each worker is a process with an even share of the cores, or with its own set (--cores 0-3,4-7 starts two). If a model
runs on a GPU, each worker also gets one GPU. The workers share the study's folder. Each takes whole prompts that no
other worker has. A worker that crashes is started again. The sample that it was making is recorded as failed, and this
launch does not try the sample again. Ctrl-C ends all workers, and the same command continues. A closed terminal or log
does not end a launch. `pkill -f bench.launch` or `pkill -f vgdfr-launch` stops a launch without a terminal. If the
launch itself is killed, its workers end within seconds.
"""

import os
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.plan import command_line
from bench.plan.command_line import CommandLine
from vgdfr_commands.start import INTERRUPTED, called, outlive_terminal, run

if TYPE_CHECKING:  # --help imports nothing more
    from bench.plan.job import Job
    from bench.work.cores import Place


def main(count: int | None, cores: str | None, line: CommandLine) -> int:
    """Returns the exit status: 0, 1 with failed or missing samples, 130 when interrupted.

    Raises ValueError for wrong arguments.
    """
    from bench.plan.compose import composed
    from bench.plan.jobs import checked
    from bench.store.claims import claimed, skip_file
    from bench.work.progress import say
    from bench.work.sweep import require_writable

    plan = composed(line)
    if plan.launcher is not None:
        raise ValueError(
            f"bench.launch starts workers on this machine itself; hydra/launcher={plan.launcher.name} goes with "
            "bench.sweep"
        )
    jobs = checked(plan)
    where = _places(jobs, count, cores)
    study, samples = jobs[0].study, _samples(jobs)
    require_writable(study)
    say(f"{len(samples)} samples in {study}, {len(where)} workers")
    began = datetime.now(UTC).isoformat(timespec="milliseconds")
    with claimed(study, skip_file(began)):
        if not _watch(where, line.arguments(), study, began):
            again = shlex.join([*called("bench.launch"), *sys.argv[1:]])
            say(f"interrupted: what is finished is stored; go on with: {again}")
            return INTERRUPTED
        return _report(study, samples, began)


def _places(jobs: Sequence["Job"], count: int | None, cores: str | None) -> list["Place"]:
    """Returns the place of each worker. Warns if other processes keep the cores busy."""
    from bench.work import threads
    from bench.work.cores import by_socket, places

    gpus, on_gpu = 0, any(job.condition.model.device_type == "cuda" for job in jobs)
    if on_gpu:
        import torch

        gpus = torch.cuda.device_count()
    where = places(count, cores, gpus, by_socket(os.sched_getaffinity(0)))
    if not on_gpu:
        threads.warn_of_busy_cores(sum(jobs[0].threads or len(place.cores) for place in where))
    return where


def _samples(jobs: Sequence["Job"]) -> dict[str, tuple[str, str]]:
    """Returns the place of each sample of the jobs and the name of its unit, by the sample's key."""
    from bench.plan.units import units_of

    return {sample.key: (sample.folder, unit.name) for unit in units_of(jobs) for sample, _, _ in unit.samples}


def _watch(where: Sequence["Place"], arguments: Sequence[str], study: Path, began: str) -> bool:
    """Runs a worker at each place until all have come to their end. Returns False if the launch is interrupted."""
    from bench.work.launched import STOP_S, Worker

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster sends it, and it means the same as Ctrl-C
    workers: list[Worker] = []
    try:
        for i, place in enumerate(where):
            workers.append(Worker(i + 1, place, arguments, study, began))
        while any([worker.look() for worker in workers]):
            time.sleep(0.2)
        return True
    except KeyboardInterrupt:
        for worker in workers:
            worker.stop()
        until = time.monotonic() + STOP_S
        for worker in workers:
            worker.wait(until)
        return False


def _report(study: Path, samples: dict[str, tuple[str, str]], began: str) -> int:
    """Prints how many samples are done. Returns the exit status.

    A sample of a unit that was passed over is done if it is stored, and failed otherwise.
    """
    from bench.store.claims import skipped
    from bench.store.study import Store
    from bench.work.progress import say

    store, passed_over, counts = Store(study), skipped(study, began), Counter[str]()
    for folder, unit in samples.values():
        record = store.recorded(store.at(folder))
        if record is not None and record.status == "done":
            counts["done"] += 1
        else:
            counts["missing" if record is None and unit not in passed_over else "failed"] += 1
    for unit in sorted(passed_over):
        say(f"failed: a worker died at {unit}; its samples may lack scores; the next launch tries them again")
    said = ", ".join(f"{counts[status]} {status}" for status in ("done", "failed", "missing"))
    say(f"{said} of {len(samples)} samples")
    return int(bool(passed_over) or counts["done"] < len(samples))


def command() -> int:
    outlive_terminal()
    parser = command_line.parser(called("bench.launch"), __doc__)
    parser.add_argument("-n", type=int, dest="count", help="the number of workers")
    parser.add_argument("--cores", help="a set of cores for each worker, such as 0-3,4-7")
    command_line.add_dry_run(parser)
    line, flags = command_line.parsed(parser, sys.argv[1:])
    if flags.count is not None and flags.count < 1:
        raise ValueError(f"-n must be at least 1, got {flags.count}")
    if flags.dry_run:
        from bench.dry_run import Assumed, describe_sweep

        print(describe_sweep(line, Assumed.of(flags)))
        return 0
    return main(flags.count, flags.cores, line)


if __name__ == "__main__":
    run(command)
