"""The command `python -m analysis.figures`. The package's documentation describes it."""

import argparse
from pathlib import Path

from analysis import figures
from analysis.output import add_out
from analysis.study import Study
from analysis.table import table_of
from vgdfr_commands.start import called, run


def command() -> str | int:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("analysis.figures")),
        description=figures.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--only", nargs="+", choices=list(figures.FIGURES), help="draw only these figures")
    parser.add_argument(
        "--columns", metavar="NAMES", help="metrics for tradeoff, families and content, separated by commas"
    )
    parser.add_argument(
        "--x", metavar="COSTS", help="costs for families: work, latency, flops_13b (default: work,latency)"
    )
    parser.add_argument("--families", metavar="NAMES", help="families for families, separated by commas (default: all)")
    parser.add_argument("--prompt", help="draw only the comparison of this prompt, such as 03-accelerating")
    parser.add_argument(
        "--grid", action="store_true", help="draw every condition of the prompt, or every one with --k and --theta"
    )
    parser.add_argument("--k", type=int)
    parser.add_argument("--theta", type=float)
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices in one figure")
    add_out(parser)
    given = parser.parse_args()
    if given.grid and not given.prompt:
        parser.error("--grid needs --prompt")
    if given.prompt and not given.only and (given.families or given.x):
        parser.error(
            "--families and --x choose what the figure families shows; leave --prompt out, or add --only families"
        )
    lists = (None if text is None else tuple(text.split(",")) for text in (given.columns, given.x, given.families))
    choices = figures.Choices(given.prompt, given.k, given.theta, *lists)
    table, folder = table_of(Study(given.study), allow_mixed=given.allow_mixed), given.out or given.study / "report"
    if given.prompt and not given.only:
        print(*filter(None, map(str, figures.draw_prompt(table, folder, choices, given.grid))), sep="\n")
        return 0
    drawn = figures.draw(table, folder, given.only or tuple(figures.FIGURES), choices)
    for each in drawn:
        print(each.files[0] if each.files else f"{each.name}: not drawn: {each.reason}")
    if given.only and any(each.reason for each in drawn):
        return "error: not every figure that was asked for could be drawn"
    return 0


if __name__ == "__main__":
    run(command)
