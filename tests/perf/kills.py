"""Kills workers of a launch (kill -9) while they load, make, score and store: `python tests/perf/kills.py --kills 30`.

Four workers make a study of the embedded model. The script stops a worker, and its notes and partial folders tell the
stage it is in. If this is the stage that the next kill is aimed at, the worker is killed. A launch that ends is started
again, and the last launch runs undisturbed. Then the study must equal the study of an undisturbed sweep, and only
samples that were being made at a kill may have failed. Prints a line for each kill and the counts. Takes about 10
minutes on 2 cores.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.store.claims import LOCKS, note_of, unit_note_of
from bench.store.upkeep import verify

AIMS = ("loading", "making", "scoring", "storing")
ARGUMENTS = [
    "--multirun", "method.k=2", "method.theta=0.5,0.9", "interpolator=linear", "metrics=pixel", "study=kills",
    "model.video.height=64", "model.video.width=64", "model.video.num_frames=17", "model.video.num_inference_steps=12",
]  # fmt: skip


@dataclass
class Kills:
    """The number of kills by aim, the killed processes, and the places of the samples that they were making."""

    by_aim: Counter[str] = field(default_factory=Counter)
    pids: set[int] = field(default_factory=set)
    being_made: set[str] = field(default_factory=set)


def kill_and_compare(root: Path, count: int, workers: int) -> Counter[str]:
    """Makes an undisturbed study and one with `count` kills, and compares them. Returns the number of kills by aim.

    Raises AssertionError if the studies differ, and if a sample failed that was not being made at a kill.
    """
    arguments = [*ARGUMENTS, f"prompts.limit={max(4, 2 * count // 3)}"]
    sweep = [sys.executable, "-m", "bench.sweep", *arguments, f"root={root / 'undisturbed'}"]
    subprocess.run(sweep, check=True, stdout=subprocess.DEVNULL)
    study = root / "killed" / "kills"
    study.parent.mkdir(parents=True)
    aims = Counter(AIMS[i % len(AIMS)] for i in range(count))
    kills = _kill(study, [*arguments, f"root={study.parent}"], aims, workers)
    wanted, got = (frames(each) for each in (root / "undisturbed" / "kills", study))
    assert got == wanted, f"{len(wanted.items() - got.items())} of {len(wanted)} samples differ"
    assert verify(study) == (len(wanted), [])
    assert list((study / LOCKS).iterdir()) == []
    return kills.by_aim


def frames(study: Path) -> dict[str, str | None]:
    """Returns the hash of the frames of each finished sample."""
    return {place: record["frames_sha256"] for place, record in _records(study) if record["status"] == "done"}


def _records(study: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(study.glob("[!.]*/[!.]*/record.json")):
        yield str(file.parent.relative_to(study)), json.loads(file.read_text())


def _kill(study: Path, arguments: list[str], aims: Counter[str], workers: int) -> Kills:
    """Launches until each of `aims` has had its kill, then launches once more. Returns the kills."""
    kills, log = Kills(), study.parent / "launch.log"
    while True:
        left = aims - kills.by_aim
        undisturbed = not left
        with _launched(workers, arguments, log) as launch:
            while launch.poll() is None:
                if left := aims - kills.by_aim:
                    _kill_one(study, launch.pid, left, kills)
                time.sleep(0.02)
        unexpected = {place for place, record in _records(study) if record["status"] != "done"} - kills.being_made
        assert not unexpected, f"{unexpected} failed; see {log}"
        if undisturbed:
            assert launch.returncode == 0, f"see {log}"
            return kills
        assert launch.returncode != 0 or not left, f"the study was complete while {left} kills were left"


@contextmanager
def _launched(workers: int, arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        command = [sys.executable, "-m", "bench.launch", "-n", str(workers), *arguments]
        with subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as launch:
            try:
                yield launch
            finally:
                launch.kill()


def _kill_one(study: Path, launch: int, aims: Counter[str], kills: Kills) -> None:
    """Kills a worker that is in the stage of a wanted kill, if there is one now."""
    wanted = {aim for aim, count in aims.items() if count == max(aims.values())}  # this mixes the kinds of kills
    for pid in _children(launch):
        aim = None if pid in kills.pids else doing(study, pid, wanted)
        if aim not in wanted:
            continue
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            _wait_until_stopped(pid)
            if aim and doing(study, pid, wanted) == aim:  # the stopped worker cannot change its stage
                note = _read(note_of(study, pid))
                kills.being_made |= {note["place"]} if note else set()
                os.kill(pid, signal.SIGKILL)
                kills.by_aim[aim] += 1
                kills.pids.add(pid)
                print(f"{kills.by_aim.total()}: killed while {aim}", note["place"] if note else "", flush=True)
                return
            os.kill(pid, signal.SIGCONT)


def doing(study: Path, pid: int, wanted: Collection[str] = AIMS) -> str | None:
    """Returns the stage that a worker is in, one of AIMS.

    Returns None if the worker imports, looks for work, or is in a stage that is not `wanted`.
    """
    if note := _read(note_of(study, pid)):
        condition = (study / note["place"]).parent
        others = [_read(other) for other in (study / LOCKS).glob("at-work-*.json") if other != note_of(study, pid)]
        alone = condition not in [(study / other["place"]).parent for other in others if other]
        return "storing" if alone and any(condition.glob(".partial-*")) else "making"
    if unit_note_of(study, pid).exists():
        return "scoring"
    return "loading" if "loading" in wanted and _has_open(pid, ".safetensors") else None


def _has_open(pid: int, ending: str) -> bool:
    """Returns whether a process has mapped a file of weights, as it does while it loads a model."""
    with suppress(OSError):
        return any(line.rstrip().endswith(ending) for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
    return False


def _wait_until_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "TZ":
        time.sleep(0.001)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _read(note: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        return json.loads(note.read_text())
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--workers", type=int, default=4)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        counts = kill_and_compare(Path(root), arguments.kills, arguments.workers)
    said = ", ".join(f"{counts[aim]} while {aim}" for aim in AIMS)
    print(
        f"{counts.total()} kills ({said}) in {time.monotonic() - began:.0f} s: the study is complete, all samples equal"
    )


if __name__ == "__main__":
    main()
