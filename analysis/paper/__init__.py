"""Makes all tables and figures of the paper from a finished study, and a page that shows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import compare, cost, figures, model_cost, table1
from analysis.gallery import write_gallery
from analysis.output import Report, samples_files, write
from analysis.render import Block, report_page
from analysis.rope_sensitivity.__main__ import report as rope_report
from analysis.study import Study, StudyError
from analysis.table import Table, table_of

FROM_STUDY = ("qualitative", "tradeoff", "timeline", "comparison", "content", "tokens")
TITLE = "VGDFR: study "
OWN = f"<title>{TITLE}"  # marks the pages of this command
PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Paper:
    """The table of the study, the other studies' folders, None for a missing one, and the folder to write into."""

    table: Table
    out: Path
    ablation: Path | None
    rope: Path | None
    rope_proxy: Path | None
    rope_assignment: Path | None = None
    allow_mixed: bool = False

    @property
    def study(self) -> Study:
        return self.table.study


Section = Callable[[Paper], list[Block]]  # raises StudyError with the reason why a section cannot be shown


def table_section(paper: Paper) -> list[Block]:
    """Returns Table 1 with intervals, the paper's rows and its trends. Also writes the samples."""
    made = table1.report(paper.study, intervals=True, beside_paper=True, allow_mixed=paper.allow_mixed)
    samples = samples_files(paper.study, paper.out / "tables")
    return [_block(replace(made, files={**made.files, **samples}), paper)]


def statistics_section(paper: Paper) -> list[Block]:
    """Returns means and paired differences with their intervals."""
    return [_block(compare.report(paper.study, allow_mixed=paper.allow_mixed), paper)]


def figures_section(paper: Paper) -> list[Block]:
    """Returns the figures of the study."""
    return _drawn(paper.table, FROM_STUDY, paper)


def ablation_section(paper: Paper) -> list[Block]:
    """Returns the ablation grid of the study of ablations."""
    if paper.ablation is None:
        raise StudyError("there is no such study next to this one; run: python -m bench.sweep +exp=ablation")
    return _drawn(table_of(Study(paper.ablation), allow_mixed=paper.allow_mixed), ("ablation",), paper)


def _drawn(table: Table, names: Sequence[str], paper: Paper) -> list[Block]:
    drawn = figures.draw(table, paper.out / "figures", names)
    return [Block(d.title, files=_relative(d.files, paper), reason=d.reason) for d in drawn]


def cost_section(paper: Paper) -> list[Block]:
    """Returns the gains that the study's schedules allow, and the costs of a 13B model's stages in the paper."""
    made = (cost.report(paper.study, allow_mixed=paper.allow_mixed), model_cost.model_report("hunyuan_video"))
    return [_block(report, paper) for report in made]


def rope_section(paper: Paper) -> list[Block]:
    """Returns the layers' sensitivity to Global-RoPE and the judgement of the recommended layers if there is one."""
    if paper.rope is None:
        raise StudyError("there is no such study next to this one; run: python -m bench.sweep +exp=rope_sensitivity")
    proxy = paper.rope_proxy and Study(paper.rope_proxy, experiment="rope_proxy")
    study = Study(paper.rope, experiment="rope_sensitivity")
    if paper.rope_assignment is None:
        return [_block(rope_report(study, proxy), paper)]
    try:
        judging = Study(paper.rope_assignment, experiment="rope_assignment")
        return [_block(rope_report(study, proxy, assignment=judging), paper)]
    except StudyError as error:  # an error of the sensitivity itself is raised again
        return [_block(rope_report(study, proxy), paper), Block("Assignments on other prompts", reason=str(error))]


def gallery_section(paper: Paper) -> list[Block]:
    """Returns a link to a gallery of the videos."""
    made = write_gallery(paper.table, paper.out / "gallery")
    return [Block("Open the gallery", files=_relative([made], paper))]


SECTIONS: list[tuple[str, Section]] = [
    ("Table 1", table_section),
    ("Differences to the baseline", statistics_section),
    ("Figures", figures_section),
    ("Ablation", ablation_section),
    ("RoPE sensitivity", rope_section),
    ("Projected cost", cost_section),
    ("Gallery", gallery_section),
]


def _block(report: Report, paper: Paper) -> Block:
    """Writes the report's files, pictures apart from tables, and returns the block that embeds its sheets."""
    files = []
    for name, content in report.contents.items():
        folder = "figures" if Path(name).suffix in PICTURES else "tables"
        files.append(write(paper.out / folder / name, content))
    return Block(sheets=report.sheets, files=_relative(files, paper))


def _relative(files: Sequence[Path], paper: Paper) -> tuple[str, ...]:
    return tuple(file.relative_to(paper.out).as_posix() for file in files)


def make(paper: Paper) -> Path:
    """Writes everything below the paper's folder and returns the path of the page.

    Raises StudyError, before writing, for a folder that holds something else than an earlier page of this command.
    Raises CannotWrite for a read-only folder.
    """
    index = paper.out / "index.html"
    if paper.out.exists() and not paper.out.is_dir():
        raise StudyError(f"{paper.out} is a file; --out must be a folder that is empty, new or written by this command")
    own = index.is_file() and OWN in index.read_text(encoding="utf-8", errors="replace")
    if paper.out.is_dir() and any(paper.out.iterdir()) and not own:
        raise StudyError(
            f"{paper.out} holds something else; --out must be a folder that is empty, new or written by this command"
        )
    title = f"{TITLE}{paper.study.name}"
    begun = Block(reason="the command that writes this page has not ended")
    write(index, report_page(title, [("In the making", [begun])]))
    made = []
    for name, section in SECTIONS:
        try:
            made.append((name, section(paper)))
        except StudyError as error:
            made.append((name, [Block(reason=str(error))]))
    return write(index, report_page(title, made))


def study_beside(study: Path, given: Path | None, name: str) -> Path | None:
    """Returns the study `given`, or else the study `name` in the folder that holds `study`, or None if there is none.

    Raises StudyError if `given` is no folder.
    """
    if given is not None and not given.is_dir():
        raise StudyError(f"{given} is no folder")
    found = study.resolve().parent / name
    return given or (found if found.is_dir() else None)
