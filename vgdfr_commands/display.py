"""Output streams that never raise. Output that cannot be written is dropped, and the work goes on."""

import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ESCAPE = "backslashreplace"  # the error handler for characters that the stream's encoding lacks


class Steady(io.RawIOBase):
    """A raw stream that writes to a file descriptor and drops output that cannot be written. None drops all output.

    Writing fails on a closed pipe, a full disk or a lost terminal, for example. Each write tries again, so a log
    continues when its disk has room again. Closing the stream leaves the descriptor open, as Python's own standard
    streams do.
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
        """Returns the number of bytes in `data`, whether or not they could be written."""
        view = memoryview(data).cast("B")
        rest = view if self._descriptor is not None else view[:0]
        while rest:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except BlockingIOError:  # another program made the terminal or pipe non-blocking, so wait here
                with suppress(OSError):
                    select.select([], [self.fileno()], [])
            except OSError:
                break
        return len(view)


def steady() -> None:
    """Replaces sys.stdout and sys.stderr by streams that never raise. A second call has no effect.

    The new streams keep encoding and buffering, and escape characters that the encoding lacks. Streams that another
    program has installed, such as a notebook or a test runner, stay.
    """
    lost = _fill_closed_descriptors()
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _stream(number if number in lost else None, f"<{name}>", "utf-8", True))
        elif _writes_to(stream, number) and not isinstance(getattr(stream.buffer, "raw", stream.buffer), Steady):
            with suppress(OSError, ValueError):
                stream.flush()
            buffered = isinstance(stream.buffer, io.BufferedWriter)  # python -u has no buffer
            setattr(sys, name, _stream(number, f"<{name}>", stream.encoding, stream.line_buffering, buffered))


def _stream(
    descriptor: int | None, name: str, encoding: str, line_buffering: bool, buffered: bool = True
) -> io.TextIOWrapper:
    raw = Steady(descriptor, name)
    below = io.BufferedWriter(raw) if buffered else cast(io.BufferedWriter, raw)
    return io.TextIOWrapper(below, encoding, ESCAPE, line_buffering=line_buffering, write_through=not buffered)


def _writes_to(stream: TextIO, number: int) -> bool:
    """Returns whether the stream writes to the descriptor `number`, as Python's original stream does."""
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == number
    except (OSError, ValueError):  # in memory, or closed
        return False


def _fill_closed_descriptors() -> set[int]:
    """Opens /dev/null in place of closed standard descriptors, and returns their numbers.

    Otherwise the next file that the program opens would get such a number, and a library's output would end up in it.
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
