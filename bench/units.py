"""What a sweep's jobs ask for: samples, each with its baseline's, in units that one worker makes in one go."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.condition import Condition, Sample
from bench.config import Job
from vgdfr import Baseline, HunyuanVideo, RopeProxy, Vgdfr, VideoSpec


def conditions_of(job: Job) -> tuple[Condition, ...]:
    """The job's condition, after the baseline that it is measured against."""
    own = job.condition
    return (own,) if isinstance(own.method, Baseline | RopeProxy) else (own.baseline, own)


def samples_of(job: Job) -> Iterator[tuple[Sample, Sample | None]]:
    """The job's samples, each with its baseline's, prompt by prompt; the baseline comes first."""
    model_identity = job.condition.model.identity()
    for prompt in job.prompts:
        reference: Sample | None = None
        for condition in conditions_of(job):
            sample = condition.sample(prompt, model_identity)
            yield sample, reference
            reference = sample


def unit_name(prompt_id: str, seed_index: int, identity: dict[str, Any]) -> str:
    """Under which a worker claims all samples of a prompt and seed, on one model with one video setting."""
    decides = json.dumps([identity["model"], identity["spec"]], sort_keys=True)
    return f"{prompt_id}-s{seed_index}-{hashlib.sha256(decides.encode()).hexdigest()[:8]}"


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
        return unit_name(sample.prompt.id, sample.prompt.seed_index, sample.identity)

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
