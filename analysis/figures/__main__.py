"""The command; see the package."""

import argparse
from pathlib import Path

from analysis import figures
from analysis.output import add_out
from vgdfr_commands.start import called, run


def command() -> str | int:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("analysis.figures")),
        description=figures.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--only", nargs="+", choices=list(figures.FIGURES), help="these figures, instead of all")
    parser.add_argument("--prompt", help="a prompt's id, such as 03-accelerating: the comparison of this one alone")
    parser.add_argument("--grid", action="store_true", help="every condition, instead of one beside the baseline")
    parser.add_argument("--k", type=int)
    parser.add_argument("--theta", type=float)
    parser.add_argument("--allow-mixed", action="store_true", help="samples made on different devices in one figure")
    add_out(parser)
    arguments = parser.parse_args()
    if arguments.grid and not arguments.prompt:
        parser.error("--grid needs --prompt")
    if arguments.prompt and not arguments.only:
        k, theta = (
            (5 if arguments.k is None else arguments.k),
            (0.7 if arguments.theta is None else arguments.theta),
        )
        mixed, out = arguments.allow_mixed, arguments.out
        print(figures.main(arguments.study, arguments.prompt, k, theta, arguments.grid, mixed, out))
        return 0
    study = figures.of(arguments.study, arguments.prompt, arguments.k, arguments.theta, arguments.allow_mixed)
    folder = arguments.out or arguments.study / "report"
    drawn = figures.draw(study, folder, arguments.only or tuple(figures.FIGURES))
    for each in drawn:
        print(each.files[0] if each.files else f"{each.name}: not drawn: {each.reason}")
    if arguments.only and any(each.reason for each in drawn):
        return "error: not every figure that was asked for could be drawn"
    return 0


if __name__ == "__main__":
    run(command)
