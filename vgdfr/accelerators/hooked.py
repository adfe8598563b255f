"""The base of accelerators that are caches of diffusers: it applies their hooks, counts decisions, and resets them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from vgdfr.accelerator import Accelerator, Running
from vgdfr.accelerators.blocks import blocks_of, modules_of
from vgdfr.accelerators.counts import Counts
from vgdfr.accelerators.settings import check_one_forward
from vgdfr.architecture import Architecture
from vgdfr.video import VideoSpec

ATTENTION = r"^\w*(blocks|layers)\.\d+\.attn\d*$"
"""Matches the names of the blocks' attention modules in diffusers. A text refiner's attention has a longer name."""


@dataclass
class Place:
    """The pass of the trajectory that runs next.

    step: its step. It counts from 0 on the whole trajectory, also after a merge.
    sigma: its noise level.
    num_steps: the trajectory's number of steps.
    age: the number of passes since the last reset, including this pass.
    """

    step: int = 0
    sigma: float = 1.0
    num_steps: int = 1
    age: int = 0

    @property
    def timestep(self) -> float:
        """Returns the noise level as a timestep, from 1000 down to 0."""
        return 1000 * self.sigma

    @property
    def is_first(self) -> bool:
        """Returns whether the cache holds no result yet: in a sample's first pass, and in the first after a merge."""
        return self.age <= 1


@dataclass(frozen=True)
class HookedCache(Accelerator, ABC):
    """A cache of diffusers 0.42, applied to a DiT of diffusers.

    `measured` counts calls of the modules that the cache may skip: the blocks, or the blocks' attention modules.
    """

    hook_names: ClassVar[tuple[str, ...]]
    """diffusers' names of the hooks that may skip a module. The hooks with the first name decide."""
    skips_blocks: ClassVar[bool] = False
    """Whether the cache skips whole blocks. diffusers must then know the blocks' arguments and results."""
    has_one_state: ClassVar[bool] = False
    """Whether the cache keeps one state for all forwards of a step."""

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        if self.has_one_state:
            check_one_forward(self.title, architecture)

    @abstractmethod
    def config(self, place: Place) -> Any:
        """Returns diffusers' configuration of the cache. `place` will always hold the pass that runs next."""

    def prepare(self, hooks: Sequence[Any], place: Place) -> None:  # noqa: B027  most caches need no change
        """Corrects diffusers' hooks, in the order of the DiT's modules. It is called once, when they are applied."""

    def begin_pass(self, hooks: Sequence[Any], config: Any, place: Place) -> None:  # noqa: B027  as above
        """Corrects the state of the hooks or their configuration for the pass at `place`."""

    @contextmanager
    def applied(self, transformer: Any) -> Iterator[Running]:
        """Applies the cache within the block.

        Raises ValueError unless `transformer` is a DiT of diffusers with blocks that the cache knows and can hook.
        """
        blocks, place, counts = self._blocks(transformer), Place(), Counts()
        had_own_forward = {module for module in transformer.modules() if "forward" in vars(module)}
        transformer.enable_cache(config := self.config(place))
        self._check_hooked(blocks)
        hooks = [hook for _, hook in self._hooks_in(transformer)]  # also a hook outside the blocks keeps a state
        self.prepare(hooks, place)
        for name, hook in [found for block in blocks for found in self._hooks_in(block)]:
            counts.watch(hook, decides=name == self.hook_names[0])

        def reset() -> None:
            transformer._reset_stateful_cache()
            place.age = 0

        def at(step: int, sigma: float, num_steps: int) -> None:
            place.step, place.sigma, place.num_steps, place.age = step, sigma, num_steps, place.age + 1
            counts.begin_pass()
            self.begin_pass(hooks, config, place)

        try:
            yield Running(reset, counts.measured, at)
        finally:
            counts.detach()
            transformer.disable_cache()
            for module in set(transformer.modules()) - had_own_forward:
                vars(module).pop("forward", None)  # diffusers leaves its class's forward there, as an own attribute

    def _blocks(self, transformer: nn.Module) -> list[nn.Module]:
        """Returns the DiT's blocks. Raises ValueError for a DiT that the cache cannot be applied to."""
        kind = type(transformer).__name__
        if not hasattr(transformer, "enable_cache"):
            raise ValueError(f"{self.title} needs a DiT with diffusers' CacheMixin, got a {kind}")
        blocks = modules_of(transformer)
        if len(blocks) < 2:
            raise ValueError(f"{self.title} needs a DiT with two or more blocks, and this {kind} has one")
        if self.skips_blocks:
            blocks_of(transformer)  # raises for blocks with arguments that diffusers does not know
        return blocks

    def _check_hooked(self, blocks: Sequence[nn.Module]) -> None:
        """Raises ValueError if a block has no hook of the cache."""
        if without := [str(number) for number, block in enumerate(blocks) if not self._hooks_in(block)]:
            raise ValueError(
                f"{self.title} hooked no module in {len(without)} of {len(blocks)} blocks and would compute them in "
                f"every pass (blocks {', '.join(without)}, counted from 0); its patterns of names do not fit this DiT"
            )

    def _hooks_in(self, module: nn.Module) -> list[tuple[str, Any]]:
        """Returns the cache's hooks of `module` and of the modules in it, with the hooks' names."""
        return [
            (name, registry.hooks[name])
            for each in module.modules()
            if (registry := vars(each).get("_diffusers_hook"))
            for name in self.hook_names
            if name in registry.hooks
        ]
