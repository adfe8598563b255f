"""Tells the readers of a table how its latencies came about, and which of them were disturbed."""

from collections.abc import Sequence

import pandas as pd

from analysis.bound import ABOVE
from analysis.prices import BUSY
from analysis.table import Row, Table

DISTURBED = 0.15  # the relative distance between elapsed seconds and latency from which a row says so
SOME = 0.1  # busy cores of other processes from which a table says so


def disturbed(samples: pd.DataFrame) -> pd.Series:
    """Returns whether each sample's elapsed seconds are far from its latency at the prices of its own run."""
    off = (samples["elapsed_s"] / samples["latency_s"] - 1).abs() >= DISTURBED
    return off & (samples["run"] == samples["made_run"]) & (samples["clock"] == "wall")


def elapsed_in(row: Row) -> str | None:
    """Returns the mean elapsed seconds as text for the row's latency cell if its samples were disturbed, else None."""
    own = row.samples[(row.samples["run"] == row.samples["made_run"]) & row.samples["latency_s"].notna()]
    if own.empty:
        return None
    elapsed, latency = own["elapsed_s"].mean(), own["latency_s"].mean()
    return f"elapsed {elapsed:.2f}" if abs(elapsed / latency - 1) >= DISTURBED else None


def notes_on_timing(table: Table) -> list[str]:
    """Returns the notes for a table with latencies or speed-ups."""
    samples, out = table.samples, []
    if table.timing == "pooled":
        out.append(
            "A latency is the number of each kind of work, such as DiT passes on 9 latent frames, times the price of "
            "that kind in one run. Both sides of a speed-up are of one run."
        )
        out += _on_runs(table)
    elif samples["shared_stages"].notna().any() and table.timing == "shared":
        out.append(
            "The conditions of a prompt share the first steps, the preview and equal schedules. These were computed "
            "and timed once, and a latency is the sum of the sample's parts."
        )
    if samples["timing"].nunique() > 1:
        of = {"pooled": "samples with priced work", "isolated": "samples timed alone"}[table.timing]
        out.append(f"Latency and Speedup are of {of}; other samples have none.")
    out += without_speedup(samples)
    if any(elapsed_in(row) for row in table.rows):
        out.append(
            "Elapsed: the mean of the seconds that really passed, where it differs from the latency by "
            f"{DISTURBED:.0%} or more. Other processes disturbed these samples, and the latency leaves that out."
        )
    if n := int(disturbed(samples).sum()):
        out.append(
            f"{n} of {samples['latency_s'].notna().sum()} samples took {DISTURBED:.0%} or more longer or shorter than "
            "their latency says."
        )
    out += _on_checks(samples)
    return [*out, *(f"{row.title}: {note}." for row in table.rows for note in row.notes if "latency" in note)]


def note_on_bound() -> str:
    """Returns what the column is."""
    return (
        "Of bound: the speed-up over its FLOP bound, the speed-up if only the DiT took time. "
        f"{ABOVE}: above the bound, so short passes run at more FLOP/s than long ones, or times were not taken alike."
    )


def _on_runs(table: Table) -> list[str]:
    """Returns notes on several runs, and on runs on a busy machine."""
    samples, out = table.samples[table.samples["latency_s"].notna()], []
    runs = [table.study.runs[name] for name in dict.fromkeys(samples["run"]) if name in table.study.runs]
    if len(runs) > 1:
        differing = _differing([dict(run.about["environment"]) | {"host": run.about["host"]} for run in runs])
        told = f", which differ in {'; '.join(differing)}" if differing else " of equal machines, packages and code"
        out.append(f"Latencies are of {len(runs)} runs{told}. Compare Speedup, and not Latency, between their rows.")
    if later := int((samples["run"] != samples["made_run"]).sum()):
        out.append(
            f"{later} sample{'s were' if later > 1 else ' was'} made by an earlier run than the one that prices them, "
            "which continued the study and timed their work again."
        )
    waited = [run for run in runs if run.waited > BUSY]
    if waited:
        worst = max(run.waited for run in waited) - 1
        out.append(
            f"The machine was busy: in {len(waited)} of {len(runs)} runs, work took up to {worst:.0%} more than its "
            "CPU seconds, so CPU seconds count in these runs."
        )
    busiest = max((run.about.get("other_busy_cores") or 0.0 for run in runs), default=0.0)
    if busiest >= SOME:
        threads = any((run.about["environment"].get("threads") or 1) > 1 for run in runs)
        remedy = " With several threads no clock holds still then: measure on a free machine, or with threads=1."
        out.append(f"Other processes kept {busiest:.1f} cores busy on average in a run.{remedy if threads else ''}")
    return out


def _differing(environments: Sequence[dict[str, object]]) -> list[str]:
    """Returns the entries in which runs differ, such as "threads 1 and 2"."""
    flat = [
        {n: v for n, v in each.items() if n not in ("packages", "command", "code_sha256")}
        | dict(each.get("packages") or {})  # type: ignore[call-overload]
        for each in environments
    ]
    names = dict.fromkeys(name for each in flat for name in each)
    out = []
    for name in names:
        values = list(dict.fromkeys(str(each.get(name)) for each in flat))
        if len(values) > 1:
            out.append(f"{name} {' and '.join(value[:12] if name == 'commit' else value for value in values)}")
    return out


def without_speedup(samples: pd.DataFrame) -> list[str]:
    """Returns a note for each reason why samples have no speed-up."""
    counts = samples["no_speedup"].dropna().value_counts(sort=False)
    return [f"{n} sample{'s have' if n > 1 else ' has'} no speed-up: {reason}." for reason, n in counts.items()]


def _on_checks(samples: pd.DataFrame) -> list[str]:
    """Returns a note on the runs of samples alone, which check the priced latencies."""
    checked = samples[samples["isolated_s"].notna() & samples["check_s"].notna()]
    if checked.empty:
        return []
    off = checked["check_s"] / checked["isolated_s"] - 1
    return [
        f"Check: {len(checked)} samples were also run alone. At the prices of that run, their latencies differ from "
        f"the medians of these runs by {off.median():+.1%} in the median and {off.abs().max():.1%} at most."
    ]
