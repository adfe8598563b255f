"""What a sample's prompt is about: the embedded world's speed profile, or VBench's dimensions."""

import re

from analysis.load import Row

SPEEDS = ("still", "slow", "fast", "accelerating", "stopping")
_OF_ID = re.compile(rf"\d+-({'|'.join(SPEEDS)})")  # ids of the embedded prompts, such as 03-accelerating


def content_of(row: Row) -> list[str]:
    """The dimensions that the record names, and the speed profile of the prompt's id unless they name one."""
    named: list[str] = list(row.record.get("prompt_dimensions") or ())
    found = _OF_ID.fullmatch(row.record["prompt_id"])
    return named if not found or set(named) & set(SPEEDS) else [*named, found[1]]
