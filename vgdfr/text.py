"""Prompt embeddings: computed once per prompt, kept on disk, so that most runs load no text encoder at all."""

import gc
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import HunyuanVideoPipeline
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from vgdfr.files import cache_folder, sha256_of_folder, whole

ENCODERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


@dataclass(frozen=True, eq=False)
class PromptEmbedding:
    """What the DiT is told of a prompt: its tokens, without padding, and one pooled vector; on the CPU."""

    tokens: Float[Tensor, "1 l d"]
    pooled: Float[Tensor, "1 p"]


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """The text encoders of the checkpoint in `folder`, in `dtype` on `device`."""

    folder: Path
    dtype: torch.dtype
    device: torch.device

    @torch.inference_mode()
    def embed(self, prompts: Iterable[str]) -> None:
        """Compute and store the embeddings that are missing, each prompt alone; loads the encoders only for those."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if not self._file(prompt).is_file()]
        if not missing:
            return
        encoders = HunyuanVideoPipeline.from_pretrained(
            self.folder, transformer=None, vae=None, dtype=self.dtype, local_files_only=True
        ).to(self.device)
        for prompt in missing:
            tokens, pooled, mask = encoders.encode_prompt(prompt, device=self.device)
            # one prompt needs no padding, and so no mask: equal results, and the fast attention kernels are open
            kept = {"tokens": tokens[:, : int(mask.sum())].contiguous(), "pooled": pooled}
            with whole(self._file(prompt)) as partial:
                save_file({name: value.cpu() for name, value in kept.items()}, partial)
        del encoders
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def of(self, prompt: str) -> PromptEmbedding:
        """The embedding of `prompt`, stored or computed now."""
        self.embed([prompt])
        return PromptEmbedding(**load_file(self._file(prompt)))

    def _file(self, prompt: str) -> Path:
        identity = {
            "prompt": prompt,
            "encoders": _identity(self.folder),
            "dtype": str(self.dtype),
            "processor": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "versions": {name: version(name) for name in ("torch", "transformers", "diffusers")},
        }
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return cache_folder() / "text" / f"{key}.safetensors"


@cache
def _identity(folder: Path) -> str:
    return sha256_of_folder(folder, ENCODERS)
