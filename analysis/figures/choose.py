"""Chooses the samples of a study that a figure shows."""

from collections.abc import Sequence

from analysis.conditions import Line
from analysis.load import Row, StudyError, whole


def find(table: Sequence[Line], prompt: str, k: int, theta: float) -> tuple[Row, Row]:
    """Returns the finished reference and the sample of `prompt` with `k` and `theta`.

    Prefers a condition without other settings. Both samples are of the first video setting and seed that has both.
    Raises StudyError that lists the prompts and conditions of the study, if there is not exactly one such condition.
    """
    chosen = [line for line in table if (line.k, line.theta) == (k, theta)]
    pairs = _pairs(table, [line for line in chosen if not line.other], prompt) or _pairs(table, chosen, prompt)
    if len({r.record["slug"] for _, r in pairs}) != 1:
        prompts = ", ".join(_prompts(table))
        finished = {line.slug for line in table for r in line.rows if r.record["prompt_id"] == prompt}
        slugs = ", ".join(sorted(finished)) or "nothing"
        raise StudyError(
            f"expected one condition with a baseline for prompt {prompt}, k={k}, theta={theta}, "
            f"found {len(pairs)}; prompts: {prompts}; finished of it: {slugs}"
        )
    return pairs[0][0], whole(pairs[0][1])


def beside_reference(table: Sequence[Line], line: Line, prompt: str) -> tuple[Row, Row]:
    """Returns the finished reference and the sample of `line` for the first seed of `prompt` that has both.

    Raises StudyError if no seed has both.
    """
    if not (pairs := _pairs(table, [line], prompt)):
        raise StudyError(f"no seed of prompt {prompt} is finished under both the reference and {line.title}")
    return pairs[0][0], whole(pairs[0][1])


def _pairs(table: Sequence[Line], chosen: Sequence[Line], prompt: str) -> list[tuple[Row, Row]]:
    """Returns (reference, sample) for each sample of the prompt under the `chosen` conditions that has a reference."""
    references = {(line.video, r.sample_id): r for line in table if line.is_reference for r in line.rows}
    return [
        (references[line.video, r.sample_id], r)
        for line in chosen
        for r in sorted(line.rows, key=lambda r: r.sample_id)
        if r.record["prompt_id"] == prompt and (line.video, r.sample_id) in references
    ]


def _prompts(table: Sequence[Line]) -> list[str]:
    return sorted({prompt for line in table for prompt, _ in line.planned})


def conditions_of(table: Sequence[Line], prompt: str) -> list[tuple[Line, Row]]:
    """Returns line and finished sample of `prompt` for each condition that has the prompt, in the table's order.

    All samples are of the first seed that these conditions share. Raises StudyError if there is no such seed.
    """
    return of_one_seed(_lines_of(table, prompt), prompt)


def _lines_of(table: Sequence[Line], prompt: str) -> list[Line]:
    if prompt not in _prompts(table):
        raise StudyError(f"no sample of prompt {prompt}; prompts: {', '.join(_prompts(table))}")
    made = [line for line in table if any(row.record["prompt_id"] == prompt for row in line.rows)]
    if not made:
        raise StudyError(f"prompt {prompt} has no finished sample; run the sweep again")
    return made


def of_one_seed(chosen: Sequence[Line], prompt: str) -> list[tuple[Line, Row]]:
    """Returns line and sample for each condition, of the first seed that all share, or raises StudyError."""
    samples = [{r.sample_id: r for r in line.rows if r.record["prompt_id"] == prompt} for line in chosen]
    if not (common := set.intersection(*map(set, samples))):
        raise StudyError(f"no seed of prompt {prompt} is finished under all of {', '.join(x.title for x in chosen)}")
    return [(line, own[min(common)]) for line, own in zip(chosen, samples, strict=True)]


def papers_columns(table: Sequence[Line], prompt: str, thetas: int = 3) -> list[tuple[Line, Row]]:
    """Returns the columns of the paper's Fig. 3: the reference, and the first, middle and last theta of each k.

    A family without k or theta has its first, middle and last setting. Only the reference and methods are shown, under
    the first video setting and the first seed that all share. Raises StudyError for fewer than two columns.
    """
    made = _lines_of(table, prompt)
    made = [line for line in made if line.video == made[0].video]
    chosen = [line for line in made if line.is_reference]
    groups: dict[tuple[str, int | None], list[Line]] = {}
    for line in made:
        if line.ranked:
            groups.setdefault((line.facts.family, line.k), []).append(line)
    for alike in groups.values():
        places = {round(i * (len(alike) - 1) / max(thetas - 1, 1)) for i in range(thetas)}
        chosen += [alike[i] for i in sorted(places)]
    if len(chosen) < 2:
        raise StudyError("a qualitative grid needs a baseline and another method's samples; run the sweep of Table 1")
    return of_one_seed(chosen, prompt)


def telling_prompt(table: Sequence[Line]) -> str:
    """Returns the prompt with the largest range of token ratios between conditions, the first of equals.

    In a study without schedules, returns the first prompt that any method has finished. Raises StudyError if there is
    none.
    """
    ratios: dict[str, list[float]] = {}
    for line in table:
        for row in line.rows:
            if row.record["schedule"]:
                ratios.setdefault(row.record["prompt_id"], []).append(row.record["token_ratio"])
    if not ratios:
        finished = sorted({row.record["prompt_id"] for line in table if line.ranked for row in line.rows})
        if not finished:
            raise StudyError("no method but the reference has a finished sample; run the sweep again")
        return finished[0]
    return min(ratios, key=lambda prompt: (min(ratios[prompt]) - max(ratios[prompt]), prompt))
