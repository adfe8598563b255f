"""Which samples of a study a figure shows."""

from collections.abc import Sequence

from analysis.conditions import Line, lines
from analysis.load import Row, StudyError


def find(rows: list[Row], prompt: str, k: int, theta: float) -> tuple[Row, Row]:
    """The finished baseline and VGDFR samples of `prompt`. Raises StudyError naming what there is instead."""
    here = [r for r in rows if r.record["status"] == "done" and r.record["prompt_id"] == prompt]
    baselines = {r.sample_id: r for r in here if r.record["method"]["name"] == "baseline"}
    pairs = [
        (baselines[r.sample_id], r)
        for r in here
        if (r.record["method"].get("k"), r.record["method"].get("theta")) == (k, theta) and r.sample_id in baselines
    ]
    if len({r.record["slug"] for _, r in pairs}) != 1:
        prompts = ", ".join(sorted({r.record["prompt_id"] for r in rows}))
        slugs = ", ".join(sorted({r.record["slug"] for r in here})) or "nothing"
        raise StudyError(
            f"expected one condition with a baseline for prompt {prompt}, k={k}, theta={theta}, "
            f"found {len(pairs)}; prompts: {prompts}; finished of it: {slugs}"
        )
    return pairs[0]


def conditions_of(rows: list[Row], prompt: str) -> list[tuple[str, Row]]:
    """The finished sample of `prompt` under each condition, with the condition's title, in the table's order.

    Raises StudyError where there is none, or several of a condition.
    """
    return [(line.title, line.rows[0]) for line in _lines_of(rows, prompt)]


def _lines_of(rows: list[Row], prompt: str) -> list[Line]:
    here = [r for r in rows if r.record["prompt_id"] == prompt]
    if not here:
        prompts = ", ".join(sorted({r.record["prompt_id"] for r in rows}))
        raise StudyError(f"no sample of prompt {prompt}; prompts: {prompts}")
    made = [line for line in lines(here) if line.rows]
    if any(len(line.rows) > 1 for line in made):
        raise StudyError(f"prompt {prompt} was made with several seeds; a grid shows one video a condition")
    return made


def papers_columns(rows: list[Row], prompt: str, thetas: int = 3) -> list[tuple[str, Row]]:
    """For the paper's Fig. 3: the baseline, and of each k the first, middle and last theta; no ablations."""
    made = _lines_of(rows, prompt)
    chosen = [line for line in made if line.method == "baseline"]
    ranked = [line for line in made if line.ranked]
    for k in sorted({line.k for line in ranked if line.k is not None}):
        of_k = [line for line in ranked if line.k == k]
        places = {round(i * (len(of_k) - 1) / max(thetas - 1, 1)) for i in range(thetas)}
        chosen += [of_k[i] for i in sorted(places)]
    if len(chosen) < 2:
        raise StudyError("a qualitative grid needs a baseline and VGDFR's samples; run the sweep of Table 1")
    return [(line.title, line.rows[0]) for line in chosen]


def telling_prompt(table: Sequence[Line]) -> str:
    """The prompt whose schedules differ most between conditions: where there is most to see. Of equals the first."""
    ratios: dict[str, list[float]] = {}
    for line in table:
        for row in line.rows:
            if row.record["schedule"]:
                ratios.setdefault(row.record["prompt_id"], []).append(row.record["token_ratio"])
    if not ratios:
        raise StudyError("no finished sample has a schedule; run a sweep with method=vgdfr")
    return min(ratios, key=lambda prompt: (min(ratios[prompt]) - max(ratios[prompt]), prompt))
