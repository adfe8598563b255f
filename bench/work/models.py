"""Holds the loaded model of this process. There is one at a time."""

import gc
from collections import Counter
from functools import cache

import torch

from bench.work.progress import say
from vgdfr import Backbone, Codec, Model
from vgdfr.backbones.hunyuan_video import hide_loading_bars

Texts = tuple[tuple[Model, tuple[str, ...]], ...]  # the prompts of a sweep, by model

_loaded: dict[Model, Backbone] = {}
_codecs: dict[Model, Codec] = {}


@cache
def embed_prompts(texts: Texts) -> None:
    """Embeds the prompts of a sweep, and warns of prompts that a text encoder truncates.

    Callers do this before they load a DiT, so that the text encoders and the DiT are not in memory together.
    """
    hide_loading_bars()
    for model, prompts in texts:
        if (encoding := model.text()) is None:
            continue
        encoding.embed(prompts)
        for note, count in Counter(note for prompt in prompts for note in encoding.notes(prompt)).items():
            say(f"warning, for {count} of {len(prompts)} prompts: {note}")


def load(model: Model, texts: Texts) -> Backbone:
    """Returns the model, after the prompts of all models of the sweep are embedded."""
    embed_prompts(texts)
    return backbone_of(model)


def backbone_of(model: Model) -> Backbone:
    """Returns the model, loaded once for all jobs of a sweep. Unloads any other model first."""
    if model not in _loaded:
        _unload()
        say(f"loading {model.place}")
        _loaded[model] = model.load()
    return _loaded[model]


def codec_of(model: Model) -> Codec:
    """Returns the model's VAE. If the model is not loaded, unloads any other model and loads the VAE alone."""
    if model in _loaded:
        return _loaded[model].codec
    if model not in _codecs:
        _unload()
        say(f"loading the VAE of {model.place}")
        _codecs[model] = model.load_codec()
    return _codecs[model]


def _unload() -> None:
    """Frees all loaded models, and hides the progress bars of the libraries that load the next model."""
    _loaded.clear()
    _codecs.clear()
    free_memory()
    hide_loading_bars()


def free_memory() -> None:
    """Frees unused memory. Failed runs and the hooks of an offloaded model hold memory in reference cycles."""
    gc.collect()
    torch.cuda.empty_cache()
