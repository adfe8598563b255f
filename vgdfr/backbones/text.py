"""Prompt embeddings. They are computed once per prompt and kept on disk, so that most runs load no text encoder."""

import gc
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from diffusers.utils import logging as diffusers_logging
from filelock import FileLock
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import CLIPTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from vgdfr.backbones.base import Text
from vgdfr.backbones.tokenizer import CROP_START, check_tokenizer
from vgdfr.files import cache_folder, readable, sha256_of_folder, warn_no_cache
from vgdfr.numerics import exact_float32
from vgdfr_commands.atomic import atomic_file

ENCODERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
# This number is part of a stored embedding's identity. Raise it when the computation of embeddings changes.
# Since 2, the Llama tokenizer is read from tokenizer.json as it stands.
ENCODING_VERSION = 2
LLAMA_TOKENS, CLIP_TOKENS = 256, 77  # tokens that the pipeline passes on; Llama's follow the template's head


@dataclass(frozen=True, eq=False)
class PromptEmbedding:
    """The embedding of a prompt, on the CPU.

    tokens: Llama's embeddings `[1, l, d]` without padding.
    pooled: CLIP's vector `[1, p]`.
    notes: sentences about encoders that read only the beginning of the prompt.
    """

    tokens: Float[Tensor, "1 l d"]
    pooled: Float[Tensor, "1 p"]
    notes: tuple[str, ...] = ()


@cache
def llama_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Returns the Llama tokenizer of the checkpoint in `folder` as tokenizer.json describes it, padding on the right.

    model_index.json of the 13B model names LlamaTokenizerFast. In transformers 5 that class replaces the file's
    pre-tokenizer (ByteLevel) by its own (Metaspace) and pads on the left, and every prompt gets wrong tokens. The class
    used here changes nothing. Padding must follow the prompt, because the pipeline crops the template's head by
    position.
    """
    return PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer", padding_side="right", local_files_only=True)


@cache
def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Returns the CLIP tokenizer of the checkpoint in `folder`. It needs no weights."""
    return CLIPTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True)


@dataclass(frozen=True)
class TextEncoding(Text):
    """The text encoders of the checkpoint in `folder`, in `dtype` on `device`."""

    folder: Path
    dtype: torch.dtype
    device: torch.device

    def embed(self, prompts: Iterable[str]) -> None:
        """Computes and stores the missing embeddings, each prompt alone. Loads the encoders only if one is missing.

        Processes that share the cache folder take turns: one process loads text encoders at a time, and the others find
        its embeddings. If the cache folder cannot be written, a warning says so and this process keeps its embeddings
        in memory.
        """
        wanted = dict.fromkeys(prompts)
        if not self._missing(wanted):
            return
        with _turn():
            if missing := self._missing(wanted):  # another process may have stored them meanwhile
                self._compute(missing)

    def embedding(self, prompt: str) -> PromptEmbedding:
        """Returns the embedding of `prompt`, which is stored or computed now."""
        self.embed([prompt])
        file = self._file(prompt)
        if file in _not_stored:
            return _not_stored[file]
        with safe_open(file, "pt") as stored:
            tokens, pooled = stored.get_tensor("tokens"), stored.get_tensor("pooled")
        return PromptEmbedding(tokens, pooled, self.notes(prompt))

    def notes(self, prompt: str) -> tuple[str, ...]:
        """Returns a note for each encoder that reads only the beginning of `prompt`. It needs the tokenizers alone."""
        return _truncations(self.folder, prompt)

    def _missing(self, prompts: Iterable[str]) -> list[str]:
        files = {prompt: self._file(prompt) for prompt in prompts}
        return [prompt for prompt, file in files.items() if file not in _not_stored and not readable(file)]

    @torch.inference_mode()
    @exact_float32()
    def _compute(self, prompts: Iterable[str]) -> None:
        check_tokenizer(self.folder)
        encoders = HunyuanVideoPipeline.from_pretrained(
            self.folder, transformer=None, vae=None, tokenizer=llama_tokenizer(self.folder), dtype=self.dtype,
            local_files_only=True,
        ).to(self.device)  # fmt: skip
        for prompt in prompts:
            with _quiet():
                tokens, pooled, mask = encoders.encode_prompt(prompt, device=self.device)
            # one prompt needs no padding; without padding no mask is needed, and fast attention kernels can run
            kept = {"tokens": tokens[:, : int(mask.sum())].contiguous().cpu(), "pooled": pooled.cpu()}
            try:
                with atomic_file(self._file(prompt)) as partial:
                    partial.write_bytes(save(kept))
            except OSError as error:
                warn_no_cache(error)
                _not_stored[self._file(prompt)] = PromptEmbedding(**kept, notes=self.notes(prompt))
        del encoders
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _file(self, prompt: str) -> Path:
        identity = {
            "prompt": prompt,
            "encoding_version": ENCODING_VERSION,
            "encoders": _identity(self.folder),
            "dtype": str(self.dtype),
            "processor": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "versions": {name: version(name) for name in ("torch", "transformers", "diffusers")},
        }
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return cache_folder() / "text" / f"{key}.safetensors"


def _truncations(folder: Path, prompt: str) -> tuple[str, ...]:
    """Returns a note for each text encoder that reads only the beginning of `prompt`. Loads the tokenizers alone.

    The notes are computed each time, because embeddings that older versions stored have none.
    """
    text = DEFAULT_PROMPT_TEMPLATE["template"].format(prompt)
    llama = len(llama_tokenizer(folder)(text, verbose=False).input_ids) - CROP_START
    clip = len(clip_tokenizer(folder)(prompt, verbose=False).input_ids)
    return tuple(
        f"the prompt is longer than the {most} tokens that the {name} text encoder reads; it does not see the end"
        for name, tokens, most in (("Llama", llama, LLAMA_TOKENS), ("CLIP", clip, CLIP_TOKENS))
        if tokens > most
    )


# embeddings that could not be written to the cache folder, by the path of their file
_not_stored: dict[Path, PromptEmbedding] = {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block diffusers and transformers print no warnings. `TextEncoding.notes` reports cut prompts."""
    before = [(library, library.get_verbosity()) for library in (diffusers_logging, transformers_logging)]
    try:
        for library, _ in before:
            library.set_verbosity_error()
        yield
    finally:
        for library, level in before:
            library.set_verbosity(level)


@contextmanager
def _turn() -> Iterator[None]:
    """Within the block no other process with the same cache folder loads text encoders.

    If the cache folder cannot be written, there is no lock and a warning says so.
    """
    with ExitStack() as held:
        try:
            cache_folder().mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(cache_folder() / "text.lock"))
        except OSError as error:
            warn_no_cache(error)
        yield


@cache
def _identity(folder: Path) -> str:
    return sha256_of_folder(folder, ENCODERS)
