"""Runs a condition, or an experiment's sweep of conditions: `python -m bench.sweep +exp=table1 [root=DIR]`.

A display that breaks (a closed pipe, a full disk below a log, a closed terminal) does not end a sweep. The sweep goes
on without the display, and only the samples decide the exit status. `pkill -f bench.sweep` or `pkill -f vgdfr-sweep`
stops a sweep without a terminal. Finished samples are stored.
"""

import os
import signal
import sys

from bench.plan import command_line
from bench.store.claims import LAUNCH_BEGAN
from bench.work.orphan import end_with_launcher
from vgdfr_commands.start import called, outlive_terminal, run


def command() -> int:
    """Runs the sweep of the command line. Returns the exit status, 1 for a failed sample."""
    parser = command_line.parser(called("bench.sweep"), __doc__, cfg=True)
    command_line.add_dry_run(parser)
    line, flags = command_line.parsed(parser, sys.argv[1:])
    if flags.dry_run:
        from bench.dry_run import Assumed, describe_sweep  # here and below, as PyTorch takes seconds to import

        print(describe_sweep(line, Assumed.of(flags)))
        return 0
    outlive_terminal()
    if LAUNCH_BEGAN in os.environ:  # a launcher in a shell's background passes on that it ignores SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)
        end_with_launcher()
    from bench.work.sweep import sweep

    return sweep(line)


if __name__ == "__main__":
    run(command)
