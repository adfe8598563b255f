"""What FFmpeg's decoder logs as an error: it decodes on, so that nothing else tells of the damage."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av

Log = list[tuple[int, str, str]]  # FFmpeg's level, who logged it, and what

# FFmpeg has one log for the process, and its decoder threads are not ours: so one video is listened to at a time
_LISTENING = threading.Lock()


@contextmanager
def listen() -> Iterator[Log]:
    """Collect what FFmpeg logs at level ERROR or worse; its level is as before afterwards."""
    with _LISTENING:
        level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_skip_repeated(False)  # else a message that equals the last one, of another file, is left out
        av.logging.set_level(max(level or av.logging.ERROR, av.logging.ERROR))
        try:
            with av.logging.Capture(local=False) as log:
                yield log
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skip)


def errors_of(decoder: str, log: Log) -> str | None:
    """What `decoder`, by FFmpeg's name, logged as errors; None where it did not. Others' messages do not count."""
    said = [message.strip() for level, name, message in log if level <= av.logging.ERROR and name == decoder]
    return " ".join(said[:2]) or None  # the first error; FFV1 logs its time as a second
