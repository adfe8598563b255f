"""Lists, verifies, cleans and merges studies.

`python -m bench.store ls runs/STUDY` lists a study's samples. `verify` checks every file against its hash and moves
damaged samples into quarantine, so that the sweep's command makes them again. `gc` removes leftovers of interrupted
workers. `merge SOURCE INTO` copies the verified samples of the study SOURCE into INTO, see `bench.store.merge`.
"""

import argparse
from collections import Counter
from pathlib import Path

from bench.store import merge, upkeep
from bench.store.runs import damaged_runs
from vgdfr_commands.start import run


def main(arguments: argparse.Namespace) -> int:
    """Runs the command. Returns the exit status, 1 if a sample or a run's file is damaged.

    Raises ValueError if there is no study.
    """
    if arguments.what == "ls":
        print(upkeep.ls(arguments.study))
        return 0
    if arguments.what == "verify":
        count, damaged = upkeep.verify(arguments.study)
        print("\n".join([*damaged, f"{count} samples checked, {len(damaged)} damaged"]))
        return int(bool(damaged))
    if arguments.what == "merge":
        return _merge(arguments.study, arguments.into, arguments.dry_run)
    if not arguments.study.is_dir():
        raise ValueError(f"there is no study at {arguments.study}")
    gone = upkeep.gc(arguments.study, arguments.quarantined, not arguments.dry_run)
    print("\n".join([*gone, f"{len(gone)} {'would be ' if arguments.dry_run else ''}removed"]))
    return 0


def _merge(source: Path, into: Path, dry_run: bool) -> int:
    counts: Counter[str] = Counter()
    for outcome in merge.merge(source, into, not dry_run):
        counts[outcome.kind] += 1
        if outcome.said:
            print(f"{outcome.place}: {outcome.said}", flush=True)
    damaged = damaged_runs(source)
    print("\n".join([*(f"not copied: {each}" for each in damaged), merge.summary(counts, dry_run)]))
    return int(bool(damaged) or any(counts[kind] for kind in merge.PROBLEMS))


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ls", "verify", "gc", "merge"])
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1; merge: the one to copy from")
    parser.add_argument("into", type=Path, nargs="?", help="merge: the study to copy into, which may be new")
    parser.add_argument("--dry-run", action="store_true", help="gc, merge: only say what would go or be copied")
    parser.add_argument("--quarantined", action="store_true", help="gc: damaged samples, too")
    arguments = parser.parse_intermixed_args()  # merge SOURCE --dry-run INTO, too
    if (arguments.what == "merge") != (arguments.into is not None):
        parser.error("merge takes two studies, SOURCE and INTO; ls, verify and gc take one")
    return main(arguments)


if __name__ == "__main__":
    run(command)
