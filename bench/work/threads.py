"""Sets the number of threads for a model on the CPU, and warns if the machine's cores are busy."""

import os
import time
from collections.abc import Iterable

import torch

from bench.plan.job import Job
from bench.store.claims import LAUNCH_BEGAN
from bench.work.machine import other_busy_cores
from bench.work.progress import say
from vgdfr_commands.threads import use_threads

LOOK_S = 0.3  # the machine is watched for so long before a sweep


def use(jobs: Iterable[Job]) -> None:
    """Sets the number of threads to the jobs' `threads` and prints it. Changes nothing if a model is on a GPU.

    On busy cores two threads can be several times slower than one thread, since they wait for each other at each step.
    """
    jobs = list(jobs)
    if any(job.condition.model.device_type != "cpu" for job in jobs):
        return
    if (threads := jobs[0].threads) is not None:
        use_threads(threads)
    count, usable = torch.get_num_threads(), len(os.sched_getaffinity(0))
    say(f"computing on the CPU with {count} thread{'s' * (count != 1)} (threads=N sets another number)")
    if count > usable:
        say(f"warning: {count} threads share {usable} core{'s' * (usable != 1)}, which is slower than fewer threads")
    if LAUNCH_BEGAN not in os.environ:  # the launcher looks once for all its workers
        warn_of_busy_cores(count)


def warn_of_busy_cores(threads: int) -> None:
    """Prints a warning if other processes leave fewer than `threads` of this process's cores free."""
    cores = os.sched_getaffinity(0)
    busy = other_busy_cores(lambda: time.sleep(LOOK_S), cores)
    if busy is not None and busy + threads > len(cores) + 0.5:
        say(
            f"warning: other processes keep {busy:.1f} of the {len(cores)} cores busy that this process may use; "
            "latencies will be longer and will vary, so measure them on a free machine"
        )
