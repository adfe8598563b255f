"""Tests which videos a method takes, and whether it makes them with the requested shape."""

from dataclasses import replace

from vgdfr.conform.trial import Trial, described
from vgdfr.generation import generate
from vgdfr.method import Method
from vgdfr.video import VideoSpec


class Broken(Exception):
    """A promise is broken. The message gives the observation."""


def fits_or_refuses(trial: Trial) -> str:
    """Makes samples of other lengths, of another size, and in other numbers of steps, unless `check` refuses them."""
    spec, architecture = trial.ground.spec, trial.ground.backbone.architecture
    group, wider = architecture.frames_per_latent, 2 * 2**architecture.num_spatial_levels * architecture.patch_size
    lengths = {n * group + 1 for n in (1, 4, 8)} - {spec.num_frames}
    specs = [replace(spec, num_frames=n) for n in sorted(lengths)]
    specs += [replace(spec, height=spec.height + wider), replace(spec, width=spec.width + wider)]
    specs += [replace(spec, num_inference_steps=spec.num_inference_steps + more) for more in (-1, 1)]
    made, refusals = [], []
    for method in trial.methods:
        for other in specs:
            label = f"{shape(other)} ({described(method)})" if len(trial.methods) > 1 else shape(other)
            if refusal := refusal_of(trial, method, other):
                refusals.append(f"{label} is refused: {refusal}")
                continue
            try:
                generate(trial.ground.backbone, other, method)
            except Broken as error:
                raise Broken(f"{label}: {error}") from error
            except Exception as error:
                raise Broken(f"{label} passes check and raises {trial.describe_error(error)}") from error
            made.append(label)
    return "\n".join([f"{len(made)} made, {len(refusals)} refused by check", *made, *refusals])


def refusal_of(trial: Trial, method: Method, spec: VideoSpec) -> str | None:
    """Returns the message with which the model, the method or an accelerator refuses `spec`, or None if all take it."""
    try:
        trial.ground.backbone.architecture.check(spec)
        for each in (method, *method.accelerators):
            each.check(spec, trial.ground.backbone.architecture)
    except ValueError as error:
        return str(error)
    return None


def shape(spec: VideoSpec) -> str:
    """Returns size, length and steps of a video as text for people."""
    return f"{spec.height}x{spec.width}, {spec.num_frames} frames, {spec.num_inference_steps} steps"
