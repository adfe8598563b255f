"""Show a study in W&B: `python -m bench.track runs/STUDY`.

Reads finished and failed samples from the study's folder, writes a run for each condition and one for the study into
runs/STUDY/wandb, and sends them if there is a key and a server that answers. The same study gives the same runs: doing
it again updates them. Without network nothing is lost; the last line says how to send the runs later.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from bench.claims import claimed
from bench.tracked import newest_ns, read
from bench.trackers import CLAIM, FOLDER, Wandb, require, unreachable
from vgdfr_commands.start import run

CONF = Path(__file__).parent.parent / "conf" / "tracking" / "wandb.yaml"
SEND_S = 600.0  # for sending all runs, unless --timeout says otherwise
TABLE_S = 600.0  # for making Table 1
TABLES = "tables"  # in runs/STUDY/wandb: where W&B keeps tables until they are sent
WANDB_ERROR = "wandb: ERROR "  # how the lines begin that say what went wrong
STATE = "shown.json"  # in runs/STUDY/wandb: what of the study was shown last, how, and whether it was sent


def mode() -> str:
    """W&B's mode; nothing is sent unless it is "online"."""
    return os.environ.get("WANDB_MODE", "online")


def table_of(study: Path) -> tuple[Path | None, str]:
    """Table 1's CSV, made anew where a record or score is newer; None where it cannot be made, and why."""
    file = study / "report" / "table1.csv"
    if file.is_file() and file.stat().st_mtime_ns >= newest_ns(study)[1] and file.with_suffix(".md").is_file():
        return file, ""
    try:  # a process: what measures does not know what reports
        made = subprocess.run(
            [sys.executable, "-m", "analysis.table1", str(study)], stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="backslashreplace", timeout=TABLE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, f"not made within {TABLE_S:.0f} s"
    if made.returncode or not file.is_file():
        return None, (made.stderr.strip().splitlines() or [f"exit status {made.returncode}"])[-1]
    return file, ""


def send(folders: list[Path], timeout_s: float) -> str | None:
    """Send the runs in `folders`; None, or what went wrong. What was sent in part is sent again by the next attempt."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-synced", *map(str, folders)]
    environment = os.environ | {"WANDB_MODE": "online", "WANDB_DIR": str(folders[0].parents[1])}  # for its logs
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="backslashreplace", start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except BaseException as error:  # its helpers go with it
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"not sent within {timeout_s:.0f} s"
        raise
    lines = said.strip().splitlines()
    if process.returncode:
        return (lines or [f"exit status {process.returncode}"])[-1].removeprefix("Error: ")
    failed = [line.removeprefix(WANDB_ERROR) for line in lines if line.startswith(WANDB_ERROR)]
    return failed[-1] if failed else None  # a run that failed does not change the exit status


def show(study: Path, tracker: Wandb, timeout_s: float) -> tuple[int, bool]:
    """Write the runs, send them if possible, and say so; the exit status, 1 if not all were sent, and whether all were.

    Where there is no way to send them the status is 0: they can be sent later.
    """
    conditions, unreadable = read(study)
    for line in unreadable:
        print(f"not shown: {line}")
    table, why = table_of(study)
    if why:
        print(f"without Table 1: {why}")
    os.environ["WANDB_DATA_DIR"] = str((study / FOLDER / TABLES).resolve())
    shutil.rmtree(study / FOLDER / TABLES, ignore_errors=True)  # all are written anew
    from bench.wandb_runs import write  # brings wandb and matplotlib

    folders = write(study, tracker, conditions, table)
    samples = sum(len(c.samples) for c in conditions)
    written = f"{len(folders)} runs of {samples} samples written to {study / FOLDER}"
    later = f"later: wandb sync {study / FOLDER}, or python {' '.join(tracker.arguments(study))}"
    if mode() != "online":
        print(f"{written}; not sent, WANDB_MODE is {mode()}; {later}")
        return 0, False
    if reason := unreachable():
        print(f"{written}; not sent: {reason}; {later}")
        return 0, False
    if reason := send(folders, timeout_s):
        print(f"{written}; not all sent: {reason}; {later}")
        return 1, False
    place = f"{tracker.entity}/{tracker.project}" if tracker.entity else tracker.project
    print(f"{written} and sent to {place}, group {study.name}")
    return 0, True


def main(arguments: argparse.Namespace) -> int:
    """The exit status. Raises ValueError for no study, or settings that do not fit."""
    study: Path = arguments.study
    tracker = Wandb(arguments.project, arguments.entity, arguments.previews)
    tracker.check()
    if not study.is_dir():
        raise ValueError(f"there is no study at {study}")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's own report of its crashes is a request, too
    with claimed(study, CLAIM, timeout_s=-1 if arguments.background else 0) as mine:
        if not mine:
            raise ValueError(f"another process shows {study} just now")
        file = study / FOLDER / STATE
        now = [newest_ns(study), tracker.arguments(study)]
        sent, not_sent = (json.dumps([*now, {"sent": all_sent}]) for all_sent in (True, False))
        enough = [sent] if mode() == "online" else [sent, not_sent]
        if arguments.background and file.is_file() and file.read_text(encoding="utf-8") in enough:
            print("nothing new to show")
            return 0
        status, all_sent = show(study, tracker, arguments.timeout)
        file.write_text(sent if all_sent else not_sent, encoding="utf-8")
        return status


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    defaults: dict[str, Any] = yaml.safe_load(CONF.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--project", default=defaults["project"], help="of W&B (%(default)s)")
    parser.add_argument("--entity", default=defaults["entity"], help="whose project; the account's own by default")
    parser.add_argument("--previews", choices=["path", "upload"], default=defaults["previews"], help="(%(default)s)")
    parser.add_argument("--timeout", type=float, default=SEND_S, metavar="S", help="for sending (%(default)s s)")
    parser.add_argument("--background", action="store_true", help="how a sweep calls it: wait, skip what is shown")
    return parser.parse_args(arguments)


def command() -> int:
    parsed = parse()
    if parsed.background:
        os.nice(15)
    require("wandb")
    return main(parsed)


if __name__ == "__main__":
    run(command)
