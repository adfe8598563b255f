"""The tools of a method's loop: the model, the noise, the baseline's trajectory, and the clock."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

from jaxtyping import Float
from torch import Tensor

from vgdfr.accelerator import Accelerated, Accelerator, unchanged_after
from vgdfr.account import AROUND_THE_LOOP, Account, Shared
from vgdfr.backbones.base import Backbone
from vgdfr.schedule import FrameSchedule
from vgdfr.solver import Solver, State

T = TypeVar("T")
_VELOCITY = ("velocity",)
Correct = Callable[[Tensor, float], Tensor]
"""Returns a method's own velocity for the DiT's velocity at a noise level."""


class Step(NamedTuple):
    """A trajectory after one of its steps, for an observer.

    solver: the trajectory's solver.
    done: the number of steps that are done, this one included.
    state: the state after the step, with the velocity as the method corrected it.
    schedule: the schedule that shortens the latent; None on the full latent.
    """

    solver: Solver
    done: int
    state: State
    schedule: FrameSchedule | None


Watch = Callable[[Step], None]
"""Observes each step of a sample as `Sampling.solve` takes it."""


class Sampling:
    """One sample while it is made. `Method.sample` gets it.

    backbone, spec: the model, and the video to make.
    noise: the latent at the trajectory's start, `[1, c, n, y, x]`, float32.
    solver: the model's solver with its noise levels for `spec`.
    """

    def __init__(
        self,
        backbone: Backbone,
        shared: Shared,
        owner: str,
        stops: Iterable[int],
        accelerated: Accelerated,
        watch: Watch | None = None,
    ) -> None:
        self.backbone, self.spec = backbone, (spec := shared.spec)
        self.account = Account(shared, backbone.device, backbone.resident_bytes)
        self.accelerated = accelerated
        self._owner, self._watch = owner, watch
        self._schedule: FrameSchedule | None = None  # within the block of `shortened`
        self._velocity = self.account.part("encode_prompt", _VELOCITY, lambda: backbone.velocity(spec))
        if accelerated.accelerators:
            self.account.switch_to(Shared(spec), _VELOCITY)
        self.account.shared.stops.update(stops)
        self.noise = backbone.noise(spec)
        self.solver = backbone.solver(spec)

    @property
    def steps(self) -> int:
        """Returns the number of denoising steps."""
        return self.solver.num_steps

    def velocity(
        self, x: Float[Tensor, "1 c n y x"], sigma: float, step: int | None = None, num_steps: int | None = None
    ) -> Tensor:
        """Returns the DiT's velocity at `x` and noise level `sigma`, counted.

        `step` is the step of the trajectory that the pass belongs to. With None the pass is off the trajectory:
        accelerators are off, and their state is untouched. `num_steps` are the trajectory's steps; None for the spec's.
        """
        return self._pass(x, sigma, step, self.steps if num_steps is None else num_steps)

    def _pass(self, x: Float[Tensor, "1 c n y x"], sigma: float, step: int | None, num_steps: int) -> Tensor:
        around, shape = self.accelerated.around_pass(step, sigma, num_steps, tuple(x.shape)), tuple(x.shape)
        patched = "" if step is None else self.accelerated.names
        with self.account.passing(patched) as passes, around:
            with self.backbone.counter.counting(shape, self._velocity.text_tokens, passes):
                return self._velocity(x, sigma, step, num_steps)

    def baseline(self, step: int) -> State:
        """Returns the baseline's trajectory after `step` steps, computed once for all samples of the prompt and seed.

        A sample with accelerators computes its own. Raises ValueError unless 0 <= step <= steps.
        """
        if not 0 <= step <= self.steps:
            raise ValueError(f"step must be between 0 and {self.steps}, got {step}")
        if step == 0:
            return self.solver.restart(self.noise)
        before = max((stop for stop in self.account.shared.stops if 0 < stop < step), default=0)

        def solved() -> State:
            return self.solve(self.baseline(before), before, step, stage="denoise_full")

        return self.account.part("denoise_full", ("state", before, step), solved, kind="state")

    def solve(
        self,
        state: State,
        first: int,
        last: int | None = None,
        stage: str = "denoise",
        solver: Solver | None = None,
        correct: Correct | None = None,
    ) -> State:
        """Returns the state after steps `first` to `last` (excluded; None: to the end), which are timed as `stage`.

        `correct` replaces the DiT's velocity at each noise level.
        """
        solver = self.solver if solver is None else solver

        def velocity(x: Tensor, sigma: float, step: int) -> Tensor:
            v = self._pass(x, sigma, step, solver.num_steps)
            return v if correct is None else correct(v, sigma)

        with self.stage(stage, kind="solve"):
            for i in range(first, solver.num_steps if last is None else last):
                with self.account.passing(self.accelerated.names):
                    state = solver.step(velocity, state, i)
                if self._watch is not None:
                    self._watch(Step(solver, i + 1, state, self._schedule))
        return state

    @contextmanager
    def shortened(self, schedule: FrameSchedule, positions_per_layer: Sequence[Sequence[float]]) -> Iterator[None]:
        """Within the block the DiT takes latents shortened by `schedule`.

        Each layer sees the latent frames at its own temporal positions, counted in latent frames of the full video
        (DyRoPE; paper, section 3.3).
        """
        self._schedule = schedule
        try:
            with self.backbone.shortened(schedule, positions_per_layer):
                yield
        finally:
            self._schedule = None

    def once(
        self,
        stage: str,
        key: tuple[Hashable, ...],
        compute: Callable[[], T],
        latest: bool = False,
        kind: str | None = None,
    ) -> T:
        """Returns the result of `compute`, computed once per prompt and seed for all samples of the method's class.

        `key` must name everything that decides the result; its first entry is the kind. The time counts in `stage`.
        With `latest` only the latest result of the key's first entry is kept, for large results. A sample with
        accelerators computes its own results. `kind` is as in `stage`; times of stages within `compute` are apart.
        """
        return self.account.part(stage, (self._owner, *key), compute, 2 * latest, kind)

    def forget(self) -> None:
        """Resets the accelerators before the next pass. A loop calls this where its latent jumps, as after a resize.

        A change of the latent's shape or a step that is not the next one resets them without this call.
        """
        self.accelerated.forget()

    @contextmanager
    def stage(self, name: str, latency: bool = True, kind: str | None = None) -> Iterator[None]:
        """Times the block as stage `name`; a stage counts as latency unless it is opened with latency=False.

        `kind` names everything that decides how long the block takes, such as "sort 9x8x8". Reports then count the
        median over all blocks of the kind in one run, as for DiT passes. Without a kind the sample's own time counts.
        Raises ValueError for a name of a stage that comes before or after the loop.
        """
        if name in AROUND_THE_LOOP:
            raise ValueError(f"{name} is a stage around the loop and no latency; give a stage of the loop another name")
        with self.account.stage(name, latency, kind):
            yield

    def decoded(self, latents: Float[Tensor, "1 c n y x"]) -> Float[Tensor, "t 3 h w"]:
        """Returns the decoded frames of final latents, in [-1, 1], decoded once for all samples with these latents.

        Float frames are large. The baseline's frames are kept in main memory, and otherwise only the latest frames.
        """
        decode, values = partial(self.backbone.codec.decode, latents), self.account.shared.values
        is_baseline = any(key[0] == "state" and key[-1] == self.steps and v.x is latents for key, v in values.items())
        if is_baseline:
            return self.account.part("decode", ("decoded baseline",), lambda: decode().cpu()).to(latents.device)
        # the latents are kept with the frames, since an id is unique only while its object exists
        return self.account.part("decode", ("decoded", id(latents)), lambda: (latents, decode()), latest=1)[1]


@contextmanager
def sampling(
    backbone: Backbone,
    shared: Shared,
    owner: str,
    stops: Iterable[int] = (),
    accelerators: Sequence[Accelerator] = (),
    watch: Watch | None = None,
) -> Iterator[Sampling]:
    """Within the block the model makes one sample of `shared.spec`. Afterwards the model is as before.

    `owner` is the dotted path of the method's class. `stops` are the steps after which the method branches off the
    baseline. `watch` sees each step that is taken. Raises ValueError for accelerators on a compiled model.
    """
    if accelerators and not backbone.can_be_accelerated:
        raise ValueError("accelerators patch a DiT's calls, which a compiled DiT does not allow; leave one of them out")
    _ = backbone.counter  # its hooks are the model's own, so they come before any accelerator's
    with unchanged_after(backbone.transformer), Accelerated(backbone.transformer, accelerators)() as accelerated:
        yield Sampling(backbone, shared, owner, stops, accelerated, watch)
