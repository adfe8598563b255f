"""Every table and figure of the paper from a finished study, and a page that shows them: `make paper`.

`python -m analysis.paper runs/table1` writes runs/table1/report/paper/index.html with everything beside it. What other
experiments show is taken from the studies `ablation`, `rope_sensitivity` and `rope_proxy` beside the study, where they
are, or from --ablation, --rope and --rope-proxy. What cannot be shown is named on the page, with the reason.
"""

import argparse
from pathlib import Path

from analysis.output import add_out
from analysis.paper.build import Paper, beside, make
from vgdfr_commands.start import called, run


def command() -> None:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("analysis.paper")),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="a study of Table 1, such as runs/table1")
    add_out(parser, "report/paper")
    parser.add_argument("--ablation", type=Path, help="a study of +exp=ablation")
    parser.add_argument("--rope", type=Path, help="a study of +exp=rope_sensitivity")
    parser.add_argument("--rope-proxy", type=Path, help="a study of +exp=rope_proxy")
    parser.add_argument("--allow-mixed", action="store_true", help="samples made on different devices together")
    a = parser.parse_args()
    paper = Paper(
        a.study,
        (a.out or a.study / "report" / "paper").resolve(),
        ablation=beside(a.study, a.ablation, "ablation"),
        rope=beside(a.study, a.rope, "rope_sensitivity"),
        rope_proxy=beside(a.study, a.rope_proxy, "rope_proxy"),
        allow_mixed=a.allow_mixed,
    )
    print(make(paper))


if __name__ == "__main__":
    run(command)
