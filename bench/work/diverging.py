"""Measures after each step how far a method's clean estimate is from the baseline's (docs/anchored.md)."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.plan.condition import Condition
from bench.plan.prompts import Prompt
from bench.store.divergence import Compared, Curve, Divergence, Sample
from bench.work.models import load
from bench.work.provenance import environment
from metrics.pixel import psnr
from vgdfr import Backbone, Baseline, BrokenVideo, Codec, FrameSchedule, Method, VideoSpec, generate, to_uint8
from vgdfr.backbones.base import identity_of
from vgdfr.method import facts_of
from vgdfr.methods.compression import merge
from vgdfr.numerics import exact_float32
from vgdfr.sampling import Step


@dataclass(frozen=True)
class Estimate:
    """The clean latent that a trajectory predicts after one of its steps.

    step: the step of the baseline, counted from 1, that begins nearest to `sigma`.
    sigma: the noise level at which the trajectory's step begins. The DiT's velocity is of this level.
    latent: `[1, c, n, y, x]`, on the CPU.
    schedule: the schedule that shortens the latent; None on the full latent.
    """

    step: int
    sigma: float
    latent: Float[Tensor, "1 c n y x"]
    schedule: FrameSchedule | None


def wanted_steps(num_steps: int, every: int) -> list[int]:
    """Returns the first step, which is 1, every `every`-th step from there on, and the last one.

    Half as many steps of the model begin at the noise levels of the odd steps, so `every` = 2 takes all of them.
    """
    return sorted({*range(1, num_steps + 1, every), num_steps})


@torch.inference_mode()
@exact_float32()
def curves(
    backbone: Backbone, spec: VideoSpec, methods: Sequence[Method], every: int
) -> tuple[Curve, tuple[Curve, ...]]:
    """Returns the baseline's curve and a curve per method.

    The reference of the baseline's curve is its final video. The reference of a method's curve is the baseline's
    estimate at the same noise level, with its frames merged by the schedule if the method's latent is shortened. A
    trajectory with other noise levels is compared at the baseline's nearest level. Raises ValueError for a method whose
    latent has another shape than its schedule says.
    """
    wanted, codec = wanted_steps(spec.num_inference_steps, every), backbone.codec
    baseline = _followed(backbone, spec, Baseline(), wanted)
    others = [_followed(backbone, spec, method, wanted) for method in methods]
    final, to_final = baseline.estimates[-1].latent, []
    distances: list[list[float]] = [[] for _ in methods]
    video = to_uint8(_decoded(codec, final))
    for reference in baseline.estimates:
        frames = _decoded(codec, reference.latent)
        to_final.append(psnr(to_uint8(frames), video).value)
        for other, values in zip(others, distances, strict=True):
            same = (each for each in other.estimates if each.step == reference.step)
            values.extend(_distance(codec, each, frames) for each in same)
    own = (other.curve(values) for other, values in zip(others, distances, strict=True))
    return baseline.curve(to_final), tuple(own)


@dataclass(frozen=True)
class _Followed:
    estimates: tuple[Estimate, ...]
    latent_frames: tuple[int, ...]

    def curve(self, values: Sequence[float]) -> Curve:
        steps, sigmas = (tuple(getattr(each, name) for each in self.estimates) for name in ("step", "sigma"))
        return Curve(steps, sigmas, tuple(values), self.latent_frames)


def _followed(backbone: Backbone, spec: VideoSpec, method: Method, wanted: Sequence[int]) -> _Followed:
    """Makes the sample and returns its estimates at the `wanted` steps of the baseline, in order."""
    estimates: list[Estimate] = []
    latent_frames: list[int] = []
    sigmas, full = backbone.solver(spec).sigmas, backbone.architecture.latent_shape(spec)

    def watch(at: Step) -> None:
        shape, schedule = tuple(at.state.x.shape), at.schedule
        count = full[2] if schedule is None else len(schedule.kept_latents)
        if shape != (expected := (*full[:2], count, *full[3:])):
            raise ValueError(
                f"the divergence of {method.name} cannot be measured: expected latents of {expected}, got {shape} "
                f"after step {at.done}; leave out methods that resize their latents in another way than by a schedule"
            )
        latent_frames.append(count)
        sigma = at.solver.sigmas[at.done - 1]
        step = 1 + min(range(len(sigmas) - 1), key=lambda i: abs(sigmas[i] - sigma))
        if step in wanted:
            estimates.append(Estimate(step, sigma, at.solver.clean(at.state, at.done).cpu(), schedule))

    generate(backbone, spec, method, watch=watch)
    if not estimates:
        raise ValueError(
            f"{method.name} took none of the steps {wanted} in Sampling.solve, so there is nothing to compare; take "
            "more steps (--every=1), or leave the method out"
        )
    return _Followed(tuple(estimates), tuple(latent_frames))


def _decoded(codec: Codec, latent: Float[Tensor, "1 c n y x"]) -> Float[Tensor, "t 3 h w"]:
    return codec.decode(latent.to(codec.device))


def _distance(codec: Codec, estimate: Estimate, reference: Float[Tensor, "t 3 h w"]) -> float:
    """Returns the PSNR in dB of an estimate against the `reference` frames, merged by the estimate's schedule."""
    merged = reference if estimate.schedule is None else merge(reference, estimate.schedule)
    return psnr(to_uint8(_decoded(codec, estimate.latent)), to_uint8(merged)).value


def measured(conditions: Sequence[Condition], prompts: Sequence[Prompt], every: int) -> Iterator[Sample]:
    """Loads the model and yields the curves of each prompt. The conditions are of one model and one video setting.

    Raises ValueError as `curves` does, and for an estimate that is no video. The message names the prompt.
    """
    model, video = conditions[0].model, conditions[0].video
    backbone = load(model, ((model, tuple(prompt.text for prompt in prompts)),))
    methods, slugs = [each.method for each in conditions], [each.slug for each in conditions]
    for prompt in prompts:
        try:
            baseline, others = curves(backbone, video.spec(prompt.text, prompt.seed), methods, every)
        except (BrokenVideo, ValueError) as error:
            raise ValueError(f"{prompt.id}, seed {prompt.seed_index}: {error}") from error
        yield Sample(prompt.id, prompt.seed_index, prompt.text, baseline, dict(zip(slugs, others, strict=True)))


def with_origin(
    conditions: Sequence[Condition], samples: Sequence[Sample], every: int, arguments: Sequence[str]
) -> Divergence:
    """Returns the measurement of `samples` with its origin. `arguments` are the command's overrides."""
    first, facts = conditions[0], [facts_of(each.method) for each in conditions]
    origin = {
        "model": first.model_name,
        "identity": identity_of(first.model),
        "dit_weights": first.model.dit_weights(),
        "video": asdict(first.video),
        "arguments": list(arguments),
        "every": every,
        "date": datetime.date.today().isoformat(),
        "environment": environment(),
    }
    compared = (
        Compared(each.slug, fact["family"], tuple(fact["settings"]))
        for each, fact in zip(conditions, facts, strict=True)
    )
    return Divergence(origin, first.video.num_inference_steps, tuple(compared), tuple(samples))
