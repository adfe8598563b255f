"""Measures the quality of the embedded model and its judge: `python -m bench.embedded.evaluate`.

Prints every figure with its bar, and writes the table next to the checkpoint (`vgdfr/embedded/evaluation.md`, `.json`).
The clips are held-out clips of the embedded world. Prompts, seeds and settings are those of the default run.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from bench.embedded.degrade import blend, blur, noise
from bench.embedded.frames import VISIBLE
from bench.embedded.pictures import grid
from bench.embedded.reader import APPEARANCE, WEIGHTS, load, read
from bench.embedded.train_clip import frame_text
from bench.embedded.world import SPEEDS, Attributes, all_attributes, training_clip
from bench.plan.compose import configs_of
from bench.plan.job import Job
from bench.plan.settings import job_of
from bench.work.provenance import environment
from metrics import METRICS, embedded
from metrics import clip as clip_metrics
from metrics.perceptual import to_tensor
from vgdfr import Vgdfr
from vgdfr.account import Shared
from vgdfr.backbones.checkpoint import weights_sha256 as weights_sha256_of
from vgdfr.backbones.hunyuan_video import hide_loading_bars
from vgdfr.embedded import CHECKPOINT
from vgdfr.files import sha256
from vgdfr.methods.compression import scheduled
from vgdfr.methods.similarity import frame_similarity
from vgdfr.methods.trajectory import Trajectory
from vgdfr.naming import path_of
from vgdfr.sampling import sampling
from vgdfr.video import to_uint8
from vgdfr_commands.start import run

COUNT = 64
SHIPPED = CHECKPOINT.parent / "evaluation"
BLUR, NOISE, BLEND = 1.5, 20.0, 6  # pixels; grey levels; frames
EVERY = 4  # the judge sees every fourth frame of a clip
RIGHT_OF = 32  # the number of captions that the embedded CLIP chooses from


@dataclass(frozen=True)
class OfClip:
    """The measurements of one real clip. Each attribute, degradation and caption of a frame is right or wrong."""

    psnr: float
    read: dict[str, bool]
    captions: list[bool]
    clearer: dict[str, bool]
    nearer: dict[str, bool]


@dataclass(frozen=True)
class OfPrompt:
    """The measurements of one generated video, of its preview after `k` steps and of the resulting schedule."""

    attributes: Attributes
    read: dict[str, str | None]
    preview_speed: str | None
    lag1_reduced: np.ndarray
    lag1_full: np.ndarray
    token_ratio: float
    frames: np.ndarray


@dataclass(frozen=True)
class Figure:
    """One row of the table. `value` should be at least `bar`, or at most `bar` if `at_most`."""

    what: str
    value: float
    unit: str
    n: int
    bar: float | int | None
    at_most: bool = False

    @property
    def reached(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar


def default_job() -> Job:
    """Returns the job of the default run with k = 5 and theta = 0.9. The bars are for this job."""
    return job_of(configs_of(["method.k=5", "method.theta=0.9"])[0])


def weights_sha256() -> dict[str, str]:
    """Returns the hashes of the checkpoint and of the judge's files."""
    judge_files = {"clip": embedded.CLIP / "open_clip_model.safetensors", "trunk": embedded.TRUNK, "reader": WEIGHTS}
    of_checkpoint = weights_sha256_of(default_job().condition.model.folder())
    return {"checkpoint": of_checkpoint} | {name: sha256(file) for name, file in judge_files.items()}


def caption_choices(right: str, others: Sequence[str], count: int, rng: np.random.Generator) -> tuple[list[str], int]:
    """Returns `count` distinct captions with `right` at a random place among them, and the index of that place."""
    choices = list(rng.choice([text for text in others if text != right], count - 1, replace=False))
    place = int(rng.integers(count))
    return [*choices[:place], right, *choices[place:]], place


@torch.inference_mode()
def evaluate_clips(seeds: Sequence[int]) -> list[OfClip]:
    """Measures the VAE, the reader and the judge on the held-out clips with the numbers `seeds`."""
    hide_loading_bars()
    backbone, reader = default_job().condition.model.load(), load()
    eyes, lpips = clip_metrics.embedded(), METRICS["lpips_embedded"]
    scenes = sorted({frame_text(a) for a in all_attributes()})
    measured = []
    for seed in seeds:
        real = training_clip(seed, held_out=True)
        frames, seen = real.frames, real.frames[::EVERY]
        video = to_tensor(frames).to(backbone.device)
        error = (backbone.codec.decode(backbone.codec.encode(video)).clamp(-1, 1) - video).double().square().mean() / 4
        rng = np.random.default_rng([seed, 6])
        choices, place = caption_choices(frame_text(real.attributes), scenes, RIGHT_OF, rng)
        found = (eyes.images(seen) @ eyes.texts(choices).T).argmax(1)
        bad = {"blur": blur(seen, BLUR), "noise": noise(seen, NOISE, rng)}
        half = {"blur": blur(seen, BLUR / 2), "noise": noise(seen, NOISE / 2, rng)}
        blended = blend(frames, BLEND)[::EVERY]
        if np.abs(blended.astype(int) - seen).mean() >= VISIBLE:  # blending is invisible where nothing moves
            bad["frame blending"], half["frame blending"] = blended, blend(frames, BLEND // 2)[::EVERY]
        clear = METRICS["vqa_embedded"](seen).value
        measured.append(
            OfClip(
                psnr=float(-10 * error.log10()),
                read={name: value == getattr(real.attributes, name) for name, value in read(reader, frames).items()},
                captions=(found == place).tolist(),
                clearer={name: clear > METRICS["vqa_embedded"](other).value for name, other in bad.items()},
                nearer={name: lpips(half[name], seen).value < lpips(bad[name], seen).value for name in bad},
            )
        )
    return measured


@torch.inference_mode()
def evaluate_prompts(indices: Sequence[int]) -> list[OfPrompt]:
    """Generates the default run's prompts with the numbers `indices`, and measures video, preview and schedule."""
    hide_loading_bars()
    job, reader = default_job(), load()
    method, backbone = job.condition.method, job.condition.model.load()
    assert isinstance(method, Vgdfr)
    of_caption = {a.caption: a for a in all_attributes()}
    measured = []
    for i in indices:
        prompt = job.prompts[i]
        spec = job.condition.video.spec(prompt.text, prompt.seed)
        with torch.inference_mode(), sampling(backbone, Shared(spec), path_of(Vgdfr), method.stops()) as run:
            clean, end = method.preview.clean(Trajectory(run), method.k), run.baseline(run.steps)
            schedule, similarity = scheduled(run, method.rule, method.preview, clean)
            preview = backbone.codec.decode(clean.latent)
        frames = to_uint8(backbone.codec.decode(end.x))
        measured.append(
            OfPrompt(
                attributes=of_caption[prompt.text],
                read=read(reader, frames),
                preview_speed=read(reader, to_uint8(preview))["speed"],
                lag1_reduced=similarity.lag1,
                lag1_full=frame_similarity((preview / 2 + 0.5).clamp(0, 1)).lag1,
                token_ratio=schedule.token_ratio,
                frames=frames[[0, len(frames) // 2, -1]],
            )
        )
    return measured


def figures(clips: Sequence[OfClip], prompts: Sequence[OfPrompt]) -> list[Figure]:
    """Returns the table's rows."""
    psnr = [c.psnr for c in clips]
    rows = [
        Figure("VAE reconstruction of held-out clips, PSNR, mean", float(np.mean(psnr)), "dB", len(psnr), 30),
        Figure("VAE reconstruction, worst clip", min(psnr), "dB", len(psnr), 25),
    ]
    lags = [np.concatenate([getattr(p, name) for p in prompts]) for name in ("lag1_reduced", "lag1_full")]
    correlation = float(spearmanr(lags[0], lags[1]).statistic)
    what = "reduced preview, rank correlation of lag-1 SSIM with full"
    rows.append(Figure(f"{what}, all pairs of frames", correlation, "", len(lags[0]), 0.9))
    moving = [p for p in prompts if p.attributes.speed != "still"]
    within = [float(spearmanr(p.lag1_reduced, p.lag1_full).statistic) for p in moving]
    rows.append(Figure(f"{what}, within a moving video, mean", float(np.mean(within)), "", len(within), None))
    rows += [_share(f"reader on real clips: {name}", [c.read[name] for c in clips], 97) for name in clips[0].read]

    def read_right(name: str, of: Sequence[OfPrompt]) -> list[bool]:
        return [p.read[name] == getattr(p.attributes, name) for p in of]

    def still_or_moving(what: str, speeds: Sequence[str | None], bar: float | int) -> list[Figure]:
        """Averages the shares of both kinds, so that a reader with one answer for all videos gets 50 %."""
        right = [[(s == "still") == (p.attributes.speed == "still") for p, s in zip(prompts, speeds, strict=True)
                  if (p.attributes.speed == "still") == kind] for kind in (True, False)]  # fmt: skip
        shares = [100 * float(np.mean(of_kind)) for of_kind in right]
        counts = [len(of_kind) for of_kind in right]
        return [
            Figure(f"{what}: still or moving, mean of both", sum(shares) / 2, "%", sum(counts), bar),
            Figure(f"{what}: still ones right", shares[0], "%", counts[0], None),
            Figure(f"{what}: moving ones right", shares[1], "%", counts[1], None),
        ]

    bars = {"background": 97, "colour": 95, "shape": 90}
    rows += [_share(f"generated, read: {name}", read_right(name, prompts), bars[name]) for name in sorted(APPEARANCE)]
    rows += still_or_moving("generated, read", [p.read["speed"] for p in prompts], 95)
    rows += [
        _share("generated, read: direction of moving ones", read_right("direction", moving), 85),
        _share("generated, read: speed profile", read_right("speed", prompts), 75),
    ]
    rows += still_or_moving("preview at k=5, read", [p.preview_speed for p in prompts], 80)
    still, fast = ([p.token_ratio for p in prompts if p.attributes.speed == speed] for speed in ("still", "fast"))
    ratio = float(np.mean(still) / np.mean(fast))
    rows += [
        Figure("tokens kept at theta=0.9, still prompts", float(np.mean(still)), "", len(still), None),
        Figure("tokens kept at theta=0.9, fast prompts", float(np.mean(fast)), "", len(fast), None),
        Figure("tokens kept, still over fast", ratio, "", len(still) + len(fast), 0.5, at_most=True),
        _share(f"CLIP: right caption among {RIGHT_OF}, per frame", [right for c in clips for right in c.captions], 90),
    ]
    for kind, bar, of in (("VQA: clean above", 90, "clearer"), ("LPIPS: weaker below stronger", None, "nearer")):
        strength = {
            "blur": f"{BLUR} px",
            "noise": f"{NOISE:.0f} levels",
            "frame blending": f"{BLEND} frames, where visible",
        }
        for name, text in strength.items():
            right = [getattr(c, of)[name] for c in clips if name in getattr(c, of)]
            rows.append(_share(f"{kind} {name} ({text})", right, bar))
    return rows


def table(rows: Sequence[Figure]) -> str:
    """Returns the figures as a Markdown table."""
    lines = ["| what | measured | bar | reached | n |", "|---|--:|--:|---|--:|"]
    for row in rows:
        digits = 1 if row.unit else 3
        bar = "–" if row.bar is None else f"{'≤' if row.at_most else '≥'} {row.bar:g} {row.unit}".rstrip()
        reached = {None: "", True: "yes", False: "**no**"}[row.reached]
        value = f"{row.value:.{digits}f} {row.unit}".rstrip()
        lines.append(f"| {row.what} | {value} | {bar} | {reached} | {row.n} |")
    return "\n".join(lines) + "\n"


def in_parallel(task: Callable[[Sequence[int]], list], count: int, workers: int) -> list:
    """Runs `task` on 0..count-1 in `workers` processes. Returns the results in order, equal for every `workers`."""
    shares = [range(i, count, workers) for i in range(workers)]
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        results = list(pool.map(task, shares))
    return [results[i % workers][i // workers] for i in range(count)]


def _share(what: str, right: Sequence[bool], bar: float | int | None) -> Figure:
    return Figure(what, 100 * float(np.mean(right)), "%", len(right), bar)


def main(workers: int, count: int, out: Path, picture: Path | None) -> None:
    """Measures, prints and writes the figures. Raises ValueError for wrong numbers before a model is loaded."""
    prompts_there = len(default_job().prompts)
    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    if not len(SPEEDS) <= count <= prompts_there:  # five prompts hold every speed profile once
        raise ValueError(f"--count must be between {len(SPEEDS)} and the {prompts_there} default prompts, got {count}")
    if count != COUNT and out == SHIPPED:
        raise ValueError(f"the shipped figures are of {COUNT}; with --count {count} give another file: --out FILE")
    workers = min(workers, count)
    print(
        f"{count} held-out clips, then {count} prompts, on {workers} processes; about 10 min for 64 on 2",
        file=sys.stderr,
    )
    clips = in_parallel(evaluate_clips, count, workers)
    prompts = in_parallel(evaluate_prompts, count, workers)
    rows = figures(clips, prompts)
    print(table(rows), end="")
    weights = weights_sha256()
    hashes = ", ".join(f"{name} {value[:12]}" for name, value in weights.items())
    environment_line = f"Weights: {hashes}. Code {environment()['commit']}, {environment()['cpu']}."
    out.with_suffix(".md").write_text(f"{table(rows)}\n{environment_line}\n", encoding="utf-8")
    values = [asdict(row) | {"reached": row.reached} for row in rows]
    document = {"figures": values, "weights_sha256": weights, "environment": environment()}
    out.with_suffix(".json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if picture:
        grid([(p.attributes.caption, p.frames) for p in prompts[:16]], (0, 1, 2), 4, picture)


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="number of processes (default: one per core)"
    )
    parser.add_argument("--count", type=int, default=COUNT, help=f"number of clips and prompts (default: {COUNT})")
    parser.add_argument(
        "--out", type=Path, default=SHIPPED, help="the table's path without suffix (default: the package's own)"
    )
    parser.add_argument("--picture", type=Path, help="also draw 16 generated videos into this PNG")
    arguments = parser.parse_args()
    main(arguments.workers, arguments.count, arguments.out, arguments.picture)


if __name__ == "__main__":
    run(command)
