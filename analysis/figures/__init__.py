"""Figures from a study, drawn into report/ in its folder, or --out DIR, as PNG, SVG and PDF, the same bytes each time.

`python -m analysis.figures runs/table1` draws all that the study allows, `--only tradeoff content` some of them;
`python -m analysis.figures runs/table1 --prompt 03-accelerating --k 5 --theta 0.7` a few frames of the baseline and of
VGDFR under each other, with the schedule and the preview's similarity under them;
`python -m analysis.figures runs/ablation --prompt 03-accelerating --grid` the start, middle and end of the prompt's
video under every condition of the study (the paper's Fig. 3 and 4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.conditions import Line, lines
from analysis.figures import content, timeline, tokens, tradeoff, videos
from analysis.figures.choose import conditions_of, find, papers_columns, telling_prompt
from analysis.figures.style import save
from analysis.load import MORE, StudyError, load, planned
from analysis.table1 import incomplete
from bench.drawing import Figure

__all__ = ["FIGURES", "Drawn", "Study", "conditions_of", "draw", "find", "main"]


@dataclass(frozen=True)
class Study:
    """What the figures are drawn from, the choices a caller may make, and what is missing of it."""

    table: list[Line]
    prompt: str | None = None
    k: int | None = None
    theta: float | None = None
    banner: str | None = None

    @property
    def chosen_prompt(self) -> str:
        return self.prompt or telling_prompt(self.table)


def _qualitative(study: Study) -> Figure:
    return videos.grid(papers_columns(study.table, study.chosen_prompt))


def _ablation(study: Study) -> Figure:
    if not any(line.ablation for line in study.table):
        raise StudyError("the study has no ablations; run: python -m bench.sweep +exp=ablation")
    return videos.grid(conditions_of(study.table, study.chosen_prompt))


def _comparison(study: Study) -> Figure:
    """By default the lowest k and the middle theta."""
    ranked = [line for line in study.table if line.ranked and line.rows and line.theta is not None]
    if not ranked:
        raise StudyError("the study has no finished sample of VGDFR by threshold")
    k = study.k if study.k is not None else min(line.k or 0 for line in ranked)
    thetas = sorted({line.theta for line in ranked if line.k == k and line.theta is not None})
    theta = study.theta if study.theta is not None else (thetas[len(thetas) // 2] if thetas else 0.0)
    return videos.comparison(*find(study.table, study.chosen_prompt, k, theta))


@dataclass(frozen=True)
class Kind:
    """A figure: its title for a page, and how it is drawn; that raises StudyError where the study does not allow it."""

    title: str
    draw: Callable[[Study], Figure]


FIGURES = {
    "qualitative": Kind("Start, middle and end under each setting (Fig. 3)", _qualitative),
    "ablation": Kind("Contribution of components (Fig. 4)", _ablation),
    "tradeoff": Kind("Speed-up against quality", lambda s: tradeoff.tradeoff(tradeoff.panels(s.table), s.banner)),
    "timeline": Kind(
        "Similarity and schedules of a sample (Fig. 1 and 2, as data)",
        lambda s: timeline.timeline(timeline.timeline_of(s.table, s.chosen_prompt, s.k)),
    ),
    "comparison": Kind("A sample beside its baseline", _comparison),
    "content": Kind("Quality by content", lambda s: content.content(*content.panels(s.table, s.k), s.banner)),
    "tokens": Kind("DiT cost against tokens", lambda s: tokens.tokens(tokens.costs_of(s.table))),
}


@dataclass(frozen=True)
class Drawn:
    """A figure's files (the PNG first), or the reason why the study does not allow it."""

    name: str
    title: str
    files: tuple[Path, ...]
    reason: str | None = None


def draw(study: Study, folder: Path, names: Sequence[str] = tuple(FIGURES)) -> list[Drawn]:
    """Draw those of the figures that the study allows into `folder`."""
    out = []
    for name in names:
        try:
            files = save(FIGURES[name].draw(study), folder, name)
            out.append(Drawn(name, FIGURES[name].title, tuple(files)))
        except StudyError as error:
            out.append(Drawn(name, FIGURES[name].title, (), str(error)))
    return out


def main(
    study: Path,
    prompt: str,
    k: int,
    theta: float,
    all_conditions: bool = False,
    allow_mixed: bool = False,
    out: Path | None = None,
) -> Path:
    """Draw the comparison, or the grid of all conditions, of one prompt; returns the PNG's path.

    It is drawn into `out` (by default report/ in the study). Raises CannotWrite if that cannot be written.
    """
    table = of(study, allow_mixed=allow_mixed).table
    if all_conditions:
        figure, name = videos.grid(conditions_of(table, prompt)), f"grid-{prompt}"
    else:
        figure, name = videos.comparison(*find(table, prompt, k, theta)), f"comparison-{prompt}-k{k}-theta{theta}"
    return save(figure, out or study / "report", name)[0]


def of(
    folder: Path,
    prompt: str | None = None,
    k: int | None = None,
    theta: float | None = None,
    allow_mixed: bool = False,
) -> Study:
    """A stored study. Raises StudyError for a folder that is none, or cannot be reported on."""
    table = lines(load(folder, light=True, also=MORE), allow_mixed=allow_mixed)
    return Study(table, prompt, k, theta, incomplete(table, planned(folder)))
