"""Packages of PyPI that tests compare with. Importing this module makes them importable in this process.

`make setup` installs them without their dependencies into a folder of the environment outside site-packages. There
`pip check` does not see that most of their dependencies are missing.
"""

import os
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

REFERENCES = Path(sys.prefix) / "references"
if REFERENCES.is_dir() and str(REFERENCES) not in sys.path:
    sys.path.append(str(REFERENCES))  # this path comes last, because pyiqa brings folders named tests, docs and build


def with_references() -> dict[str, str]:
    """Returns the environment of a new Python process that can import these packages."""
    paths = (os.environ.get("PYTHONPATH"), str(REFERENCES))
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def folder_of(package: str, wheel: str) -> Path | None:
    """Returns the folder of an importable `package`, or the wheel that the environment variable `wheel` names.

    Returns None if there is neither. The package is not imported, because its own dependencies may be missing.
    """
    spec = find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(os.environ[wheel]) if os.environ.get(wheel) else None


def unpacked(found: Path, package: str) -> Path:
    """Returns the package's folder: `found` itself, or a wheel's content unpacked into the test run's cache."""
    if found.is_dir():
        return found
    folder = Path(mkdtemp(dir=os.environ["VGDFR_CACHE"]))
    with zipfile.ZipFile(found) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(f"{package}/")])
    return folder / package
