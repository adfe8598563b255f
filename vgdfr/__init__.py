"""VGDFR: diffusion-based video generation with dynamic latent frame rate (arXiv 2504.12259)."""
# ruff: noqa: E402  the check comes before what it checks

from vgdfr_commands.surroundings import check

check(__name__, needs=("torch", "diffusers", "transformers", "numpy", "cv2", "jaxtyping"))

from vgdfr.backbones.hunyuan_video import HunyuanVideo
from vgdfr.generate import frames_of, generate
from vgdfr.method import Baseline, BaselineRerun, FewerSteps, Method, Vgdfr
from vgdfr.rope_proxy import LayerErrors, RopeProxy, layer_errors
from vgdfr.video import BrokenVideo, GeneratedVideo, VideoSpec

# Part of every sample's key: raise it when a change alters the pixels that any condition gives.
GENERATOR_VERSION = 1

__all__ = [
    "GENERATOR_VERSION",
    "Baseline",
    "BaselineRerun",
    "BrokenVideo",
    "FewerSteps",
    "GeneratedVideo",
    "HunyuanVideo",
    "LayerErrors",
    "Method",
    "RopeProxy",
    "Vgdfr",
    "VideoSpec",
    "frames_of",
    "generate",
    "layer_errors",
]
