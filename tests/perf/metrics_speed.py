"""Compares the speed of our metrics with plain loops: `python tests/perf/metrics_speed.py metrics`.

Scores the same videos both ways, in turn in one process, and prints the ratio of the times. The plain way is a loop
over frames that calls scikit-image, lpips and open_clip separately for each metric, as public tools do it. CLIP and
LPIPS have random weights of the public size, which does not change the time. The time for reading files is printed
separately.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import UInt8
from lpips import LPIPS
from PIL import Image

from bench.work.provenance import environment
from metrics import clip
from metrics.perceptual import lpips, to_tensor
from metrics.pixel import cosine, psnr, ssim
from metrics.temporal import flicker
from metrics.video_file import read
from vgdfr.video_file import write_master
from vgdfr_commands.start import run

Video = UInt8[np.ndarray, "t h w 3"]
PROMPT = "a red circle moves to the left over sand"


def moving(seed: int, frames: int, height: int, width: int) -> tuple[Video, Video]:
    """Returns a video of drifting waves with grain, and a second video near the first."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pair = []
    for shift in (0.0, 1.5):
        video = np.empty((frames, height, width, 3), np.uint8)
        for t, frame in enumerate(video):
            wave = 127 + 60 * np.sin((x + 2 * t + shift) / 19) + 40 * np.cos((y - t) / 23)
            frame[:] = np.clip(wave[..., None] + rng.normal(0, 4, (height, width, 3)), 0, 255)
        video.flags.writeable = False
        pair.append(video)
    return pair[0], pair[1]


def pixels_ours(video: Video, reference: Video) -> list[float]:
    return [psnr(video, reference).value, ssim(video, reference).value, flicker(video).value,
            cosine(video, reference).value]  # fmt: skip


def pixels_plainly(video: Video, reference: Video) -> list[float]:
    """Returns the pixel metrics, computed frame by frame with scikit-image and numpy."""
    from skimage.metrics import mean_squared_error, structural_similarity

    pairs = list(zip(video, reference, strict=True))
    mse = np.mean([mean_squared_error(b, a) for a, b in pairs])
    similar = [
        structural_similarity(
            b, a, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in pairs
    ]
    steps = [np.abs(b.astype(np.float64) - a).mean() for a, b in zip(video, video[1:], strict=False)]
    alike = []
    for a, b in pairs:
        x, y = (frame.astype(np.float64).ravel() - frame.mean() for frame in (a, b))
        alike.append(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
    return [
        10 * np.log10(255**2 / mse),
        float(np.mean(similar)),
        1 - float(np.mean(steps)) / 255,
        float(np.mean(alike)),
    ]


def clip_ours(eyes: clip.ClipModel, video: Video, _: Video) -> list[float]:
    return [clip.clipsim(eyes, video, PROMPT).value, clip.clip_temp(eyes, video).value]


@torch.no_grad()
def clip_plainly(eyes: clip.ClipModel, video: Video, _: Video) -> list[float]:
    """Returns the CLIP metrics, computed frame by frame and separately for each metric."""

    def embedded(frame: np.ndarray) -> torch.Tensor:
        return eyes.model.encode_image(eyes.preprocess(frame)[None], normalize=True)[0]

    text = eyes.model.encode_text(eyes.tokenize([PROMPT]), normalize=True)[0]
    fits = [float(embedded(frame) @ text) for frame in video]
    images = [embedded(frame) for frame in video]
    return [float(np.mean(fits)), float(np.mean([float(a @ b) for a, b in zip(images, images[1:], strict=False)]))]


def lpips_ours(network: torch.nn.Module, video: Video, reference: Video) -> list[float]:
    return [lpips(network, video, reference).value]


@torch.no_grad()
def lpips_plainly(network: torch.nn.Module, video: Video, reference: Video) -> list[float]:
    """Returns LPIPS, computed for one pair of frames at a time."""
    pairs = zip(to_tensor(video), to_tensor(reference), strict=True)
    return [float(np.mean([float(network(a[None], b[None])) for a, b in pairs]))]


def public_size_alexnet() -> torch.nn.Module:
    """Returns LPIPS' network with a random trunk."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips uses an old interface of torchvision
        return LPIPS(net="alex", pnet_rand=True, verbose=False).eval()


def public_size_clip() -> clip.ClipModel:
    """Returns ViT-B/32 with quick GELU as in OpenAI's model, with random weights."""
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    assert isinstance(model, open_clip.CLIP) and callable(preprocess)
    tokenizer = open_clip.SimpleTokenizer()
    return clip.ClipModel(
        model.eval(), lambda frame: torch.as_tensor(preprocess(Image.fromarray(frame))), tokenizer, len
    )


def peak_bytes(frames: int, height: int, width: int) -> int:
    """Returns the peak memory of `python -m metrics` on one pair of files, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.mkv" for name in ("reference", "generated")]
        for file, video in zip(files, moving(0, frames, height, width), strict=True):
            write_master(file, video, 24)
        # getrusage's maximum is inherited from the parent process, so this reads VmHWM
        code = ("import re, sys; from metrics.__main__ import main, parse; "
                "main(parse(sys.argv[1:]), lambda text: None); "
                r"print(int(re.search(rb'VmHWM:\s+(\d+) kB', open('/proc/self/status', 'rb').read())[1]))")  # fmt: skip
        names = ["--metrics", "psnr,ssim,flicker,cosine"]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, files), *names],
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=True,
        )
    return 1024 * int(done.stdout)


def compare(videos: int, frames: int, height: int, width: int) -> dict[str, Any]:
    """Returns the seconds of both ways for all videos, their ratio, and the largest difference of a value."""
    eyes, network = public_size_clip(), public_size_alexnet()
    ways: dict[str, tuple[Callable[..., list[float]], Callable[..., list[float]]]] = {
        "psnr+ssim+flicker+cosine": (pixels_ours, pixels_plainly),
        "clipsim+clip_temp": (partial(clip_ours, eyes), partial(clip_plainly, eyes)),
        "lpips": (partial(lpips_ours, network), partial(lpips_plainly, network)),
    }
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    difference: dict[str, float] = defaultdict(float)
    read_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(videos):
            pair = []
            for i, video in enumerate(moving(seed, frames, height, width)):
                file = Path(folder) / f"{i}.mkv"
                write_master(file, video, 24)
                began = time.perf_counter()
                pair.append(read(file).frames)
                read_s += time.perf_counter() - began
            for name, both in ways.items():
                values = []
                for way in (0, 1):
                    began = time.perf_counter()
                    values.append(both[way](*pair))
                    seconds[name][way] += time.perf_counter() - began
                difference[name] = max(difference[name], float(np.abs(np.subtract(*values)).max()))
            print(f"{seed + 1} of {videos} videos", file=sys.stderr, flush=True)
    rows = {
        name: {"ours_s": ours, "plain_s": plain, "ratio": plain / ours, "largest_difference": difference[name]}
        for name, (ours, plain) in seconds.items()
    }
    lengths = {n: peak_bytes(n, height, width) for n in (frames, 2 * frames)}
    return {
        "videos": videos, "size": [frames, height, width], "threads": torch.get_num_threads(), "read_s": read_s,
        "metrics": rows, "peak_bytes_by_frames": lengths, "pair_bytes": 2 * frames * height * width * 3,
        "environment": environment(),
    }  # fmt: skip


def report(result: dict[str, Any]) -> str:
    """Returns the result as text for people."""
    t, h, w = result["size"]
    lines = [
        f"{result['videos']} videos of {t} x {h} x {w} and their references, {result['threads']} threads, "
        f"{result['environment']['cpu']}; read from files in {result['read_s']:.1f} s",
        "", "| metrics | ours (s) | plain loops (s) | ratio | largest difference |", "|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    for name, row in result["metrics"].items():
        lines.append(
            f"| {name} | {row['ours_s']:.1f} | {row['plain_s']:.1f} | {row['ratio']:.2f} | "
            f"{row['largest_difference']:.1e} |"
        )
    short, long = result["peak_bytes_by_frames"].values()
    lines += [
        "",
        f"Peak memory of `python -m metrics`: {short / 2**20:.0f} MiB for one pair of {t} frames, "
        f"{long / 2**20:.0f} MiB for {2 * t} (the frames of such a pair: {result['pair_bytes'] / 2**20:.0f} MiB).",
    ]
    return "\n".join(lines)


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["metrics"])
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--size", type=int, nargs=3, default=[65, 544, 960], metavar=("FRAMES", "HEIGHT", "WIDTH"))
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    if arguments.videos < 1 or min(arguments.size) < 16:
        parser.error(f"at least 1 video and 16 frames and pixels, got {arguments.videos} and {arguments.size}")
    result = compare(arguments.videos, *arguments.size)
    print(report(result))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(command)
