"""Draws figures of a study as PNG, SVG and PDF into report/ in its folder, or --out DIR.

`python -m analysis.figures runs/table1` draws all figures that the study allows, and `--only tradeoff content` draws
some. `--columns psnr,ssim` chooses the metrics of these two and of `families`; their files' names then end with the
metrics. `--only families --x work,flops_13b --families "Fewer steps,VGDFR"` also chooses the costs and the families.
`python -m analysis.figures runs/table1 --prompt 03-accelerating --k 5 --theta 0.7` draws a few frames of the baseline
and, below them, of the condition with this k and theta, its schedule and the preview's similarity.
`python -m analysis.figures runs/ablation --prompt 03-accelerating --grid` draws the start, middle and end of the
prompt's video under every condition of the study (the paper's Fig. 3 and 4). The same data give the same bytes.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.complete import incomplete
from analysis.figures import content, families, timeline, tokens, tradeoff, videos
from analysis.figures.style import save
from analysis.study import StudyError
from analysis.table import Table
from bench.drawing import Figure

__all__ = ["FIGURES", "Choices", "Drawn", "draw", "draw_prompt"]


@dataclass(frozen=True)
class Choices:
    """The caller's choices. None lets each figure choose.

    columns: names of metrics. costs, families: the costs and the families in the figure `families`.
    """

    prompt: str | None = None
    k: int | None = None
    theta: float | None = None
    columns: tuple[str, ...] | None = None
    costs: tuple[str, ...] | None = None
    families: tuple[str, ...] | None = None

    def prompt_of(self, table: Table) -> str:
        return self.prompt or videos.telling_prompt(table)


def _ablation(table: Table, choices: Choices) -> Figure:
    if not any(row.role == "ablation" for row in table.rows):
        raise StudyError("the study has no ablations; run: python -m bench.sweep +exp=ablation")
    return videos.grid(videos.conditions_of(table, choices.prompt_of(table)))


def _tradeoff(table: Table, choices: Choices) -> Figure:
    return tradeoff.tradeoff(tradeoff.panels(table, choices.columns), incomplete(table))


def _families(table: Table, choices: Choices) -> Figure:
    costs = families.COSTS if choices.costs is None else choices.costs
    return families.families(table, families.panels(table, choices.columns, costs, choices.families))


def _timeline(table: Table, choices: Choices) -> Figure:
    return timeline.timeline(timeline.timeline_of(table, choices.prompt_of(table), choices.k))


def _compared(table: Table, choices: Choices) -> tuple[videos.Shown, videos.Shown]:
    return videos.find(table, choices.prompt_of(table), choices.k, choices.theta)


def _content(table: Table, choices: Choices) -> Figure:
    return content.content(table, *content.panels(table, choices.k, choices.columns), incomplete(table))


@dataclass(frozen=True)
class Kind:
    """A kind of figure. `draw` raises StudyError if the study does not allow the figure. `title` is for a page."""

    title: str
    draw: Callable[[Table, Choices], Figure]


FIGURES = {
    "qualitative": Kind(
        "Start, middle and end under each setting (Fig. 3)",
        lambda table, choices: videos.grid(videos.papers_columns(table, choices.prompt_of(table))),
    ),
    "ablation": Kind("Contribution of components (Fig. 4)", _ablation),
    "tradeoff": Kind("Speed-up against quality", _tradeoff),
    "families": Kind("Quality against costs, a line per family", _families),
    "timeline": Kind("Similarity and schedules of a sample (Fig. 1 and 2, as data)", _timeline),
    "comparison": Kind(
        "A sample beside its baseline", lambda table, choices: videos.comparison(*_compared(table, choices))
    ),
    "content": Kind("Quality by content", _content),
    "tokens": Kind("DiT cost against tokens", lambda table, _: tokens.tokens(tokens.costs_of(table))),
}
BY_COLUMNS = ("tradeoff", "families", "content")  # the figures of metrics


@dataclass(frozen=True)
class Drawn:
    """A figure's files, the PNG first, or the reason why the study does not allow the figure."""

    name: str
    title: str
    files: tuple[Path, ...]
    reason: str | None = None


def draw(
    table: Table, folder: Path, names: Sequence[str] = tuple(FIGURES), choices: Choices | None = None
) -> list[Drawn]:
    """Draws the figures `names` into `folder`. Returns their files, or the reason why the study does not allow one.

    A figure of chosen metrics, costs or families has another file name, so that it does not overwrite the usual figure.
    """
    choices, out = choices or Choices(), []
    for name in names:
        title, chosen = FIGURES[name].title, [name, *(choices.columns or ())] if name in BY_COLUMNS else [name]
        chosen += [*(choices.costs or ()), *(choices.families or ())] if name == "families" else []
        stem = re.sub(r"[^\w.-]", "_", "-".join(chosen))
        try:
            out.append(Drawn(name, title, tuple(save(FIGURES[name].draw(table, choices), folder, stem))))
        except StudyError as error:
            out.append(Drawn(name, title, (), str(error)))
    return out


def draw_prompt(table: Table, folder: Path, choices: Choices, grid: bool = False) -> tuple[Path, str]:
    """Draws the comparison of the chosen prompt, or the `grid` of its conditions. Returns the PNG's path and a note.

    A chosen k or theta limits the grid to the conditions with this value, and to the baseline. The note of a comparison
    names the conditions with the same k and theta that it does not show. It is empty if there are none.
    """
    prompt, k, theta = choices.prompt_of(table), choices.k, choices.theta
    if grid:
        chosen = "".join(f"-{name}{value}" for name, value in (("k", k), ("theta", theta)) if value is not None)
        figure = videos.grid(videos.conditions_of(table, prompt, k, theta))
        return save(figure, folder, f"grid-{prompt}{chosen}")[0], ""
    shown = _compared(table, choices)
    row = shown[1][0]
    setting = row.slug if row.k is None or row.theta is None else f"k{row.k}-theta{row.theta}"
    file = save(videos.comparison(*shown), folder, f"comparison-{prompt}-{setting}")[0]
    if not (others := ", ".join(other.title for other in videos.alike(table, row, prompt))):
        return file, ""
    return file, f"shows {row.title}, and not {others}; --grid --k {row.k} --theta {row.theta} draws all"
