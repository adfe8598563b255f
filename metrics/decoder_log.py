"""Collects the errors that FFmpeg's decoder logs. It goes on after an error, so only its log shows the damage."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av

Log = list[tuple[int, str, str]]  # FFmpeg's level, the name of the component that logged, and its message

# FFmpeg has one log per process, and its decoder threads are its own, so one video is decoded at a time
_LISTENING = threading.Lock()


@contextmanager
def collected_log() -> Iterator[Log]:
    """Yields the messages that FFmpeg logs in the block at level ERROR or worse. Restores the level afterwards."""
    with _LISTENING:
        level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_skip_repeated(
            False
        )  # otherwise FFmpeg drops a message that equals the last one, even of another file
        av.logging.set_level(max(level or av.logging.ERROR, av.logging.ERROR))
        try:
            with av.logging.Capture(local=False) as log:
                yield log
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skip)


def errors_of(decoder: str, log: Log) -> str | None:
    """Returns the errors that the decoder with this FFmpeg name logged, or None. Ignores other components' messages."""
    errors = [message.strip() for level, name, message in log if level <= av.logging.ERROR and name == decoder]
    return " ".join(errors[:2]) or None  # the first error, for which FFV1 logs the time as a second message
