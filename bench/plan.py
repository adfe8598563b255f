"""Before the first job of a sweep: compose and check every job, and count what there is to do."""

import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, MissingMandatoryValue
from omegaconf.errors import OmegaConfBaseException

from bench import tasks
from bench.config import Job, check_mismatch, condition_of, job_of, metrics_of, prompts_of
from bench.overrides import explained
from bench.store import Store
from metrics import named
from metrics.weights import Weights
from vgdfr.assets import Asset, describe, download

_planned: list[Job] = []


def planned() -> tuple[Job, ...]:
    """The jobs of the sweep that is running; empty outside a sweep."""
    return tuple(_planned)


class PlanFirst(Callback):
    """A Hydra callback: a mistake in any job stops the sweep before it starts.

    A cluster's launcher takes it along into each task, which so knows of the whole sweep.
    """

    sweep: DictConfig | None = None
    began = ""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if tasks.needs_multirun(config):  # Hydra would leave the launcher out, and run it here
            raise SystemExit("error: with this hydra/launcher add --multirun; a single condition is then a task, too")
        _plan(checked(config))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.sweep, self.began = config, datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            tasks.check_launcher(config)
            configs = composed(config)
        except ValueError as error:
            raise SystemExit(f"error: {error}") from None
        except OmegaConfBaseException as error:  # an experiment's own choice of conditions
            raise SystemExit(f"error: {error.msg or error}") from None
        _plan(checked(*configs, here=not tasks.on_other_machines(config)))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if self.sweep is not None and not _planned:  # another process than the one that planned
            tasks.enter(self.began)
            _planned[:] = checked(*composed(self.sweep))


def _require_one(jobs: Sequence[Job]) -> None:
    """Raise ValueError where the sweep's jobs differ in what a sweep has one of."""
    for name in ("study", "keep", "timing", "threads", "metrics", "tracker"):
        if len(found := {getattr(job, name) for job in jobs}) > 1:
            several = " and ".join(sorted(map(str, found)))
            raise ValueError(f"a sweep has one {name}, got {several}; run a sweep for each")


def _plan(jobs: Sequence[Job]) -> None:
    """Notes the jobs to run; ends the program with a message where their study's folder cannot be written."""
    try:
        Store(jobs[0].study).require_writable()
    except OSError as error:
        raise SystemExit(f"error: {error.strerror}; choose another by root=DIR") from None
    _planned[:] = jobs


def composed(config: DictConfig) -> list[DictConfig]:
    """Composes the configuration of each job of the sweep that `config`, with its hydra part, describes.

    Raises ValueError that explains a mistake in the sweep's parameters.
    """
    loader = GlobalHydra.instance().config_loader()
    # as Hydra's BasicSweeper reads them: the experiment's parameters, then the command line's
    given = [f"{k}={v}" for k, v in (config.hydra.sweeper.params or {}).items()] + list(config.hydra.overrides.task)
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)
        batches = BasicSweeper.split_arguments(parsed, None)
        return [loader.load_sweep_config(config, job) for batch in batches for job in batch]
    except HydraException as error:
        raise ValueError(explained(error, loader, given)) from error


def missing_assets(configs: Sequence[DictConfig]) -> list[Asset]:
    """What is to be downloaded before the jobs can run, each file once."""
    assets = [asset for config in configs for asset in condition_of(config).missing()]
    assets += [asset for config in configs for asset in prompts_of(config).missing()]
    assets += [asset for config in configs for asset in _missing_weights(metrics_of(config))]
    return list({asset.source: asset for asset in assets}.values())


def _missing_weights(names: Sequence[str]) -> list[Asset]:
    """Returns the weights to download before the metrics can be computed. Raises ValueError for an unknown name."""
    weights = {w.url: w for metric in named(names) if isinstance(w := metric.missing, Weights)}
    return [
        Asset(w.name, w.url, w.num_bytes, partial(_fetch, w.url, w.file, w.num_bytes, w.sha256))
        for w in weights.values()
    ]


def _fetch(url: str, file: Path, num_bytes: int, digest: str) -> Path:
    download(url, file, num_bytes, digest)
    return file


def checked(*configs: DictConfig, here: bool = True) -> list[Job]:
    """`job_of` each of `configs`, ending the program with the message where one is wrong or lacks a download.

    Unless they are to run `here`, this machine need not have the device.

    A SystemExit, because Hydra turns a callback's exceptions into warnings and would start the sweep all the same.
    """
    at = ""  # which of several conditions is looked at

    def each() -> Iterator[DictConfig]:
        nonlocal at
        for config in configs:
            at = f" (in the condition {' '.join(config.hydra.overrides.task)})" if len(configs) > 1 else ""
            yield config
        at = ""

    try:
        for config in each():
            check_mismatch(config)  # before anything is to be downloaded
            condition = condition_of(config)
            condition.check_classes()
            if here:
                condition.model.check_machine()
        if missing := missing_assets(configs):
            raise FileNotFoundError(
                f"{len(missing)} file(s) are to be downloaded first:\n{describe(missing)}\n"
                "run the same arguments with: python -m bench.prefetch"
            )
        jobs = [job_of(config, here) for config in each()]
        _require_one(jobs)
        return jobs
    except MissingMandatoryValue as error:
        raise SystemExit(f"error: {error.full_key} has no value; give it, as {error.full_key}=...") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}{at}") from None
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}{at}") from None
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(f"error: {type(error).__name__}: {error}") from None
