"""Checks the prompts that select or judge layers: their number, and the balance of their speed profiles."""

from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from analysis.study import SPEEDS

ENOUGH = 20  # prompts to select or to judge layers by: four of each speed profile of the embedded world


def profiles_of(samples: pd.DataFrame) -> dict[str, str]:
    """Returns the speed profile of each prompt of the embedded world. Leaves out other prompts."""
    subjects = samples.drop_duplicates("prompt").set_index("prompt")["content"].str.split("\n")
    named = {str(prompt): next((word for word in own if word in SPEEDS), "") for prompt, own in subjects.items()}
    return {prompt: speed for prompt, speed in named.items() if speed}


def weaknesses(prompts: Iterable[str], profiles: Mapping[str, str], purpose: str) -> list[str]:
    """Returns warnings if the `prompts` are too few for the `purpose`, such as "select", or not balanced.

    Balanced prompts of the embedded world have numbers of prompts per speed profile that differ by at most 1.
    """
    own, out = list(prompts), []
    if len(own) < ENOUGH:
        out.append(f"{len(own)} prompts are too few to {purpose} layers by: {ENOUGH} or more are needed.")
    counts = Counter(profiles[prompt] for prompt in own if prompt in profiles)
    if counts and max(counts.values()) - min(counts[speed] for speed in SPEEDS) > 1:
        each = ", ".join(f"{speed} {counts[speed]}" for speed in SPEEDS)
        out.append(
            f"The prompts to {purpose} layers by are not balanced over the speed profiles ({each}), so one kind of "
            "motion weighs more than another."
        )
    return out
