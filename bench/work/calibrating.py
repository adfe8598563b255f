"""Measures trajectories of the baseline for a calibration, fits it, and draws the figure of its residuals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.drawing import Figure, MaxNLocator, settings
from bench.plan.condition import Condition
from bench.plan.prompts import Prompt
from bench.work.models import load
from vgdfr import Baseline, generate
from vgdfr.accelerators.recorder import INPUT_CHANGE, OUTPUT_CHANGE, RATIO, Recorder
from vgdfr.accelerators.teacache import share_skipped

DEGREE = 4  # as in TeaCache's paper
LEVELS = (0.3, 0.5, 0.65)  # shares of skipped passes for which a threshold is suggested
THRESHOLDS = np.geomspace(1e-4, 10, 501)
BLUE, GREY = "#0072B2", "#6b7280"


@dataclass(frozen=True)
class Measured:
    """Measurements by name, each of `[prompts, steps - 1]`: a pass against the pass before."""

    values: dict[str, np.ndarray]
    num_steps: int


def measure(condition: Condition, accelerator: str, prompts: Sequence[Prompt], say: Callable[[str], None]) -> Measured:
    """Makes the baseline's video of each prompt and measures its passes."""
    names = (INPUT_CHANGE, OUTPUT_CHANGE) if accelerator == "teacache" else (RATIO,)
    backbone = load(condition.model, ((condition.model, tuple(prompt.text for prompt in prompts)),))
    recorder, steps = (
        Recorder("changes" if accelerator == "teacache" else "ratios"),
        condition.video.num_inference_steps,
    )
    rows: dict[str, list[list[float]]] = {name: [] for name in names}
    for i, prompt in enumerate(prompts):
        say(f"{i + 1} of {len(prompts)}: {prompt.id}, seed {prompt.seed_index}")
        video = generate(backbone, condition.video.spec(prompt.text, prompt.seed), Baseline(accelerators=(recorder,)))
        found = video.accelerated[recorder.title]
        for name in names:
            rows[name].append([found[f"{name}{step}"] for step in range(1, steps)])
    return Measured({name: np.array(row) for name, row in rows.items()}, steps)


@dataclass(frozen=True)
class Fitted:
    """The values of a calibration, facts about the fit for its file, and sentences for people."""

    values: tuple[float, ...]
    facts: dict[str, Any]
    lines: tuple[str, ...]


def fit(accelerator: str, measured: Measured) -> Fitted:
    """Returns the calibration's values. Raises ValueError for too few or for useless measurements."""
    return fit_polynomial(measured) if accelerator == "teacache" else mean_ratios(measured)


def fit_polynomial(measured: Measured) -> Fitted:
    """Returns the least-squares polynomial of the output's change by the input's change, highest power first."""
    x, y = (measured.values[name].ravel() for name in (INPUT_CHANGE, OUTPUT_CHANGE))
    if len(np.unique(x)) <= DEGREE:
        raise ValueError(
            f"a polynomial of degree {DEGREE} needs more than {DEGREE} different changes, got {len(np.unique(x))}; "
            "take more prompts (--prompts=N) or more steps"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a change is not finite, so there is no polynomial; the model's passes may be broken")
    values = tuple(float(c) for c in np.polynomial.Polynomial.fit(x, y, DEGREE).convert().coef[::-1])
    residual = y - np.polyval(values, x)
    facts = {
        "pairs": len(x),
        "input_change_range": [float(x.min()), float(x.max())],
        "output_change_range": [float(y.min()), float(y.max())],
        "rms_residual": float(np.sqrt(np.mean(residual**2))),
        "r2": float(1 - residual.var() / y.var()) if y.var() else None,
    }
    spread = "" if facts["r2"] is None else f"; it explains {facts['r2']:.1%} of their variance"
    lines = (
        f"{len(x)} pairs of passes; changes of the input from {x.min():.4f} to {x.max():.4f}",
        f"the polynomial misses the output's changes by {facts['rms_residual']:.4f} (rms){spread}",
        *_thresholds(values, measured.values[INPUT_CHANGE]),
    )
    return Fitted(values, facts, lines)


def _thresholds(values: Sequence[float], changes: np.ndarray) -> list[str]:
    """Returns a sentence per level: the threshold that skips about that share of the measured passes."""
    shares = np.array([np.mean([share_skipped(values, row, t) for row in changes.tolist()]) for t in THRESHOLDS])
    nearest = [int(np.abs(shares - level).argmin()) for level in LEVELS]
    return [f"threshold={THRESHOLDS[i]:.2g} would skip about {shares[i]:.0%} of these passes" for i in nearest]


def mean_ratios(measured: Measured) -> Fitted:
    """Returns the mean over prompts of each step's ratio, after the first step's 1."""
    ratios = measured.values[RATIO]
    if not np.isfinite(ratios).all():
        raise ValueError("a ratio is not finite, so there is no calibration; the model's passes may be broken")
    values = (1.0, *(float(value) for value in ratios.mean(0)))
    spread = float(ratios.std(0).max())
    lines = (f"{len(values)} ratios from {min(values):.4f} to {max(values):.4f}; over prompts a step's ratio has a "
             f"standard deviation of {spread:.4f} at most",)  # fmt: skip
    return Fitted(values, {"largest_deviation_over_prompts": spread}, lines)


def draw(accelerator: str, measured: Measured, values: Sequence[float], file: Path) -> None:
    """Writes the figure of the calibration as PNG."""
    with settings({"font.family": "DejaVu Sans", "font.size": 9, "axes.grid": True, "grid.color": "#e5e7eb"}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        (_draw_polynomial if accelerator == "teacache" else _draw_ratios)(figure, measured, values)
        figure.savefig(file, dpi=140, metadata={"Software": None})


def _draw_polynomial(figure: Any, measured: Measured, values: Sequence[float]) -> None:
    x, y = (measured.values[name] for name in (INPUT_CHANGE, OUTPUT_CHANGE))
    left, right = figure.subplots(1, 2)
    steps = np.broadcast_to(np.arange(1, measured.num_steps), x.shape)
    shown = left.scatter(x, y, c=steps, s=9, cmap="viridis", label="a pass against the pass before")
    line = np.linspace(x.min(), x.max(), 300)
    left.plot(line, np.polyval(values, line), color="black", lw=1.2, label=f"polynomial of degree {DEGREE}")
    left.set(xlabel="relative change of the modulated input", ylabel="relative change of the DiT's output")
    left.legend(loc="lower right")
    residual = y - np.polyval(values, x)
    right.axhline(0, color=GREY, lw=0.8)
    right.scatter(steps, residual, c=steps, s=9, cmap="viridis")
    right.plot(steps[0], residual.mean(0), color="black", lw=1.2, label="mean over prompts")
    right.set(xlabel="step", ylabel="residual: measured minus estimated")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend(loc="upper center")
    figure.colorbar(shown, ax=right, label="step")


def _draw_ratios(figure: Any, measured: Measured, values: Sequence[float]) -> None:
    ratios, steps = measured.values[RATIO], np.arange(1, measured.num_steps)
    axes = figure.subplots()
    axes.axhline(1, color=GREY, lw=0.8)
    axes.fill_between(steps, ratios.min(0), ratios.max(0), color=BLUE, alpha=0.25, lw=0, label="range over prompts")
    axes.plot(steps, values[1:], color=BLUE, label="mean over prompts: the calibration")
    axes.set(xlabel="step", ylabel="norm of the residual over that of the step before")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
