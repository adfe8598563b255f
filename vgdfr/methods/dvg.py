"""DVG denoises on growing latents and shares a budget of tokens between time and space (arXiv 2605.21042)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from vgdfr.architecture import Architecture
from vgdfr.forecast import Work
from vgdfr.method import Method, Sampled, refuse_wrong_kind
from vgdfr.methods.dvg_noise import coordinate_noise
from vgdfr.methods.dvg_plan import Latent, Plan, Sizes, chosen, demands, detail, motion, passes_of, within
from vgdfr.methods.dvg_resize import Grid, Shape, blurred, coarser, full_grid, nested, resized
from vgdfr.sampling import Sampling
from vgdfr.solver import renoise
from vgdfr.video import VideoSpec

SHIFTS = (1.0, 9 / 7, 11 / 7, 11 / 7)  # the public code has shifts 7, 9, 11, 11 on a model whose own shift is 7


@dataclass(frozen=True)
class Dvg(Method):
    """Dynamic Video Generation (arXiv 2605.21042): four stages on growing latents, planned after the first.

    budget: the share of the baseline's tokens that all passes together see, in (0, 1].
    switches: the shares of the steps at which the three switches happen, increasing, in (0, 1).
    shifts: the shift of the noise levels in each stage. None takes the spec's shift times 1, 9/7, 11/7 and 11/7.
    alpha: the sharpness of the choice between time and space, at least 0.
    blur: the weight of a 3 x 3 blur after the first switch, in [0, 1].
    first_space: the first stage's share of height and width, in (0, 1].
    first_time: the first stage's share of the latent frames is this number times the budget, in (0, 1].
    tolerance: the greatest distance of a plan's share of tokens from the budget, above 0.

    The noise is a function of seed and coordinate and is not the baseline's, so the two videos differ from the first
    step on. Raises ValueError for a value of the wrong kind or outside its range.
    """

    own_noise: ClassVar[bool] = True

    budget: float
    switches: tuple[float, ...] = (0.28, 0.5, 0.72)
    shifts: tuple[float, ...] | None = None
    alpha: float = 2.6
    blur: float = 0.3
    first_space: float = 0.5
    first_time: float = 0.8
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        for name in ("budget", "alpha", "blur", "first_space", "first_time", "tolerance"):
            refuse_wrong_kind(name, getattr(self, name), (int, float))
            object.__setattr__(self, name, float(getattr(self, name)))  # 1 and 1.0 must give the same key
        for name, count in (("switches", 3), ("shifts", 4)):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, _numbers(name, values, count))
        for name in ("budget", "first_space", "first_time"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {getattr(self, name):g}")
        if not (0 < self.switches[0] < self.switches[1] < self.switches[2] < 1):
            raise ValueError(f"switches must be three increasing numbers in (0, 1), got {list(self.switches)}")
        if self.shifts is not None and min(self.shifts) <= 0:
            raise ValueError(f"shifts must be positive, got {list(self.shifts)}")
        if not 0 <= self.blur <= 1:
            raise ValueError(f"blur must be in [0, 1], got {self.blur:g}")
        if self.alpha < 0 or self.tolerance <= 0:
            raise ValueError(
                f"alpha must be at least 0 and tolerance above 0, got alpha={self.alpha:g}, "
                f"tolerance={self.tolerance:g}"
            )

    @property
    def title(self) -> str:
        return "DVG"

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError for a video too small or too short, too few steps, and a budget that no plan meets.

        Raises ValueError also for an accelerator that was calibrated at one flow shift, since the stages have others.
        """
        if bound := [each.title for each in self.accelerators if each.of_one_shift]:
            raise ValueError(f"{bound[0]} holds for one flow shift, and DVG's stages have several; take another cache")
        patch, (height, width) = architecture.patch_size, architecture.latent_shape(spec)[3:]
        passes_of(spec.num_inference_steps, self.switches)
        if min(height, width) < 2 * patch:
            raise ValueError(
                f"{spec.height}x{spec.width} videos are too small for DVG, which begins on a smaller latent: height "
                f"and width must be at least {2 * patch * 2**architecture.num_spatial_levels}"
            )
        if self._plans(spec, architecture):
            return
        budgets = [i / 100 for i in range(1, 101)]
        possible = [budget for budget in budgets if replace(self, budget=budget)._plans(spec, architecture)]
        video = f"{spec.num_frames} frames of {spec.height}x{spec.width} in {spec.num_inference_steps} steps"
        if not possible:
            raise ValueError(
                f"DVG has no plan for {video}: its first stage needs two latent frames, and a plan's share of tokens "
                f"must lie within {self.tolerance:g} of the budget; take a longer video or a larger tolerance"
            )
        raise ValueError(
            f"budget (method.budget) must be between {possible[0]:g} and {possible[-1]:g} for {video}, got "
            f"{self.budget:g}: no plan of DVG sees a share of tokens within {self.tolerance:g} of it"
        )

    def _plans(self, spec: VideoSpec, architecture: Architecture) -> list[Plan]:
        """Returns the plans within the budget, the nearest first. Without motion in the first stage there are none."""
        time = self.first_time * self.budget
        sizes = Sizes(architecture.latent_shape(spec)[2:], architecture.patch_size, self.first_space, time)
        passes = passes_of(spec.num_inference_steps, self.switches)
        return within(sizes.candidates(passes), self.budget, self.tolerance) if sizes.first[0] > 1 else []

    def sample(self, run: Sampling) -> Sampled:
        """Runs four stages. At each switch the predicted clean latent grows, and gets noise of the next noise level."""
        plans = self._plans(run.spec, run.backbone.architecture)
        first, full = plans[0].shapes[0], plans[0].shapes[-1]
        shifts = self.shifts or [factor * run.spec.flow_shift for factor in SHIFTS]
        solvers = [run.backbone.solver(run.spec, shift=shift) for shift in shifts]
        with run.stage("noise", kind=f"noise {_text(first)}"):
            state = solvers[0].restart(self._noise(run, coarser(full_grid(full), first)))
        plan, step, note = plans[0], 0, ""
        for stage, solver in enumerate(solvers):
            if stage > 0:
                clean = solvers[stage - 1].clean(state, step)
                if stage == 1:
                    plan, note = self._planned(run, plans, clean)
                state = solver.restart(self._switched(run, clean, plan, stage, solver.sigmas[step]))
            end = step + plan.passes[stage]
            state = run.solve(state, step, end, stage=f"denoise_stage_{stage + 1}", solver=solver)
            step = end
        return Sampled(state.x, notes=(note,))

    def _planned(self, run: Sampling, plans: Sequence[Plan], clean: Latent) -> tuple[Plan, str]:
        """Returns the plan for the first stage's clean latent, and a sentence about it."""
        with run.stage("plan", kind=f"plan {_text(plans[0].shapes[0])}"):
            space, time = demands(detail(clean), motion(clean), self.alpha)
        plan = chosen(plans, space, time)
        stages = ", ".join(f"{n} on {_text(shape)}" for n, shape in zip(plan.passes, plan.shapes, strict=True))
        return plan, (
            f"DVG's passes: {stages}; {plan.density:.3f} of the tokens. Demands: {space:.2f} for space, {time:.2f} for "
            f"time, {len(plans)} plans to choose from"
        )

    def _switched(
        self, run: Sampling, clean: Latent, plan: Plan, stage: int, sigma: float
    ) -> Float[Tensor, "1 c n2 y2 x2"]:
        """Returns the latent at the start of `stage`: `clean` on the stage's grid, with the grid's noise."""
        source, target = nested(plan.shapes)[stage - 1 : stage + 1]
        run.forget()  # accelerators: the noise level jumps, also where the shape stays
        with run.stage("resize", kind=f"resize {_text(source.shape)} to {_text(target.shape)}"):
            grown = resized(clean, source, target)
            if stage == 1 and self.blur:
                grown = blurred(grown, self.blur)
            return renoise(grown, self._noise(run, target), sigma)

    def _noise(self, run: Sampling, grid: Grid) -> Latent:
        return coordinate_noise(grid, run.backbone.architecture.latent_channels, run.spec.seed).to(run.backbone.device)

    def asked(self) -> dict[str, float | None]:
        return {"token_ratio_asked": self.budget}

    def work(self, spec: VideoSpec, architecture: Architecture, token_ratio: float) -> list[Work]:
        """Returns the work of the plan nearest to the budget, and at most that of the largest plan, stage by stage."""
        n, plans = architecture.num_latents(spec.num_frames), self._plans(spec, architecture)
        full = plans[0].shapes[-1]

        def frames(shape: Shape) -> float:
            """Returns the number of full latent frames with as many tokens."""
            return shape[0] * shape[1] * shape[2] / (full[1] * full[2])

        return [
            *(
                Work("dit", frames(plans[0].shapes[i]), max(frames(plan.shapes[i]) for plan in plans), count)
                for i, count in enumerate(plans[0].passes)
            ),
            Work("decode", n, n),
        ]


def _numbers(name: str, values: object, count: int) -> tuple[float, ...]:
    """Returns a setting of several numbers. Raises ValueError unless it holds `count` numbers."""
    if not isinstance(values, tuple) or len(values) != count:
        raise ValueError(f"{name} must be {count} numbers, got {values!r}")
    for value in values:
        refuse_wrong_kind(name, value, (int, float))
    return tuple(float(value) for value in values)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
