"""Streams that never raise: output that nobody can read any more is dropped, and the work goes on."""

import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ESCAPE = "backslashreplace"  # how characters are printed that the stream's encoding does not have


class Steady(io.RawIOBase):
    """Writes to an open file descriptor, or to nothing (None). Drops what cannot be written.

    So it is with a closed pipe, a full disk or a lost terminal. Each write tries anew: a log goes on once its disk has
    room again. Closing the stream leaves the descriptor open, as with Python's own standard streams.
    """

    def __init__(self, descriptor: int | None, name: str) -> None:
        self._descriptor, self.name = descriptor, name

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._descriptor is None:
            raise io.UnsupportedOperation(f"{self.name} was closed when the program started")
        return self._descriptor

    def isatty(self) -> bool:
        return self._descriptor is not None and os.isatty(self._descriptor)

    def write(self, data: "ReadableBuffer") -> int:
        """Returns the number of bytes in `data`, whatever came of them."""
        view = memoryview(data).cast("B")
        rest = view if self._descriptor is not None else view[:0]
        while rest:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except BlockingIOError:  # a terminal or pipe that another program made non-blocking: wait as if it were not
                with suppress(OSError):
                    select.select([], [self.fileno()], [])
            except OSError:
                break
        return len(view)


def steady() -> None:
    """Replace sys.stdout and sys.stderr by streams that never raise; of no effect the second time.

    They keep encoding and buffering, and escape characters that the encoding does not have. Streams that another
    program put there, such as a notebook or a test, stay as they are.
    """
    lost = _fill_closed_descriptors()
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _stream(number if number in lost else None, f"<{name}>", "utf-8", True))
        elif _is_of(stream, number) and not isinstance(getattr(stream.buffer, "raw", stream.buffer), Steady):
            with suppress(OSError, ValueError):
                stream.flush()
            buffered = isinstance(stream.buffer, io.BufferedWriter)  # not so with python -u
            setattr(sys, name, _stream(number, f"<{name}>", stream.encoding, stream.line_buffering, buffered))


def _stream(
    descriptor: int | None, name: str, encoding: str, line_buffering: bool, buffered: bool = True
) -> io.TextIOWrapper:
    raw = Steady(descriptor, name)
    below = io.BufferedWriter(raw) if buffered else cast(io.BufferedWriter, raw)
    return io.TextIOWrapper(below, encoding, ESCAPE, line_buffering=line_buffering, write_through=not buffered)


def _is_of(stream: TextIO, number: int) -> bool:
    """Whether the stream writes to that descriptor, as the one does that Python opened."""
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == number
    except (OSError, ValueError):  # in memory, or closed
        return False


def _fill_closed_descriptors() -> set[int]:
    """Open /dev/null in place of standard descriptors that are closed, and return their numbers.

    Otherwise the next file that the program opens gets such a number, and what a library prints is written into it.
    """
    closed = set()
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            closed.add(number)
    return closed
