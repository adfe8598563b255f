"""Which samples of a study a figure shows."""

from collections.abc import Sequence

from analysis.conditions import Line
from analysis.load import Row, StudyError, whole


def find(table: Sequence[Line], prompt: str, k: int, theta: float) -> tuple[Row, Row]:
    """The finished baseline and VGDFR samples of `prompt`, of the first video setting and seed that has both.

    Raises StudyError naming what there is instead.
    """
    baselines = {(line.video, r.sample_id): r for line in table if line.method == "baseline" for r in line.rows}
    pairs = [
        (baselines[line.video, r.sample_id], r)
        for line in table
        for r in sorted(line.rows, key=lambda r: r.sample_id)
        if (line.k, line.theta, r.record["prompt_id"]) == (k, theta, prompt) and (line.video, r.sample_id) in baselines
    ]
    if len({r.record["slug"] for _, r in pairs}) != 1:
        prompts = ", ".join(_prompts(table))
        finished = {line.slug for line in table for r in line.rows if r.record["prompt_id"] == prompt}
        slugs = ", ".join(sorted(finished)) or "nothing"
        raise StudyError(
            f"expected one condition with a baseline for prompt {prompt}, k={k}, theta={theta}, "
            f"found {len(pairs)}; prompts: {prompts}; finished of it: {slugs}"
        )
    return pairs[0][0], whole(pairs[0][1])


def _prompts(table: Sequence[Line]) -> list[str]:
    return sorted({prompt for line in table for prompt, _ in line.planned})


def conditions_of(table: Sequence[Line], prompt: str) -> list[tuple[str, Row]]:
    """The finished sample of `prompt` under each condition, with the condition's title, in the table's order.

    Of several seeds the first that all have. Raises StudyError where there is none.
    """
    return of_one_seed(_lines_of(table, prompt), prompt)


def _lines_of(table: Sequence[Line], prompt: str) -> list[Line]:
    if prompt not in _prompts(table):
        raise StudyError(f"no sample of prompt {prompt}; prompts: {', '.join(_prompts(table))}")
    made = [line for line in table if any(row.record["prompt_id"] == prompt for row in line.rows)]
    if not made:
        raise StudyError(f"prompt {prompt} has no finished sample; run the sweep again")
    return made


def of_one_seed(chosen: Sequence[Line], prompt: str) -> list[tuple[str, Row]]:
    """The prompt's sample under each of the conditions, of the first seed that all have. Raises StudyError if none."""
    samples = [{r.sample_id: r for r in line.rows if r.record["prompt_id"] == prompt} for line in chosen]
    if not (common := set.intersection(*map(set, samples))):
        raise StudyError(f"no seed of prompt {prompt} is finished under all of {', '.join(x.title for x in chosen)}")
    return [(line.title, own[min(common)]) for line, own in zip(chosen, samples, strict=True)]


def papers_columns(table: Sequence[Line], prompt: str, thetas: int = 3) -> list[tuple[str, Row]]:
    """For the paper's Fig. 3: the baseline, and of each k the first, middle and last theta; no ablations.

    Of one video setting, the first, and of several seeds the first that all have.
    """
    made = _lines_of(table, prompt)
    made = [line for line in made if line.video == made[0].video]
    chosen = [line for line in made if line.method == "baseline"]
    ranked = [line for line in made if line.ranked]
    for k in sorted({line.k for line in ranked if line.k is not None}):
        of_k = [line for line in ranked if line.k == k]
        places = {round(i * (len(of_k) - 1) / max(thetas - 1, 1)) for i in range(thetas)}
        chosen += [of_k[i] for i in sorted(places)]
    if len(chosen) < 2:
        raise StudyError("a qualitative grid needs a baseline and VGDFR's samples; run the sweep of Table 1")
    return of_one_seed(chosen, prompt)


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
