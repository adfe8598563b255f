"""Run a condition, or an experiment's sweep of them: `python -m bench.sweep +exp=table1 [root=DIR]`."""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from bench.config import CONF
from bench.plan import checked, planned
from bench.progress import Sweep, say
from bench.run import run, samples_of
from bench.store import RECORD

_seen: set[str] = set()
_sweep: Sweep | None = None


@hydra.main(config_path=CONF, config_name="config", version_base="1.3")
def main(config: DictConfig) -> None:
    """One job: a condition over its prompts."""
    global _sweep
    (job,) = checked(config)
    if _sweep is None:  # the first job of this process; it shows the progress of all of them
        jobs = planned() if HydraConfig.get().mode == RunMode.MULTIRUN else ()
        samples = {sample.key: each.study / sample.folder for each in jobs or (job,) for sample, _ in samples_of(each)}
        recorded = sum((folder / RECORD).is_file() for folder in samples.values())  # failed ones too
        say(f"{len(samples)} samples in {job.study}, {recorded} of them recorded before")
        _sweep = Sweep(len(samples), len(samples) - recorded)
    run(job, _sweep, _seen)


def finish() -> int:
    """Close the display, say what came of the sweep; the exit status: 1 if a sample failed."""
    if _sweep is None:
        return 0
    say(_sweep.close())
    for name in _sweep.failed:
        say(f"failed: {name}")
    if _sweep.failed:
        say(f"{len(_sweep.failed)} failed; the same command tries only these again")
    return int(bool(_sweep.failed))


if __name__ == "__main__":
    interrupted = False
    try:
        main()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        status = finish()
    if interrupted:
        say("interrupted: what is finished is stored, the same command continues")
    sys.exit(130 if interrupted else status)
