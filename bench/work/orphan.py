"""Ends a worker soon after its launcher has died, even from kill -9, which lets the launcher tell nobody."""

import os
import signal
import threading
import time

from vgdfr_commands.start import INTERRUPTED

GRACE_S = 5.0  # the time that an interrupted worker has to free its claim and to remove its partial files


def end_with_launcher() -> None:
    """Watches standard input, a pipe that the launcher holds open and never writes to, in a thread.

    When the launcher ends, the thread interrupts this process, as Ctrl-C does. A few seconds later it ends the process
    for good. This is safe at any moment, because samples are stored atomically.
    """
    threading.Thread(target=_watch, args=(threading.get_ident(),), daemon=True).start()


def _watch(main_thread: int) -> None:
    while os.read(0, 1):
        pass
    signal.pthread_kill(main_thread, signal.SIGINT)  # also ends a system call that the thread waits for
    time.sleep(GRACE_S)
    os._exit(INTERRUPTED)
