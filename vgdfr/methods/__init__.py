"""The built-in methods, behind the interface in `vgdfr.method`, and the steps that they are built from."""

from collections.abc import Mapping
from typing import Any

from vgdfr.accelerator import Accelerator
from vgdfr.accelerators import BUILT_IN as ACCELERATORS
from vgdfr.method import Method
from vgdfr.methods.baseline import Baseline, BaselineRerun, FewerSteps
from vgdfr.methods.dvg import Dvg
from vgdfr.methods.interpolated import Interpolated
from vgdfr.methods.rope_proxy import RopeProxy
from vgdfr.methods.vgdfr import Vgdfr
from vgdfr.naming import class_at, path_of

BUILT_IN: dict[str, type[Method]] = {
    kind.__name__.lower(): kind for kind in (Baseline, BaselineRerun, FewerSteps, Vgdfr, Interpolated, RopeProxy, Dvg)
}
"""The built-in methods by their name in a record."""


def method_of(settings: dict[str, Any]) -> Method:
    """Returns the method of a record, from the recorded result of `Method.settings`.

    Raises ValueError if the class cannot be found or takes other settings.
    """
    return _made(settings, Method, BUILT_IN)


def _made(settings: dict[str, Any], base: type, built_in: Mapping[str, type]) -> Any:
    name = settings["name"]
    kind = class_at(name) if "." in name else built_in.get(name)
    if kind is None or not issubclass(kind, base):
        raise ValueError(f"there is no {base.__name__.lower()} {name}; use the code that made the record")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    for other in ("name", "version"):
        values.pop(other, None)
    if "accelerators" in values:
        values["accelerators"] = tuple(_made(each, Accelerator, ACCELERATORS) for each in values["accelerators"])
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{path_of(kind)} takes other settings than those recorded: {error}") from error
