"""VGDFR: diffusion-based video generation with dynamic latent frame rate (arXiv 2504.12259)."""
# ruff: noqa: E402  the check of the installation runs before the imports that may fail

from vgdfr_commands.surroundings import check

check(__name__, needs=("torch", "diffusers", "transformers", "numpy", "cv2", "jaxtyping"))

from vgdfr.accelerator import Accelerator, Running
from vgdfr.architecture import Architecture
from vgdfr.backbones.base import Backbone, Codec, Model, Velocity
from vgdfr.backbones.hunyuan_video import HunyuanVideo
from vgdfr.generate import frames_of, generate
from vgdfr.method import Method, Sampled
from vgdfr.methods import Baseline, BaselineRerun, FewerSteps, RopeProxy, Vgdfr
from vgdfr.sampling import Sampling
from vgdfr.schedule import FrameSchedule, Segment
from vgdfr.solver import Euler, Solver, State
from vgdfr.video import BrokenVideo, GeneratedVideo, VideoSpec, to_uint8

# This number is part of every sample's key. Raise it when a change alters the pixels of any condition.
GENERATOR_VERSION = 1

__all__ = [
    "GENERATOR_VERSION",
    "Accelerator",
    "Architecture",
    "Backbone",
    "Baseline",
    "BaselineRerun",
    "BrokenVideo",
    "Codec",
    "Euler",
    "FewerSteps",
    "FrameSchedule",
    "GeneratedVideo",
    "HunyuanVideo",
    "Method",
    "Model",
    "RopeProxy",
    "Running",
    "Sampled",
    "Sampling",
    "Segment",
    "Solver",
    "State",
    "Velocity",
    "Vgdfr",
    "VideoSpec",
    "frames_of",
    "generate",
    "to_uint8",
]
