"""VGDFR's return to the full length: the last steps run on all latent frames again, so no frame is interpolated."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from vgdfr.forecast import Work
from vgdfr.method import refuse_wrong_kind
from vgdfr.methods.ablations import Merging
from vgdfr.methods.compression import Operation, decoding, encoding, merge_latents
from vgdfr.methods.interpolation import Interpolator, InterpolatorName, fill_unrounded
from vgdfr.methods.scheduling import refuse_other
from vgdfr.methods.shortening import Line, Shortening, group_sizes, repeated
from vgdfr.methods.trajectory import Trajectory
from vgdfr.sampling import Sampling
from vgdfr.schedule import FrameSchedule
from vgdfr.solver import State, noise_estimate, renoise

STAGE = "lengthen"
FullFrom = Literal["interpolation", "preview"]


@dataclass(frozen=True)
class FullLength:
    """The settings of the return: `steps` steps on the full length, and the way to make the full latent before them.

    source: the merged frames are filled in by the interpolator, or taken from the preview (see `lengthened`).

    Raises ValueError unless `steps` is a whole number of at least 0, and for a source without steps.
    """

    steps: int
    source: FullFrom
    interpolator: InterpolatorName
    weights: str | None

    def __post_init__(self) -> None:
        refuse_wrong_kind("full_steps", self.steps, int)
        if self.steps < 0:
            raise ValueError(f"full_steps must be at least 0, got {self.steps}")
        refuse_other("full_from", self.source, FullFrom)
        if self.source != "interpolation" and not self.steps:
            raise ValueError(f"full_from={self.source} needs full_steps of 1 or more, got 0")

    def check(self, merging: Merging) -> None:
        """Raises ValueError for an ablation of the merge."""
        if self.steps and merging != Merging():
            raise ValueError(
                "full_steps goes with the whole method; leave it at 0, or leave out merge_space, denoise_renoise and "
                "schedule_from"
            )

    @property
    def interpolates(self) -> bool:
        """Returns whether the interpolator makes frames: those of the video, or those before the last steps."""
        return not self.steps or self.source == "interpolation"

    @property
    def key(self) -> tuple["FullLength", ...]:
        """Returns the entries that tell these settings from others in a key of `Sampling.once`; none without steps."""
        if not self.steps:
            return ()
        return (self if self.source == "interpolation" else FullLength(self.steps, self.source, "linear", None),)

    def notes(self, num_steps: int) -> tuple[str, ...]:
        """Returns a note on the last of `num_steps` steps; none without steps."""
        if not self.steps:
            return ()
        return (f"the last {self.steps} of {num_steps} steps ran on the full length: no frame was interpolated",)

    def work(self, about: int, most: int, latents: int) -> list[Work]:
        """Returns the work of the return from `about` and at most `most` kept latent frames to all `latents`."""
        if not self.steps:
            return []
        if self.source == "preview":
            return [Work("dit", latents, latents, self.steps)]
        return [
            Work("decode", about, most), Work("encode", latents, latents), Work("dit", latents, latents, self.steps)
        ]  # fmt: skip

    def finished(
        self, path: Trajectory, schedule: FrameSchedule, shortening: Shortening, full: Line, y: State
    ) -> Float[Tensor, "1 c n h w"]:
        """Returns the final latents: lengthens the shortened state `y` and takes the last steps on the full length.

        `shortening` and `full` are as in `lengthened`. Accelerators start anew, since their state belongs to the
        shortened latent.
        """
        run, at = path.run, path.solver.num_steps - self.steps
        x = self.lengthened(path, schedule, shortening, full, y)
        run.forget()
        return run.solve(path.solver.restart(x), at, stage="denoise_lengthened", solver=path.solver).x

    def lengthened(
        self, path: Trajectory, schedule: FrameSchedule, shortening: Shortening, full: Line, y: State
    ) -> Float[Tensor, "1 c n h w"]:
        """Returns the full latent at the noise level sigma of the shortened state `y`, `steps` steps before the end.

        It is x = sigma e + (1 - sigma) C with a full clean latent C and noise e. Let c be the clean estimate of `y`,
        and v its velocity. `full` holds the preview's clean latent x_k and the noise of the full length after step k.

        C by interpolation is E(fill(D(c))): the VAE decodes c, the merged frames are interpolated between the kept
        frames, and the VAE encodes the whole video. C from the preview is x_k + (c - mean x_k): each latent frame of a
        merged group moves by as much as the group's mean has moved since the preview. So the mean is that of the
        shortened trajectory, and the differences within the group are those that the merge averaged out.

        The noise that `y` itself points back to is c + v. `Shortening.spread` gives it to the latent frames that the
        start's noise came from: to the kept ones, or with "own_mean" to all of a group, in equal parts. The noise of
        `full` is the initial noise, or the full trajectory's own estimate after step k. A latent frame that did not
        merge stays as it is in `y`, without a round trip.
        """
        at, sizes = path.solver.num_steps - self.steps, group_sizes(schedule)
        clean = path.solver.clean(y, at)
        if self.source == "preview":
            moved = clean - merge_latents(full.clean, schedule)
            clean = full.clean + repeated(moved, sizes)
        else:
            clean = self._interpolated(path.run, clean, schedule)
        noise = shortening.spread(noise_estimate(path.solver, y, at), full.noise, schedule)
        x = renoise(clean, noise, path.solver.sigmas[at])
        alone = [i for i, size in enumerate(sizes) if size == 1]
        x[:, :, [schedule.kept_latents[i] for i in alone]] = y.x[:, :, alone]
        return x

    def _interpolated(
        self, run: Sampling, clean: Float[Tensor, "1 c kept h w"], schedule: FrameSchedule
    ) -> Float[Tensor, "1 c n h w"]:
        """Returns E(fill(D(clean))), with the VAE's full decoder and encoder."""
        codec, kept = run.backbone.codec, len(schedule.kept_frames)
        frames = _timed(run, decoding(codec, clean, levels=0))
        height, width = frames.shape[-2:]
        kind = f"fill {schedule.num_frames - kept} of {schedule.num_frames}x{height}x{width} {self.interpolator}"
        interpolator = Interpolator.named(self.interpolator, self.weights, frames.device)
        filled = _timed(run, Operation(kind, lambda: fill_unrounded(frames, schedule, interpolator)))
        return _timed(run, encoding(codec, filled, levels=0))


def _timed(run: Sampling, operation: Operation) -> Tensor:
    with run.stage(STAGE, kind=operation.kind):
        return operation.compute()
