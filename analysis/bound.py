"""Compares a speed-up with its FLOP bound."""

import pandas as pd

from analysis.statistics import NOTHING, Interval, speedup, sum_ratio

ABOVE = "▲"  # marks a speed-up above its bound


def of_bound(samples: pd.DataFrame) -> Interval:
    """Returns the speed-up over the FLOP bound of the speed-up, over the samples that have both.

    The bound is the references' DiT FLOPs over the samples'. It is the speed-up if only the DiT took time and every
    pass ran at equal FLOP/s. Above 1, short passes ran at more FLOP/s than long ones, or times were not taken alike.
    """
    there = samples[samples["speedup"].notna() & samples["bound"].notna()]
    if there.empty:
        return NOTHING
    flops, measured = there["dit_flops"].to_numpy(), speedup(there)
    bound = sum_ratio(there["bound"].to_numpy() * flops, flops)
    # both vary over prompts together, so the speed-up's interval says nothing about their ratio
    return Interval(None if measured.value is None else measured.value / bound, None, None, measured.n, 0)
