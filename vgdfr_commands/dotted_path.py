"""Imports an object by its dotted path, such as a method's class or a metric."""

import difflib
import importlib
import traceback
from collections.abc import Callable
from typing import Any


def imported(path: str, kind: str, example: str, fits: Callable[[Any], bool]) -> Any:
    """Returns the object at a dotted `path`: the module before the last dot, and the name after it in that module.

    The import runs the module's code. `kind` and `example` describe the expected object in messages. For a missing
    name, a similar name is suggested if `fits` accepts its value. The type of the result is not checked.

    Raises ValueError if the module cannot be imported or lacks the name.
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
        # `dir` also lists the names that a package such as vgdfr imports on their first use
        known = [each for each in dir(holder) if fits(getattr(holder, each, None))]
        close = "".join(f"; did you mean {module}.{each}?" for each in difflib.get_close_matches(name, known, 1, 0.5))
        raise ValueError(f"there is no {kind} {name} in {module}{close}")
    return found
