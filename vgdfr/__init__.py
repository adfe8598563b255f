"""VGDFR: diffusion-based video generation with dynamic latent frame rate (arXiv 2504.12259).

Importing this package imports neither PyTorch nor a model: each public name is imported when it is first used.
"""
# ruff: noqa: E402, F401  the installation is checked before other imports; names are imported for type checkers

from vgdfr_commands.surroundings import check

check(__name__, needs=("torch", "diffusers", "transformers", "numpy", "cv2", "jaxtyping"))

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; a test holds this block and the table against each other
    from vgdfr.accelerator import Accelerator, Running
    from vgdfr.architecture import Architecture
    from vgdfr.backbones.base import Backbone, Codec, Model, Velocity
    from vgdfr.backbones.hunyuan_video import HunyuanVideo
    from vgdfr.generation import frames_of, generate
    from vgdfr.method import Method, Sampled
    from vgdfr.methods import Baseline, BaselineRerun, Dvg, FewerSteps, Interpolated, RopeProxy, Vgdfr
    from vgdfr.sampling import Sampling
    from vgdfr.schedule import FrameSchedule, Segment
    from vgdfr.solver import Euler, Solver, State
    from vgdfr.video import BrokenVideo, GeneratedVideo, VideoSpec, to_uint8

# This number is part of every sample's key. Raise it when a change alters the pixels of any condition.
GENERATOR_VERSION = 1

_MODULE_OF = {
    "Accelerator": "vgdfr.accelerator",
    "Architecture": "vgdfr.architecture",
    "Backbone": "vgdfr.backbones.base",
    "Baseline": "vgdfr.methods",
    "BaselineRerun": "vgdfr.methods",
    "BrokenVideo": "vgdfr.video",
    "Codec": "vgdfr.backbones.base",
    "Dvg": "vgdfr.methods",
    "Euler": "vgdfr.solver",
    "FewerSteps": "vgdfr.methods",
    "FrameSchedule": "vgdfr.schedule",
    "GeneratedVideo": "vgdfr.video",
    "HunyuanVideo": "vgdfr.backbones.hunyuan_video",
    "Interpolated": "vgdfr.methods",
    "Method": "vgdfr.method",
    "Model": "vgdfr.backbones.base",
    "RopeProxy": "vgdfr.methods",
    "Running": "vgdfr.accelerator",
    "Sampled": "vgdfr.method",
    "Sampling": "vgdfr.sampling",
    "Segment": "vgdfr.schedule",
    "Solver": "vgdfr.solver",
    "State": "vgdfr.solver",
    "Velocity": "vgdfr.backbones.base",
    "Vgdfr": "vgdfr.methods",
    "VideoSpec": "vgdfr.video",
    "frames_of": "vgdfr.generation",
    "generate": "vgdfr.generation",
    "to_uint8": "vgdfr.video",
}
__all__ = ["GENERATOR_VERSION", *_MODULE_OF]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Imports a public name on its first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
