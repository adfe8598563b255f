"""Scores stored samples: reads each master once, computes missing scores and stores them with the record.

`python -m bench.score runs/STUDY --metrics embedded` scores the samples of a study that lack scores. It generates no
samples. --metrics takes groups (docs/metrics.md), names and dotted paths of metrics of your own, separated by commas. A
study of the embedded model does not need it. Several such processes may run at once, also during a sweep.
"""

import argparse
from pathlib import Path

from bench.store.study import Store
from metrics.groups import DOTTED_PATH_HELP, groups, names_of
from vgdfr_commands.start import run
from vgdfr_commands.threads import use_threads


def default_metrics(study: Path) -> str:
    """Returns the group "embedded" for a study of the embedded model, or raises ValueError for any other study."""
    from bench.work.scoring import finished  # here and below, as PyTorch takes seconds to import

    models = sorted({sample.record.model_name for sample in finished(study).values()})
    if models != ["embedded"]:
        raise ValueError(
            "say which metrics, such as --metrics paper: the default, embedded, looks through the small judge of the "
            f"embedded model's world, and {study} is of {' and '.join(models)}"
        )
    return "embedded"


def main(study: Path, metrics: str | None) -> int:
    """Scores a study and prints the results. Returns the exit status, 1 if any score is null."""
    from bench.work.scoring import finished, score_study

    if study.is_dir():
        try:
            Store(study).require_writable()
        except OSError as error:  # locks are files in the study, too
            raise ValueError(f"scores are stored in the study, and {error.strerror}") from error
    names = names_of(default_metrics(study) if metrics is None else metrics)
    without = score_study(study, names)
    print(f"{study}: {len(finished(study))} samples scored for {', '.join(n for n in names if not without[n])}")
    for name, reasons in without.items():
        for reason, count in reasons.items():
            print(f"{name}: no value for {count} sample{'s' * (count != 1)}: {reason}")
    return int(any(without.values()))


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    said = f"groups ({', '.join(groups())}), names or {DOTTED_PATH_HELP}, separated by commas"
    parser.add_argument("--metrics", help=f"{said}; default: embedded, for the embedded model only")
    parser.add_argument("--threads", type=int, default=1, help="of the metrics' networks on the CPU (default: 1)")
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    return main(arguments.study, arguments.metrics)


if __name__ == "__main__":
    run(command)
