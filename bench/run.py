"""Run a job: every sample is found, or generated and stored, or fails and says why; then it is scored."""

import gc
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache

import torch

from bench import record, score
from bench.condition import Condition, Sample
from bench.config import Job
from bench.plan import planned
from bench.progress import Sweep, say
from bench.provenance import environment, weights_sha256
from bench.record import Record
from bench.store import Store
from metrics import named
from vgdfr import Baseline, BrokenVideo, HunyuanVideo, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_video import hide_loading_bars

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
    return (own,) if isinstance(own.method, Baseline) else (own.baseline, own)


def samples_of(job: Job) -> Iterator[tuple[Sample, Sample | None]]:
    """The job's samples, each with its baseline's, prompt by prompt; the baseline comes first."""
    weights, device = weights_sha256(job.condition.model), job.condition.model.device_type
    for prompt in job.prompts:
        reference: Sample | None = None
        for condition in conditions_of(job):
            sample = condition.sample(prompt, weights, device)
            yield sample, reference
            reference = sample


def run(job: Job, sweep: Sweep, seen: set[str]) -> None:
    """Make what is missing of `job`. `seen` holds the keys this sweep has dealt with: a shared baseline counts once.

    One sample's failure does not cost the others: it is recorded and counted. A model that cannot be loaded ends the
    sweep.
    """
    store = Store(job.study)
    for sample, reference in samples_of(job):
        if sample.key in seen:
            continue
        seen.add(sample.key)
        name = f"{sample.condition.slug} {sample.prompt.id}"
        sweep.begin(name)
        outcome = "found"
        if store.get(sample.folder, sample.key) is None:
            embed_prompts(planned() or (job,))
            outcome = _make(store, sample, reference, backbone_of(job.condition.model))
        if not outcome.startswith("failed"):
            try:
                _score(store, sample, reference, job.metrics)
            except Exception as error:
                outcome = f"failed to be scored: {type(error).__name__}: {error}"
        sweep.end(name, outcome)


def _make(store: Store, sample: Sample, reference: Sample | None, backbone: Backbone) -> str:
    """Generate and store one sample; in words, what came of it."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    identified = record.identify(sample, reference.key if reference else None, environment(), created)
    try:
        video = generate(backbone, sample.spec, sample.condition.method)
        stored = Record(status="done", **identified, **record.results(video))
        store.put(sample.folder, stored, video.frames, sample.spec.fps)
        return f"made: {video.latency_s:.1f} s, token ratio {stored.token_ratio:.2f}"
    except Exception as error:
        status = error.kind if isinstance(error, BrokenVideo) else "failed"
        store.put(sample.folder, Record(status=status, **identified, error=traceback.format_exc()))
        return f"failed: {type(error).__name__}: {error}"


def _score(store: Store, sample: Sample, reference: Sample | None, names: tuple[str, ...]) -> None:
    """Score a stored sample; a baseline is its own measure of motion, and has nothing to differ from."""
    place = store.folder / sample.folder
    if reference is None:
        score.score(place, sample.spec.prompt, None, [m.name for m in named(names) if not m.needs_reference])
        return
    finished = store.get(reference.folder, reference.key)
    beside = (store.folder / reference.folder, finished) if finished else None
    score.score(place, sample.spec.prompt, beside, names)
