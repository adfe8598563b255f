"""Lists the samples of a sweep's jobs, and groups them into units. One worker makes a unit in one go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.plan.condition import Condition, Sample
from bench.plan.job import Job
from bench.plan.unit_name import unit_name
from vgdfr import Model, VideoSpec
from vgdfr.backbones.base import identity_of


def conditions_of(job: Job) -> tuple[Condition, ...]:
    """Returns the job's condition, after the baseline that it is compared with."""
    own, baseline = job.condition, job.condition.baseline
    return (own,) if baseline is None else (baseline, own)


def samples_of(job: Job) -> Iterator[tuple[Sample, Sample | None]]:
    """Yields each sample of the job with the sample of its baseline, prompt by prompt. The baseline comes first."""
    model_identity = identity_of(job.condition.model)
    for prompt in job.prompts:
        reference: Sample | None = None
        for condition in conditions_of(job):
            sample = condition.sample(prompt, model_identity)
            yield sample, reference
            reference = sample


@dataclass(frozen=True)
class Unit:
    """All samples of one prompt, seed, model and video setting, which one worker makes in one go.

    The samples share noise, first steps and preview. Each sample comes with the sample of its baseline and its job.
    """

    spec: VideoSpec
    samples: tuple[tuple[Sample, Sample | None, Job], ...]

    @property
    def name(self) -> str:
        """The unit's name, the same in every process and for any choice of conditions."""
        sample = self.samples[0][0]
        return unit_name(sample.prompt.id, sample.prompt.seed_index, sample.identity)

    @property
    def stops(self) -> set[int]:
        """The steps after which samples of the unit branch off the baseline."""
        return {stop for sample, _, _ in self.samples for stop in sample.condition.method.stops()}


def units_of(jobs: Sequence[Job]) -> list[Unit]:
    """Returns units with all samples of the jobs, each once. Units of one model are adjacent, baselines come first."""
    units: dict[tuple[Model, VideoSpec], dict[str, tuple[Sample, Sample | None, Job]]] = {}
    for job in jobs:
        for sample, reference in samples_of(job):
            unit = units.setdefault((sample.condition.model, sample.spec), {})
            unit.setdefault(sample.key, (sample, reference, job))
    models = list(dict.fromkeys(model for model, _ in units))
    ordered = sorted(units.items(), key=lambda item: models.index(item[0][0]))
    return [Unit(spec, tuple(samples.values())) for (_, spec), samples in ordered]
