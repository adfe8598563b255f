"""Run jobs: every sample is found, or generated and stored, or fails and says why; then it is scored."""

import gc
import hashlib
import json
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import torch

from bench import keep, record, score
from bench.claims import DIED, at_unit, at_work, claimed, skipped
from bench.condition import Condition, Sample
from bench.config import Job
from bench.models import backbone_of
from bench.progress import Sweep
from bench.provenance import environment, weights_sha256
from bench.record import Record
from bench.store import MASTER, Store
from bench.tasks import LAUNCH_BEGAN
from bench.timing import OtherPixels, timed_alone
from metrics.video_file import read
from vgdfr import (
    Baseline,
    BrokenVideo,
    GeneratedVideo,
    HunyuanVideo,
    RopeProxy,
    Vgdfr,
    VideoSpec,
    generate,
    layer_errors,
)
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_video import hide_loading_bars
from vgdfr.shared import Shared


@cache
def embed_prompts(jobs: tuple[Job, ...]) -> None:
    """Embed the prompts of all `jobs`; before a DiT is loaded, so that text encoders are not in memory beside it."""
    hide_loading_bars()
    for job in jobs:
        job.condition.model.text().embed(p.text for p in job.prompts)


def conditions_of(job: Job) -> tuple[Condition, ...]:
    """The job's condition, after the baseline that it is measured against."""
    own = job.condition
    return (own,) if isinstance(own.method, Baseline | RopeProxy) else (own.baseline, own)


def samples_of(job: Job) -> Iterator[tuple[Sample, Sample | None]]:
    """The job's samples, each with its baseline's, prompt by prompt; the baseline comes first."""
    weights, device = weights_sha256(job.condition.model), job.condition.model.device_type
    for prompt in job.prompts:
        reference: Sample | None = None
        for condition in conditions_of(job):
            sample = condition.sample(prompt, weights, device)
            yield sample, reference
            reference = sample


@dataclass(frozen=True)
class Unit:
    """What one worker makes in one go: all samples of a prompt and seed, on one model with one video setting.

    They share noise, first steps and preview. Each sample comes with its baseline's and the job that asked for it.
    """

    spec: VideoSpec
    samples: tuple[tuple[Sample, Sample | None, Job], ...]

    @property
    def name(self) -> str:
        """The same in every process, whichever conditions it asks for."""
        sample = self.samples[0][0]
        decides = json.dumps([sample.identity["model"], sample.identity["spec"]], sort_keys=True)
        return f"{sample.prompt.id}-s{sample.prompt.seed_index}-{hashlib.sha256(decides.encode()).hexdigest()[:8]}"

    @property
    def probes(self) -> list[tuple[Sample, Job]]:
        """Its samples that are layer errors."""
        return [(sample, job) for sample, _, job in self.samples if isinstance(sample.condition.method, RopeProxy)]

    @property
    def of_videos(self) -> "Unit":
        """The unit without them."""
        videos = (each for each in self.samples if not isinstance(each[0].condition.method, RopeProxy))
        return Unit(self.spec, tuple(videos))

    @property
    def stops(self) -> set[int]:
        """The steps after which its samples branch off the baseline."""
        return {m.k for sample, _, _ in self.samples if isinstance(m := sample.condition.method, Vgdfr)}


def units_of(jobs: Sequence[Job]) -> list[Unit]:
    """The samples of all jobs, each once, model by model and prompt by prompt; a baseline before what refers to it."""
    units: dict[tuple[HunyuanVideo, VideoSpec], dict[str, tuple[Sample, Sample | None, Job]]] = {}
    for job in jobs:
        for sample, reference in samples_of(job):
            unit = units.setdefault((sample.condition.model, sample.spec), {})
            unit.setdefault(sample.key, (sample, reference, job))
    models = list(dict.fromkeys(model for model, _ in units))
    ordered = sorted(units.items(), key=lambda item: models.index(item[0][0]))
    return [Unit(spec, tuple(samples.values())) for (_, spec), samples in ordered]


def run(jobs: Sequence[Job], sweep: Sweep) -> None:
    """Make what is missing of `jobs`, unit by unit; units that another worker has claimed come last.

    One sample's failure does not cost the others: it is recorded and counted. A model that cannot be loaded, or a full
    disk, ends the sweep.
    """
    study, waiting = jobs[0].study, units_of(jobs)
    while waiting:
        claimed_elsewhere = []
        for unit in waiting:
            with claimed(study, unit.name) as mine:
                if not mine:
                    claimed_elsewhere.append(unit)
                elif unit.name in skipped(study, os.environ.get(LAUNCH_BEGAN)):
                    for sample, _, _ in unit.samples:
                        sweep.end(_name(sample), "failed: passed over, a worker of this launch died at its unit")
                else:
                    with at_unit(study, unit.name, sweep.made):
                        _run_unit(unit, Store(study), sweep, jobs)
        if len(claimed_elsewhere) == len(waiting):
            time.sleep(1)
        waiting = claimed_elsewhere


def _run_unit(unit: Unit, store: Store, sweep: Sweep, jobs: Sequence[Job]) -> None:
    for sample, job in unit.probes:
        sweep.begin(_name(sample))
        sweep.end(_name(sample), _probe(store, sample, job, jobs))
    unit = unit.of_videos
    shared, outcomes = Shared(unit.spec, unit.stops), {}
    unscored: set[str] = set()  # keys of samples that a score is still to come of
    for sample, reference, job in unit.samples:
        name = _name(sample)
        sweep.begin(name)
        outcome = "found" if _there(store, sample, job) else _failed_in_this_launch(store, sample)
        if outcome is None:
            store.require_space(sample.spec, sample.condition.model.latents_bytes(sample.spec))
            embed_prompts(tuple(jobs))
            outcome = _make(store, sample, reference, backbone_of(job.condition.model), shared, sweep)
        if not outcome.startswith("failed"):
            try:
                scores = _score(store, sample, reference, job)
                if any(value["value"] is None for value in scores.values()):
                    unscored.add(sample.key)
            except Exception as error:
                outcome = f"failed to be scored: {type(error).__name__}: {error}"
        if outcome.startswith("failed"):
            unscored.add(sample.key)
        if outcome.startswith("failed") or job.timing.mode == "shared":
            sweep.end(name, outcome)
        else:
            outcomes[sample.key] = outcome
    shared.parts.clear()  # what is timed alone has the memory alone
    for sample, _, job in unit.samples:
        if sample.key in outcomes:
            sweep.begin(f"{_name(sample)} alone")
            sweep.end(_name(sample), _time(store, sample, job, jobs, outcomes[sample.key]))
    _drop(store, unit, unscored)


def _name(sample: Sample) -> str:
    return f"{sample.condition.slug} {sample.prompt.id}"


def _there(store: Store, sample: Sample, job: Job) -> bool:
    """Whether the sample is stored with all that the job keeps; a master that was dropped comes back from latents."""
    found = store.get(sample.folder, sample.key)
    lacking = keep.lacking(found, job.keep) if found else set()
    if found and lacking == {MASTER}:
        try:
            keep.restored(store, sample.folder, found, sample.condition.model)
        except ValueError:  # it cannot come back here, so the sample is made again
            return False
        return True
    return found is not None and not lacking


def _time(store: Store, sample: Sample, job: Job, jobs: Sequence[Job], outcome: str) -> str:
    """Time a stored sample alone, unless that was done; in words, what came of it."""
    found = store.recorded(sample.folder)
    if found is None or found.status != "done" or job.timing.is_of(found):
        return outcome
    embed_prompts(tuple(jobs))
    digest = found.frames_sha256 or record.sha256_of_frames(read(store.folder / sample.folder / MASTER).frames)
    try:
        timed = timed_alone(backbone_of(job.condition.model), sample, found, digest, job.timing)
    except OtherPixels as error:
        store.put(sample.folder, replace(found, status="failed", dropped={}, error=f"{type(error).__name__}: {error}"))
        return f"failed: {error}"
    except Exception as error:
        return f"failed to be timed alone: {type(error).__name__}: {error}"
    store.update(sample.folder, timed)
    return f"{'timed' if outcome == 'found' else outcome}; alone {timed.latency_s:.2f} s"


def _drop(store: Store, unit: Unit, unscored: set[str]) -> None:
    """Remove what is not to be kept of those samples of the unit that have all their scores and are compared no more.

    A score that could not be computed is tried again the next time, so what it needs stays.
    """
    wanted = unscored | {reference.key for sample, reference, _ in unit.samples if reference and sample.key in unscored}
    for sample, _, job in unit.samples:
        found = store.recorded(sample.folder)
        if sample.key not in wanted and found is not None and found.status == "done":
            keep.drop(store, sample.folder, found, job.keep)


def _failed_in_this_launch(store: Store, sample: Sample) -> str | None:
    """What came of the sample if a worker of the same launch has tried it already: it is not tried by each of them."""
    began = os.environ.get(LAUNCH_BEGAN)
    record = store.recorded(sample.folder) if began else None
    if began is None or record is None or record.status == "done" or record.created < began:
        return None
    return f"failed: {(record.error or record.status).strip().splitlines()[-1]}"


def _make(
    store: Store, sample: Sample, reference: Sample | None, backbone: Backbone, shared: Shared, sweep: Sweep
) -> str:
    """Generate and store one sample; in words, what came of it."""
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    identified = record.identify(sample, reference.key if reference else None, environment(), created)
    died, method = Record(status="failed", **identified, error=DIED), sample.condition.method
    assert not isinstance(method, RopeProxy)  # `_probe` makes those
    with at_work(store.folder, sample.folder, died):
        try:
            video = generate(backbone, sample.spec, method, shared)
        except (Exception, SystemExit) as error:
            shared.parts.clear()  # what memory they hold is free for the next sample
            return _failed(store, sample, identified, error)
        made = Record(status="done", **identified, **record.results(video), layers=record.layers_of(backbone, method))
        stored = _put(store, sample, made, video)
    sweep.count(video.passes, video.passes_done)
    return f"made: {video.latency_s:.1f} s, token ratio {stored.token_ratio:.2f}"


def _put(store: Store, sample: Sample, made: Record, video: GeneratedVideo) -> Record:
    """Store what was made; where only files had been dropped of it, they come back and its record and scores stay."""
    found = store.get(sample.folder, sample.key)
    if found and found.dropped and found.frames_sha256 == made.frames_sha256:
        try:
            return store.restore(sample.folder, found, video.frames, sample.spec.fps, video.latents)
        except ValueError:  # other latents, or written by another library: a sample of its own
            pass
    return store.put(sample.folder, made, video.frames, sample.spec.fps, video.latents)


def _failed(store: Store, sample: Sample, identified: dict[str, Any], error: BaseException) -> str:
    """Record the failure of the sample that is being made; in words."""
    gc.collect()
    torch.cuda.empty_cache()
    status = error.kind if isinstance(error, BrokenVideo) else "failed"
    store.put(sample.folder, Record(status=status, **identified, error=traceback.format_exc()))
    return f"failed: {type(error).__name__}: {error}"


def _probe(store: Store, sample: Sample, job: Job, jobs: Sequence[Job]) -> str:
    """Measure and store layer errors, unless they are stored: no video, nothing to score; in words, what came of it."""
    method = sample.condition.method
    assert isinstance(method, RopeProxy)
    if store.get(sample.folder, sample.key) is not None:
        return "found"
    if outcome := _failed_in_this_launch(store, sample):
        return outcome
    embed_prompts(tuple(jobs))
    backbone = backbone_of(job.condition.model)
    identified = record.identify(sample, None, environment(), datetime.now(UTC).isoformat(timespec="milliseconds"))
    with at_work(store.folder, sample.folder, Record(status="failed", **identified, error=DIED)):
        try:
            errors = layer_errors(backbone, sample.spec, method)
        except (Exception, SystemExit) as error:
            return _failed(store, sample, identified, error)
        results, layers = record.results_of_probe(errors), record.layers_of(backbone, method)
        store.put(sample.folder, Record(status="done", **identified, **results, layers=layers))
    return f"made: {sum(errors.seconds.values()):.1f} s, token ratio {errors.schedule.token_ratio:.2f}"


def _score(store: Store, sample: Sample, reference: Sample | None, job: Job) -> dict[str, Any]:
    finished = store.get(reference.folder, reference.key) if reference else None
    beside = (store.folder / reference.folder, finished) if reference and finished else None
    return score.score(store.folder / sample.folder, sample.spec.prompt, beside, job.metrics, sample.condition.model)
