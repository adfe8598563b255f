"""Lays the videos of a study out for another tool's scorer: `python -m bench.export vbench runs/STUDY DIR`.

DIR/CONDITION/ then holds the videos of a condition as VBench wants them, as lossless MP4. In custom mode, the default,
VBench scores any prompt; in standard mode it scores its own prompts, which a study has with prompts=vbench. The same
command continues an interrupted export. `python -m bench.import_scores` reads VBench's results (docs/vbench.md).
"""

import argparse
from pathlib import Path

from bench.vbench.layout import INDICES, MODES
from vgdfr_commands.start import run


def main(study: Path, folder: Path, mode: str, conditions: list[str], prompts: Path | None) -> int:
    """Exports a study and prints the result. Returns the exit status, 1 if a sample has no frames."""
    from bench.vbench.export import export  # here, as PyTorch takes seconds to import

    done = export(study, folder, mode, conditions, prompts)  # type: ignore[arg-type]  # argparse checks the mode
    print(f"{folder}: {done.written} videos written, {done.there} there before, {len(done.conditions)} conditions")
    if mode == "standard" and done.beyond:
        print(f"{done.beyond} videos have an index above {INDICES - 1}: only VBench's static filter reads them")
    for reason, count in done.without.items():
        print(f"no frames of {count} sample{'s' * (count != 1)}: {reason}")
    return int(bool(done.without))


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=["vbench"])
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to write, new or of an earlier export")
    parser.add_argument("--mode", choices=MODES, default=MODES[0], help="VBench's --mode (default: custom)")
    parser.add_argument("--condition", action="append", default=[], metavar="NAME",
                        help="export this condition, named by its folder; repeat (default: all)")  # fmt: skip
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="VBench_full_info.json or the vbench wheel, for "
                        "standard mode (default: the file that a sweep with prompts=vbench downloaded)")  # fmt: skip
    given = parser.parse_args()
    return main(given.study, given.folder, given.mode, given.condition, given.prompts)


if __name__ == "__main__":
    run(command)
