"""Shows a study in W&B: `python -m analysis.publish.track runs/STUDY`.

Reads the finished and failed samples, writes a run per condition and a run for the study into runs/STUDY/wandb, and
sends the runs if there is a key and a server that answers. The same study gives the same runs: doing it again updates
them. Without network nothing is lost; the last line says how to send the runs later.
"""

import argparse
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from analysis import table1
from analysis.index import refreshed
from analysis.publish.runs import group_of
from analysis.publish.server import mode, quiet, send, unreachable
from analysis.study import Study, StudyError
from bench.plan.job import Wandb, require
from bench.store.claims import claimed
from bench.work.tracking import CLAIM, FOLDER, PUBLISHER
from vgdfr_commands.start import called, run

CONF = Path(__file__).parents[2] / "conf" / "tracking" / "wandb.yaml"
SEND_S = 600.0  # the time for sending all runs, unless --timeout says otherwise
TABLES = "tables"  # in runs/STUDY/wandb: W&B keeps tables there until they are sent
STATE = "shown.json"  # in runs/STUDY/wandb: the state and settings that were shown last, and whether all was sent


def show(folder: Path, tracker: Wandb, timeout_s: float) -> bool | None:
    """Writes the runs, sends them if possible, and prints the outcome.

    Returns whether all runs were sent, or None if there is no way to send them: they can be sent later.
    """
    study = Study(folder, skip_unreadable=True)
    for message in study.unreadable.values():
        print(f"not shown: {message}")
    table = None
    try:  # Table 1 refuses damaged samples
        table = table1.report(Study(folder) if study.unreadable else study)
    except StudyError as error:
        print(f"without Table 1: {error}")
    os.environ["WANDB_DATA_DIR"] = str((folder / FOLDER / TABLES).resolve())
    shutil.rmtree(folder / FOLDER / TABLES, ignore_errors=True)  # all are written again
    from analysis.publish.write import write  # imports wandb and matplotlib

    runs = write(study, tracker, table)
    written = f"{len(runs)} runs of {len(study.samples)} samples written to {folder / FOLDER}"
    sent = None
    if mode() != "online":
        problem = f"not sent, WANDB_MODE is {mode()}"
    elif reason := unreachable():
        problem = f"not sent: {reason}"
    elif reason := send(runs, timeout_s):
        problem, sent = f"not all sent: {reason}", False
    else:
        place = f"{tracker.entity}/{tracker.project}" if tracker.entity else tracker.project
        print(f"{written} and sent to {place}, group {group_of(folder)}")
        return True
    command = " ".join([*called(PUBLISHER), *tracker.arguments(folder)])
    print(f"{written}; {problem}; later: wandb sync {folder / FOLDER}, or {command}")
    return sent


def main(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises ValueError for no study, or settings that do not fit."""
    study: Path = arguments.study
    tracker = Wandb(arguments.project, arguments.entity, arguments.previews)
    tracker.check()
    if not study.is_dir():
        raise ValueError(f"there is no study at {study}")
    quiet()
    with claimed(study, CLAIM, timeout_s=-1 if arguments.background else 0) as mine:
        if not mine:
            raise ValueError(f"another process shows {study} now; wait until it ends")
        index = refreshed(study)
        files = hashlib.sha256(json.dumps([[*index["sample"]], [*index["stamp"]]]).encode()).hexdigest()
        sent, not_sent = (json.dumps([files, tracker.arguments(study), all_sent]) for all_sent in (True, False))
        state = study / FOLDER / STATE
        enough = [sent] if mode() == "online" else [sent, not_sent]
        if arguments.background and state.is_file() and state.read_text(encoding="utf-8") in enough:
            print("nothing new to show")
            return 0
        all_sent = show(study, tracker, arguments.timeout)
        state.write_text(sent if all_sent else not_sent, encoding="utf-8")
        return int(all_sent is False)


def parse() -> argparse.Namespace:
    defaults: dict[str, Any] = yaml.safe_load(CONF.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--project", default=defaults["project"], help="the W&B project (%(default)s)")
    parser.add_argument(
        "--entity", default=defaults["entity"], help="the owner of the project; by default the account's own"
    )
    parser.add_argument(
        "--previews",
        choices=["path", "upload"],
        default=defaults["previews"],
        help="name each sample's preview.mp4, or send it (%(default)s)",
    )
    parser.add_argument(
        "--timeout", type=float, default=SEND_S, metavar="S", help="time limit for sending (%(default)s s)"
    )
    parser.add_argument(
        "--background", action="store_true", help="for sweeps: wait, and skip a study that was shown before"
    )
    return parser.parse_args()


def command() -> int:
    parsed = parse()
    if parsed.background:
        os.nice(15)
    require("wandb")
    return main(parsed)


if __name__ == "__main__":
    run(command)
