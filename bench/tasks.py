"""A sweep's jobs as tasks of a cluster's queue (hydra/launcher=slurm): processes of their own, workers on one study."""

import atexit
import os
import shutil
import signal
import sys
from importlib.util import find_spec
from types import FrameType

from omegaconf import DictConfig

from vgdfr_commands.display import steady

PLUGIN = "hydra_plugins.hydra_submitit_launcher"
LAUNCH_BEGAN = "VGDFR_LAUNCH_BEGAN"  # in the environment of a launch's workers: when it began

_within = False


class Leave(BaseException):
    """The queue wants this task to end; `reason` is what submitit raised.

    No Exception, and no SystemExit: a sample does not fail of it.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


def needs_multirun(config: DictConfig) -> bool:
    """Whether a launcher is chosen that starts tasks, which Hydra does in a sweep only."""
    return config.hydra.launcher._target_.startswith(PLUGIN)


def check_launcher(config: DictConfig) -> None:
    """Raise ValueError where the sweep's launcher cannot be used here."""
    if not needs_multirun(config):
        return
    lacking = [name for name in ("submitit", PLUGIN) if not _is_there(name)]
    if lacking:
        raise ValueError(f"this launcher needs {' and '.join(lacking)}; install it with: pip install 'vgdfr[slurm]'")
    if on_other_machines(config) and (commands := [c for c in ("sbatch", "srun", "scontrol") if not shutil.which(c)]):
        raise ValueError(
            f"hydra/launcher=slurm needs Slurm's commands, and there is no {', '.join(commands)} here; run it on a "
            "machine of the cluster, or take hydra/launcher=slurm_local, which starts the tasks on this machine"
        )


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even its parent
        return False


def on_other_machines(config: DictConfig) -> bool:
    """Whether the jobs run elsewhere, so that this machine's devices say nothing about them."""
    return config.hydra.launcher._target_.startswith(PLUGIN) and config.hydra.launcher._target_.endswith(
        "SlurmLauncher"
    )


def within() -> bool:
    """Whether this process is a task."""
    return _within


def enter(began: str) -> None:
    """This process is a task of the launch that began then; the queue's signal ends it cleanly, whatever it is at."""
    global _within
    _within = True
    steady()
    os.environ[LAUNCH_BEGAN] = began  # a failed sample is tried by one of the tasks
    number = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
    requeue = signal.getsignal(number)

    def leave_cleanly(signum: int, frame: FrameType | None) -> None:
        assert callable(requeue)
        try:
            requeue(signum, frame)  # submitit's: it has this task queued again, then raises
        except (SystemExit, Exception) as reason:
            raise Leave(reason) from None

    if callable(requeue):
        signal.signal(number, leave_cleanly)


def exit_status(status: int) -> None:
    """What this task's process ends with; submitit's would be 0 for a job that raised."""

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(end)
