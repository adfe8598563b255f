"""VGDFR merges the frames of still segments after k steps and denoises on fewer tokens (arXiv 2504.12259)."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.architecture import Architecture
from vgdfr.assets import Asset
from vgdfr.files import sha256_of_weights
from vgdfr.forecast import Work, baseline_steps
from vgdfr.method import Method, Role, Sampled, refuse_wrong_kind
from vgdfr.methods import rife
from vgdfr.methods.ablations import MergeSpace, Merging, ScheduleFrom, ablated
from vgdfr.methods.compression import Dtype, Preview, PreviewLatent, scheduled
from vgdfr.methods.full_length import FullFrom, FullLength
from vgdfr.methods.interpolation import Interpolator, InterpolatorName, fill
from vgdfr.methods.layers import (
    LAYERS_EXPECTED,
    NAMED_LAYERS,
    global_layers_of,
    layers_of_record,
    positions_per_layer,
    shortest_name,
)
from vgdfr.methods.scheduling import Placement, Rule, RuleName, Search, refuse_other
from vgdfr.methods.shortening import OPTIONS, Noise, Positions, Residual, Shortening
from vgdfr.methods.trajectory import Trajectory, check_steps
from vgdfr.sampling import Correct, Sampling
from vgdfr.schedule import FrameSchedule, Similarity
from vgdfr.solver import State
from vgdfr.video import VideoSpec, to_uint8

NOTHING_MERGED = "nothing merged: continued the baseline trajectory"


@dataclass(frozen=True)
class Vgdfr(Method):
    """VGDFR (arXiv 2504.12259) and its ablations.

    k: denoising steps on the full latent before the compression module, at least 1 and below the number of steps.
    steps: all denoising steps, for VGDFR together with fewer steps. k and preview_steps count these steps. None takes
        the spec's number. The videos are compared with the baseline's in either case.
    schedule: the rule that chooses the blocks to merge. "threshold" merges blocks more similar than `theta` (the
        paper's Table 1), "token_ratio" the most similar blocks down to a share of tokens, and "uniform" all blocks.
    theta: similarity above which frames may merge, in (0, 1]; only for the threshold schedule.
    token_ratio: share of latent frames to keep, in (0, 1]; only for the token_ratio schedule.
    search: "exact", or "released" for the released code's bisection, which counts frames instead of latent frames.
    max_merge: the largest number of frames merged into one, 2 or 4, or 8 with placement="least_error".
    placement: where blocks lie. "aligned" is the paper's: every second latent group may start one. "least_error" places
        blocks at any latent groups so that merging makes the least squared error in the preview's frames. `theta` then
        decides how many latent frames are kept, and not which: as many as with aligned blocks up to `max_merge`, and to
        4 for 8. A `token_ratio` can be reached with larger blocks, so 8 allows a smaller one.
    global_layers: DiT layers that use Global-RoPE, numbered through dual- and single-stream blocks from 0. Other layers
        use Local-RoPE. "paper" is the paper's list, mapped by relative depth on models without 60 layers.
        `global_layers_of` explains the other names: "all", "none", "only_3" and "all_but_3".
    spatial_levels: spatial levels that the compression decoder and encoder leave out of the VAE.
    similarity_dtype: precision of the SSIM; "float16" is the released code's (see `frame_similarity`).
    interpolator: the way to fill in merged frames: DIS optical flow, a linear blend, or the paper's RIFE 4.26 heavy.
    interpolator_weights: a file with RIFE's weights; None for the pinned weights in the cache.
    preview_steps: Euler steps of the preview, from the noise level after step k to 0; 1 costs no DiT pass.
    preview_latent: the latent of each further preview step: the "latest" latent, or "as_released" the latent after step
        k, at the released code's noise levels.
    merge_space: "latent" averages the noisy latent frames themselves, without the compression module (Fig. 4).
    denoise_renoise: False puts the noisy latent itself through decoder and encoder (Fig. 4).
    schedule_from: the latent with the preview that decides the schedule: the "clean" latent, or the "noisy" latent, as
        an ablation without the full method would need.

    The paper's method has the defaults of the following settings. `vgdfr.methods.shortening` has their reasons.

    residual: adds to the merged clean latent what the round trip through the VAE loses, x - E(D(x)) of the preview's
        latent x: that of the "kept" latent frames, or the "mean" over the latent frames that merge.
    keep_unmerged: latent frames that do not merge keep the preview's latent and skip the round trip.
    noise: the noise for the way back to the noise level after step k: the "initial" noise, or the trajectory's "own"
        estimate x + (1 - sigma) v at step k, both of the kept latent frames. "own_mean" takes the mean of the estimates
        over the n latent frames that merge, times sqrt(n).
    positions: the temporal position of a merged latent frame in layers with Global-RoPE: of the "first" of its latent
        frames, or their "centre".
    anchor: the power p of the preview anchor, at least 0; None for no anchor. The difference between the velocity of
        the preview's line and the DiT's first velocity on the merged latent is added to every velocity, with the weight
        (sigma / sigma_k)^p.
    full_steps: the last steps that run on the full length again; 0 for none. No frame of the video is interpolated.
    full_from: the full latent before these steps: by "interpolation" in the clean estimate's video, or from the
        "preview", which moves with the merged latent. `FullLength.lengthened` has the formulas.

    Raises ValueError for an unknown value, for a value out of range, and for settings that exclude each other.
    """

    k: int
    theta: float | None = None
    schedule: RuleName = "threshold"
    token_ratio: float | None = None
    search: Search = "exact"
    max_merge: int = 4
    global_layers: tuple[int, ...] | str = "paper"
    spatial_levels: int = 1
    similarity_dtype: Dtype = "float32"
    interpolator: InterpolatorName = "flow"
    interpolator_weights: str | None = field(default=None, metadata={"weights": True})
    preview_steps: int = 1
    preview_latent: PreviewLatent = "latest"
    merge_space: MergeSpace = "pixel"
    denoise_renoise: bool = True
    schedule_from: ScheduleFrom = "clean"
    placement: Placement = field(default="aligned", metadata={"later": True})
    steps: int | None = field(default=None, metadata={"later": True})
    residual: Residual = field(default="none", metadata={"later": True})
    keep_unmerged: bool = field(default=False, metadata={"later": True})
    noise: Noise = field(default="initial", metadata={"later": True})
    positions: Positions = field(default="first", metadata={"later": True})
    anchor: float | int | None = field(default=None, metadata={"later": True})
    full_steps: int = field(default=0, metadata={"later": True})
    full_from: FullFrom = field(default="interpolation", metadata={"later": True})

    def __post_init__(self) -> None:
        refuse_wrong_kind("k", self.k, int)
        if self.steps is not None:
            refuse_wrong_kind("steps", self.steps, int)
        if self.k < 1:
            raise ValueError(f"k must be at least 1 (steps before compression), got {self.k}")
        _ = self.rule, self.preview, self.shortening, self.full_length  # the groups check themselves when they are made
        for name in ("theta", "token_ratio", "anchor"):  # 1 and 1.0 must give the same key
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, float(value))
        refuse_other("interpolator", self.interpolator, InterpolatorName)
        if self.interpolator_weights is not None and self.interpolator != "rife":
            raise ValueError(f"interpolator_weights are RIFE's, got them for {self.interpolator}")
        self.merging.check(self.rule, self.preview)
        self.shortening.check(self.merging)
        self.full_length.check(self.merging)
        layers = self.global_layers
        if isinstance(layers, tuple) and all(type(layer) is int for layer in layers):
            object.__setattr__(self, "global_layers", tuple(sorted(set(layers))))
        elif not isinstance(layers, str) or not NAMED_LAYERS.fullmatch(layers):
            raise ValueError(f"global_layers must be {LAYERS_EXPECTED}, got {layers!r}")

    @cached_property
    def rule(self) -> Rule:
        """Returns the settings that choose a schedule."""
        return Rule(self.schedule, self.theta, self.token_ratio, self.search, self.max_merge, self.placement)

    @cached_property
    def merging(self) -> Merging:
        """Returns the settings of the ablations."""
        return Merging(self.merge_space, self.denoise_renoise, self.schedule_from)

    @cached_property
    def shortening(self) -> Shortening:
        """Returns the settings of the shortened trajectory."""
        return Shortening(self.residual, self.keep_unmerged, self.noise, self.positions, self.anchor)

    @cached_property
    def full_length(self) -> FullLength:
        """Returns the settings of the return to the full length."""
        return FullLength(self.full_steps, self.full_from, self.interpolator, self.interpolator_weights)

    @cached_property
    def preview(self) -> Preview:
        """Returns the settings of the preview."""
        return Preview(self.preview_steps, self.preview_latent, self.spatial_levels, self.similarity_dtype)

    def sample(self, run: Sampling) -> Sampled:
        """Runs the paper's method (section 3.2): k steps, preview, schedule, merge, renoise, and the shortened rest."""
        path = Trajectory(run, self.steps)
        if self.merging != Merging():
            return self._ablation(path)
        clean = self.preview.clean(path, self.k)
        schedule, similarity = scheduled(run, self.rule, self.preview, clean)
        if schedule.keeps_everything:
            return self._unmerged(path, schedule, similarity, self.rule.notes(schedule))
        start = self.shortening.start(path, self.k, self.preview, clean, schedule)
        key = (*clean.key, self.spatial_levels, *self.shortening.key, *self.full_length.key)
        full = self.shortening.full(path, self.k, clean)
        finish = partial(self.full_length.finished, path, schedule, self.shortening, full)
        latents = self._tail(path, schedule, key, lambda: start.latent, self.shortening.correct(start), finish)
        notes = (*self.rule.notes(schedule), *self.full_length.notes(path.solver.num_steps))
        return Sampled(latents, schedule, similarity, notes)

    def _ablation(self, path: Trajectory) -> Sampled:
        made = ablated(path, self.k, self.rule, self.preview, self.merging)
        if made.schedule.keeps_everything:
            return self._unmerged(path, made.schedule, made.similarity, made.notes)
        latents = self._tail(path, made.schedule, made.key, made.start)
        return Sampled(latents, made.schedule, made.similarity, made.notes)

    def _unmerged(
        self, path: Trajectory, schedule: FrameSchedule, similarity: Similarity | None, notes: tuple[str, ...]
    ) -> Sampled:
        """Returns the sample without compression. If nothing merges, decoding and encoding would gain nothing."""
        note = NOTHING_MERGED if path.is_baseline else f"nothing merged: continued the trajectory of {self.steps} steps"
        return Sampled(path.end(self.k).x, schedule, similarity, (note, *notes))

    def _tail(
        self,
        path: Trajectory,
        schedule: FrameSchedule,
        key: tuple[Hashable, ...],
        start: Callable[[], Float[Tensor, "1 c kept y x"]],
        correct: Correct | None = None,
        finish: Callable[[State], Float[Tensor, "1 c n y x"]] | None = None,
    ) -> Float[Tensor, "1 c n y x"]:
        """Returns the final latents: takes all steps from k on, from `start`, and the last `full_steps` by `finish`.

        Samples with equal schedules share the result. `key` names the facts that decide `start`, without the schedule.
        """
        run, solver = path.run, path.solver
        num_layers = run.backbone.architecture.num_layers
        layers, places = global_layers_of(self.global_layers, num_layers), self.shortening.places(schedule)

        def rest() -> Float[Tensor, "1 c n y x"]:
            y, last = solver.restart(start()), solver.num_steps - self.full_steps
            with run.shortened(schedule, positions_per_layer(places, layers, num_layers)):
                y = run.solve(y, self.k, last, stage="denoise_compressed", solver=solver, correct=correct)
            return finish(y) if finish and self.full_steps else y.x

        kind = "merged start" + ", lengthened" * (self.full_steps > 0)
        return run.once("denoise_compressed", ("tail", key, layers, schedule.segments), rest, kind=kind)

    def fill(
        self, frames: Float[Tensor, "kept 3 h w"], schedule: FrameSchedule | None, spec: VideoSpec
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """Returns all frames: kept ones at their places, merged ones interpolated between them (paper, equation 7)."""
        if schedule is None or schedule.keeps_everything or not self.interpolates:
            return to_uint8(frames)
        return fill(frames, schedule, Interpolator.named(self.interpolator, self.interpolator_weights, frames.device))

    @property
    def interpolates(self) -> bool:
        return self.full_steps == 0

    @property
    def title(self) -> str:
        return "VGDFR"

    @property
    def role(self) -> Role:
        return "ablation" if self.merging.leaves_out else "method"

    @property
    def family(self) -> str:
        family = self.shortening.family("Uniform merging" if self.rule.is_uniform else self.title)
        if self.full_steps or self.placement != "aligned":
            family = f"{family.removesuffix(OPTIONS)}{OPTIONS}"
        return family if self.steps is None else f"{family} + fewer steps"

    def asked(self) -> dict[str, float | None]:
        return {f"{'frame' if self.search == 'released' else 'token'}_ratio_asked": self.token_ratio}

    def stops(self) -> frozenset[int]:
        return frozenset({self.k} if self.steps is None else ())

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError if these settings do not fit `spec` or the model.

        With RIFE, raises FileNotFoundError if its weights are missing, and ValueError if the file holds other weights.
        """
        check_steps(spec, self.steps, self.k, self.preview_steps, self.full_steps)
        self.preview.check(spec, architecture)
        global_layers_of(self.global_layers, architecture.num_layers)
        if self._needs_rife:
            rife.load_once(rife.weights_file(self.interpolator_weights), torch.device("cpu"))

    def _num_steps(self, spec: VideoSpec) -> int:
        return spec.num_inference_steps if self.steps is None else self.steps

    def canonical(self, spec: VideoSpec, architecture: Architecture) -> "Vgdfr":
        layers = shortest_name(self.global_layers, architecture.num_layers)
        steps = None if self.steps == spec.num_inference_steps else self.steps
        filled = {} if self.full_length.interpolates else {"interpolator": "flow", "interpolator_weights": None}
        return replace(self, global_layers=layers, steps=steps, **filled)

    def missing(self) -> list[Asset]:
        return rife.missing() if self._needs_rife and self.interpolator_weights is None else []

    @property
    def _needs_rife(self) -> bool:
        return self.interpolator == "rife" and self.full_length.interpolates

    def identity(self, spec: VideoSpec) -> dict[str, Any]:
        """Returns the settings that decide the pixels. RIFE's weights are named by their hash, not by their path.

        The entry "rife_input", as `Preview.marks`, marks settings that gave other pixels in version 0.1.0.
        """
        settings = self.settings()
        given = settings.pop("interpolator_weights")
        if self._needs_rife:
            settings |= {"rife_sha256": sha256_of_weights(rife.weights_file(given)), "rife_input": "floats"}
        return settings | self.preview.marks(self.k, self._num_steps(spec))

    def layers(self, architecture: Architecture) -> dict[str, Any]:
        return layers_of_record(architecture, global_layers_of(self.global_layers, architecture.num_layers))

    def work(self, spec: VideoSpec, architecture: Architecture, token_ratio: float) -> list[Work]:
        n, levels = architecture.num_latents(spec.num_frames), self.spatial_levels
        about, most = self.rule.kept(spec.num_frames, architecture.frames_per_latent, token_ratio)
        seen = (self.steps, self.k, self.preview_steps, self.preview_latent)
        own_steps = Work("dit", n, n, self.k, shared=("steps", self.steps, self.k))
        return [
            *(baseline_steps(0, self.k, n) if self.steps is None else [own_steps]),
            Work("dit", n, n, self.preview_steps - 1, shared=("preview", *seen)),
            Work("dit", about, most, self._num_steps(spec) - self.k - self.full_steps),
            Work("decode", n, n, levels=levels, shared=("preview", *seen, levels)),
            Work("encode", about, most, levels=levels),
            *self.shortening.work(n, levels, seen),
            *self.full_length.work(about, most, n),
            Work("decode", *((about, most) if self.interpolates else (n, n))),
        ]
