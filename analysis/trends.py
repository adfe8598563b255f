"""Compares the trends of a study with those of the paper's Table 1, column by column."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.columns import EFFICIENCY, Column, in_paper
from analysis.differences import comparable
from analysis.paper_table import Setting, rows, setting_of
from analysis.render import Sheet, plain
from analysis.statistics import MIN_PROMPTS
from analysis.table import Row, Table
from metrics.base import DIFFERENCE

_CLEAR = 1 / 3  # twice as many pairs of rows one way as the other
_DRAWS, _NOISES, _SEED = 2000, 20_000, 0
ALONG = ("k", "θ", "Original")
Pair = tuple[Setting, Setting]
# returns the sign of the step of each pair, for each row of weights of the prompts; NaN without common samples
Signs = Callable[[Float[np.ndarray, "draws prompts"]], Float[np.ndarray, "draws pairs"]]


AGREES, DIFFERS, OPEN, NOT_MEASURED = "agrees", "differs", "not separated", "not measured"


class Trend(NamedTuple):
    """Kendall's tau-a over `pairs` row pairs: the fraction that rise minus the fraction that fall.

    `low` and `high` are its 95 % interval over prompts, None for the paper and below MIN_PROMPTS prompts.
    """

    tau: float
    pairs: int
    low: float | None = None
    high: float | None = None

    @property
    def direction(self) -> str:
        return _direction(self.tau)

    @property
    def is_open(self) -> bool:
        """Whether the interval holds zero and also a trend, so that the prompts do not tell one from the other."""
        if self.low is None or self.high is None:
            return False
        ends = {_direction(self.low), _direction(self.high)}
        return self.low <= 0 <= self.high and ends != {"no trend"}

    @property
    def text(self) -> str:
        ends = f" [{self.low:+.2f}, {self.high:+.2f}]" if self.low is not None else ""
        return f"{self.direction} ({self.tau:+.2f}{ends})"


def _direction(tau: float) -> str:
    return "rises" if tau >= _CLEAR else "falls" if tau <= -_CLEAR else "no trend"


class Comparison(NamedTuple):
    """One trend of one column.

    `forced` trends cannot fail: k and θ decide the work and how much of the baseline is kept. `chance` is the
    probability that noise has the paper's direction, by tau alone.
    """

    column: Column
    along: str
    paper: Trend
    here: Trend | None
    forced: bool
    chance: float

    @property
    def agrees(self) -> bool:
        """Whether the directions are equal, by tau alone."""
        return self.here is not None and self.here.direction == self.paper.direction

    @property
    def verdict(self) -> str:
        """AGREES or DIFFERS, OPEN if the study's trend is not separated from zero, or NOT_MEASURED without a trend."""
        if self.here is None:
            return NOT_MEASURED
        return OPEN if self.here.is_open else AGREES if self.agrees else DIFFERS


def pairs_along(settings: Sequence[Setting], along: str) -> tuple[Pair, ...]:
    """Returns the pairs that differ in k (or θ) alone, the smaller first, or the baseline with each other setting."""
    methods = [setting for setting in settings if setting is not None]
    if along == "Original":
        return tuple((None, setting) for setting in methods) if None in settings else ()
    own, held = (0, 1) if along == "k" else (1, 0)
    ordered = combinations(sorted(methods, key=lambda setting: setting[own]), 2)
    return tuple((a, b) for a, b in ordered if a[held] == b[held] and a[own] != b[own])


def printed_trend(numbers: Mapping[Any, float], along: str) -> Trend | None:
    """Returns the trend of a printed table, or None without a pair of rows."""
    pairs = pairs_along(list(numbers), along)
    signs = [float(np.sign(numbers[b] - numbers[a])) for a, b in pairs]
    return Trend(sum(signs) / len(signs), len(signs)) if signs else None


def measured_trend(of: Mapping[Setting, Row], column: Column, along: str) -> Trend | None:
    """Returns the trend of a study's rows with its interval, or None if no two rows have common samples.

    The interval is the 2.5 % and 97.5 % quantile over resampled prompts (percentile bootstrap).
    """
    pairs = pairs_along(list(of), along)
    if not pairs:
        return None
    prompts, signs = _signs(of, column, pairs)
    found = signs(np.ones((1, prompts)))[0]
    if np.isnan(found).all():
        return None
    tau, count = float(np.nanmean(found)), int((~np.isnan(found)).sum())
    if prompts < MIN_PROMPTS:
        return Trend(tau, count)
    drawn = np.random.default_rng(_SEED).multinomial(prompts, np.full(prompts, 1 / prompts), size=_DRAWS)
    resampled = signs(drawn.astype(float))
    taus = np.nanmean(resampled[~np.isnan(resampled).all(axis=1)], axis=1)
    low, high = np.quantile(taus, [0.025, 0.975])
    return Trend(tau, count, float(low), float(high))


def _signs(of: Mapping[Setting, Row], column: Column, pairs: Sequence[Pair]) -> tuple[int, Signs]:
    """Returns the number of prompts, and the signs of the steps from the first to the second row of each pair.

    A step is between means over the samples that both rows have, rounded to printed digits. An infinite value exceeds
    every finite value and equals another infinite one. Speed-ups are ratios of mean latencies.
    """
    ratio = column.name == "speedup"
    place = {setting: i for i, setting in enumerate(of)}
    first, second = ([place[pair[i]] for pair in pairs] for i in range(2))
    # for each quantity: a line per sample and a column per row of the table, NaN where a row lacks the sample
    tables = [
        pd.concat(dict(enumerate(values)), axis=1)
        for values in (
            ([row.values(name) for row in of.values()] for name in ("reference_latency_s", "latency_s"))
            if ratio
            else ([comparable(row, column) for row in of.values()],)
        )
    ]
    a, b = ([table.to_numpy()[:, side] for table in tables] for side in (first, second))
    common = ~np.isnan(np.stack([*a, *b])).any(axis=0)
    codes, prompts = pd.factorize(tables[0].index.get_level_values("prompt"))

    def by_prompt(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(prompts), values.shape[1]))
        np.add.at(sums, codes, np.where(common, values, 0))
        return sums

    counts = by_prompt(np.ones(common.shape))
    with np.errstate(invalid="ignore"):
        steps = np.where(a[0] == b[0], 0.0, b[0] - a[0])
    sums, infinite = (by_prompt(np.where(np.isfinite(steps), steps, 0)), by_prompt(np.sign(steps) * np.isinf(steps)))
    seconds = [by_prompt(values) for values in (*b, *a)] if ratio else []

    @np.errstate(invalid="ignore", divide="ignore")
    def signs(weights: Float[np.ndarray, "draws prompts"]) -> Float[np.ndarray, "draws pairs"]:
        drawn = weights @ counts
        if ratio:
            over_b, under_b, over_a, under_a = (weights @ each for each in seconds)
            return np.where(drawn > 0, np.sign(np.round(over_b / under_b - over_a / under_a, column.digits)), np.nan)
        beyond, means = weights @ infinite, np.round(weights @ sums / drawn, column.digits)
        return np.where(drawn > 0, np.sign(np.where(beyond != 0, beyond, means)), np.nan)

    return len(prompts), signs


@cache
def chance(pairs: tuple[Pair, ...], direction: str, numbers: tuple[float, ...]) -> float:
    """Returns how often the trend is `direction` if the rows' `numbers` are shuffled: each order is equally likely.

    Equal numbers stay equal. `numbers` has one per setting of the pairs, in any order.
    """
    place = {setting: i for i, setting in enumerate(dict.fromkeys(s for pair in pairs for s in pair))}
    ranks = np.unique(numbers, return_inverse=True)[1]  # ranks are finite where numbers are infinite
    shuffled = np.random.default_rng(_SEED).permuted(np.tile(ranks, (_NOISES, 1)), axis=1)
    first, second = ([place[pair[i]] for pair in pairs] for i in range(2))
    taus = np.sign(shuffled[:, second] - shuffled[:, first]).mean(axis=1)
    return float(np.mean([_direction(tau) == direction for tau in taus]))


def forced(column: Column) -> bool:
    """Returns whether k and θ decide the column's trends in any study: costs, and differences from the baseline."""
    return column.group == DIFFERENCE or column in EFFICIENCY


def comparisons(table: Table, column: Column) -> list[Comparison]:
    """Returns the column's trends with k, with θ and against the baseline, over the rows that both tables have.

    If the study has none of the rows, the paper's trends are over all rows of the paper.
    """
    name = in_paper(column)
    ours: dict[Setting, Row] = {}
    for row in table.rows:
        if (setting := setting_of(row)) and row.video == table.videos[0] and row.present(column.name):
            ours.setdefault(setting[0], row)
    theirs = {setting: numbers[name] for setting, numbers in rows().items() if name in numbers}
    both = {setting: ours[setting] for setting in theirs if setting in ours}
    known = {s: v for s, v in theirs.items() if s is None or s in both}
    out = []
    for along in ALONG:
        paper = printed_trend(known if any(both) else theirs, along)
        if paper is None:
            continue
        pairs = pairs_along(list(both), along)
        numbers = tuple(_printed(both[s], column) for s in dict.fromkeys(s for pair in pairs for s in pair))
        likely = chance(pairs, paper.direction, numbers) if pairs else 0.0
        here = measured_trend(both, column, along)
        out.append(Comparison(column, along, paper, here, forced(column), likely))
    return out


def _printed(row: Row, column: Column) -> float:
    """Returns the mean as a table prints it, or infinity if all values are infinite."""
    mean = row.mean(column.name).value
    return float("inf") if mean is None else round(mean, column.digits)


def trends_sheet(table: Table, shown: Sequence[Column]) -> Sheet:
    """Returns a row per column and trend: the direction in the paper and here, the chance level, and the verdict."""
    names = [column.name for column in shown]
    body, found, rules = [], [], set()
    for column in shown:
        inverse = column.name == "speedup" and "latency_s" in names  # the inverse of latency is no second finding
        if inverse or not any(in_paper(column) in numbers for numbers in rows().values()):
            continue
        rules.add(len(body))
        for each in comparisons(table, column):
            found.append(each)
            way = "from Original" if each.along == "Original" else f"with {each.along}"
            level = "–" if each.here is None else "forced" if each.forced else f"{100 * each.chance:.0f} %"
            body.append(
                plain(
                    f"{column.title} {way}", each.paper.text, each.here.text if each.here else "–", level, each.verdict
                )
            )
    header = ("Trend", "Paper", "Here", "Chance", "Verdict")
    notes = (counted(found), _HOW)
    return Sheet(header, tuple(body), rules=frozenset(rules), title="Trends", notes=notes)


def counted(found: Sequence[Comparison]) -> str:
    """Returns the verdicts' counts over free trends with the count by chance, then those over forced trends."""
    free, fixed = ([c for c in found if c.forced is kind and c.here is not None] for kind in (False, True))
    out = []
    if free:
        out.append(
            f"{_verdicts('free', free)} By tau alone {sum(c.agrees for c in free)} agree; noise would give "
            f"{sum(c.chance for c in free):.1f}."
        )
    if fixed:
        out.append(
            f"{_verdicts('forced', fixed)} k and θ decide the cost and the difference from the baseline in any study."
        )
    missing = sum(c.here is None for c in found)
    return " ".join([*out, *[f"{missing} trends were not measured."] * bool(missing)])


def _verdicts(kind: str, found: Sequence[Comparison]) -> str:
    """Returns such as "Of 9 free trends 4 agree with the paper, 2 differ, and 3 are not separated from zero."."""
    agree, differ, unclear = (sum(c.verdict == verdict for c in found) for verdict in (AGREES, DIFFERS, OPEN))
    return (
        f"Of {len(found)} {kind} trends {agree} agree with the paper, {differ} differ, and {unclear} are not separated "
        "from zero."
    )


_HOW = (
    "In parentheses: Kendall's tau. Over the pairs of rows that differ in k (or θ) alone, tau is the fraction in which "
    "the number rises minus the fraction in which it falls. From Original, tau is the fraction of VGDFR rows above the "
    "baseline minus the fraction below. A trend begins at 0.33. In brackets: the 95 % interval of tau over prompts, "
    f"resampled {_DRAWS} times, for {MIN_PROMPTS} prompts or more. Not separated: this interval holds zero and also a "
    "trend. Without an interval the verdict is by tau alone. Chance: how often the direction of tau would be that of "
    "the paper if the printed numbers of the rows were shuffled. Only rows that both tables have count. Two rows of "
    "the study are compared over the samples that both have, and latencies only within one run. An infinite value "
    "exceeds every other. Speedup is the inverse of Latency and is not counted again. The paper used another model and "
    "other judges, so directions compare and numbers do not."
)
