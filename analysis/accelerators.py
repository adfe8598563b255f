"""A table of the accelerators' counts, and of the share of the DiT's layers that was skipped."""

import json
from collections.abc import Sequence

import pandas as pd

from analysis.render import Sheet, plain
from analysis.table import Table

SHARES = {4: "attention skipped", 5: "feed-forward skipped"}  # by the place of the computed share in a row of passes


def accelerators_sheet(table: Table) -> Sheet | None:
    """Returns a row per condition and accelerator with means over finished samples, or None without accelerators."""
    samples = table.samples
    samples = samples[samples["accelerated"].notna() & (samples["accelerated"] != "{}")]
    if samples.empty:
        return None
    accelerated = {text: json.loads(text) for text in samples["accelerated"].unique()}
    skipped = {text: _skipped(json.loads(text)) for text in samples["dit_passes"].dropna().unique()}
    columns = zip(samples.index.get_level_values(0), samples["accelerated"], samples["dit_passes"], strict=True)
    found = [
        ((condition, name), measured | skipped.get(passes, {}))
        for condition, text, passes in columns
        for name, measured in accelerated[text].items()
    ]
    keys, values = zip(*found, strict=True)
    groups = pd.DataFrame(values, pd.MultiIndex.from_tuples(keys)).groupby(level=[0, 1])
    means, counts = groups.mean(), groups.size()
    measures, titles = [name for name in means if name not in SHARES], {row.condition: row.title for row in table.rows}
    formats = dict.fromkeys(measures, "{:.1f}") | dict.fromkeys(SHARES, "{:.1%}")
    means = means.reindex(columns=list(formats))
    texts = pd.DataFrame({c: means[c].map(form.format).where(means[c].notna(), "–") for c, form in formats.items()})
    body = [  # in the table's order
        plain(titles[key[0]], str(counts[key]), key[1], *texts.loc[key]) for key in dict.fromkeys(keys)
    ]
    return Sheet(
        title="Accelerators",
        header=("Method", "n", "Accelerator", *(str(name).replace("_", " ") for name in measures), *SHARES.values()),
        rows=tuple(body),
        notes=(
            "Means over samples of what an accelerator counted. Skipped: the share of attention and of feed-forward "
            "layers that the DiT's passes did not compute, whatever skipped them.",
        ),
    )


def _skipped(passes: Sequence[Sequence[float]]) -> dict[int, float]:
    """Returns the share of a histogram of passes that was not computed, by place. Each forward has the same weight.

    A pass without a forward counts as a forward that computed nothing.
    """
    weight = sum(max(row[3], 1) * row[6] for row in passes)
    return {place: 1 - sum(row[3] * row[6] * row[place] for row in passes) / weight for place in SHARES}
