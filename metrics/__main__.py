"""Scores videos: `python -m metrics REFERENCE GENERATED`, or `vgdfr-metrics` in a folder with a metrics.py of your own.

REFERENCE and GENERATED are two files, two folders, or two conditions of a study, such as runs/table1/baseline and
runs/table1/vgdfr-k5-theta0.7. Files in folders are paired by name. Samples of conditions are paired by prompt and seed,
and their records give the prompts.

The command prints a table. --json and --csv print every value instead, and --per-frame adds the values of each frame.
The output names every lossy file, because the scores include what the encoder changed. Frames are compared as a player
shows them, turned and mirrored as the container says. Two files can be compared if their length, size, frame times,
pixel aspect ratio and interlacing agree. --profile adds PSNR, SSIM and LPIPS as another project computes them. Motion
is shown next to flicker and clip_temp, which reward a frozen video. A metric without its weights is a dash, and a note
says how to get them. docs/metrics.md describes each metric, and docs/extending.md a metric of your own.

The exit status is 1 if a pair could not be scored, or if a metric has no value for any pair. Everything else is still
printed.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from metrics import METRICS, PROFILES, Metric, named
from metrics.fit import misfit, remarks
from metrics.groups import DOTTED_PATH_HELP, groups, names_of
from metrics.pairs import Pair, abbreviated, pairs, printable, prompt_of, require_whole
from metrics.prompts_file import FORM, prompts_for, unused_fields
from metrics.report import Row, as_csv, as_json, as_table
from metrics.video_file import read
from vgdfr_commands.start import INTERRUPTED, called, run
from vgdfr_commands.threads import use_threads

DEFAULT = ("psnr", "psnr_frame_mean", "ssim", "cosine", "flicker", "motion", "motion_flow")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the parsed arguments (default: those of the process). Ends the process for a mistake in them."""
    parser = argparse.ArgumentParser(
        prog=" ".join(called("metrics")), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("generated", type=Path)
    parser.add_argument(
        "--metrics",
        default=",".join(DEFAULT),
        help=f"groups ({', '.join(groups())}), names ({', '.join(METRICS)}, clipsim:SOURCE, clip_temp:SOURCE, "
        f"pyiqa:NAME) or {DOTTED_PATH_HELP}, separated by commas (default: %(default)s)",
    )
    parser.add_argument("--profile", choices=PROFILES, help="adds the metrics as this project computes them")
    parser.add_argument("--prompts", type=Path, help=f"the prompt of each video, by its name in the output: {FORM}")
    parser.add_argument("--per-frame", action="store_true", help="with --json: adds the value of each frame")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the metrics' networks (default: 1)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--csv", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Prints the scores with `say`, and the problems on stderr. Returns the exit status.

    Raises ValueError or OSError for a mistake that is known before anything is computed.
    """
    if arguments.per_frame and not arguments.json:
        raise ValueError("--per-frame goes with --json")
    asked = named(names_of(arguments.metrics))
    asked += [m for m in PROFILES.get(arguments.profile, ()) if m not in asked]
    if all(metric.missing for metric in asked):
        raise ValueError("; ".join(f"{m.name} needs {m.missing.name}: {m.missing.how}" for m in asked if m.missing))
    metrics = _with_companions(asked)
    found = pairs(arguments.reference, arguments.generated)
    prompts = _prompts(arguments.prompts, found, asked)
    ids = {metric.name: metric.id for metric in metrics}
    use_threads(arguments.threads, networks=any(metric.weights for metric in metrics))
    rows: list[Row] = []
    interrupted = False
    try:
        for pair in found:
            if len(found) > 1 and sys.stderr.isatty():
                print(f"{len(rows) + 1} of {len(found)}: {pair.name}", file=sys.stderr)
            rows.append(scored(pair, metrics, ids, prompts.get(pair.name)))
    except KeyboardInterrupt:  # the finished pairs are still printed
        interrupted = True
    if arguments.json:
        say(as_json(rows, ids, metrics, arguments.per_frame))
    else:
        say(as_csv(rows, metrics) if arguments.csv else as_table(rows, metrics))
    problems = _problems(rows, asked)
    if interrupted:
        problems.append(f"interrupted: {len(rows)} of {len(found)} pairs were scored")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return INTERRUPTED if interrupted else int(bool(problems))


def scored(pair: Pair, metrics: Sequence[Metric], ids: dict[str, str], prompt: str | None) -> Row:
    """Returns every metric of one pair, or the reason why the pair cannot be scored. Decodes each file once."""
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
    """Returns the prompt of each pair if a metric needs it: from the file, or else from the samples' records."""
    if file is not None:
        if unused := unused_fields(file):
            print(f"{file}: these fields are ignored: {', '.join(unused)}", file=sys.stderr)
        return prompts_for(file, [pair.name for pair in found])
    if not any(metric.needs_prompt for metric in asked):
        return {}
    prompts = {pair.name: prompt_of(pair) for pair in found}
    if without := [name for name, prompt in prompts.items() if not prompt]:
        raise ValueError(f"no prompt for {abbreviated(without)}; --prompts takes {FORM}")
    return {name: prompt for name, prompt in prompts.items() if prompt}


def _with_companions(asked: Sequence[Metric]) -> list[Metric]:
    """Returns the metrics asked for. A metric that rewards frozen videos is followed by the metric to read with it."""
    metrics = list(asked)
    for metric in asked:
        if metric.shown_with and all(other.name != metric.shown_with for other in metrics):
            metrics.insert(metrics.index(metric) + 1, *named([metric.shown_with]))
    return metrics


def _problems(rows: Sequence[Row], asked: Sequence[Metric]) -> list[str]:
    """Returns the problems for which the exit status is 1."""
    failed = [row.name for row in rows if row.error]
    problems = [f"{len(failed)} of {len(rows)} pairs could not be scored: {abbreviated(failed)}"] if failed else []
    scored_rows = [row for row in rows if not row.error]
    nowhere = [m.name for m in asked if scored_rows and all(row.value(m) is None for row in scored_rows)]
    if nowhere:
        problems.append(f"no value for any video: {', '.join(nowhere)}")
    return problems


def command() -> int:
    """Runs the command with the arguments of the process. Returns the exit status."""
    return main(parse())


if __name__ == "__main__":
    run(command)
