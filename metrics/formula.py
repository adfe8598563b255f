"""Names a function of this package without importing its module."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Formula:
    """The function `name` of the module `metrics.<module>`, with `arguments` as its first arguments.

    Each call imports the module if it is not imported yet. The lists of metrics use formulas, so that reading a title,
    a group or an id imports neither PyTorch nor OpenCV.
    """

    module: str
    name: str
    arguments: tuple[Any, ...] = ()

    @property
    def function(self) -> Callable[..., Any]:
        """Returns the function without its first arguments. Imports its module."""
        return getattr(import_module(f"metrics.{self.module}"), self.name)

    def __call__(self, *arguments: Any) -> Any:
        """Returns the function's result for `self.arguments`, followed by `arguments`."""
        return self.function(*self.arguments, *arguments)
