"""Write a study as W&B runs into its folder, offline: one a condition, one for the whole. Touches no network."""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from PIL import Image

from bench.drawing import Figure, settings
from bench.tracked import Sample, TrackedCondition, latencies, provenance, run_id, score_names
from bench.trackers import FOLDER, Wandb

FEW = 12  # samples up to which each has a line in a plot; of more, their range is drawn


def write(study: Path, tracker: Wandb, conditions: Sequence[TrackedCondition], report: Path | None) -> list[Path]:
    """A folder for each run; runs of the same id that lay there before are replaced. `report` holds Table 1.

    Each run logs one step, so that sending it again overwrites what was sent before and adds nothing.
    """
    baseline_s, scores = latencies(conditions), score_names(conditions)
    folders = []
    for condition in conditions:
        columns, rows = condition.table(study, scores)
        if tracker.previews == "upload":
            at = columns.index("preview")
            for row in rows:
                row[at] = wandb.Video(str(study / row[at]), format="mp4") if row[at] else None
        log: dict[str, Any] = {"samples": wandb.Table(columns=[*columns], data=rows, allow_mixed_types=True)}
        drawn = [sample for sample in condition.done if sample.record["schedule"] and sample.record["similarity"]]
        if drawn:
            log |= {"schedules": _image(schedules(drawn)), "similarity": _image(similarity(drawn))}
        config, summary = condition.config(study.name), condition.summary(baseline_s)
        what = [condition.samples[0].record["slug"], condition.samples[0].content]
        folders.append(_run(study, tracker, what, condition.name, "condition", config, log, summary))
    samples = [sample for condition in conditions for sample in condition.samples]
    config = {"study": study.name, "conditions": [c.name for c in conditions], "provenance": provenance(samples)}
    done = sum(sample.done for sample in samples)
    counts = {"n": done, "n_failed": len(samples) - done}
    log, notes = _report(study / "report", report)
    folders.append(_run(study, tracker, "study", study.name, "study", config, log, counts, notes))
    return folders


def _run(
    study: Path,
    tracker: Wandb,
    what: Any,
    name: str,
    kind: str,
    config: dict[str, Any],
    log: dict[str, Any],
    summary: dict[str, Any],
    notes: str | None = None,
) -> Path:
    """One finished offline run; the folder it lies in."""
    settings = wandb.Settings(
        mode="offline", root_dir=str(study), console="off", silent=True, disable_git=True, disable_code=True,
        save_code=False, x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
    )  # fmt: skip
    run = wandb.init(
        project=tracker.project, entity=tracker.entity, id=run_id(study.name, what), name=name, group=study.name,
        job_type=kind, config=config, notes=notes, settings=settings,
    )  # fmt: skip
    run.log(log | {"finished": summary["n"]}, step=0)
    run.summary.update(summary)
    run.finish()
    folder = Path(run.dir).parent
    for other in (study / FOLDER).glob(f"*run-*-{run.id}"):
        if other.resolve() != folder.resolve():
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _report(folder: Path, table: Path | None) -> tuple[dict[str, Any], str | None]:
    """Table 1 from its CSV, its Markdown as the run's notes, and every figure that was drawn."""
    log: dict[str, Any] = {}
    notes = None
    if table is not None:
        header, *rows = csv.reader(io.StringIO(table.read_text(encoding="utf-8")))
        log["table1"] = wandb.Table(
            columns=[*header], data=[[_number(v) for v in r] for r in rows], allow_mixed_types=True
        )
        notes = table.with_suffix(".md").read_text(encoding="utf-8")
    for figure in sorted(folder.glob("*.png")):
        log[f"figures/{figure.stem}"] = wandb.Image(str(figure))
    return log, notes


def _number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text


@settings()
def schedules(samples: Sequence[Sample]) -> Figure:
    """A row a sample: how many frames became one, frame by frame."""
    rows = [np.repeat([f for _, _, f in s], [n for _, n, _ in s]) for s in map(_segments, samples)]
    figure = Figure((8, 1.2 + min(6.0, 0.25 * len(rows))), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.stack(rows), aspect="auto", interpolation="nearest", cmap="Blues", vmin=0, vmax=4)
    figure.colorbar(image, ax=axes, ticks=[1, 2, 4], label="frames merged into one")
    axes.set(xlabel="frame")
    if len(rows) <= 2 * FEW:
        axes.set_yticks(range(len(rows)), [_label(s) for s in samples], fontsize=7)
    else:
        axes.set(ylabel=f"{len(rows)} samples")
    return figure


def _segments(sample: Sample) -> list[list[int]]:
    return sample.record["schedule"]["segments"]


@settings()
def similarity(samples: Sequence[Sample]) -> Figure:
    """The preview's similarity between neighbouring frames, with the threshold where the method has one."""
    lag1 = np.array([s.record["similarity"]["lag1"] for s in samples])
    at = np.arange(lag1.shape[1]) + 0.5
    figure = Figure((8, 3.2), layout="constrained")
    axes = figure.subplots()
    if len(samples) <= FEW:
        for line, sample in zip(lag1, samples, strict=True):
            axes.plot(at, line, lw=1, label=_label(sample))
        axes.legend(fontsize=7, ncols=2, loc="lower right")
    else:
        low, middle, high = np.percentile(lag1, (10, 50, 90), axis=0)
        axes.fill_between(at, low, high, alpha=0.3, label=f"10th to 90th percentile of {len(samples)} samples")
        axes.plot(at, middle, label="median")
        axes.legend(fontsize=8, loc="lower right")
    if (theta := samples[0].record["method"].get("theta")) is not None:
        axes.axhline(theta, color="black", ls=":", lw=1)
    axes.set(xlabel="frame", ylabel="SSIM of the preview, lag 1", ylim=(min(0.0, float(lag1.min())), 1.02))
    return figure


def _label(sample: Sample) -> str:
    return f"{sample.record['prompt_id']} s{sample.record['seed_index']}"


@settings()
def _image(figure: Figure) -> wandb.Image:
    out = io.BytesIO()
    figure.savefig(out, dpi=110)
    return wandb.Image(Image.open(out))
