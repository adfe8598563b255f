"""A row of a table: one condition with its finished samples and their means."""

from dataclasses import dataclass, field
from functools import partial

import pandas as pd

from analysis.bound import of_bound
from analysis.columns import Column
from analysis.statistics import NOTHING, Interval, interval, speedup
from analysis.vbench import official_score
from bench.vbench.total import Official
from metrics.base import DIFFERENCE

# columns that are no means over samples, and samples have no values to pair
OF_ALL = {"speedup": speedup, "of_bound": of_bound} | {
    f"vbench_{part}": partial(official_score, part) for part in Official._fields
}


@dataclass(frozen=True, eq=False)
class Row:
    """One condition.

    samples: its finished samples, indexed by prompt and seed. failed: its other samples.
    fault: why the condition fails as a whole, or None. Then all of its samples are in `failed`.
    method: the method's name in the records, which orders the rows. name: its title.
    role: "reference", "method", "ablation" or "diagnostic", see `bench.store.facts`. family: joins rows in figures.
    video: the video settings that the study varies, such as "num_frames=33".
    k, theta: None for a method without them. other: all other settings, such as "steps=25, max_merge=2".
    accelerated: whether it ran with accelerators. own_noise: whether it starts from noise other than the baseline's.
    """

    condition: str
    slug: str
    method: str
    name: str
    role: str
    family: str
    video: str
    k: int | None
    theta: float | None
    other: str
    samples: pd.DataFrame
    failed: pd.DataFrame
    fault: str | None = None
    accelerated: bool = False
    own_noise: bool = False
    _means: dict[str, Interval] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings for people, such as "k=5", "θ=0.7", "steps=25" and "num_frames=33"."""
        k = [] if self.k is None else [f"k={self.k}"]
        theta = [] if self.theta is None else [f"θ={self.theta:g}"]
        return (*k, *theta, *(p for text in (self.other, self.video) if text for p in text.split(", ")))

    @property
    def title(self) -> str:
        return f"{self.name} ({', '.join(self.settings)})" if self.settings else self.name

    @property
    def label(self) -> str:
        """The title, and the fault of a row that has one."""
        return f"{self.title}: {self.fault}" if self.fault else self.title

    @property
    def n(self) -> int:
        """The number of finished samples."""
        return len(self.samples)

    @property
    def n_failed(self) -> int:
        return len(self.failed)

    @property
    def withheld(self) -> pd.DataFrame:
        """The finished samples of a row with a fault."""
        return self.failed[self.failed["status"] == "done"]

    @property
    def ranked(self) -> bool:
        """Whether the row competes for the best value of a column. Ablations and diagnostics do not."""
        return self.role == "method"

    def competes(self, column: Column) -> bool:
        """Returns whether the row competes for the best value of `column`.

        A video from other noise than the baseline's shows something else, so differences from the baseline say nothing
        about the method.
        """
        return self.ranked and not self.apart(column)

    def apart(self, column: Column) -> bool:
        """Returns whether the column compares the row's videos with videos from other noise."""
        return self.own_noise and column.group == DIFFERENCE

    @property
    def is_reference(self) -> bool:
        """Whether the other conditions with the same video settings are compared with this one."""
        return self.role == "reference"

    @property
    def notes(self) -> list[str]:
        """The notes of the finished samples, each once."""
        return sorted({note for notes in self.samples["notes"].dropna().unique() for note in notes.split("\n")})

    def values(self, name: str) -> pd.Series:
        """Returns the samples' values of a metric or measurement, without those that have none."""
        return self.samples[name].dropna() if name in self.samples else pd.Series(dtype=float)

    def mean(self, name: str) -> Interval:
        """Returns the mean over the samples with its interval, or the value of a column that is no mean (`OF_ALL`)."""
        if name not in self._means:
            if name in OF_ALL:
                self._means[name] = OF_ALL[name](self.samples)
            else:
                self._means[name] = interval(self.samples[name]) if name in self.samples else NOTHING
        return self._means[name]

    def present(self, name: str) -> int:
        """Returns how many samples have a value, infinite values included."""
        if name not in self._counts:
            there = self.samples[name].notna().sum() if name in self.samples else self.mean(name).n
            self._counts[name] = int(there)
        return self._counts[name]
