"""Every table and figure of the paper from a finished study, and a page that shows them."""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from analysis import differences, figures, rope_sensitivity, table1
from analysis.cost import model_cost, study_cost
from analysis.gallery import write_gallery
from analysis.load import StudyError
from analysis.output import study_name, write
from analysis.page import Block, page

FROM_STUDY = ("qualitative", "tradeoff", "timeline", "comparison", "content", "tokens")


@dataclass(frozen=True)
class Paper:
    """The studies that the paper is made of, and the folder it is written to; None for a study that is not there."""

    study: Path
    out: Path
    ablation: Path | None
    rope: Path | None
    rope_proxy: Path | None
    allow_mixed: bool = False


def table(paper: Paper) -> list[Block]:
    """Table 1 as analysis.table1 writes it."""

    def run(out: Path) -> object:
        return table1.main(paper.study, intervals=True, beside_paper=True, allow_mixed=paper.allow_mixed, out=out)

    return _command("table1", paper, run)


def statistics(paper: Paper) -> list[Block]:
    """Means and paired differences with their intervals, as analysis.statistics writes them."""
    mixed = paper.allow_mixed
    return _command("statistics", paper, lambda out: differences.main(paper.study, allow_mixed=mixed, out=out))


def drawn(names: Sequence[str], study: Callable[[Paper], Path | None], run: str) -> Callable[[Paper], list[Block]]:
    """The figures of one of the studies."""

    def section(paper: Paper) -> list[Block]:
        folder = study(paper)
        if folder is None:
            raise StudyError(f"no such study beside this one; {run}")
        made = figures.draw(figures.of(folder, allow_mixed=paper.allow_mixed), paper.out / "figures", names)
        return [Block(d.title, files=_relative(d.files, paper), reason=d.reason) for d in made]

    return section


def cost(paper: Paper) -> list[Block]:
    """What the study's schedules can gain; what a 13B model's stages cost, and what the paper's Table 1 implies."""
    text, samples = study_cost(paper.study, allow_mixed=paper.allow_mixed)
    whole = model_cost("hunyuan_video")
    files = [write(paper.out / "tables" / n, t) for n, t in (("cost.md", text), ("cost.csv", samples))]
    model = [write(paper.out / "tables" / "cost_hunyuan_video.md", whole)]
    return [Block(markdown=text, files=_relative(files, paper)), Block(markdown=whole, files=_relative(model, paper))]


def rope(paper: Paper) -> list[Block]:
    """The layers' sensitivity, by analysis.rope_sensitivity."""
    if paper.rope is None:
        raise StudyError("no such study beside this one; run: python -m bench.sweep +exp=rope_sensitivity")
    study = paper.rope
    return _command("rope_sensitivity", paper, lambda out: rope_sensitivity.main(study, paper.rope_proxy, out=out))


def gallery(paper: Paper) -> list[Block]:
    """The videos side by side, by analysis.gallery."""
    made = write_gallery(paper.study, paper.out / "gallery", allow_mixed=paper.allow_mixed)
    return [Block("Open the gallery", files=_relative([made], paper))]


# a section's title, and what makes it; StudyError says why it cannot be shown
SECTIONS: list[tuple[str, Callable[[Paper], list[Block]]]] = [
    ("Table 1", table),
    ("Differences to the baseline", statistics),
    ("Figures", drawn(FROM_STUDY, lambda p: p.study, "")),
    ("Ablation", drawn(("ablation",), lambda p: p.ablation, "run: python -m bench.sweep +exp=ablation")),
    ("RoPE sensitivity", rope),
    ("Projected cost", cost),
    ("Gallery", gallery),
]


def _command(name: str, paper: Paper, run: Callable[[Path], object]) -> list[Block]:
    """A report that a command writes into the folder it is given; its Markdown and figure shown."""
    with redirect_stdout(io.StringIO()):
        run(paper.out / "tables")
    files = []
    for file in sorted((paper.out / "tables").glob(f"{name}*")):
        if file.suffix in (".png", ".svg", ".pdf"):
            (paper.out / "figures").mkdir(exist_ok=True)
            file = file.replace(paper.out / "figures" / file.name)
        files.append(file)
    text = next((f.read_text(encoding="utf-8") for f in files if f.suffix == ".md"), "")
    return [Block(markdown=text, files=_relative(files, paper))]


def _relative(files: Sequence[Path], paper: Paper) -> tuple[str, ...]:
    return tuple(file.relative_to(paper.out).as_posix() for file in files)


def make(paper: Paper) -> Path:
    """Write everything below the paper's folder and then the page there, whose path is returned.

    Raises StudyError, having written nothing, for a study that cannot be reported on, and for a folder that holds
    something that is no such page: nothing of others is written over. Raises CannotWrite for a read-only folder.
    """
    figures.of(paper.study, allow_mixed=paper.allow_mixed)
    index = paper.out / "index.html"
    if paper.out.exists() and not paper.out.is_dir():
        raise StudyError(f"{paper.out} is a file; --out must be a folder that is empty, new or written by this command")
    own = index.is_file() and OWN in index.read_text(encoding="utf-8", errors="replace")
    if paper.out.is_dir() and any(paper.out.iterdir()) and not own:
        raise StudyError(
            f"{paper.out} holds something else; --out must be a folder that is empty, new or written by this command"
        )
    title = f"{TITLE}{study_name(paper.study)}"
    write(index, page(title, [("In the making", [Block(reason="the command that writes this page has not ended")])]))
    made = []
    for name, section in SECTIONS:
        try:
            made.append((name, section(paper)))
        except StudyError as error:
            made.append((name, [Block(reason=str(error))]))
    return write(index, page(title, made))


TITLE = "VGDFR: study "
OWN = f"<title>{TITLE}"  # by which a page of this command is known


def beside(study: Path, given: Path | None, name: str) -> Path | None:
    """The study that was given, or the one of that name beside `study`. Raises StudyError for one that is not there."""
    if given is not None and not given.is_dir():
        raise StudyError(f"{given} is no folder")
    found = study.resolve().parent / name
    return given or (found if found.is_dir() else None)
