"""Runs a sweep as tasks of a queue: Slurm (hydra/launcher=slurm), or processes of this machine (slurm_local).

Each task is a worker over all jobs of the sweep. The tasks share the study's folder. See docs/slurm.md.
"""

import atexit
import logging
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING

from bench.plan.job import Job, Launcher
from bench.plan.units import units_of
from bench.store.claims import LAUNCH_BEGAN
from bench.store.study import Store
from bench.work.progress import say
from vgdfr_commands.display import steady
from vgdfr_commands.start import called

if TYPE_CHECKING:  # an optional package
    from submitit import AutoExecutor
    from submitit import Job as Submitted
    from submitit.helpers import DelayedSubmission

CLUSTERS = {"slurm": "slurm", "slurm_local": "local"}  # our launchers, and submitit's names of their executors
COMMANDS = ("sbatch", "srun", "scontrol")
WAITING = ("PENDING", "REQUEUED", "PREEMPTED")  # Slurm's states of a task that has not begun
NAMED = 5  # failed samples that the last line names
LOOK_S, SAY_S = 1.0, 10.0  # how often the command looks for tasks that ended, and how often it counts samples

# settings that all of submitit's executors have; other names get a prefix
_GENERIC = frozenset(
    ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "stderr_to_stdout")
)
_OURS = frozenset(("workers", "max_num_timeout"))


class Leave(BaseException):
    """The queue wants this task to end. `reason` is the exception that submitit raised.

    This is neither an Exception nor a SystemExit, because the sample that the task makes shall not fail of it.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


def check_launcher(launcher: Launcher) -> None:
    """Raises ValueError if the launcher cannot be used on this machine, or has settings that submitit does not take."""
    if not _installed("submitit"):
        raise ValueError(f"hydra/launcher={launcher.name} needs submitit; install it with: pip install 'vgdfr[slurm]'")
    workers = launcher.settings["workers"]
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ValueError(f"hydra.launcher.workers must be a whole number of at least 1, got {workers!r}")
    if launcher.name == "slurm" and (lacking := [command for command in COMMANDS if not shutil.which(command)]):
        raise ValueError(
            f"hydra/launcher=slurm needs Slurm's commands, and there is no {', '.join(lacking)} here; run it on a "
            "machine of the cluster, or take hydra/launcher=slurm_local, which starts the tasks on this machine"
        )
    with TemporaryDirectory() as nowhere:
        executor_of(launcher, Path(nowhere))


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # its entry in sys.modules is None
        return False


def submit(work: Callable[[tuple[Job, ...]], int], jobs: tuple[Job, ...], launcher: Launcher, folder: Path) -> int:
    """Submits tasks that each call `work` with all jobs, and waits for them.

    work: makes and scores the samples of jobs in this process. Returns the exit status.
    folder: the folder of this run's logs.
    Returns the exit status, 1 if a task failed or a sample is not done. Raises ValueError as `check_launcher` does.
    """
    workers = useful_workers(jobs, launcher)
    per_task = (launcher.settings["nodes"] or 1) * (launcher.settings["tasks_per_node"] or 1)
    executor = executor_of(launcher, folder / "submitit" / "%j")
    logging.getLogger("submitit").propagate = False  # else a message is printed twice where a library logs, too
    task = Task(work, jobs, datetime.now(UTC).isoformat(timespec="milliseconds"))
    tasks = executor.submit_array([task] * math.ceil(workers / per_task))
    started = len(tasks) * per_task
    say(f"{started} worker{'s' * (started != 1)} in {launcher.name}; their logs: {folder / 'submitit'}")
    see = f"see: {' '.join(called('bench.store'))} ls {jobs[0].study}"
    progress = Progress(jobs)
    try:
        _wait(tasks, per_task, progress)
    except KeyboardInterrupt:
        say(f"tasks that were started go on; {see}")
        raise
    ended_badly = [_failed(each) for task in tasks for each in _each(task)]
    say(f"all tasks have ended; {see}")
    if failed := progress.failed:
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        print(f"error: {len(failed)} samples failed: {', '.join(failed[:NAMED])}{more}", file=sys.stderr)
    return int(any(ended_badly) or bool(progress.open))


def executor_of(launcher: Launcher, folder: Path) -> "AutoExecutor":
    """Returns submitit's executor with the launcher's settings. Raises ValueError for settings it does not take."""
    import submitit

    cluster, settings = CLUSTERS[launcher.name], launcher.settings
    given = {key if key in _GENERIC else f"{cluster}_{key}": settings[key] for key in settings if key not in _OURS}
    try:
        executor = submitit.AutoExecutor(folder, cluster, **{f"{cluster}_max_num_timeout": settings["max_num_timeout"]})
        executor.update_parameters(**given)
    except (NameError, AssertionError, TypeError) as error:
        raise ValueError(f"hydra.launcher: {error}") from error
    return executor


def useful_workers(jobs: Sequence[Job], launcher: Launcher) -> int:
    """Returns the number of workers to start. Says so if it is smaller than the number in the launcher's settings."""
    wanted = launcher.settings["workers"]
    units = len(units_of(jobs))
    limits = {f"the sweep has {units} prompts and seeds, which are units of work": units}
    if launcher.name == "slurm_local":
        cores = len(os.sched_getaffinity(0))
        on_cpu = any(job.condition.model.device_type == "cpu" for job in jobs)
        threads = (jobs[0].threads or cores) if on_cpu else 1
        limits[f"this process may use {cores} cores, and a worker uses {threads}"] = max(1, cores // threads)
    why = min(limits, key=limits.__getitem__)
    if limits[why] < wanted:
        say(f"{limits[why]} instead of {wanted} workers, because {why}")
    return min(wanted, limits[why])


def _wait(tasks: "Sequence[Submitted[int]]", per_task: int, progress: "Progress") -> None:
    """Waits until all tasks have ended. Prints how many samples are stored whenever that has changed."""
    said, next_s = "", time.monotonic()
    while True:
        running = [task for task in tasks if not task.done()]
        if time.monotonic() >= next_s or not running:
            began = time.monotonic()
            waiting = sum(_is_waiting(task) for task in running)
            line = (
                f"{progress.count()}; {(len(running) - waiting) * per_task} of {len(tasks) * per_task} workers running"
            )
            line += f", {waiting * per_task} waiting" if waiting else ""
            if line != said:
                say(said := line)
            next_s = time.monotonic() + max(SAY_S, 10 * (time.monotonic() - began))  # a large study takes long to read
        if not running:
            return
        time.sleep(LOOK_S)


def _is_waiting(task: "Submitted[int]") -> bool:
    """Returns whether a task has not begun. Its log tells so, too, as a Slurm without accounting tells no state."""
    return task.state.upper() in WAITING or not task.task(0).paths.stdout.exists()


class Progress:
    """Counts the samples of jobs that are stored.

    open: the place of each sample that is not done, by its key. failed: the places of recorded failures.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.store, self.failed = Store(jobs[0].study), list[str]()
        self.open = {sample.key: sample.folder for unit in units_of(jobs) for sample, _, _ in unit.samples}
        self.total = len(self.open)

    def count(self) -> str:
        """Reads the records of the samples that were not done before. Returns the counts as text."""
        self.failed = []
        for key, folder in list(self.open.items()):
            record = self.store.recorded(self.store.at(folder))
            if record is not None and record.status == "done":
                del self.open[key]
            elif record is not None:
                self.failed.append(folder)
        return f"{self.total - len(self.open)} of {self.total} samples stored, {len(self.failed)} failed"


def _each(task: "Submitted[int]") -> "list[Submitted[int]]":
    """Returns the processes of a task, which has several with tasks_per_node."""
    return [task.task(i) for i in range(task.num_tasks)]


def _failed(process: "Submitted[int]") -> bool:
    """Returns whether a task has failed or has ended without a result. Says why."""
    from submitit.core.utils import FailedJobError, UncompletedJobError, pickle_load

    try:
        if process.result() == 0:
            return False
        why = "it ended with exit status 1"
    except (FailedJobError, UncompletedJobError):
        outcome = process.paths.result_pickle
        trace = pickle_load(outcome)[1] if outcome.is_file() else "it ended without a result"
        why = trace.strip().splitlines()[-1]
    say(f"a task failed: {why}; log: {process.paths.stdout}")
    return True


@dataclass(frozen=True)
class Task:
    """What a task runs. submitit pickles it; after a signal of the queue it runs again.

    began: the time of the launch. A failed sample is tried by one task of a launch.
    """

    work: Callable[[tuple[Job, ...]], int]
    jobs: tuple[Job, ...]
    began: str

    def __call__(self) -> int:
        _enter(self.began)
        try:
            status = self.work(self.jobs)
        except Leave as leave:
            if not isinstance(leave.reason, SystemExit):  # the task is not queued again
                _exit_with(1)
            raise leave.reason from None
        except Exception:
            _exit_with(1)
            raise
        _exit_with(status)
        return status

    def checkpoint(self) -> "DelayedSubmission":
        """Returns the submission of the same task. submitit asks for it when the task is to be queued again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _enter(began: str) -> None:
    """Makes this process a task of the launch that began at `began`. The queue's signal then raises Leave in it."""
    steady()
    os.environ[LAUNCH_BEGAN] = began
    number = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
    requeue = signal.getsignal(number)

    def leave_cleanly(signum: int, frame: FrameType | None) -> None:
        assert callable(requeue)
        try:
            requeue(signum, frame)  # submitit's handler: it has this task queued again, then raises
        except (SystemExit, Exception) as reason:
            raise Leave(reason) from None

    if callable(requeue):
        signal.signal(number, leave_cleanly)


def _exit_with(status: int) -> None:
    """Makes this process end with `status`. submitit's own status would be 0 for a task with failed samples."""

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    if status:
        atexit.register(end)
