"""Accelerators patch the calls of a DiT, as a feature cache does. They work with any method."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import nn

from vgdfr.architecture import Architecture
from vgdfr.naming import Named
from vgdfr.video import VideoSpec

GATE = "gate_asked"
SKIPPED = "passes_skipped"


@dataclass(frozen=True)
class Running:
    """An accelerator at work on one DiT.

    reset: forgets all state, as before a sample.
    measured: returns counts since the accelerator was applied, by name. "gate_asked" counts its decisions whether to
        compute. "passes_skipped" counts passes in which it skipped something; a sample with 0 gets a note. The other
        entries, such as "blocks_skipped", become columns of the cost report, as do these two.
    at: receives the step (from 0), the noise level and the number of steps before each pass of a trajectory. The first
        step after a reset need not be 0: VGDFR's shortened trajectory begins at step k.
    """

    reset: Callable[[], None]
    measured: Callable[[], Mapping[str, float]]
    at: Callable[[int, float, int], None] | None = None


@runtime_checkable
class HasWeights(Protocol):
    """A model as accelerators know it: a `vgdfr.Model`."""

    @property
    def place(self) -> str:
        """Returns the checkpoint's path or name, for messages."""
        ...

    def dit_weights(self) -> str:
        """Returns a name of the DiT's weights. Models of one name have the same weights."""
        ...


@dataclass(frozen=True)
class Accelerator(Named, ABC):
    """Settings of a patch of the DiT's calls: a frozen dataclass with flat values as its fields.

    No checkpoint holds an accelerator's state. A sample with accelerators therefore shares only the prompt's embedding
    and the noise with other samples. The patch is on during the passes of a trajectory and off during all other passes.
    `version` rises when a change of the class alters pixels.
    """

    version: ClassVar[int] = 1
    of_one_shift: ClassVar[bool] = False
    """Whether its settings hold for the noise levels of one flow shift alone. A method of several shifts refuses it."""

    @property
    def title(self) -> str:
        """Returns the accelerator's name for people, without settings."""
        return type(self).__name__

    @property
    def family(self) -> str:
        """Returns the name of the line in a figure that joins the accelerator's rows."""
        return self.title

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError if the settings do not fit `spec` or the model. It runs before a model is loaded."""

    def calibrated(self, model: HasWeights | None, spec: VideoSpec) -> "Accelerator":
        """Returns the accelerator with the values of its calibration as settings, so that they are in a sample's key.

        `model` is None for a backbone that does not tell its model. The default has no calibration and returns itself.
        It runs before a model is loaded, and its result returns itself. Raises ValueError for a calibration of other
        weights or of another video setting, and FileNotFoundError if the calibration's file is missing.
        """
        return self

    @abstractmethod
    def applied(self, transformer: nn.Module) -> AbstractContextManager[Running]:
        """Patches the DiT's calls within the block: forwards or hooks of its modules.

        Raises ValueError if `transformer` has nothing to patch. `generate` undoes every change that the block leaves
        behind on the DiT's modules.
        """


class IdleAccelerator(ValueError):
    """An accelerator was applied and never made a decision. Its sample would equal the plain method's sample."""


class Accelerated:
    """Applies the accelerators of one sample to one DiT."""

    def __init__(self, transformer: nn.Module, accelerators: Sequence[Accelerator]) -> None:
        self._transformer, self.accelerators = transformer, accelerators
        self._running: list[Running] = []
        self._patches: list[Patch] = []
        self._last: tuple[int, tuple[int, ...]] | None = None

    @property
    def names(self) -> str:
        """Returns the accelerators' titles, an empty text without accelerators."""
        return " + ".join(each.title for each in self.accelerators)

    @contextmanager
    def __call__(self) -> Iterator["Accelerated"]:
        """Applies the accelerators within the block, and drops their state at its end, also after an exception."""
        try:
            with ExitStack() as stack:
                if self.accelerators:
                    before = snapshot(parts_of(self._transformer))
                    self._running = [stack.enter_context(each.applied(self._transformer)) for each in self.accelerators]
                    self._patches = changes_between(before, snapshot(parts_of(self._transformer)))
                yield self
        finally:
            for running in self._running:
                running.reset()
            self._running, self._patches = [], []

    @contextmanager
    def around_pass(self, step: int | None, sigma: float, num_steps: int, shape: tuple[int, ...]) -> Iterator[None]:
        """Within the block the DiT runs step `step` of a trajectory. With None it runs a pass off any trajectory.

        On a trajectory the accelerators are reset before the first pass, if the latent's shape changed, and if `step`
        is neither the last step nor the next one, and after a pass that raised. Off a trajectory the patches are
        removed and keep their state.
        """
        if not self._running:
            yield
        elif step is None:
            for patch in self._patches:
                patch.put(patch.before)
            try:
                yield
            finally:
                for patch in self._patches:
                    patch.put(patch.after)
        else:
            last, self._last = self._last, None  # stays None if the pass raises
            for running in self._running:
                if last is None or last[1] != shape or step not in (last[0], last[0] + 1):
                    running.reset()
                if running.at is not None:
                    running.at(step, sigma, num_steps)
            yield
            self._last = (step, shape)

    def forget(self) -> None:
        """Lets the next pass of a trajectory reset the accelerators."""
        self._last = None

    def measured(self) -> dict[str, dict[str, float]]:
        """Returns each accelerator's counts by its title. Raises IdleAccelerator if one never made a decision."""
        out = {}
        for accelerator, running in zip(self.accelerators, self._running, strict=True):
            measured = {name: float(value) for name, value in running.measured().items()}
            if not measured.get(GATE):
                raise IdleAccelerator(
                    f"{accelerator.title} was applied and never decided about a call (its {GATE} is "
                    f"{measured.get(GATE)}), so the sample is the plain method's; its patch may match no module that "
                    "this DiT calls"
                )
            out[accelerator.title] = measured
        return out


def notes_of(measured: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Returns a note for each accelerator that was asked and skipped nothing. `measured` holds counts by title."""
    return tuple(
        f"{title} decided {counts[GATE]:.0f} times and skipped nothing: its settings leave the method as it is"
        for title, counts in measured.items()
        if counts.get(SKIPPED) == 0
    )


@contextmanager
def unchanged_after(transformer: nn.Module) -> Iterator[None]:
    """Undoes every change of the DiT within the block: of attributes, hooks, submodules and kernels of its modules."""
    before = snapshot(parts_of(transformer))
    try:
        yield
    finally:
        put_back(before, parts_of(transformer))


def put_back(before: "Snapshot", owners: Iterable[Any]) -> list["Patch"]:
    """Undoes the changes of `owners` since the snapshot `before`, and returns these changes."""
    found = changes_between(before, snapshot(owners))
    for patch in found:
        patch.put(patch.before)
    return found


@dataclass(frozen=True)
class Patch:
    """A change of the DiT: of one entry of a dictionary, such as a module's attributes, or of a list."""

    owner: Any
    name: Any  # None: all of a list
    before: Any
    after: Any

    def put(self, value: Any) -> None:
        if self.name is None:
            self.owner[:] = value
        elif value is _ABSENT:
            self.owner.pop(self.name, None)
        else:
            self.owner[self.name] = value


_ABSENT = object()
# PyTorch's and diffusers' containers of hooks and submodules; diffusers' configurations cannot be written
_DICTIONARIES = (dict, OrderedDict)
Snapshot = dict[int, tuple[Any, Any]]


def snapshot(owners: Iterable[Any]) -> Snapshot:
    """Returns the attribute dictionaries of objects, and dictionaries and lists in them, with copies, by their id."""
    containers: Snapshot = {}

    def add(container: Any) -> None:
        containers[id(container)] = (container, container.copy())

    for owner in owners:
        add(vars(owner))
        for value in vars(owner).values():
            if type(value) in (*_DICTIONARIES, list):
                add(value)
    return containers


def parts_of(transformer: nn.Module) -> Iterator[Any]:
    """Yields a DiT's modules, and the kernels and hook registries that diffusers attaches to them."""
    for module in transformer.modules():
        yield module
        if hasattr(processor := vars(module).get("processor"), "__dict__"):
            yield processor
        if registry := vars(module).get("_diffusers_hook"):
            yield registry
            yield from registry._fn_refs


def changes_between(before: Snapshot, after: Snapshot) -> list[Patch]:
    """Returns the changes in the containers of `before`, entry by entry."""
    patches = []
    for key, (container, was) in before.items():
        now = after.get(key, (container, container))[1]
        if isinstance(container, list):
            if len(was) != len(now) or any(a is not b for a, b in zip(was, now, strict=True)):
                patches.append(Patch(container, None, was, now.copy()))
            continue
        for name in {**was, **now}:
            old, new = was.get(name, _ABSENT), now.get(name, _ABSENT)
            if old is not new:
                patches.append(Patch(container, name, old, new))
    return patches
