"""Imports what a user names by a dotted path, such as a method's class or a metric."""

import difflib
import importlib
import traceback
from collections.abc import Callable
from typing import Any


def imported(path: str, kind: str, example: str, fits: Callable[[Any], bool]) -> Any:
    """Returns the object at a dotted `path`, whatever its type: the module before the last dot, then the name after it.

    Runs the code of that module. `kind` and `example` say in messages what was expected. Names that are close to a
    missing name are suggested where they fit. Raises ValueError if the module cannot be imported or lacks the name.
    """
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError(f"{path} is no dotted path of a {kind}, such as {example}")
    try:
        holder = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{module} cannot be imported: it needs {error.name}, which is not there") from error
        raise ValueError(
            f"there is no {kind} {path} to be imported ({error}); put the folder of its file on PYTHONPATH, or run "
            "`python -m` in that folder"
        ) from error
    except Exception as error:  # the module's own code has run
        lines = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "<module>"]
        where = f" ({lines[-1].filename}, line {lines[-1].lineno})" if lines else ""  # a SyntaxError says where itself
        said = " ".join(str(error).split())
        raise ValueError(f"{module} cannot be imported: {type(error).__name__}: {said}{where}") from error
    if (found := getattr(holder, name, None)) is None:
        there = [each for each, value in vars(holder).items() if fits(value)]
        close = "".join(f"; did you mean {module}.{each}?" for each in difflib.get_close_matches(name, there, 1, 0.5))
        raise ValueError(f"there is no {kind} {name} in {module}{close}")
    return found
