"""The shortened trajectory of VGDFR: the latent that it starts from, and the velocity that it follows.

The defaults are the paper's method. The other choices keep the trajectory nearer to the baseline's. None of them costs
a DiT pass.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from vgdfr.forecast import Work
from vgdfr.methods.ablations import Merging
from vgdfr.methods.compression import STAGE, Preview, Source, encoding, merge_latents
from vgdfr.methods.scheduling import refuse_other
from vgdfr.methods.trajectory import Trajectory
from vgdfr.sampling import Correct
from vgdfr.schedule import FrameSchedule
from vgdfr.solver import noise_estimate, renoise

Residual = Literal["none", "kept", "mean"]
Noise = Literal["initial", "own", "own_mean"]
Positions = Literal["first", "centre"]
OPTIONS = " with options"  # the end of the name of a family with other settings than the paper's


class Line(NamedTuple):
    """The straight line from noise to a clean latent, and a noise level on it. Its velocity is e - c.

    clean: the clean latent c, `[1, c, n, y, x]`: the merged one, or the preview's on the full length.
    noise: the noise e, of the same shape.
    sigma: the noise level after step k, where the latent is sigma e + (1 - sigma) c.
    """

    clean: Float[Tensor, "1 c n y x"]
    noise: Float[Tensor, "1 c n y x"]
    sigma: float

    @property
    def latent(self) -> Float[Tensor, "1 c n y x"]:
        return renoise(self.clean, self.noise, self.sigma)


@dataclass(frozen=True)
class Shortening:
    """The settings of the shortened trajectory. `Vgdfr` has fields of the same names and explains them.

    Raises ValueError for an unknown value, and for an anchor below 0.
    """

    residual: Residual = "none"
    keep_unmerged: bool = False
    noise: Noise = "initial"
    positions: Positions = "first"
    anchor: float | int | None = None

    def __post_init__(self) -> None:
        refuse_other("residual", self.residual, Residual)
        refuse_other("noise", self.noise, Noise)
        refuse_other("positions", self.positions, Positions)
        if not isinstance(self.keep_unmerged, bool):
            raise ValueError(f"keep_unmerged must be true or false, got {self.keep_unmerged!r}")
        is_number = isinstance(self.anchor, (int, float)) and not isinstance(self.anchor, bool)
        if self.anchor is not None and not (is_number and 0 <= self.anchor < math.inf):
            raise ValueError(
                f"anchor must be a finite number of at least 0, or null for no anchor, got {self.anchor!r}"
            )

    def check(self, merging: Merging) -> None:
        """Raises ValueError for an ablation of the merge, which has a start of its own."""
        if self != Shortening() and merging != Merging():
            ours, theirs = _changed(self), _changed(merging)
            raise ValueError(
                f"{ours} shortens the trajectory of the whole method, and {theirs} leaves a part of it out; leave out "
                "one of the two"
            )

    def family(self, plain: str) -> str:
        """Returns the name of the line in a figure that joins rows of these settings; `plain` is the paper's method."""
        if self == Shortening():
            return plain
        return f"{plain}{OPTIONS}" if self.anchor is None else f"Anchored {plain}"

    def work(self, latents: int, levels: int, seen: tuple[Hashable, ...]) -> list[Work]:
        """Returns the work beyond the paper's method: the round trip of all `latents` of the preview `seen`."""
        if self.residual == "none":
            return []
        return [Work("encode", latents, latents, levels=levels, shared=("round trip", *seen, levels))]

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Returns the entries that tell these settings from others in a key of `Sampling.once`; none by default."""
        return () if self == Shortening() else (self,)

    def start(self, path: Trajectory, k: int, preview: Preview, source: Source, schedule: FrameSchedule) -> Line:
        """Returns where the shortened trajectory starts after `k` steps. `source` is the preview's clean latent."""
        kept = list(schedule.kept_latents)
        clean = preview.encoded(path.run, source, schedule)
        if self.residual != "none":
            lost = source.latent - _round_trip(path, preview, source)
            clean = clean + (lost[:, :, kept] if self.residual == "kept" else merge_latents(lost, schedule))
        if self.keep_unmerged:
            at = [i for i, size in enumerate(group_sizes(schedule)) if size == 1]
            clean = clean.clone()
            clean[:, :, at] = source.latent[:, :, [kept[i] for i in at]]
        full = self.full(path, k, source)
        if self.noise == "own_mean":
            return Line(clean, scaled_mean(full.noise, schedule), full.sigma)
        return Line(clean, full.noise[:, :, kept], full.sigma)

    def full(self, path: Trajectory, k: int, source: Source) -> Line:
        """Returns the line on the full length after `k` steps, from the clean latent of the preview to the noise."""
        noise = path.run.noise if self.noise == "initial" else noise_estimate(path.solver, path.after(k), k)
        return Line(source.latent, noise, path.solver.sigmas[k])

    def spread(
        self, estimate: Float[Tensor, "1 c kept y x"], full: Float[Tensor, "1 c n y x"], schedule: FrameSchedule
    ) -> Float[Tensor, "1 c n y x"]:
        """Returns the noise of the full length that belongs to the shortened latent's noise `estimate`.

        A merged latent frame with noise of its own kept latent frame gives the estimate back to that one, and the
        others keep their noise in `full`. With "own_mean" each of the n latent frames of a group gets
        full + (estimate - scaled mean of full) / sqrt(n), so that the group's scaled mean is the estimate.
        """
        sizes = group_sizes(schedule)
        if self.noise == "own_mean":
            moved = (estimate - scaled_mean(full, schedule)) / _roots(sizes, full)
            return full + repeated(moved, sizes)
        noise = full.clone()
        noise[:, :, list(schedule.kept_latents)] = estimate
        return noise

    def places(self, schedule: FrameSchedule) -> tuple[float, ...]:
        """Returns the temporal position of each kept latent frame in latent frames of the full video."""
        if self.positions == "first":
            return tuple(float(i) for i in schedule.kept_latents)
        sizes = group_sizes(schedule)
        return tuple(i + (size - 1) / 2 for i, size in zip(schedule.kept_latents, sizes, strict=True))

    def correct(self, start: Line) -> Correct | None:
        """Returns the correction of the shortened trajectory's velocities, or None without an anchor.

        The preview itself gives the velocity e - c of the line at the start, and the first pass at the start gives the
        DiT's. Merged frames and positions cause their difference d. Each velocity gets w d, with
        w = (sigma / sigma_k)^anchor: all of d in the first step, and less in later steps, which begin from a corrected
        latent.
        """
        if self.anchor is None:
            return None
        power, difference = self.anchor, []

        def corrected(velocity: Tensor, sigma: float) -> Tensor:
            if not difference:
                difference.append(start.noise - start.clean - velocity)
            return velocity + (sigma / start.sigma) ** power * difference[0]

        return corrected


def _changed(settings: Shortening | Merging) -> str:
    """Returns the settings that are not at their defaults, such as "anchor=3.0"."""
    given = ((f, getattr(settings, f.name)) for f in fields(settings))
    return ", ".join(f"{f.name}={value}" for f, value in given if value != f.default)


def group_sizes(schedule: FrameSchedule) -> Sequence[int]:
    """Returns for each kept latent frame the number of latent frames of the full video that it stands for."""
    group = schedule.frames_per_latent
    return [s.factor for s in schedule.segments for _ in range(-(-s.length // (group * s.factor)))]


def repeated(latent: Float[Tensor, "1 c kept y x"], sizes: Sequence[int]) -> Float[Tensor, "1 c n y x"]:
    """Returns the latent with each kept latent frame repeated for its group, as the `group_sizes` say."""
    return latent[:, :, [i for i, size in enumerate(sizes) for _ in range(size)]]


def scaled_mean(noise: Float[Tensor, "1 c n y x"], schedule: FrameSchedule) -> Float[Tensor, "1 c kept y x"]:
    """Returns the mean noise of each merged group of n latent frames, times sqrt(n).

    The mean of n independent noises has the variance 1/n, and the factor gives the variance of noise again. The DiT
    makes the details of each latent frame from its own noise, so the merged latent frame gets a part of all of them.
    """
    return merge_latents(noise, schedule) * _roots(group_sizes(schedule), noise)


def _roots(sizes: Sequence[int], like: Tensor) -> Float[Tensor, "kept 1 1"]:
    return like.new_tensor(sizes).sqrt()[:, None, None]


def _round_trip(path: Trajectory, preview: Preview, source: Source) -> Float[Tensor, "1 c n y x"]:
    """Returns E_comp(D_comp(x)) of the preview's latent, without a merge."""
    run, levels = path.run, preview.spatial_levels
    operation = encoding(run.backbone.codec, preview.frames(run, source), levels)
    return run.once(STAGE, ("round trip", source.key, levels), operation.compute, kind=operation.kind)
