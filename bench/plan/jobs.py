"""Turns the composed conditions of a sweep into checked jobs, before any model is loaded."""

import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from omegaconf import MissingMandatoryValue
from omegaconf.errors import OmegaConfBaseException

from bench.plan.compose import Composed
from bench.plan.condition import VideoSettings
from bench.plan.job import Job
from bench.plan.prompts import Prompt
from bench.plan.settings import Wanted, checked_job, wanted_of
from metrics import named
from metrics.weights import Weights
from vgdfr.assets import Asset, describe, download


def checked(composed: Composed, here: bool | None = None) -> tuple[Job, ...]:
    """Returns the job of each condition, after checking everything that the job needs.

    If `here` is False, the jobs run on other machines and the devices of this machine are not checked. If it is None,
    the launcher decides. Raises ValueError or OSError: the message says what came, what was expected, what to do, and
    which condition has the mistake.
    """
    if here is None:
        here = composed.launcher is None or composed.launcher.name != "slurm"
    each, wanted = list(zip(composed.configs, composed.conditions, strict=True)), wanted_by(composed)
    for one, given in zip(wanted, composed.conditions, strict=True):
        with in_condition(given, len(each)):
            one.condition.check_classes()
            if here:
                one.condition.model.check_machine()
    if missing := missing_assets(wanted):
        raise FileNotFoundError(
            f"{len(missing)} file(s) are to be downloaded first:\n{describe(missing)}\n"
            "run the same arguments with: python -m bench.prefetch"
        )
    jobs, loaded = [], _Loaded()
    for (config, given), one in zip(each, wanted, strict=True):
        with in_condition(given, len(each)):
            jobs.append(checked_job(config, one, loaded.prompts(one), here))
    _require_one(jobs)
    return tuple(jobs)


def wanted_by(composed: Composed) -> list[Wanted]:
    """Returns the condition, prompts and metrics of each configuration.

    Raises ValueError for a setting that is wrong alone.
    """
    wanted = []
    for config, given in zip(composed.configs, composed.conditions, strict=True):
        with in_condition(given, len(composed.configs)):
            wanted.append(wanted_of(config))
    return wanted


class _Loaded:
    """Loads and checks prompts once for all conditions that have them."""

    def __init__(self) -> None:
        self._prompts: dict[str, tuple[Prompt, ...]] = {}
        self._checked: set[tuple[str, VideoSettings]] = set()

    def prompts(self, wanted: Wanted) -> tuple[Prompt, ...]:
        """Returns the loaded prompts. Raises ValueError for a prompt or seed that the video settings do not take."""
        name, video = repr(wanted.prompts), wanted.condition.video
        if name not in self._prompts:
            self._prompts[name] = tuple(wanted.prompts.load())
        if (name, video) not in self._checked:
            for prompt in self._prompts[name]:
                video.spec(prompt.text, prompt.seed)
            self._checked.add((name, video))
        return self._prompts[name]


@contextmanager
def in_condition(given: Sequence[str], count: int) -> Iterator[None]:
    """Names the condition with the overrides `given` in errors of the block. `count` is the number of conditions.

    OmegaConf's errors become ValueError. Any other exception, such as one from a user's own class, ends the program
    with its traceback.
    """
    at = f" (in the condition {' '.join(given)})" if count > 1 else ""
    try:
        yield
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} has no value; give it, as {error.full_key}=...") from None
    except OmegaConfBaseException as error:
        raise ValueError(f"{' '.join(str(error).split())}{at}") from None
    except (ValueError, OSError) as error:
        raise (OSError if isinstance(error, OSError) else ValueError)(f"{error}{at}") from error
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(f"error: {type(error).__name__}: {error}{at}") from None


def _require_one(jobs: Sequence[Job]) -> None:
    """Raises ValueError if the sweep's jobs differ in a setting of which a sweep has only one."""
    for name in ("study", "keep", "timing", "threads", "metrics", "tracker"):
        if len(found := {getattr(job, name) for job in jobs}) > 1:
            several = " and ".join(sorted(map(str, found)))
            raise ValueError(f"a sweep has one {name}, got {several}; run a sweep for each")


def missing_assets(wanted: Iterable[Wanted]) -> list[Asset]:
    """Returns the files that must be downloaded before the jobs can run, without duplicates."""
    wanted = list(wanted)
    assets = [asset for one in wanted for asset in one.condition.missing()]
    assets += [asset for one in wanted for asset in one.prompts.missing()]
    assets += [asset for metrics in dict.fromkeys(one.metrics for one in wanted) for asset in _missing_weights(metrics)]
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
