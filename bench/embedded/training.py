"""The parts that all training stages share: settings, a loop that can be killed and continued, and its curve."""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.embedded.muon import Muon, split

SETTINGS_FILE = Path(__file__).parent / "settings.yaml"


def settings(stage: str) -> dict[str, Any]:
    """Returns the block `stage` of settings.yaml."""
    return yaml.safe_load(SETTINGS_FILE.read_text(encoding="utf-8"))[stage]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def save_half(model: nn.Module, file: Path) -> None:
    """Writes the weights as safetensors in fp16. Counters keep their type."""
    state = {name: v.half() if v.is_floating_point() else v for name, v in model.cpu().state_dict().items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: v.contiguous() for name, v in state.items()}, file)


def autocast() -> torch.autocast:
    """Returns bfloat16 if the machine multiplies it fast (a GPU, AVX-512 bf16), or else float32.

    Emulated bfloat16 is 50 times slower than float32.
    """
    fast = device().type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device().type, torch.bfloat16, enabled=fast)


def fit(
    model: nn.Module,
    loss_of_step: Callable[[int], dict[str, Tensor]],
    folder: Path,
    steps: int,
    muon_lr: float,
    adamw_lr: float,
    warmup: int = 50,
    save_every_s: float = 60.0,
) -> None:
    """Trains `model` for `steps` on `loss_of_step(step)["loss"]`. The learning rates fall to zero along a cosine.

    `folder/state.pt` is written every `save_every_s` seconds and at the end, and a later call continues from it.
    `folder/curve.jsonl` gets a line every 20 steps with the means of all values that `loss_of_step` returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inner, outer = split(model)
    optimizers = [
        Muon(inner, lr=muon_lr, momentum=0.95),
        torch.optim.AdamW(outer, lr=adamw_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    rates = [muon_lr, adamw_lr]
    state_file, curve_file = folder / "state.pt", folder / "curve.jsonl"
    start = 0
    if state_file.exists():
        state = torch.load(state_file, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start = state["step"]
        if start > steps:
            raise ValueError(
                f"{state_file} has done {start} steps of {steps}; it comes from other settings: move it away"
            )
        if curve_file.exists():  # steps after the last saved state run again, so their lines are dropped
            lines = curve_file.read_text(encoding="utf-8").splitlines(keepends=True)
            curve_file.write_text(
                "".join(line for line in lines if json.loads(line)["step"] <= start), encoding="utf-8"
            )

    def save(step: int) -> None:
        state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "step": step}
        torch.save(state, state_file.with_suffix(".tmp"))
        os.replace(state_file.with_suffix(".tmp"), state_file)

    seen: dict[str, list[float]] = {}
    saved_at = began = time.monotonic()
    for step in range(start, steps):
        factor = min(1, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.zero_grad()
        losses = loss_of_step(step)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(outer, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        for name, value in losses.items():
            seen.setdefault(name, []).append(float(value.detach()))
        if (step + 1) % 20 == 0:
            means = {name: sum(values) / len(values) for name, values in seen.items()}
            line = {"step": step + 1, "seconds": round(time.monotonic() - began, 1), **means}
            print({k: round(v, 4) for k, v in line.items()}, flush=True)
            with curve_file.open("a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")
            seen = {}
        if time.monotonic() - saved_at > save_every_s:
            save(step + 1)
            saved_at = time.monotonic()
    save(steps)
