"""Runs a condition, or an experiment's sweep of conditions: `python -m bench.sweep +exp=table1 [root=DIR]`.

With --dry-run it only tells what it would do, see `bench.dry_run`.

A display that breaks (a closed pipe, a full disk below a log, a closed terminal) does not end a sweep. The sweep goes
on without the display, and only the samples decide the exit status. `pkill -f bench.sweep` or `pkill -f vgdfr-sweep`
stops a sweep without a terminal. Finished samples are stored.
"""

import os
import signal
import sys

import hydra
from omegaconf import DictConfig

from bench import dry_run, mismatch, overrides, tasks, threads
from bench.config import CONF, prompts_of
from bench.config_dir import composing, taken_out
from bench.plan import planned
from bench.progress import Sweep, say
from bench.run import run, units_of
from bench.store import RECORD, Store
from bench.tracking import publishing
from vgdfr_commands import start
from vgdfr_commands.start import called, outlive_terminal

_sweep: Sweep | None = None


def job(config: DictConfig) -> None:
    """Makes the samples of all jobs. Hydra calls this function for each job, and only the first call does the work.

    The work goes prompt by prompt, so that conditions share it. In a cluster (bench.tasks) each call is the first in
    its process, and all processes work on the same samples.
    """
    global _sweep
    if _sweep is not None:
        return
    jobs = planned()
    study = jobs[0].study
    samples = {sample.key: sample.folder for unit in units_of(jobs) for sample, _, _ in unit.samples}
    recorded = sum(os.path.isfile(study / folder / RECORD) for folder in samples.values())  # failed ones too
    say(f"{len(samples)} samples in {study}, {recorded} of them recorded before")
    for remark in mismatch.remarks(jobs[0].condition.model, prompts_of(config)):
        say(remark)
    _sweep = Sweep(len(samples), len(samples) - recorded)
    try:
        threads.use(jobs)
        Store(study).plan(samples.values())
        with publishing(study, jobs[0].tracker):
            run(jobs, _sweep)
    except OSError as error:  # a full or broken disk; stored samples stay complete
        _sweep.stopped = f"{type(error).__name__}: {error}"
        if not tasks.within():  # Hydra would write the next job's configuration to that disk
            raise SystemExit(1) from None
    except tasks.Leave as leave:
        if not isinstance(leave.reason, SystemExit):
            tasks.exit_status(1)
        say(_sweep.close())
        raise leave.reason from None
    if tasks.within() and (status := finish()):
        tasks.exit_status(status)
        raise RuntimeError(_sweep.stopped or f"{len(_sweep.failed)} samples failed: {', '.join(_sweep.failed)}")


main = hydra.main(config_path=CONF, config_name="config", version_base="1.3")(job)  # tasks import `job`


def finish() -> int:
    """Closes the display and reports the failures. Returns the exit status, 1 for a failed sample or a stop."""
    if _sweep is None:
        return 0
    say(_sweep.close())
    if _sweep.stopped:
        say(f"stopped: {_sweep.stopped}")
    for name in _sweep.failed:
        say(f"failed: {name}")
    if _sweep.failed:
        say(f"{len(_sweep.failed)} failed; the same command tries only these again")
    return int(bool(_sweep.failed or _sweep.stopped))


def _check_arguments() -> None:
    """Quotes values that Hydra cannot read. Raises SystemExit with one line for a mistake in the arguments."""
    sys.argv[1:] = overrides.quoted(sys.argv[1:])
    try:
        folder, rest = taken_out(sys.argv[1:])
        given = [argument for argument in rest if argument not in ("--multirun", "-m")]
        if any(argument.startswith("-") for argument in given):
            return  # another flag of Hydra's, perhaps with a value
        flags = [] if folder is None else ["--config-dir", str(folder)]
        flags += [] if given == rest else ["--multirun"]
        sys.argv[1:] = flags + given  # Hydra does not read overrides on both sides of a flag
        with composing(folder) as loader:
            overrides.load(loader, given)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


def command() -> int:
    """Runs the sweep of the command line. Returns the exit status."""
    if dry_run.asked_for(sys.argv[1:]):  # before Hydra sees the flag
        dry_run.main(sys.argv[1:])
        return 0
    outlive_terminal()
    if tasks.LAUNCH_BEGAN in os.environ:  # a launcher in a shell's background passes on that it ignores SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _check_arguments()
    interrupted, ended = False, "a task failed or could not be started; others may be at work still"
    try:
        main()
        ended = "all tasks have ended"
    except KeyboardInterrupt:
        interrupted, ended = True, "tasks that were started go on"
    finally:
        status = finish()
        if _sweep is None and (jobs := planned()):
            say(f"{ended}; see: {' '.join(called('bench.store'))} ls {jobs[0].study}")
    if interrupted:
        say("interrupted: what is finished is stored, the same command continues")
    return 130 if interrupted else status


if __name__ == "__main__":
    from bench import sweep  # a cluster's tasks find `job` by the name of the module

    start.run(sweep.command)
