"""The small trained HunyuanVideo that ships with the package, in diffusers' own folder format."""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
SHOWN = 8  # a remark names this many words and counts the others


@cache
def known_words() -> frozenset[str]:
    """Returns the words of the captions that the model was trained on, all in lower case."""
    tokenizer = json.loads((CHECKPOINT / "tokenizer_2" / "tokenizer.json").read_text(encoding="utf-8"))
    return frozenset(word for word in tokenizer["model"]["vocab"] if word.isalpha())


def unknown_words(prompt: str) -> list[str]:
    """Returns the words of `prompt` that the model does not know. It cannot tell such words apart.

    A prompt without any word counts as one unknown word.
    """
    return [word for word in re.findall(r"\w+", prompt) or [prompt] if word not in known_words()]


def remark(prompts: Sequence[str]) -> str | None:
    """Returns a warning that names the words of `prompts` that the model does not know, or None if it knows all words.

    The warning also counts the prompts with such words. A prompt given twice, as for two seeds, counts once.
    """
    unknown = {prompt: words for prompt in prompts if (words := unknown_words(prompt))}
    if not unknown:
        return None
    words = list(dict.fromkeys(word for each in unknown.values() for word in each))
    named = ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
    count = len(dict.fromkeys(prompts))
    subject = (
        "the prompt has"
        if count == 1
        else f"{len(unknown)} of {count} prompts {'has' if len(unknown) == 1 else 'have'}"
    )
    return (
        f"warning: {subject} words that the embedded model does not know: {named}; its videos show its own world only "
        "(docs/world.md has the words)"
    )
