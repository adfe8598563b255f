"""Shows a study's videos side by side, in a folder to open from disk: `python -m analysis.gallery runs/table1`.

Writes index.html and the files that it needs into report/gallery in the study's folder. The videos stay in the study,
so the gallery shows them while it keeps its place in the study's folder. With --copy the gallery holds the videos and
can be moved or sent.
"""

import argparse
from pathlib import Path

from analysis.gallery.page import write_gallery
from analysis.output import add_out
from analysis.study import Study
from analysis.table import table_of
from vgdfr_commands.start import called, run


def command() -> None:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("analysis.gallery")),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    add_out(parser, "report/gallery")
    parser.add_argument("--copy", action="store_true", help="copy the videos, too, so that the folder can be moved")
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices together")
    arguments = parser.parse_args()
    table = table_of(Study(arguments.study), allow_mixed=arguments.allow_mixed)
    print(write_gallery(table, arguments.out or arguments.study / "report" / "gallery", arguments.copy))


if __name__ == "__main__":
    run(command)
