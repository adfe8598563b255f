"""VGDFR with a part left out (paper, Fig. 4). It has a file of its own, so that VGDFR's loop stays plain."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from vgdfr.methods.compression import STAGE, Preview, Source, merge_latents, scheduled
from vgdfr.methods.scheduling import Rule, refuse_other
from vgdfr.methods.trajectory import Trajectory
from vgdfr.schedule import FrameSchedule, Similarity
from vgdfr.solver import renoise

MergeSpace = Literal["pixel", "latent"]
ScheduleFrom = Literal["clean", "noisy"]
BORROWED = "the schedule is the full method's, and the time to find it is not in the latency"

Start = Callable[[], Float[Tensor, "1 c kept y x"]]


@dataclass(frozen=True)
class Merging:
    """The settings of the ablations. `Vgdfr` has fields of the same names. The defaults are the full method.

    merge_space: "latent" averages the noisy latent frames directly.
    denoise_renoise: False puts the noisy latent itself through D_comp and E_comp.
    schedule_from: the latent, clean or noisy, with the preview whose frames are compared.

    Raises ValueError for an unknown value, and for settings that exclude each other.
    """

    merge_space: MergeSpace = "pixel"
    denoise_renoise: bool = True
    schedule_from: ScheduleFrom = "clean"

    def __post_init__(self) -> None:
        refuse_other("merge_space", self.merge_space, MergeSpace)
        refuse_other("schedule_from", self.schedule_from, ScheduleFrom)
        if not isinstance(self.denoise_renoise, bool):
            raise ValueError(f"denoise_renoise must be true or false, got {self.denoise_renoise!r}")
        if self.is_latent and not self.denoise_renoise:
            raise ValueError("merge_space=latent has no denoise and renoise to leave out; drop denoise_renoise=false")

    @property
    def is_latent(self) -> bool:
        return self.merge_space == "latent"

    @property
    def leaves_out(self) -> bool:
        """Returns whether a part of the method is left out."""
        return self.is_latent or not self.denoise_renoise

    def check(self, rule: Rule, preview: Preview) -> None:
        """Raises ValueError if a setting has no effect together with the others."""
        if not rule.is_uniform:
            return
        decided: list[tuple[str, Any, Any]] = [
            ("similarity_dtype", preview.similarity_dtype, "float32"), ("schedule_from", self.schedule_from, "clean"),
        ]  # fmt: skip
        for name, value, default in decided:
            if value != default:
                raise ValueError(f"{name} has no effect in the uniform schedule; leave it at {default}")
        if self.leaves_out and preview.preview_steps > 1:
            raise ValueError("preview_steps has no effect here, since no preview is made; leave it at 1")
        if self.is_latent and preview.spatial_levels > 1:
            raise ValueError("spatial_levels has no effect here, since nothing is decoded; leave it at 1")


@dataclass(frozen=True)
class Ablated:
    """An ablation up to the merge: the schedule, and the start of the shortened trajectory.

    `start` computes the start's latent, and `key` names this latent in `Sampling.once`.
    """

    schedule: FrameSchedule
    similarity: Similarity | None
    key: tuple[Hashable, ...]
    start: Start
    notes: tuple[str, ...]


def ablated(path: Trajectory, k: int, rule: Rule, preview: Preview, merging: Merging) -> Ablated:
    """Returns the schedule and the start of the shortened trajectory, with a part of `Vgdfr.sample` left out.

    By default every ablation uses the full method's schedule, so that only one thing changes at a time.
    """
    borrows = merging.is_latent and merging.schedule_from == "clean" and not rule.is_uniform
    stage = "borrow_schedule" if borrows else STAGE
    run, here = path.run, path.after(k)
    noisy = Source(here.x, ("noisy", *path.key, k))
    compares_clean = merging.schedule_from == "clean" and not rule.is_uniform
    clean = preview.clean(path, k, stage) if compares_clean or not merging.leaves_out else noisy
    schedule, similarity = scheduled(run, rule, preview, clean if compares_clean else noisy, stage)
    notes = (*rule.notes(schedule), *([BORROWED] if borrows else []))
    kept, levels = list(schedule.kept_latents), preview.spatial_levels
    if merging.is_latent:
        return Ablated(schedule, similarity, ("latent", *path.key, k), lambda: merge_latents(here.x, schedule), notes)
    merged = clean if merging.denoise_renoise else noisy

    def start() -> Float[Tensor, "1 c kept y x"]:
        encoded = preview.encoded(run, merged, schedule)
        return renoise(encoded, run.noise[:, :, kept], path.solver.sigmas[k]) if merging.denoise_renoise else encoded

    return Ablated(schedule, similarity, (*merged.key, levels), start, notes)
