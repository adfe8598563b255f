"""Measures time and memory of reports on a large study: `python tests/perf/report_speed.py 100000 --root DIR`.

Writes a study of synthetic samples below DIR if it is not there already. Records and scores have all parts of real
ones, including values per frame, schedules and similarities. Then each report runs in a process of its own.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from vgdfr_commands.start import run

SEEDS, FRAMES = 5, 97
METRICS = ("psnr", "psnr_frame_mean", "ssim", "lpips", "cosine", "cosine_raw", "clipsim", "clip_temp", "vqa", "flicker",
           "motion", "motion_flow")  # fmt: skip
CONDITIONS = [None, *((k, theta) for k in (5, 10, 15) for theta in (0.5, 0.6, 0.7, 0.8, 0.9))]


def synthetic(folder: Path, count: int) -> None:
    """Writes `count` samples of Table 1's conditions, with equal numbers each time. Keeps samples that exist."""
    prompts = -(-count // (len(CONDITIONS) * SEEDS))
    draw = random.Random(0)
    similar = [[round(draw.random(), 6) for _ in range(FRAMES)] for _ in range(50)]
    scored = [[draw.random() for _ in range(FRAMES)] for _ in range(50)]
    made = 0
    for p in range(prompts):
        for seed in range(SEEDS):
            for setting in CONDITIONS[: count - made]:
                name = "vgdfr-k{}-theta{}".format(*setting) if setting else "baseline"
                place = folder / name / f"prompt-{p:05}-s{seed}-0123abcd"
                if not place.is_dir():
                    place.mkdir(parents=True)
                    record = _record(draw, setting, name, p, seed, similar)
                    (place / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
                    scores = {m: _score(draw, m, scored) for m in METRICS if setting or m not in METRICS[:6]}
                    (place / "scores.json").write_text(
                        json.dumps({"schema": 2, "scores": scores}, indent=1), encoding="utf-8"
                    )
                made += 1


def _record(
    draw: random.Random, setting: tuple[int, float] | None, name: str, p: int, seed: int, similar: list[list[float]]
) -> dict[str, Any]:
    method: dict[str, Any] = {"name": "baseline"}
    if setting:
        method = {
            "name": "vgdfr",
            "k": setting[0],
            "theta": setting[1],
            "merge_space": "pixel",
            "denoise_renoise": True,
            "preview_steps": 1,
            "spatial_levels": 1,
        }
    kept = sorted(draw.sample(range(FRAMES), 49))
    model = {"weights_sha256": "0" * 64, "dtype": "bfloat16", "device_type": "cuda",
             "tiling": {"frames": 64, "frames_stride": 48}, "execution": {"attention": "native"}}  # fmt: skip
    spec = {"prompt": f"a synthetic prompt, number {p}, as long as many of VBench's are", "seed": p * 7 + seed,
            "height": 544, "width": 960, "num_frames": FRAMES, "num_inference_steps": 50, "fps": 24}  # fmt: skip
    versions = {n: "1.0.0" for n in ("vgdfr", "torch", "diffusers", "transformers", "numpy", "av")}
    return {
        "schema": 1, "status": "done", "key": f"{draw.getrandbits(256):064x}", "slug": name,
        "model_name": "hunyuan_video", "method": method, "prompt_id": f"prompt-{p:05}", "seed_index": seed,
        "reference_key": "0" * 64,
        "identity": {"generator_version": 1, "model": model, "method": method, "spec": spec},
        "environment": {"commit": "0" * 40, "packages": versions, "gpu": "a GPU", "cpu": "a CPU", "threads": 1},
        "created": "2026-01-01T00:00:00.000+00:00", "prompt_dimensions": [("scene", "color", "object_class")[p % 3]],
        "schedule": setting and {"segments": [[4 * i, 4, 2] for i in range(24)], "kept_frames": kept,
                                 "kept_latents": kept[:13]},
        "similarity": setting and {lag: draw.choice(similar) for lag in ("lag1", "lag2", "lag3")},
        "token_ratio": draw.uniform(0.4, 0.9) if setting else 1.0, "frame_ratio": 0.5,
        "seconds": {"denoise": draw.uniform(200, 600), "decode": 10.0}, "latency_s": draw.uniform(200, 700),
        "peak_bytes": 40_000_000_000, "notes": [], "shared_stages": ["denoise"], "passes": 50.0, "passes_done": 30.0,
        "noise_sha256": "0" * 64, "files": {"master.mkv": "0" * 64, "preview.mp4": "0" * 64}, "error": None,
    }  # fmt: skip


def _score(draw: random.Random, name: str, scored: list[list[float]]) -> dict[str, Any]:
    return {
        "id": f"{name}-v1-uint8-rgb-no-weights", "reference_sha256": "0" * 64, "value": draw.random(), "reason": None,
        "per_frame": draw.choice(scored), "extra": {}, "kept": draw.random(), "interpolated": draw.random(),
    }  # fmt: skip


def measure(command: list[str]) -> tuple[float, float, int]:
    """Returns the seconds that a command takes, its seconds of a core, and its peak memory in bytes.

    The last two include the command's children. Memory is read 20 times a second, and shared pages count for each
    process. Raises CalledProcessError if the command fails.
    """
    peak, began, before = 0, time.perf_counter(), _cpu_s()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, _held_bytes(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - began, _cpu_s() - before, peak


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _held_bytes(pid: int) -> int:
    """Returns the resident memory of a process and its descendants, or 0 for a process that has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    own = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")]
    return sum(own) + sum(_held_bytes(int(child)) for child in children)


COMMANDS = (
    ["table1", "--intervals", "--paper"],  # the first reading, without an index
    ["table1", "--intervals", "--paper"],
    ["table1"],
    ["statistics"],
    ["statistics", "--by", "dimension"],
    ["cost"],
)


def main(count: int, root: Path) -> None:
    study = root / f"synthetic-{count}"
    synthetic(study, count)
    (study / "index.parquet").unlink(missing_ok=True)
    for name, *options in COMMANDS:
        indexed = "indexed" if (study / "index.parquet").is_file() else "no index"
        seconds, cpu_s, peak = measure([sys.executable, "-m", f"analysis.{name}", str(study), *options])
        what = f"{count} samples, {indexed}, {' '.join([name, *options])}"
        print(f"{what}: {seconds:.1f} s ({cpu_s:.1f} s of core), {peak / 1e9:.2f} GB", flush=True)


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=100_000, help="samples")
    parser.add_argument("--root", type=Path, required=True, help="where the synthetic study goes; 5 GB for 100,000")
    given = parser.parse_args()
    if given.count < 1:
        raise ValueError(f"count must be at least 1, got {given.count}")
    main(given.count, given.root)


if __name__ == "__main__":
    run(command)
