"""Loaded models: one at a time, whoever asks."""

import gc
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import torch

from bench.progress import say
from vgdfr import HunyuanVideo
from vgdfr.backbones.base import Backbone, Codec
from vgdfr.backbones.hunyuan_video import hide_loading_bars

if TYPE_CHECKING:  # which builds on this module
    from bench.config import Job

_loaded: dict[HunyuanVideo, Backbone] = {}
_codecs: dict[HunyuanVideo, Codec] = {}


@cache
def embed_prompts(jobs: "tuple[Job, ...]") -> None:
    """Embed the prompts of all `jobs`, and say which ones a text encoder reads the beginning of.

    Before a DiT is loaded, so that text encoders are not in memory beside it.
    """
    hide_loading_bars()
    prompts: dict[HunyuanVideo, dict[str, None]] = {}
    for job in jobs:
        prompts.setdefault(job.condition.model, {}).update(dict.fromkeys(p.text for p in job.prompts))
    for model, texts in prompts.items():
        encoding = model.text()
        encoding.embed(texts)
        for note, count in Counter(note for text in texts for note in encoding.notes(text)).items():
            say(f"warning, for {count} of {len(texts)} prompts: {note}")


def backbone_of(model: HunyuanVideo) -> Backbone:
    """The loaded model; jobs of one sweep share it. One at a time: before another is loaded, it is gone."""
    if model not in _loaded:
        _unload()
        say(f"loading {model.path}")
        _loaded[model] = model.load()
    return _loaded[model]


def codec_of(model: HunyuanVideo) -> Codec:
    """The model's VAE: that of the loaded model, or the VAE alone where the model is not loaded."""
    if model in _loaded:
        return _loaded[model].codec
    if model not in _codecs:
        _unload()
        say(f"loading the VAE of {model.path}")
        _codecs[model] = model.load_codec()
    return _codecs[model]


def _unload() -> None:
    """Before another is loaded; whose loading shows no bars of its own."""
    _loaded.clear()
    _codecs.clear()
    free_memory()
    hide_loading_bars()


def free_memory() -> None:
    """Give back what nothing refers to any more; failed runs and hooks of an offloaded model hold it in cycles."""
    gc.collect()
    torch.cuda.empty_cache()
