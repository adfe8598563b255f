"""Counts of a cache's decisions, taken where diffusers' hooks call a block or leave it out."""

from collections.abc import Callable
from typing import Any

from vgdfr.accelerator import GATE, SKIPPED


class Counts:
    """Counts how often hooks were called and how often they ran the code that they may skip.

    `watch` counts a hook until `detach` undoes it. `begin_pass` separates the passes of the trajectory.
    """

    def __init__(self) -> None:
        self.asked = self.calls = self.computed = self.passes_skipped = 0
        self._skipped_before = 0
        self._undo: list[tuple[Any, Callable[..., Any], Callable[..., Any]]] = []

    @property
    def skipped(self) -> int:
        """Returns the number of calls that returned a cached or predicted result."""
        return self.calls - self.computed

    def watch(self, hook: Any, decides: bool) -> None:
        """Counts the calls of a diffusers hook. `decides` says whether the hook decides or follows another's decision.

        A hook replaces a module's forward, which it holds as `original_forward` and calls in order to compute.
        """
        place = hook.fn_ref
        called, original = place.forward, place.original_forward

        def counted_call(*args: Any, **kwargs: Any) -> Any:
            self.asked += decides
            self.calls += 1
            return called(*args, **kwargs)

        def counted_forward(*args: Any, **kwargs: Any) -> Any:
            self.computed += 1
            return original(*args, **kwargs)

        place.forward, place.original_forward = counted_call, counted_forward
        self._undo.append((place, called, original))

    def detach(self) -> None:
        """Removes the counters from the hooks. The counts stay."""
        for place, called, original in self._undo:
            place.forward, place.original_forward = called, original
        self._undo.clear()

    def begin_pass(self) -> None:
        """Ends the pass before, which counts as skipped if any of its calls was skipped."""
        self.passes_skipped += self.skipped > self._skipped_before
        self._skipped_before = self.skipped

    def measured(self) -> dict[str, int]:
        """Returns the counts by their names in a record."""
        self.begin_pass()
        return {
            GATE: self.asked,
            SKIPPED: self.passes_skipped,
            "blocks_computed": self.computed,
            "blocks_skipped": self.skipped,
        }
