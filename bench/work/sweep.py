"""A whole sweep: composes and checks its jobs, and runs them in this process or submits them to a queue."""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

from bench.plan import mismatch
from bench.plan.command_line import CommandLine
from bench.plan.compose import Composed, composed
from bench.plan.job import Job
from bench.plan.jobs import checked
from bench.plan.settings import prompts_of
from bench.plan.units import units_of
from bench.store.study import RECORD, Store
from bench.work import tasks, threads
from bench.work.progress import Sweep, logged, say
from bench.work.tracking import publishing
from bench.work.worker import run
from vgdfr_commands.start import INTERRUPTED

LOGS = "logs"


def sweep(line: CommandLine) -> int:
    """Runs the sweep of a command line. Returns the exit status, 1 for a failed sample or a stop, 130 if interrupted.

    Raises ValueError or OSError for a mistake, before anything is written.
    """
    plan = composed(line)
    if line.cfg:
        print(plan.text(line.cfg, line.resolve), end="")
        return 0
    if plan.launcher is not None:
        tasks.check_launcher(plan.launcher)
    jobs = checked(plan)
    require_writable(jobs[0].study)
    folder = kept_configuration(plan, jobs[0].study)
    with logged(folder / "sweep.log"):
        for remark in mismatch.remarks(jobs[0].condition.model, prompts_of(plan.configs[0])):
            say(remark)
        try:
            return make(jobs) if plan.launcher is None else tasks.submit(make, jobs, plan.launcher, folder)
        except KeyboardInterrupt:
            say("interrupted: what is finished is stored, the same command continues")
            return INTERRUPTED


def require_writable(study: Path) -> None:
    """Makes the study's folder. Raises ValueError that names the folder if it cannot be written."""
    try:
        Store(study).require_writable()
    except OSError as error:
        raise ValueError(f"{error.strerror}; choose another by root=DIR") from None


def kept_configuration(plan: Composed, study: Path) -> Path:
    """Writes the overrides and the composed configuration into a new folder of the study's logs. Returns the folder."""
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder = next(_new(study / LOGS, name))
    (folder / "overrides.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(list(plan.overrides))), encoding="utf-8")
    (folder / "config.yaml").write_text(plan.text(), encoding="utf-8")
    return folder


def _new(logs: Path, name: str) -> Iterator[Path]:
    """Yields a folder that this process has made in `logs`: several workers may start within the same second."""
    for i in itertools.count():
        folder = logs / (f"{name}-{i}" if i else name)
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            yield folder


def make(jobs: Sequence[Job]) -> int:
    """Makes all samples of `jobs` in this process, prompt by prompt, so that conditions share work.

    Returns the exit status, 1 for a failed sample or a stop. Another process may work on the same study.
    """
    study, units = jobs[0].study, units_of(jobs)
    samples = {sample.key: sample.folder for unit in units for sample, _, _ in unit.samples}
    recorded = sum(os.path.isfile(study / folder / RECORD) for folder in samples.values())  # failed samples, too
    say(f"{len(samples)} samples in {study}, {recorded} of them recorded before")
    progress = Sweep(len(samples), len(samples) - recorded)
    try:
        threads.use(jobs)
        Store(study).plan(samples.values())
        with publishing(study, jobs[0].tracker):
            run(jobs, progress, units)
    except OSError as error:  # a full or broken disk; stored samples stay complete
        progress.stopped = f"{type(error).__name__}: {error}"
    finally:
        status = _end(progress)
    return status


def _end(progress: Sweep) -> int:
    """Closes the display and reports the failures. Returns the exit status."""
    say(progress.close())
    if progress.stopped:
        say(f"stopped: {progress.stopped}")
    for (metric, reason), count in progress.unscored.items():
        say(f"{metric}: no value for {count} sample{'s' * (count != 1)}: {reason}")
    for name in progress.failed:
        say(f"failed: {name}")
    if progress.failed:
        say(f"{len(progress.failed)} failed; the same command tries only these again")
    return int(bool(progress.failed or progress.stopped))
