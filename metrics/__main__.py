"""Score videos: `python -m metrics REFERENCE GENERATED`, or `vgdfr-metrics` where a metrics.py of your own lies.

Two files; two folders, paired by name; or two conditions of a study, such as runs/table1/baseline and
runs/table1/vgdfr-k5-theta0.7, paired by prompt and seed, their prompts taken from the records.

Prints a table; --json or --csv print every value instead, --per-frame those of each frame too. Every lossy file is
named: what the encoder changed is scored along. Frames are compared as a player shows them, turned and mirrored as the
container says. Two files fit where length, size, frame times, pixel aspect ratio and interlacing do. --profile adds
PSNR, SSIM and LPIPS as another project computes them. Motion stands beside flicker and clip_temp, which reward a frozen
video. A metric whose weights are not there is a dash, and what to do is said. docs/metrics.md describes each metric.

The exit status is 1 where a pair could not be scored, or a metric has no value for any pair; all else is printed still.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from metrics import METRICS, PROFILES, Metric, named
from metrics.fit import misfit, remarks
from metrics.groups import groups, names_of
from metrics.pairs import Pair, pairs, printable, prompt_of, require_whole, some
from metrics.prompts_file import FORM, prompts_for, unused_fields
from metrics.report import Row, as_csv, as_json, as_table
from metrics.video_file import read
from vgdfr_commands.start import INTERRUPTED, called, run
from vgdfr_commands.threads import use_threads

DEFAULT = ("psnr", "psnr_frame_mean", "ssim", "cosine", "flicker", "motion", "motion_flow")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("metrics")), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("generated", type=Path)
    parser.add_argument(
        "--metrics",
        default=",".join(DEFAULT),
        help=f"groups ({', '.join(groups())}) or names ({', '.join(METRICS)}, clipsim:SOURCE, clip_temp:SOURCE, "
        "pyiqa:NAME), comma between (default: %(default)s)",
    )
    parser.add_argument("--profile", choices=PROFILES, help="add the metrics as this project computes them")
    parser.add_argument("--prompts", type=Path, help=f"each video's prompt, by its name in the output: {FORM}")
    parser.add_argument("--per-frame", action="store_true", help="with --json: each frame's value")
    parser.add_argument("--threads", type=int, default=1, help="of the metrics' networks on the CPU (default: 1)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--csv", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Print what came of it with `say`, and on stderr what went wrong; the exit status.

    Raises ValueError or OSError for what is wrong before anything is computed.
    """
    if arguments.per_frame and not arguments.json:
        raise ValueError("--per-frame goes with --json")
    asked = named(names_of(arguments.metrics))
    asked += [m for m in PROFILES.get(arguments.profile, ()) if m not in asked]
    if all(metric.missing for metric in asked):
        raise ValueError("; ".join(f"{m.name} needs {m.missing.name}: {m.missing.how}" for m in asked if m.missing))
    found = pairs(arguments.reference, arguments.generated)
    prompts = _prompts(arguments.prompts, found, asked)
    metrics = _with_what_is_read_beside(asked)
    ids = {metric.name: metric.id for metric in metrics}
    use_threads(arguments.threads, networks=any(metric.weights for metric in metrics))
    rows: list[Row] = []
    interrupted = False
    try:
        for pair in found:
            if len(found) > 1 and sys.stderr.isatty():
                print(f"{len(rows) + 1} of {len(found)}: {pair.name}", file=sys.stderr)
            rows.append(scored(pair, metrics, ids, prompts.get(pair.name)))
    except KeyboardInterrupt:  # what is there is not lost
        interrupted = True
    if arguments.json:
        say(as_json(rows, ids, metrics, arguments.per_frame))
    else:
        say(as_csv(rows, metrics) if arguments.csv else as_table(rows, metrics))
    problems = _problems(rows, asked)
    if interrupted:
        problems.append(f"interrupted: {len(rows)} of {len(found)} pairs were looked at")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return INTERRUPTED if interrupted else int(bool(problems))


def scored(pair: Pair, metrics: Sequence[Metric], ids: dict[str, str], prompt: str | None) -> Row:
    """Every metric of one pair, each file decoded once; or why the pair cannot be scored."""
    try:
        for file in (pair.reference, pair.generated):
            require_whole(file)
        reference, generated = read(pair.reference), read(pair.generated)
        if why := misfit(reference, generated):
            raise ValueError(f"{why} ({pair.reference} and {pair.generated})")
    except (ValueError, OSError) as error:
        return Row(pair.name, error=printable(str(error)))
    except MemoryError as error:
        return Row(pair.name, error=f"there is not enough memory to decode both videos: {error}")
    scores = {m.name: m.attempt(ids[m.name], generated.frames, reference.frames, prompt) for m in metrics}
    both = ((pair.reference, reference), (pair.generated, generated))
    lossy = tuple(dict.fromkeys(printable(str(file)) for file, video in both if not video.lossless))
    return Row(pair.name, not lossy, scores, lossy=lossy, remarks=remarks(reference, generated))


def _prompts(file: Path | None, found: Sequence[Pair], asked: Sequence[Metric]) -> dict[str, str]:
    """The prompt of each pair, of the file or else of the samples' records, where a metric needs one."""
    if file is not None:
        if unused := unused_fields(file):
            print(f"{file}: these fields are ignored: {', '.join(unused)}", file=sys.stderr)
        return prompts_for(file, [pair.name for pair in found])
    if not any(metric.needs_prompt for metric in asked):
        return {}
    prompts = {pair.name: prompt_of(pair) for pair in found}
    if without := [name for name, prompt in prompts.items() if not prompt]:
        raise ValueError(f"no prompt for {some(without)}; --prompts takes {FORM}")
    return {name: prompt for name, prompt in prompts.items() if prompt}


def _with_what_is_read_beside(asked: Sequence[Metric]) -> list[Metric]:
    """The metrics asked for, and right of one that rewards frozen videos the one that shows these."""
    metrics = list(asked)
    for metric in asked:
        if metric.shown_with and all(other.name != metric.shown_with for other in metrics):
            metrics.insert(metrics.index(metric) + 1, METRICS[metric.shown_with])
    return metrics


def _problems(rows: Sequence[Row], asked: Sequence[Metric]) -> list[str]:
    """What makes the exit status 1."""
    failed = [row.name for row in rows if row.error]
    problems = [f"{len(failed)} of {len(rows)} pairs could not be scored: {some(failed)}"] if failed else []
    there = [row for row in rows if not row.error]
    nowhere = [metric.name for metric in asked if there and all(row.value(metric) is None for row in there)]
    if nowhere:
        problems.append(f"no value for any video: {', '.join(nowhere)}")
    return problems


def command() -> int:
    return main(parse())


if __name__ == "__main__":
    run(command)
