"""Modules with the old name of a command, which print the new name."""

import shlex
import sys
from typing import NoReturn

from vgdfr_commands.start import called


def moved(module: str) -> NoReturn:
    """Prints the command that runs `module` with this program's arguments, and ends the program with status 2."""
    print(f"error: this command has moved; run: {shlex.join([*called(module), *sys.argv[1:]])}", file=sys.stderr)
    sys.exit(2)
