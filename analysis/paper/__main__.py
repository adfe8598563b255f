"""Makes all tables and figures of the paper from a finished study, and a page that shows them: `make paper`.

`python -m analysis.paper runs/table1` writes runs/table1/report/paper/index.html, with its tables, figures and gallery
in folders there. Other experiments come from the studies `ablation`, `rope_sensitivity`, `rope_proxy` and
`rope_assignment` in the folder that holds the study, or from --ablation, --rope, --rope-proxy and --rope-assignment.
The page names each part that it cannot show, with the reason.
"""

import argparse
from pathlib import Path

from analysis.output import add_out
from analysis.paper import Paper, make, study_beside
from analysis.study import Study
from analysis.table import table_of
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
    parser.add_argument("--rope-assignment", type=Path, help="a study of +exp=rope_assignment")
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices together")
    a = parser.parse_args()
    paper = Paper(
        table_of(Study(a.study), allow_mixed=a.allow_mixed),
        (a.out or a.study / "report" / "paper").resolve(),
        ablation=study_beside(a.study, a.ablation, "ablation"),
        rope=study_beside(a.study, a.rope, "rope_sensitivity"),
        rope_proxy=study_beside(a.study, a.rope_proxy, "rope_proxy"),
        rope_assignment=study_beside(a.study, a.rope_assignment, "rope_assignment"),
        allow_mixed=a.allow_mixed,
    )
    print(make(paper))


if __name__ == "__main__":
    run(command)
