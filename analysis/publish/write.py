"""Writes a study as offline W&B runs into its folder: one per condition, and one for the study. Needs no network."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import wandb
from PIL import Image

from analysis.columns import metrics_of
from analysis.output import Report
from analysis.publish.runs import Condition, conditions_of, group_of, provenance, run_id, without_nan
from analysis.study import Study, StudyError, record_in
from bench.drawing import Figure, settings
from bench.plan.job import Wandb
from bench.work.tracking import FOLDER

FEW = 12  # so many samples are named in a figure


def write(study: Study, tracker: Wandb, table1: Report | None) -> list[Path]:
    """Returns a folder per run. Replaces runs of the same id that are already there.

    Each run logs one step, so that sending a run again overwrites the run and adds nothing.
    """
    folder, conditions, metrics = study.folders[0], conditions_of(study), metrics_of(study.samples)
    group, folders = group_of(folder), []
    for condition in conditions:
        table = condition.table(metrics)
        if tracker.previews == "upload":
            videos = [path and wandb.Video(str(folder / path), format="mp4") for path in table["preview"]]
            table["preview"] = pd.Series(videos, table.index, dtype=object)
        log = {"samples": _table(table)} | _drawn(condition)
        made = {"name": condition.name, "job_type": "condition", "config": condition.config(group)}
        folders.append(_run(folder, tracker, condition.run_id(group), log, condition.summary(metrics), **made))
    done = sum(len(condition.done) for condition in conditions)
    counts = {"n": done, "n_failed": sum(len(condition.samples) for condition in conditions) - done}
    config = {"study": group, "conditions": [c.name for c in conditions], "provenance": provenance(conditions)}
    made = {"name": group, "job_type": "study", "config": config, "notes": table1.text if table1 else None}
    folders.append(_run(folder, tracker, run_id(group, "study"), _report(folder / "report", table1), counts, **made))
    return folders


def _run(
    study: Path, tracker: Wandb, run_id: str, log: dict[str, Any], summary: dict[str, Any], **description: Any
) -> Path:
    """Returns the folder of one finished offline run. `description` has further arguments of wandb.init."""
    settings = wandb.Settings(
        mode="offline", root_dir=str(study), console="off", silent=True, disable_git=True, disable_code=True,
        save_code=False, x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
    )  # fmt: skip
    run = wandb.init(
        project=tracker.project, entity=tracker.entity, id=run_id, group=group_of(study), settings=settings,
        **description,
    )  # fmt: skip
    run.log(log | {"finished": summary["n"]}, step=0)
    run.summary.update(summary)
    run.finish()
    folder = Path(run.dir).parent
    for other in (study / FOLDER).glob(f"*run-*-{run.id}"):
        if other.resolve() != folder.resolve():
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _table(frame: pd.DataFrame) -> wandb.Table:
    cells: list[Any] = frame.to_numpy().tolist()
    return wandb.Table(columns=[*frame.columns], data=cells, allow_mixed_types=True)


def _report(folder: Path, table1: Report | None) -> dict[str, Any]:
    """Returns Table 1, and the figures that have been drawn into the study's report folder."""
    log: dict[str, Any] = {f"figures/{file.stem}": wandb.Image(str(file)) for file in sorted(folder.glob("*.png"))}
    if table1 is not None:
        text = io.StringIO(str(table1.files["table1.csv"]))
        log["table1"] = _table(without_nan(pd.read_csv(text, keep_default_na=False, na_values=[""])))
    return log


def _drawn(condition: Condition) -> dict[str, wandb.Image]:
    """Returns the figures of a condition with schedules, of its samples that are still there."""
    records = []
    for folder in condition.done["folder"][condition.done["schedule"].notna()]:
        try:
            record = record_in(folder)
        except StudyError:
            continue
        if record["schedule"] and record["similarity"]:
            records.append(record)
    return {"schedules": _image(schedules(records)), "similarity": _image(similarity(records))} if records else {}


@settings()
def schedules(records: Sequence[dict[str, Any]]) -> Figure:
    """Draws a row per sample: how many frames became one, frame by frame."""
    segments = [record["schedule"]["segments"] for record in records]
    rows = [np.repeat([f for _, _, f in s], [n for _, n, _ in s]) for s in segments]
    figure = Figure((8, 1.2 + min(6.0, 0.25 * len(rows))), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.stack(rows), aspect="auto", interpolation="nearest", cmap="Blues", vmin=0, vmax=4)
    figure.colorbar(image, ax=axes, ticks=[1, 2, 4], label="frames merged into one")
    axes.set(xlabel="frame")
    if len(rows) <= 2 * FEW:
        axes.set_yticks(range(len(rows)), [_label(record) for record in records], fontsize=7)
    else:
        axes.set(ylabel=f"{len(rows)} samples")
    return figure


@settings()
def similarity(records: Sequence[dict[str, Any]]) -> Figure:
    """Draws the preview's similarity between neighbouring frames, and the threshold if the method has one."""
    lag1, few = np.array([record["similarity"]["lag1"] for record in records]), len(records) <= FEW
    figure = Figure((8, 3.2), layout="constrained")
    axes = figure.subplots()
    lines = axes.plot(np.arange(lag1.shape[1]) + 0.5, lag1.T, lw=1, alpha=1 if few else 0.2)
    if few:
        axes.legend(lines, [_label(record) for record in records], fontsize=7, ncols=2, loc="lower right")
    if (theta := records[0]["method"].get("theta")) is not None:
        axes.axhline(theta, color="black", ls=":", lw=1)
    axes.set(xlabel="frame", ylabel="SSIM of the preview, lag 1", ylim=(min(0.0, float(lag1.min())), 1.02))
    return figure


def _label(record: dict[str, Any]) -> str:
    return f"{record['prompt_id']} s{record['seed_index']}"


@settings()
def _image(figure: Figure) -> wandb.Image:
    out = io.BytesIO()
    figure.savefig(out, dpi=110)
    return wandb.Image(Image.open(out))
