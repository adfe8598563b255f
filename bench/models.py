"""Loaded models: one at a time, whoever asks."""

import gc
from functools import cache
from typing import TYPE_CHECKING

import torch

from bench.progress import say
from vgdfr import HunyuanVideo
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_video import hide_loading_bars

if TYPE_CHECKING:  # which builds on this module
    from bench.config import Job

_loaded: dict[HunyuanVideo, Backbone] = {}


@cache
def embed_prompts(jobs: "tuple[Job, ...]") -> None:
    """Embed the prompts of all `jobs`; before a DiT is loaded, so that text encoders are not in memory beside it."""
    hide_loading_bars()
    for job in jobs:
        job.condition.model.text().embed(p.text for p in job.prompts)


def backbone_of(model: HunyuanVideo) -> Backbone:
    """The loaded model; jobs of one sweep share it. One at a time: before another is loaded, it is gone."""
    if model not in _loaded:
        _loaded.clear()
        free_memory()
        say(f"loading {model.path}")
        hide_loading_bars()
        _loaded[model] = model.load()
    return _loaded[model]


def free_memory() -> None:
    """Give back what nothing refers to any more; failed runs and hooks of an offloaded model hold it in cycles."""
    gc.collect()
    torch.cuda.empty_cache()
