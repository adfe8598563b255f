"""How many threads a model on the CPU computes with, and whether the machine's cores are free for them."""

import os
import time
from collections.abc import Iterable

import torch

from bench.config import Job
from bench.machine import other_busy_cores
from bench.progress import say
from bench.tasks import LAUNCH_BEGAN
from vgdfr_commands.threads import use_threads

LOOK_S = 0.3  # how long the machine is watched before a sweep


def use(jobs: Iterable[Job]) -> None:
    """Sets the number of threads to the jobs' `threads` and says so; leaves it alone where a model is on a GPU.

    On cores that others keep busy two threads can be several times slower than one, since at each step one waits for
    the other.
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
    """Says so where other processes leave fewer than `threads` of the cores free that this process may use."""
    cores = os.sched_getaffinity(0)
    busy = other_busy_cores(lambda: time.sleep(LOOK_S), cores)
    if busy is not None and busy + threads > len(cores) + 0.5:
        say(
            f"warning: other processes keep {busy:.1f} of the {len(cores)} cores busy that this one may use; latencies "
            "will be longer and will vary, so measure them on a free machine"
        )
