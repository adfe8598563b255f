"""The start of diffusers' step counters: hooks count their calls from 0, and a merged trajectory begins at step k."""

from collections.abc import Callable, Sequence
from typing import Any


def start_states_at(hooks: Sequence[Any], counter: str, start: Callable[[], int]) -> None:
    """Makes each new state of the hooks begin with its attribute `counter` at the value that `start` returns then.

    A hook's state is made in the first call after a reset.
    """
    for manager in {id(hook.state_manager): hook.state_manager for hook in hooks}.values():
        manager._state_cls = _starting(manager._state_cls, counter, start)


def _starting(kind: Callable[..., Any], counter: str, start: Callable[[], int]) -> Callable[..., Any]:
    def made(*args: Any, **kwargs: Any) -> Any:
        state = kind(*args, **kwargs)
        setattr(state, counter, start())
        return state

    return made
