"""Writes the notes under a comparison of twins: the twins, their work, the verdicts, targets, caps and corrections."""

from collections import Counter
from collections.abc import Mapping, Sequence

from analysis.columns import PRICE_ERROR, PRICED, Column
from analysis.mark_notes import note_on_intervals
from analysis.matching import Matching, Twins, equal_work
from analysis.statistics import CONFIDENCE, MIN_PROMPTS
from analysis.targets import is_of_one_video, is_ratio
from analysis.twin_findings import Finding


def notes(
    matching: Matching,
    found: Sequence[Finding],
    caps: Mapping[str, float],
    empty: Sequence[str],
    apart: Sequence[Column],
) -> list[str]:
    """Returns the notes. `found` are the findings that the tables show.

    `empty` are the titles of columns without a common value. `apart` are the columns that compare videos from other
    noise than the baseline's.
    """
    out = [*_on_verdicts(matching, found), *_on_twins(matching), _on_work(matching.twins)]
    out += [*_on_targets(matching, found), *_on_caps(matching, found, caps), *_on_corrections(found)]
    out.append(note_on_intervals(list(dict.fromkeys(f.column for f in found))))
    if empty:
        out.append(f"No difference, because no sample has a value on both sides: {', '.join(empty)}.")
    if apart:
        titles = ", ".join(column.title for column in apart)
        out.append(f"Not compared, because a family starts from noise other than the baseline's: {titles}.")
    return out


def tokens(pair: Twins) -> tuple[str, str]:
    """Returns the mean share of tokens of both rows over their common samples, or dashes."""
    rows = (pair.family.samples, pair.against.samples)
    common = rows[0].index.intersection(rows[1].index)
    means = (row["token_ratio"].reindex(common).mean() if "token_ratio" in row else float("nan") for row in rows)
    a, b = (f"{mean:.2f}" if mean == mean else "–" for mean in means)
    return a, b


def _on_verdicts(matching: Matching, found: Sequence[Finding]) -> list[str]:
    """Returns a note that counts the verdicts of each judged column over the pairs."""
    parts = []
    for column in dict.fromkeys(f.column for f in found):
        own = [f for f in found if f.column is column and f.is_judged]
        tested = [f for f in own if f.p_holm is not None]
        if not own:
            continue
        title = f"{column.title} (distance)" if own[0].is_distance else column.title
        if not tested:
            parts.append(f"{title}: not tested, below {MIN_PROMPTS} prompts")
            continue
        counts = Counter(f.verdict for f in tested)
        said = f"{title}: {counts[1]} better, {counts[-1]} worse, {counts[0]} not separated"
        parts.append(said + f", {len(own) - len(tested)} not tested" * (len(tested) < len(own)))
    if not parts:
        return []
    many = len(matching.twins)
    return [
        f"Of {many} setting{'s' * (many > 1)} of {matching.family}, against {matching.against}: {'; '.join(parts)}."
    ]


def _on_twins(matching: Matching) -> list[str]:
    own, other = (", ".join(texts) or "the defaults" for texts in (matching.family_settings, matching.against_settings))
    telling = ""
    if matching.family_settings or matching.against_settings:
        telling = f", apart from those that tell the families apart: {matching.family} has {own}, and "
        telling += f"{matching.against} has {other}"
    out = [f"Each difference is between twins, which have equal settings{telling}. It is over the n samples of both."]
    if matching.alone:
        out.append(f"Conditions without a twin are left out: {'; '.join(row.label for row in matching.alone)}.")
    return out


def _on_work(pairs: Sequence[Twins]) -> str:
    """Returns a note that says whether twins have equal tokens and DiT passes, and where they have not."""
    told = [(pair, equal_work(pair)) for pair in pairs]
    known = [(pair, [equal for equal in every if equal is not None]) for pair, every in told]
    differing = [
        f"{pair.title} ({equal.count(False)} of {len(equal)} samples)" for pair, equal in known if not all(equal)
    ]
    unknown = sum(len(every) for _, every in told) - sum(len(equal) for _, equal in known)
    rest = f" {unknown} samples have no record of DiT passes." if unknown else ""
    if differing:
        return f"Warning: the tokens or DiT passes of twins differ in {'; '.join(differing)}.{rest}"
    n = sum(len(equal) for _, equal in known)
    return f"Both twins have the same tokens and DiT passes in all {n} common samples that record them.{rest}"


def _on_targets(matching: Matching, found: Sequence[Finding]) -> list[str]:
    columns = dict.fromkeys(f.column for f in found if f.is_distance)
    own = [column.title for column in columns if is_of_one_video(column)]
    ratios = [column.title for column in columns if is_ratio(column)]
    if not columns:
        return []
    parts = [f"the baseline's own value in {', '.join(own)}"] * bool(own) + [f"1 in {', '.join(ratios)}"] * bool(ratios)
    return [
        f"Distance: each sample's distance from its target, which is {' and '.join(parts)}. A negative difference "
        f"means that {matching.family} is nearer to the target. These columns are judged by distance alone."
    ]


def _on_caps(matching: Matching, found: Sequence[Finding], caps: Mapping[str, float]) -> list[str]:
    out = []
    for column in dict.fromkeys(f.column for f in found if f.column.name in caps):
        counts = [f.capped for f in found if f.column is column and not f.is_distance]
        ours, theirs = (sum(side) for side in zip(*counts, strict=True))
        value = f"{caps[column.name]:g}{f' {column.unit}' * bool(column.unit)}"
        out.append(
            f"{column.title} above {value} counts as {value} on both sides, infinite values too, so that two identical "
            f"samples differ by 0: {ours} common samples of {matching.family} and {theirs} of {matching.against}."
        )
    infinite = [f.column for f in found if f.difference.infinite]
    if infinite:
        titles = ", ".join(dict.fromkeys(column.title for column in infinite))
        out.append(
            f"Samples with an infinite value on either side are left out of {titles} and counted in its cells; "
            f"--cap {infinite[0].name}=NUMBER counts them."
        )
    return out


def _on_corrections(found: Sequence[Finding]) -> list[str]:
    counts = Counter((f.column.name, f.is_distance) for f in found if f.p_holm is not None)
    if not counts:
        return []
    priced = [f.column.title for f in found if f.column.name in PRICED and f.column.better]
    prices = f" In {priced[0]} bold also needs a difference of more than {100 * PRICE_ERROR:.0f} %." if priced else ""
    return [
        f"Bold: the difference is not 0 (t test, p < {1 - CONFIDENCE:.2f}) after Holm's correction for the up to "
        f"{max(counts.values())} pairs of its column.{prices} The intervals are not corrected."
    ]
