"""A table of the accelerators' counts, and of the share of the DiT's layers that was skipped."""

import json

import pandas as pd

from analysis.render import Sheet, plain
from analysis.skips import SHARES, has_accelerators, idle_in, skipped_shares
from analysis.table import Table

IDLE = "samples without a skip"


def accelerators_sheet(table: Table) -> Sheet | None:
    """Returns a row per condition and accelerator with means over finished samples, or None without accelerators.

    Conditions that skipped nothing are included. Their rows have no numbers elsewhere.
    """
    parts = [(row.condition, part) for row in table.rows for part in (row.samples, row.withheld)]
    samples = pd.concat([part for _, part in parts], keys=[condition for condition, _ in parts])
    samples = samples[has_accelerators(samples["accelerated"])]
    if samples.empty:
        return None
    accelerated = {text: json.loads(text) for text in samples["accelerated"].unique()}
    skipped = {text: skipped_shares(json.loads(text)) for text in samples["dit_passes"].dropna().unique()}
    columns = zip(samples.index.get_level_values(0), samples["accelerated"], samples["dit_passes"], strict=True)
    found = []
    for condition, text, passes in columns:
        idle = idle_in(text, passes if isinstance(passes, str) else None)
        for name, measured in accelerated[text].items():
            found.append(((condition, name), measured | skipped.get(passes, {}) | {IDLE: float(name in idle)}))
    keys, values = zip(*found, strict=True)
    groups = pd.DataFrame(values, pd.MultiIndex.from_tuples(keys)).groupby(level=[0, 1])
    means, counts, idle = groups.mean(), groups.size(), groups[IDLE].sum()
    measures = [name for name in means if name not in (*SHARES, IDLE)]
    titles = {row.condition: row.title for row in table.rows}
    formats = dict.fromkeys(measures, "{:.1f}") | dict.fromkeys(SHARES, "{:.1%}")
    means = means.reindex(columns=list(formats))
    texts = pd.DataFrame({c: means[c].map(form.format).where(means[c].notna(), "–") for c, form in formats.items()})
    body = [  # in the table's order
        plain(titles[key[0]], str(counts[key]), key[1], *texts.loc[key], f"{idle[key]:.0f}")
        for key in dict.fromkeys(keys)
    ]
    header = ("Method", "n", "Accelerator", *(str(name).replace("_", " ") for name in measures), *SHARES.values(), IDLE)
    return Sheet(
        title="Accelerators",
        header=header,
        rows=tuple(body),
        notes=(
            "Means over samples of what an accelerator counted. Skipped: the share of attention and of feed-forward "
            "layers that the DiT's passes did not compute, whatever skipped them. A condition in which an accelerator "
            "skipped nothing in every sample fails: its row has no numbers.",
        ),
    )
