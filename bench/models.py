"""Loaded models: one at a time, whoever asks."""

import gc

import torch

from bench.progress import say
from vgdfr import HunyuanVideo
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_video import hide_loading_bars

_loaded: dict[HunyuanVideo, Backbone] = {}


def backbone_of(model: HunyuanVideo) -> Backbone:
    """The loaded model; jobs of one sweep share it. One at a time: before another is loaded, it is gone."""
    if model not in _loaded:
        _loaded.clear()
        gc.collect()  # hooks of an offloaded model hold it in cycles
        torch.cuda.empty_cache()
        say(f"loading {model.path}")
        hide_loading_bars()
        _loaded[model] = model.load()
    return _loaded[model]
