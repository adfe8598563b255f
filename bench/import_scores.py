"""Reads the result files of another tool's scorer into a study: `python -m bench.import_scores runs/STUDY RESULT...`.

RESULT is a NAME_eval_results.json of VBench or VBench-Long, or a zip file of them as packed for VBench's leaderboard.
The videos must be of `python -m bench.export vbench`. Each dimension becomes the score vbench_DIMENSION of the samples,
and `python -m analysis.table1 runs/STUDY --columns vbench_total,vbench_subject_consistency` shows it (docs/vbench.md).
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from bench.store.study import Store
from bench.vbench.results import read_results, static_names
from bench.vbench.scores import Imported, exports_of, import_results
from bench.vbench.total import official
from vgdfr_commands.start import run


def lines(imported: Iterable[Imported]) -> list[str]:
    """Returns a line for each condition and dimension, and for each condition with all 16 dimensions its total."""
    out, scores = [], {}
    for one in imported:
        scores.setdefault(one.condition, {})[one.dimension] = one.score
        out.append(
            f"{one.condition}: {one.dimension} {one.score:.4f}, mean of {len(one.values)} videos {one.mean:.4f}"
            + f", {one.without} without a value" * bool(one.without)
        )
    for condition, own in scores.items():
        if found := official(own):
            out.append(f"{condition}: total {found.total:.4f} (quality {found.quality:.4f}, semantic "
                       f"{found.semantic:.4f})")  # fmt: skip
    return out


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="result files, JSON or zip")
    parser.add_argument("--condition", metavar="NAME", help="the condition of results whose paths name none")
    parser.add_argument("--static-filter", type=Path, metavar="FILE",
                        help="the filtered_static_video.json of VBench's static filter")  # fmt: skip
    parser.add_argument("--tool-version", default="unstated", metavar="TEXT",
                        help="VBench's version, such as 0.1.5, for the scores' ids")  # fmt: skip
    given = parser.parse_args()
    static = static_names(given.static_filter) if given.static_filter else None
    exports = exports_of(given.study, given.condition, static)
    results = [result for file in given.results for result in read_results(file)]
    Store(given.study).require_writable()
    print("\n".join(lines(import_results(results, exports, given.tool_version))))


if __name__ == "__main__":
    run(command)
