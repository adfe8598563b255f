"""Computes video quality with DOVER (Wu et al. 2023), from a user's own ONNX export of the network.

The network sees a video twice: whole and small (aesthetic branch), and in fragments of full resolution (technical
branch). Frames and fragments are drawn from a seed here. The public code draws others in every run.
"""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from metrics.base import Score, Video
from metrics.devices import CUDA_PROVIDER, dover_device
from metrics.memo import memoized
from metrics.weights import DOVER, by_content

# These are the views of DOVER's dover.yml (val-l1080p).
SIDE, GRID, CLIP, STRIDE, TECHNICAL_CLIPS = 224, 7, 32, 2, 3
FRAGMENT = SIDE // GRID
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
REPEATS = 3  # draws of views whose raw values are averaged
# (middle, width) of 100 / (1 + exp(-(raw - middle) / width)). These are EvalCrafter's constants, because the paper
# prints EvalCrafter's VQA_A and VQA_T. DOVER's own scripts use other constants and disagree about the branches.
CALIBRATION: dict["Branch", tuple[float, float]] = {"aesthetic": (0.1253, 0.0318), "technical": (-0.0758, 0.0129)}
Branch = Literal["aesthetic", "technical"]


def dover_score(branch: Branch, video: Video) -> Score:
    """Returns 100 / (1 + exp(-(raw - middle) / width)) of the mean raw output over `REPEATS` seeded draws, in [0, 100].

    `extra` has the mean raw output, its standard deviation over the draws, and their number. Raises ImportError if
    onnxruntime is not installed, and ValueError if the export is of another network.
    """
    raw = _raw_outputs(DOVER.file)(video)[branch]
    middle, width = CALIBRATION[branch]
    # the hyperbolic tangent gives the same value and does not overflow
    value = 50 * (1 + math.tanh((float(raw.mean()) - middle) / width / 2))
    return Score(value, None, {"raw": float(raw.mean()), "raw_std": float(raw.std()), "repeats": float(len(raw))})


@by_content
def _raw_outputs(file: Path) -> Any:
    """Returns a function that maps a video to both branches' outputs for each draw. Both metrics share its result."""
    session = load(file)

    @memoized
    def raw(video: Video) -> dict[Branch, Float[np.ndarray, " draws"]]:
        outputs = [run(session, *views(video, seed)) for seed in range(REPEATS)]
        return {"aesthetic": np.array([a for a, _ in outputs]), "technical": np.array([t for _, t in outputs])}

    return raw


def load(file: Path) -> Any:
    """Returns the onnxruntime session of an export.

    Raises ImportError if onnxruntime is not installed, and ValueError if the export is of another network.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("DOVER needs onnxruntime: pip install 'vgdfr[dover]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers: list[Any] = [(CUDA_PROVIDER, {"use_tf32": "0"})] * (dover_device() == "cuda") + ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    found = {i.name: list(i.shape) for i in session.get_inputs()}
    shape = [3, CLIP, SIDE, SIDE]
    if set(found) != {"aes_view", "tech_view"} or any(s[1:] != shape for s in found.values()):
        raise ValueError(f"{file} must take aes_view [1, 3, 32, 224, 224] and tech_view [n, 3, 32, 224, 224], as from "
                         f"DOVER's convert_to_onnx.py, got {found}")  # fmt: skip
    if len(session.get_outputs()) != 2:
        raise ValueError(f"{file} must return two outputs, aesthetic and technical, got {len(session.get_outputs())}")
    return session


def run(
    session: Any, aesthetic: Float[Tensor, "1 c t h w"], technical: Float[Tensor, "n c t h w"]
) -> tuple[float, ...]:
    """Returns the raw aesthetic and technical outputs. An export for more clips gets the last clip several times."""
    count = dict((i.name, i.shape[0]) for i in session.get_inputs())["tech_view"]
    clips = technical if not isinstance(count, int) else technical[[min(i, len(technical) - 1) for i in range(count)]]
    outputs = session.run(None, {"aes_view": aesthetic.numpy(), "tech_view": clips.numpy()})
    # the heads average over all axes except the batch, so repeated clips do not change the others
    return float(np.mean(outputs[0])), float(np.mean(np.asarray(outputs[1]).reshape(len(clips), -1)[: len(technical)]))


def views(video: Video, seed: int) -> tuple[Float[Tensor, "1 3 32 224 224"], Float[Tensor, "clips 3 32 224 224"]]:
    """Returns the aesthetic and the technical view, normalised. Equal seeds give equal views."""
    rng = np.random.default_rng(seed)
    small = np.stack([_squashed(video[i]) for i in frame_indices(len(video), CLIP, 1, rng)])
    clips = frame_indices(len(video), TECHNICAL_CLIPS, CLIP, rng).reshape(TECHNICAL_CLIPS, CLIP)
    large = np.stack([fragments(video[indices], rng) for indices in clips])
    return _normalised(small[None]), _normalised(large)


def frame_indices(num_frames: int, segments: int, length: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Returns `length` indices from each of `segments` equal parts of a video: every second frame from a random start.

    Indices past the end of the video continue at its beginning.
    """
    room = num_frames // segments
    starts = np.arange(segments) * room
    if room > STRIDE * length:
        starts = starts + rng.integers(room - STRIDE * length, size=segments)
    return ((starts[:, None] + STRIDE * np.arange(length)) % num_frames).ravel()


def fragments(clip: UInt8[np.ndarray, "t h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "t side side 3"]:
    """Returns frames made of squares of 32 pixels, one from a random place in each cell of a 7x7 grid.

    The places are the same in all frames. Frames smaller than 224 pixels are enlarged first. (The public code then
    lays its grid over the original size, which is a corner of the enlarged frames.)
    """
    if min(clip.shape[1:3]) < SIDE:
        scale = SIDE / min(clip.shape[1:3])
        clip = np.stack([_resized(f, (math.ceil(f.shape[0] * scale), math.ceil(f.shape[1] * scale))) for f in clip])
    cells = [n // GRID for n in clip.shape[1:3]]
    out = np.empty((len(clip), SIDE, SIDE, 3), np.uint8)
    for row in range(GRID):
        for column in range(GRID):
            y, x = (
                min(at * cell, side - FRAGMENT) + (rng.integers(cell - FRAGMENT) if cell > FRAGMENT else 0)
                for at, cell, side in zip((row, column), cells, clip.shape[1:3], strict=True)
            )
            to_y, to_x = row * FRAGMENT, column * FRAGMENT
            out[:, to_y : to_y + FRAGMENT, to_x : to_x + FRAGMENT] = clip[:, y : y + FRAGMENT, x : x + FRAGMENT]
    return out


def _squashed(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "side side 3"]:
    return _resized(frame, (SIDE, SIDE))


def _resized(frame: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Returns the frame at another size: bilinear without antialiasing, rounded.

    This was torchvision's default when DOVER was published.
    """
    pixels = rearrange(torch.tensor(frame), "h w c -> 1 c h w").float()
    out = F.interpolate(pixels, size, mode="bilinear").round().clamp(0, 255).to(torch.uint8)
    return rearrange(out, "1 c h w -> h w c").numpy()


def _normalised(clips: UInt8[np.ndarray, "n t h w 3"]) -> Float[Tensor, "n 3 t h w"]:
    pixels = (torch.tensor(clips).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    return rearrange(pixels, "n t h w c -> n c t h w").contiguous()
