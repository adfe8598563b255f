"""Prints means with intervals and paired differences of a study, and writes them as Markdown and CSV into its report/.

`python -m analysis.statistics runs/table1 --by speed`
"""

import argparse
from pathlib import Path

from analysis.compare import GROUPINGS, report
from analysis.output import add_out, names_in, write_and_print
from analysis.study import Study
from vgdfr_commands.start import called, run


def command() -> None:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("analysis.statistics")),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument(
        "--between", nargs=2, metavar=("A", "B"), help="print A minus B for two conditions, named as their folders"
    )
    parser.add_argument("--by", choices=GROUPINGS, help="compare within groups of prompts or videos")
    parser.add_argument("--columns", metavar="NAMES", help="show only these metrics, separated by commas")
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices in one table")
    add_out(parser)
    given = parser.parse_args()
    names = names_in(given.columns)
    made = report(Study(given.study), given.between and tuple(given.between), given.by, given.allow_mixed, names)
    write_and_print(made, given.study, given.out)


if __name__ == "__main__":
    run(command)
