"""Run jobs: every sample is found, or generated and stored, or fails and says why; then it is scored."""

import gc
import hashlib
import json
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import torch

from bench import record, score
from bench.claims import DIED, at_work, claimed
from bench.condition import Condition, Sample
from bench.config import Job
from bench.progress import Sweep, say
from bench.provenance import environment, weights_sha256
from bench.record import Record
from bench.store import Store
from vgdfr import Baseline, BrokenVideo, HunyuanVideo, RopeProxy, Vgdfr, VideoSpec, generate, layer_errors
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_video import hide_loading_bars
from vgdfr.shared import Shared

LAUNCH_BEGAN = "VGDFR_LAUNCH_BEGAN"  # in the environment of bench.launch's workers: when it began
_loaded: dict[HunyuanVideo, Backbone] = {}


def backbone_of(model: HunyuanVideo) -> Backbone:
    """The loaded model; jobs of one sweep share it. One at a time: before another is loaded, it is gone."""
    if model not in _loaded:
        _loaded.clear()
        gc.collect()  # hooks of an offloaded model hold it in cycles
        torch.cuda.empty_cache()
        say(f"loading {model.path}")
        hide_loading_bars()
        _loaded[model] = model.load()
    return _loaded[model]


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
                if mine:
                    _run_unit(unit, Store(study), sweep, jobs)
                else:
                    claimed_elsewhere.append(unit)
        if len(claimed_elsewhere) == len(waiting):
            time.sleep(1)
        waiting = claimed_elsewhere


def _run_unit(unit: Unit, store: Store, sweep: Sweep, jobs: Sequence[Job]) -> None:
    for sample, job in unit.probes:
        sweep.begin(f"{sample.condition.slug} {sample.prompt.id}")
        sweep.end(f"{sample.condition.slug} {sample.prompt.id}", _probe(store, sample, job, jobs))
    unit = unit.of_videos
    shared = Shared(unit.spec, unit.stops)
    for sample, reference, job in unit.samples:
        name = f"{sample.condition.slug} {sample.prompt.id}"
        sweep.begin(name)
        outcome = "found"
        if store.get(sample.folder, sample.key) is None:
            outcome = _failed_in_this_launch(store, sample)
            if outcome is None:
                store.require_space(sample.spec)
                embed_prompts(tuple(jobs))
                outcome = _make(store, sample, reference, backbone_of(job.condition.model), shared, sweep)
        if not outcome.startswith("failed"):
            try:
                _score(store, sample, reference, job.metrics)
            except Exception as error:
                outcome = f"failed to be scored: {type(error).__name__}: {error}"
        sweep.end(name, outcome)


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
        layers = record.layers_of(backbone, method)
        stored = Record(status="done", **identified, **record.results(video), layers=layers)
        store.put(sample.folder, stored, video.frames, sample.spec.fps)
    sweep.count(video.passes, video.passes_done)
    return f"made: {video.latency_s:.1f} s, token ratio {stored.token_ratio:.2f}"


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


def _score(store: Store, sample: Sample, reference: Sample | None, names: tuple[str, ...]) -> None:
    finished = store.get(reference.folder, reference.key) if reference else None
    beside = (store.folder / reference.folder, finished) if reference and finished else None
    score.score(store.folder / sample.folder, sample.spec.prompt, beside, names)
