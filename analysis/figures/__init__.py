"""Draws figures of a study as PNG, SVG and PDF into report/ in its folder, or --out DIR.

`python -m analysis.figures runs/table1` draws all figures that the study allows, and `--only tradeoff content` draws
some. `python -m analysis.figures runs/table1 --prompt 03-accelerating --k 5 --theta 0.7` draws a few frames of the
baseline and, below them, of the condition with this k and theta, its schedule and the preview's similarity.
`python -m analysis.figures runs/ablation --prompt 03-accelerating --grid` draws the start, middle and end of the
prompt's video under every condition of the study (the paper's Fig. 3 and 4). The same data give the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.complete import incomplete
from analysis.conditions import Line, lines
from analysis.figures import content, timeline, tokens, tradeoff, videos
from analysis.figures.choose import beside_reference, conditions_of, find, papers_columns, telling_prompt
from analysis.figures.style import save
from analysis.load import MORE, StudyError, load_both, planned
from bench.drawing import Figure

__all__ = ["FIGURES", "Drawn", "Study", "conditions_of", "draw", "find", "main"]


@dataclass(frozen=True)
class Study:
    """A study to draw.

    table: the study's conditions.
    prompt, k, theta: choices of the caller. None lets each figure choose.
    banner: a warning if the study is not complete.
    """

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
    """Shows the lowest k and its middle theta by default. A study without thetas shows its first method."""
    methods = [line for line in study.table if line.ranked and line.rows]
    ranked = [line for line in methods if line.theta is not None]
    if not methods:
        raise StudyError("the study has no finished sample of a method beside the baseline")
    if not ranked and study.k is None and study.theta is None:
        return videos.comparison(*beside_reference(study.table, methods[0], study.chosen_prompt))
    k = study.k if study.k is not None else min((line.k or 0 for line in ranked), default=0)
    thetas = sorted({line.theta for line in ranked if line.k == k and line.theta is not None})
    theta = study.theta if study.theta is not None else (thetas[len(thetas) // 2] if thetas else 0.0)
    return videos.comparison(*find(study.table, study.chosen_prompt, k, theta))


def _content(study: Study) -> Figure:
    method = content.by_threshold(study.table)[0].name
    return content.content(*content.panels(study.table, study.k), method, study.banner)


@dataclass(frozen=True)
class Kind:
    """A kind of figure. `draw` raises StudyError if the study does not allow the figure. `title` is for a page."""

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
    "content": Kind("Quality by content", _content),
    "tokens": Kind("DiT cost against tokens", lambda s: tokens.tokens(tokens.costs_of(s.table))),
}


@dataclass(frozen=True)
class Drawn:
    """A figure's files, the PNG first, or the reason why the study does not allow the figure."""

    name: str
    title: str
    files: tuple[Path, ...]
    reason: str | None = None


def draw(study: Study, folder: Path, names: Sequence[str] = tuple(FIGURES)) -> list[Drawn]:
    """Draws the figures `names` into `folder`. Returns their files, or the reason why the study does not allow one."""
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
    """Draws the comparison, or the grid of all conditions, of one prompt. Returns the PNG's path.

    The files go into `out` (by default report/ in the study). Raises CannotWrite if the folder cannot be written.
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
    """Returns the study in `folder`. Raises StudyError if there is no study or no report can be made of it."""
    rows, probes = load_both(folder, light=True, also=MORE)
    table = lines(rows, allow_mixed=allow_mixed)
    return Study(table, prompt, k, theta, incomplete(table, planned(folder), probes))
