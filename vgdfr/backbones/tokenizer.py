"""Checks of a checkpoint's Llama tokenizer, which need neither weights nor transformers."""

import json
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

# The head of diffusers' DEFAULT_PROMPT_TEMPLATE for HunyuanVideo, and its crop_start, without an import of diffusers.
TEMPLATE_HEAD = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the "
    "following aspects: 1. The main content and theme of the video.2. The color, shape, size, "
    "texture, quantity, text, and spatial relationships of the objects.3. Actions, events, "
    "behaviors temporal relationships, physical movement changes of the objects.4. background "
    "environment, light, style and atmosphere.5. camera angles, movements, and transitions "
    "used in the video:<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
)
CROP_START = 95


def tokenizer_was_misread(folder: Path) -> bool:
    """Returns whether version 0.1.0 of this project, which left the class to diffusers, read other Llama tokens."""
    named = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["tokenizer"][1]
    config = json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text(encoding="utf-8"))
    return "Llama" in named or config.get("padding_side", "right") != "right"


@cache
def check_tokenizer(folder: Path) -> None:
    """Raises ValueError unless the tokenizer in `folder` turns the template's head into as many tokens as are cropped.

    With another count every embedding would begin within the template or lack the prompt's first words.
    """
    file = folder / "tokenizer" / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises no narrower class
        raise ValueError(f"{file} cannot be read as a tokenizer: {error}; get the checkpoint's files again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    length = len(tokenizer.encode(TEMPLATE_HEAD).ids)
    if length != CROP_START:
        raise ValueError(
            f"{folder / 'tokenizer'} turns the head of HunyuanVideo's prompt template into {length} tokens, expected "
            f"{CROP_START}, which the pipeline crops: all prompts would be misread. Get the checkpoint's tokenizer "
            "files again (python -m bench.prefetch). If the tokenizer is your own, change whether it marks the "
            f"beginning of a text, so that the head has {CROP_START} tokens"
        )
