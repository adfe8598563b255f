"""Prints means with intervals and paired differences of a study, and writes them as Markdown and CSV into its report/.

`python -m analysis.statistics runs/table1 --by speed`
`python -m analysis.statistics runs/table1 --power psnr=0.5` says how many prompts separate two conditions.
"""

import argparse
from pathlib import Path

from analysis.compare import GROUPINGS, report
from analysis.output import add_out, names_in, write_and_print
from analysis.power import asked_of, power_report
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
    parser.add_argument(
        "--power",
        nargs="*",
        metavar="COLUMN=X",
        help="print how many prompts separate two conditions by X, such as psnr=0.5; without X by usual differences",
    )
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices in one table")
    add_out(parser)
    given = parser.parse_args()
    pair = given.between and tuple(given.between)
    if given.power is not None:
        if given.by or given.columns:
            parser.error("--power takes no --by and no --columns; name columns as in --power psnr=0.5 ssim=0.01")
        made = power_report(Study(given.study), asked_of(given.power), pair, given.allow_mixed)
    else:
        made = report(Study(given.study), pair, given.by, given.allow_mixed, names_in(given.columns))
    write_and_print(made, given.study, given.out)


if __name__ == "__main__":
    run(command)
