"""Matches the conditions of two families: twins have equal settings but for those that tell the families apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.pareto import named_settings
from analysis.row import Row
from analysis.study import StudyError
from analysis.table import Table


@dataclass(frozen=True, eq=False)
class Twins:
    """A condition of a family and its twin in another family, the rows `family` and `against`."""

    family: Row
    against: Row

    @property
    def title(self) -> str:
        """The settings that both rows show, such as "k=5, θ=0.5"."""
        common = [text for text in self.family.settings if text in self.against.settings]
        return ", ".join(common) or "the same settings"


@dataclass(frozen=True, eq=False)
class Matching:
    """The twins of two families, in the table's order.

    family_settings, against_settings: the settings that tell the families apart, as each family has them. Settings at
    their defaults are left out. alone: the rows without a twin.
    """

    family: str
    against: str
    twins: tuple[Twins, ...]
    family_settings: tuple[str, ...]
    against_settings: tuple[str, ...]
    alone: tuple[Row, ...]


def matching_of(table: Table, family: str, against: str) -> Matching:
    """Returns the twins of the conditions of `family` in `against`.

    A setting tells the families apart if it has one value within each family, and another value in the other family.
    Twins are equal in all other settings, also in the settings of the video. Raises StudyError for an unknown family,
    for a family against itself, and if no condition has a twin.
    """
    ours, theirs = _family(table, family), _family(table, against)
    if family == against:
        raise StudyError(f"--family and --against both name {family}; name two families")
    telling = _telling(ours, theirs)
    by_settings = {_key(row, telling): row for row in theirs}
    pairs = tuple(Twins(row, by_settings[key]) for row in ours if (key := _key(row, telling)) in by_settings)
    if not pairs:
        raise StudyError(
            f"no condition of {family} has a twin in {against}: apart from settings with one value within each family "
            f"({', '.join(telling) or 'there are none'}), {family} has {_examples(ours, telling)}, and {against} has "
            f"{_examples(theirs, telling)}"
        )
    matched = {row.condition for pair in pairs for row in (pair.family, pair.against)}
    return Matching(
        family,
        against,
        pairs,
        _values(ours[0], telling),
        _values(theirs[0], telling),
        tuple(row for row in (*ours, *theirs) if row.condition not in matched),
    )


def _family(table: Table, name: str) -> list[Row]:
    """Returns the rows of a family. Raises StudyError if there are none."""
    rows = [row for row in table.rows if not row.is_reference]
    if found := [row for row in rows if row.family == name]:
        return found
    there = ", ".join(dict.fromkeys(row.family for row in rows)) or "none"
    raise StudyError(f"there is no family {name}; there are {there}")


def _telling(ours: Sequence[Row], theirs: Sequence[Row]) -> tuple[str, ...]:
    """Returns the names of the settings that tell two families apart, in the order of the rows' settings."""
    sides = [[named_settings(row) for row in rows] for rows in (ours, theirs)]
    names = dict.fromkeys(name for rows in sides for settings in rows for name in settings)
    values = {name: [{settings.get(name) for settings in rows} for rows in sides] for name in names}
    return tuple(name for name, (a, b) in values.items() if len(a) == len(b) == 1 and a != b)


def _rest(row: Row, telling: Sequence[str]) -> Mapping[str, str]:
    return {name: text for name, text in named_settings(row).items() if name not in telling}


def _key(row: Row, telling: Sequence[str]) -> tuple[str, frozenset[str]]:
    return row.video, frozenset(_rest(row, telling).values())


def _values(row: Row, telling: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for name, text in named_settings(row).items() if name in telling)


def _examples(rows: Sequence[Row], telling: Sequence[str], most: int = 3) -> str:
    """Returns the settings of the first rows, such as "(k=5, θ=0.5), (k=5, θ=0.6), ..."."""
    texts = [f"({', '.join(_rest(row, telling).values())}{f'; {row.video}' * bool(row.video)})" for row in rows[:most]]
    return ", ".join([*texts, *["..."] * (len(rows) > most)])


def equal_work(pair: Twins) -> list[bool | None]:
    """Returns for each common sample whether both have the same tokens and DiT passes, None for unknown passes."""
    names = ["dit_passes", "token_ratio"]
    sides = [row.samples.reindex(columns=names) for row in (pair.family, pair.against)]
    common = sides[0].index.intersection(sides[1].index)
    a, b = (side.loc[common] for side in sides)
    equal = (a.eq(b) | (a.isna() & b.isna())).all(axis=1)
    known = a["dit_passes"].notna() & b["dit_passes"].notna()
    return [bool(same) if there else None for same, there in zip(equal, known, strict=True)]
