"""The videos of one prompt: the work of the command `python -m vgdfr`."""

import argparse
import dataclasses
import os
import sys

import numpy as np
from jaxtyping import UInt8

from vgdfr.backbones.hunyuan_video import hide_loading_bars
from vgdfr.embedded import CHECKPOINT, remark
from vgdfr.generation import generate
from vgdfr.method import Method
from vgdfr.methods import Baseline, Vgdfr
from vgdfr.presets import PRESETS
from vgdfr.video import GeneratedVideo, VideoSpec
from vgdfr.video_file import write_preview
from vgdfr_commands.threads import use_threads

GAP = 4  # pixels between two videos side by side


def side_by_side(
    left: UInt8[np.ndarray, "t h w 3"], right: UInt8[np.ndarray, "t h w 3"]
) -> UInt8[np.ndarray, "t h w2 3"]:
    """Returns one uint8 RGB video that shows two videos of equal size with a white gap between them."""
    return np.concatenate([left, np.full((*left.shape[:2], GAP, 3), 255, np.uint8), right], axis=2)


def describe(name: str, video: GeneratedVideo) -> str:
    """Returns the schedule, the share of tokens and the seconds of each stage as text for people."""
    lines = [f"{name}: {len(video.frames)} frames"]
    if video.schedule:
        parts = [
            f"{s.start}"
            + (f"-{s.start + s.length - 1}" if s.length > 1 else "")
            + (f" ({s.factor} into 1)" if s.factor > 1 else "")
            for s in video.schedule.segments
        ]
        lines.append(f"  schedule     {', '.join(parts)}")
        lines.append(f"  token ratio  {video.schedule.token_ratio:.2f} of the latent frames, after compression")
    lines += [f"  {stage:<18} {seconds:7.2f} s" for stage, seconds in video.seconds.items()]
    lines.append(f"  {'latency':<18} {video.latency_s:7.2f} s (denoising and compression, as the paper counts)")
    lines += [f"  note: {note}" for note in video.notes]
    return "\n".join(lines)


def main(arguments: argparse.Namespace) -> None:
    """Makes the videos, prints their times and writes the file.

    Raises ValueError or FileNotFoundError for bad input before it loads a model.
    """
    preset = PRESETS[arguments.model]
    changed = {name: value for name in preset.video if (value := getattr(arguments, name, None)) is not None}
    spec = VideoSpec(arguments.prompt, arguments.seed, **preset.video | changed)
    model = dataclasses.replace(preset.model, path=arguments.path, revision=None) if arguments.path else preset.model
    model = dataclasses.replace(model, device=arguments.device) if arguments.device else model
    methods: dict[str, Method] = {}
    if arguments.baseline or arguments.compare:
        methods["baseline"] = Baseline()
    if not arguments.baseline:
        methods[f"VGDFR (k={arguments.k}, theta={arguments.theta:g})"] = Vgdfr(arguments.k, arguments.theta)
    model.check()
    model.architecture().check(spec)
    for method in methods.values():
        method.check(spec, model.architecture())
    if arguments.out.suffix != ".mp4" or not arguments.out.parent.is_dir() or arguments.out.is_dir():
        raise ValueError(f"--out must be an .mp4 file in a folder that exists, got {arguments.out}")
    if not os.access(arguments.out if arguments.out.exists() else arguments.out.parent, os.W_OK):
        raise ValueError(f"{arguments.out} cannot be written; choose another file by --out")

    use_threads(arguments.threads)
    if model.device_type == "cpu":
        print(f"computing on the CPU with {arguments.threads} thread{'s' * (arguments.threads != 1)} (--threads)")
    if model.path == str(CHECKPOINT) and (unknown := remark([spec.prompt])):
        print(unknown, file=sys.stderr)
    hide_loading_bars()
    model.text().embed([spec.prompt])  # text encoders and DiT are never in memory together
    backbone = model.load()
    videos = []
    for name, method in methods.items():
        video = generate(backbone, spec, method)
        print(describe(name, video), flush=True)
        videos.append(video)
    frames = side_by_side(*(v.frames for v in videos)) if len(videos) == 2 else videos[0].frames
    if len(videos) == 2:
        print(f"speed-up {videos[0].latency_s / videos[1].latency_s:.2f} (of one sample, with no warm-up)")
    write_preview(arguments.out, frames, spec.fps)
    print(f"written to {arguments.out}")
