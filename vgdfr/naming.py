"""How settings are written into keys and records: a class's name and origin, and a frozen dataclass's values."""

import inspect
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, ClassVar

from vgdfr.files import sha256_of_weights
from vgdfr_commands.dotted_path import imported


def path_of(kind: type) -> str:
    """Returns the dotted path of a class, such as "my_pkg.SkipSteps"."""
    return f"{kind.__module__}.{kind.__qualname__}"


def is_built_in(kind: type) -> bool:
    """Returns whether a class belongs to this package."""
    return kind.__module__.split(".")[0] == __name__.split(".")[0]


def class_at(path: str) -> type:
    """Returns the class at a dotted `path`. Raises ValueError if it cannot be imported or is no class."""
    found = imported(path, "class", "my_pkg.SkipSteps", lambda value: isinstance(value, type))
    if not isinstance(found, type):
        raise ValueError(f"{path} is not a class, got {found!r}")
    return found


def check_class(what: str, kind: type, base: type) -> None:
    """Raises ValueError unless `kind` derives from `base`, lacks no abstract method, and its settings are fields.

    `what` names the setting that holds the class, for the message.
    """
    path, wanted = path_of(kind), f"vgdfr.{base.__name__}"
    if not issubclass(kind, base):
        problem = f"must be a class that derives from {wanted}, got {path}"
    elif lacking := getattr(kind, "__abstractmethods__", frozenset()):
        problem = f"names {path}, which lacks {', '.join(sorted(lacking))}"
    elif taken := sorted(_hidden(kind, base)):
        problem = f"names {path}, whose setting {', '.join(taken)} would hide what {wanted} has; give it another name"
    elif forgotten := _no_fields(kind):
        problem = (
            f"names {path}, whose {', '.join(forgotten)} is no setting; put @dataclass(frozen=True) before the class"
        )
    else:
        return
    raise ValueError(f"{what} {problem} (docs/extending.md shows how to write one)")


_RESERVED = {"name", "version"}  # a record has them with the settings


def _hidden(kind: type, base: type) -> set[str]:
    """Returns the fields of `kind` that hide an attribute of `base` which is no field there."""
    own = {f.name for f in fields(kind)} - {f.name for f in fields(base)}  # type: ignore[arg-type]
    return {name for name in own if hasattr(base, name) or (issubclass(base, Named) and name in _RESERVED)}


def _no_fields(kind: type) -> list[str]:
    """Returns annotated names that are no fields. There are some if the class lacks its dataclass decorator."""
    there = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    annotated = inspect.get_annotations(kind)
    return [name for name, of in annotated.items() if name not in there and "ClassVar" not in str(of)]


class Named:
    """A frozen dataclass of settings that is written into keys, records and names of folders.

    `version` rises when a change of the class alters pixels. A field that came after samples were stored has
    `metadata={"later": True}`: it is left out at its default, so that keys stay.
    """

    version: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """The class's name in lower case, or its dotted path where it is from outside this package."""
        kind = type(self)
        return kind.__name__.lower() if is_built_in(kind) else path_of(kind)

    def origin(self) -> dict[str, Any]:
        """Returns the name, and the version: of a class from outside this package always, else from 2 on."""
        outside = not is_built_in(type(self))
        return {"name": self.name} | ({"version": self.version} if outside or self.version != 1 else {})

    def settings(self) -> dict[str, Any]:
        """Returns origin and settings as JSON takes them, for the record."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        later = [f.name for f in fields(self) if f.metadata.get("later")]  # type: ignore[arg-type]
        at_default = {name for name in later if values[name] == default_of(self, name)}
        return self.origin() | {n: plain(v) for n, v in values.items() if n not in at_default}

    def words(self) -> list[str]:
        """Returns the settings that differ from their defaults, as words of a file name: "k5", "max_merge=2"."""
        words = []
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if value == default_of(self, f.name) or f.metadata.get("own_words"):
                continue
            if f.metadata.get("weights") and value:
                value = sha256_of_weights(Path(value))[:8]
            words.append(f"{f.name}{'' if f.name in ('k', 'theta') else '='}{_word(value)}")
        return words


def default_of(value: Any, name: str) -> Any:
    """Returns the default of the field `name` of a dataclass's value, or MISSING if the field has none."""
    found = next(f for f in fields(value) if f.name == name)
    return found.default_factory() if found.default_factory is not MISSING else found.default


def plain(value: Any) -> Any:
    """Returns a setting as JSON takes it: settings within it as dictionaries, tuples as lists."""
    if isinstance(value, Named):
        return value.settings()
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _word(value: Any) -> str:
    return (".".join(str(v) for v in value) if isinstance(value, tuple) else str(value).lower()) or "none"
