"""The golden values that a redesign must not change: keys, latents, frames, layer errors, metric ids, and reports.

`PYTHONPATH=. python tests/goldens.py --write` writes tests/data/goldens again (about a minute), and `git diff` then
shows the changes. `tests/test_goldens.py` compares. The videos are made by the tiny random model, in a process of its
own with kernels that are the same on every x86-64 CPU (`FORCED`). `--bits` runs in that process and prints the videos'
hashes as JSON. --write does not write the stored studies in studies.tar.xz: they are old records, which must stay
readable. tests/data/goldens/README.md tells how they were made. Keys, latents, frames, ids and CSV files must not
change. A report's Markdown may change when its prose is rewritten on purpose.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tarfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tiny import SPEC, write_checkpoint

from bench.plan.condition import Condition, VideoSettings
from bench.plan.prompts import Prompt
from metrics import named
from metrics.groups import names_of
from vgdfr import Baseline, BaselineRerun, FewerSteps, HunyuanVideo, Method, RopeProxy, Vgdfr, generate
from vgdfr.account import Shared

GOLDENS = Path(__file__).parent / "data" / "goldens"
KEYS, BITS, METRIC_IDS = GOLDENS / "keys.json", GOLDENS / "bits.json", GOLDENS / "metric_ids.json"
STUDIES, REPORTS = GOLDENS / "studies.tar.xz", GOLDENS / "reports"

METHODS: dict[str, Method] = {
    "baseline": Baseline(),
    "baseline_rerun": BaselineRerun(),
    "fewer_steps": FewerSteps(3),
    "threshold": Vgdfr(k=2, theta=0.7),
    "all_merged": Vgdfr(k=2, theta=0.01),
    "nothing_merged": Vgdfr(k=2, theta=0.999),
    "token_ratio": Vgdfr(k=2, schedule="token_ratio", token_ratio=0.7),
    "released_search": Vgdfr(k=2, schedule="token_ratio", token_ratio=0.7, search="released", schedule_from="noisy"),
    "no_compression": Vgdfr(k=2, theta=0.01, merge_space="latent"),
    "no_denoise_renoise": Vgdfr(k=2, theta=0.01, denoise_renoise=False),
    "many_options": Vgdfr(
        k=1, theta=0.01, max_merge=2, global_layers=(0, 3), similarity_dtype="float16", interpolator="linear",
        preview_steps=2, preview_latent="as_released",
    ),
    "uniform": Vgdfr(k=1, schedule="uniform", global_layers="all_but_2", preview_steps=3),
}  # fmt: skip
PROXY = RopeProxy(k=1, theta=0.01)

# These identities belong to no real model, so no key depends on a machine or on the bytes of a checkpoint.
MODEL_IDENTITY = {"weights_sha256": "0" * 64, "dtype": "float32", "device_type": "cpu"}
PROMPT = Prompt("00-still", SPEC.prompt, 0)

# Vector instructions change the order of sums and fuse multiplications with additions, which changes last bits. These
# settings switch vector instructions off in PyTorch, MKL, oneDNN, OpenCV, NumPy and the C library's exp, sin and cos.
FORCED = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENCV_CPU_DISABLE": "SSE4.1,SSE4.2,AVX,AVX2,FP16,FMA3,AVX512-SKX",
    "OPENCV_IPP": "disabled",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def keys() -> dict[str, Any]:
    """Returns each condition's slug, folder, key, and the settings of the method in the key and in a record."""
    settings = {name: value for name, value in asdict(SPEC).items() if name not in ("prompt", "seed")}
    pinned, identity = {}, {}
    for name, method in {**METHODS, "rope_proxy": PROXY}.items():
        condition = Condition("tiny", HunyuanVideo("nowhere"), VideoSettings(**settings), method)
        sample = condition.sample(PROMPT, MODEL_IDENTITY)
        identity = sample.identity
        pinned[name] = {
            "slug": condition.slug, "folder": sample.folder, "key": sample.key,
            "method": sample.identity["method"], "recorded": method.settings(),
        }  # fmt: skip
    return {"identity_but_for_method": {**identity, "method": None}, "conditions": pinned}


def metric_ids() -> dict[str, str]:
    """Returns the ids of all metrics that need no download."""
    return {metric.name: metric.id for metric in named(names_of("embedded,pixel"))}


def bits() -> dict[str, Any]:
    """Returns the bits of every video and of the layer errors.

    Every video is made twice: alone, and from parts that it shares with the others.
    """
    torch.backends.mkldnn.enabled = False  # pyright: ignore[reportAttributeAccessIssue]  # its blocks follow the caches
    torch.backends.nnpack.set_flags(False)
    with TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        backbone = HunyuanVideo(folder, dtype="float32", device="cpu").load()
        shared = Shared(SPEC)
        made = {
            kind: {name: _digest(generate(backbone, SPEC, method, of)) for name, method in METHODS.items()}
            for kind, of in (("fresh", None), ("shared", shared))
        }
        errors = generate(backbone, SPEC, PROXY)
    assert errors.data is not None
    return {**made, "rope_proxy": errors.data | {"passes": errors.passes}}


def _digest(video: Any) -> dict[str, Any]:
    schedule = video.schedule and [[s.start, s.length, s.factor] for s in video.schedule.segments]
    return {
        "latents_sha256": hashlib.sha256(video.latents.contiguous().numpy().tobytes()).hexdigest(),
        "frames_sha256": hashlib.sha256(video.frames.tobytes()).hexdigest(),
        "schedule": schedule,
        "passes": video.passes,
    }


def versions() -> dict[str, str]:
    """Returns the other versions that decide the bits: packages, and the C library for exp, sin and cos."""
    packages = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless")
    return {name: version(name) for name in packages} | {"libc": " ".join(platform.libc_ver())}


def bits_of_a_process(environment: dict[str, str]) -> dict[str, Any]:
    """Returns `bits` and the kernels of a new process with `environment` added. Raises RuntimeError if it fails."""
    own = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])} | environment
    done = subprocess.run([sys.executable, __file__, "--bits"], capture_output=True, text=True, env=own)
    if done.returncode:
        raise RuntimeError(f"goldens.py --bits ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def unpacked(folder: Path) -> Path:
    """Unpacks the stored studies table1, rope_sensitivity and rope_proxy below `folder`, and returns it."""
    with tarfile.open(STUDIES) as archive:
        archive.extractall(folder, filter="data")
    return folder


# the folder of a report in the goldens, its module, and its arguments with studies by name
COMMANDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("table1", "analysis.table1", ("table1",)),
    ("table1-intervals", "analysis.table1", ("table1", "--intervals", "--paper")),
    ("table1-kept", "analysis.table1", ("table1", "--frames", "kept", "--columns", "psnr,ssim,lpips")),
    ("table1-interpolated", "analysis.table1", ("table1", "--frames", "interpolated")),
    ("statistics", "analysis.statistics", ("table1",)),
    ("statistics-by-speed", "analysis.statistics", ("table1", "--by", "speed")),
    (
        "statistics-between",
        "analysis.statistics",
        ("table1", "--between", "vgdfr-k2-theta0.5", "vgdfr-k2-theta0.5-merge_space=latent"),
    ),
    ("cost", "analysis.cost", ("table1",)),
    ("rope_sensitivity", "analysis.rope_sensitivity", ("rope_sensitivity", "--proxy", "rope_proxy")),
    ("rope_sensitivity-psnr", "analysis.rope_sensitivity", ("rope_sensitivity", "--metric", "psnr", "--size", "2")),
)


def arguments_at(studies: Path, arguments: tuple[str, ...]) -> list[str]:
    """Returns the arguments of a command, with the folder below `studies` in place of each study's name."""
    return [str(studies / word) if (studies / word).is_dir() else word for word in arguments]


COMPARED = (".csv", ".md")


def compared(folder: Path, suffix: str) -> dict[str, Path]:
    """Returns a report's files with this suffix by name, without the samples, which gain columns over time."""
    return {f.name: f for f in folder.iterdir() if f.suffix == suffix and f.stem != "samples"}


def write() -> None:
    """Writes all goldens except the stored studies."""
    forced = bits_of_a_process(FORCED)
    for file, content in ((KEYS, keys()), (METRIC_IDS, metric_ids()), (BITS, {"versions": versions(), **forced})):
        file.write_text(json.dumps(content, indent=1) + "\n")
    with TemporaryDirectory() as folder:
        studies = unpacked(Path(folder))
        for name, module, arguments in COMMANDS:
            out = REPORTS / name
            command = [sys.executable, "-m", module, *arguments_at(studies, arguments), "--out", str(out)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            for file in out.iterdir():
                if file not in compared(out, file.suffix).values() or file.suffix not in COMPARED:
                    file.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the goldens again")
    what.add_argument("--bits", action="store_true", help="print the digests of videos made in this process")
    if parser.parse_args().write:
        write()
    else:
        kernels = torch.backends.cpu.get_cpu_capability()
        print(json.dumps({"kernels": kernels, **bits()}))
