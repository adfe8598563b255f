"""Tries a method or an accelerator: `python -m vgdfr.conform my_pkg.SkipSteps every=2 --neutral every=1`.

Prints one line per promise: ok, or BROKEN with the observation and advice. The exit status is 1 if a promise is broken.
The trial runs on the embedded model, on the CPU. An accelerator is tried with Baseline and with Vgdfr.
"""

import argparse

from vgdfr.conform import SMALL
from vgdfr_commands.start import called, run


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("vgdfr.conform")),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", help="the class, such as my_pkg.SkipSteps")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="its settings: numbers, words, [lists], null")
    parser.add_argument(
        "--neutral",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting with which nothing is merged or skipped; may be given several times",
    )
    for name, value in SMALL.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"default: {value}")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    return parser.parse_args(arguments)


def command() -> int:
    arguments = parse()
    from vgdfr.conform.report import main  # imports PyTorch, which --help and a wrong option do not need

    return main(arguments)


if __name__ == "__main__":
    run(command)
