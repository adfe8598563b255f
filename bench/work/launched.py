"""The worker processes of a launch: they are started, watched, and started again after a crash."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.store.claims import DIED, LAUNCH_BEGAN, left_by, note_of, skip, unit_left_by, unit_note_of
from bench.store.study import Store
from bench.work.cores import Place, environment_at
from bench.work.progress import say

FINE = (0, 1)  # exit statuses of a sweep that came to its end, without and with failed samples
DEATHS_OF_NOTHING = 3  # a worker that dies so often in a row, each time before it began a sample, is given up
STOP_S = 60.0  # the time that workers have to end after an interrupt

# A worker prints into a pipe that is read here, in any locale.
PIPE = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}


def command_at(place: Place, arguments: Sequence[str]) -> list[str]:
    """Returns the command that runs bench.sweep on the cores of `place`."""
    return ["taskset", "-c", ",".join(map(str, sorted(place.cores))), sys.executable, "-m", "bench.sweep", *arguments]


class Worker:
    """A sweep in its own process. Its lines are printed under its number. It is started again after a crash."""

    def __init__(self, number: int, place: Place, arguments: Sequence[str], study: Path, began: str) -> None:
        self.number, self.place, self.arguments, self.study, self.began = number, place, arguments, study, began
        self.gave_up, self.deaths_of_nothing = False, 0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            command_at(self.place, self.arguments),
            env=environment_at(self.place, os.environ) | PIPE | {LAUNCH_BEGAN: self.began},
            stdin=subprocess.PIPE,  # see bench.work.orphan
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,  # so that Ctrl-C reaches the worker once, from `stop`
        )
        self._forget_notes()  # a dead process of another launch may have had this number
        self.reader = threading.Thread(target=self._pass_on, args=(self.process,), daemon=True)
        self.reader.start()

    def _pass_on(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                say(f"[{self.number}] {line.rstrip()}")

    def look(self) -> bool:
        """Returns whether the worker is running. Starts it again after a crash, unless that does not help."""
        status = self.process.poll()
        if status is None:
            return True
        self._close()
        if status in FINE or self.gave_up:
            return False
        how = f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"
        at, came_on = self._blame(how)
        self.deaths_of_nothing = 0 if came_on else self.deaths_of_nothing + 1
        if self.deaths_of_nothing == DEATHS_OF_NOTHING:
            say(
                f"worker {self.number} ended by {how}{at}, {DEATHS_OF_NOTHING} times before it began a sample; given up"
            )
            self.gave_up = True
            return False
        say(f"worker {self.number} ended by {how}{at}; started again")
        self.start()
        return True

    def _blame(self, how: str) -> tuple[str, bool]:
        """Records the sample that the dead process was making as failed, or has the launch pass over its unit.

        A process that died before it had loaded the model was at neither. Returns where the process died, as text, and
        whether it had begun or made a sample.
        """
        pid = self.process.pid
        left, left_unit = left_by(self.study, pid), unit_left_by(self.study, pid)
        self._forget_notes()
        came_on = left is not None or (left_unit is not None and left_unit[1] > 0)
        if left is not None:
            (name, record), store = left, Store(self.study)
            place = store.at(name)
            if store.get(place, record.key) is not None:  # the process had just stored the sample
                return "", came_on
            store.put(place, replace(record, error=f"{DIED}: {how}"))
            return f" at {place}, which is recorded as failed", came_on
        if left_unit is not None:
            skip(self.study, left_unit[0], self.began)
            return f" at {left_unit[0]}, while it made no sample; no worker of this launch tries that again", came_on
        return "", came_on

    def _forget_notes(self) -> None:
        for note in (note_of, unit_note_of):
            note(self.study, self.process.pid).unlink(missing_ok=True)

    def _close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.reader.join()

    def stop(self) -> None:
        """Asks the worker to end, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def wait(self, until: float) -> None:
        """Waits for the worker's end until `time.monotonic()` is `until`. Then kills it."""
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close()
