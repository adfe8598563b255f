"""Settings as they are written into keys and records: a class's name and origin, and a frozen dataclass's values."""

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


def check_class(setting: str, kind: type, base: type) -> None:
    """Raises ValueError unless `kind` derives from `base`, lacks no abstract method, and its settings are fields.

    `setting` is the setting that holds the class, for the message.
    """
    path, wanted = path_of(kind), f"vgdfr.{base.__name__}"
    if not issubclass(kind, base):
        problem = f"must be a class that derives from {wanted}, got {path}"
    elif lacking := getattr(kind, "__abstractmethods__", frozenset()):
        problem = f"names {path}, which lacks {', '.join(sorted(lacking))}"
    elif taken := sorted(_hidden(kind, base)):
        problem = f"names {path}, in which the setting {', '.join(taken)} hides an attribute of {wanted}; rename it"
    elif forgotten := _no_fields(kind):
        problem = (
            f"names {path}, in which {', '.join(forgotten)} is no setting; put @dataclass(frozen=True) before the class"
        )
    else:
        return
    raise ValueError(f"{setting} {problem} (docs/extending.md shows how to write one)")


_RESERVED = {"name", "version"}  # a record holds these two together with the settings


def _hidden(kind: type, base: type) -> set[str]:
    """Returns the fields of `kind` that hide an attribute of `base` which is no field of `base`."""
    added = {f.name for f in fields(kind)} - {f.name for f in fields(base)}  # type: ignore[arg-type]
    return {name for name in added if hasattr(base, name) or (issubclass(base, Named) and name in _RESERVED)}


def _no_fields(kind: type) -> list[str]:
    """Returns the annotated names that are no fields, as in a class that lacks its dataclass decorator."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    annotated = inspect.get_annotations(kind)
    return [name for name, hint in annotated.items() if name not in known and "ClassVar" not in str(hint)]


class Named:
    """A frozen dataclass of settings that is written into keys, records and names of folders.

    `version` rises when a change of the class alters pixels. A field that was added after samples were stored has
    `metadata={"later": True}`. It is left out at its default, so that keys stay. A field with `"words_apart"` adds no
    words of its own.
    """

    version: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """Returns the class's name in lower case, or the dotted path of a class from outside this package."""
        kind = type(self)
        return kind.__name__.lower() if is_built_in(kind) else path_of(kind)

    def origin(self) -> dict[str, Any]:
        """Returns the name and the version. A built-in class of version 1 has no version entry."""
        outside = not is_built_in(type(self))
        return {"name": self.name} | ({"version": self.version} if outside or self.version != 1 else {})

    def settings(self) -> dict[str, Any]:
        """Returns origin and settings as JSON values, for the record."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        later = [f.name for f in fields(self) if f.metadata.get("later")]  # type: ignore[arg-type]
        at_default = {name for name in later if values[name] == default_of(self, name)}
        return self.origin() | {n: plain(v) for n, v in values.items() if n not in at_default}

    def words(self) -> list[str]:
        """Returns the settings that differ from their defaults, as words of a file name: "k5", "max_merge=2"."""
        words = []
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if value == default_of(self, f.name) or f.metadata.get("words_apart"):
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
    """Returns a setting as a JSON value: nested settings become dictionaries, and tuples become lists."""
    if isinstance(value, Named):
        return value.settings()
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _word(value: Any) -> str:
    return (".".join(str(v) for v in value) if isinstance(value, tuple) else str(value).lower()) or "none"
