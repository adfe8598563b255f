"""Measures how a plan and its store grow: `python tests/perf/plan_speed.py 944 --root DIR`.

Plans Table 1's 22 conditions over N prompts and 5 seeds: composed, checked, split into units, added to the study's
plan, looked up in the study, listed, verified and collected. The samples are synthetic records without videos, so that
`verify` hashes nothing and moves them all into quarantine. Prints seconds of CPU time. Twice the prompts should take
twice the seconds.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from report_speed import SEEDS, synthetic

from analysis import Study
from bench.plan.command_line import CommandLine
from bench.plan.compose import composed
from bench.plan.jobs import checked
from bench.plan.units import units_of
from bench.store import upkeep
from bench.store.place import RECORD
from bench.store.study import Store
from vgdfr_commands.start import run

T = TypeVar("T")


def timed(name: str, do: Callable[[], T]) -> T:
    began = time.process_time()
    result = do()
    print(f"{name:10} {time.process_time() - began:8.2f} s", flush=True)
    return result


def main(prompts: int, root: Path) -> int:
    root.mkdir(parents=True, exist_ok=True)
    source = root / f"prompts-{prompts}.txt"
    source.write_text("\n".join(f"a synthetic prompt, number {i}" for i in range(prompts)))
    seeds = ",".join(map(str, range(SEEDS)))
    of_prompts = ("prompts=file", f"prompts.source={source}", f"prompts.seeds=[{seeds}]", "prompts.limit=null")
    given = ("+exp=table1", *of_prompts, "metrics=pixel", f"root={root}", f"study=plan-{prompts}")
    plan = timed("composed", lambda: composed(CommandLine(given)))
    jobs = timed("checked", lambda: checked(plan))
    units = timed("units", lambda: units_of(jobs))
    places = [sample.folder for unit in units for sample, _, _ in unit.samples]
    store = Store(jobs[0].study)
    store.require_writable()
    timed("planned", lambda: store.plan(places))
    timed("looked up", lambda: sum(os.path.isfile(store.at(place).file(RECORD)) for place in places))
    stored = root / f"synthetic-{prompts}"
    synthetic(stored, len(places))
    timed("listed", lambda: upkeep.ls(stored))
    timed("cleaned", lambda: upkeep.gc(stored, quarantined=False, really=True))
    timed("collected", lambda: len(Study(stored).samples))
    timed("again", lambda: len(Study(stored).samples))
    timed("verified", lambda: upkeep.verify(stored))
    print(f"{len(places)} samples in {len(units)} units")
    return 0


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=int)
    parser.add_argument("--root", type=Path, required=True, help="a folder for the synthetic studies")
    arguments = parser.parse_args()
    return main(arguments.prompts, arguments.root)


if __name__ == "__main__":
    run(command)
