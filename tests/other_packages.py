"""Files of PyPI's packages that tests compare with: their code and data, without importing or depending on them."""

import os
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp


def folder_of(package: str, wheel: str) -> Path | None:
    """The folder of an installed `package`, or of the one in the wheel that the environment variable `wheel` names.

    None where there is neither. The package is not imported: it may need what is not installed here.
    """
    spec = find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(os.environ[wheel]) if os.environ.get(wheel) else None


def unpacked(found: Path, package: str) -> Path:
    """The package's folder: `found` itself, or what a wheel holds of it, unpacked into the test run's own cache."""
    if found.is_dir():
        return found
    folder = Path(mkdtemp(dir=os.environ["VGDFR_CACHE"]))
    with zipfile.ZipFile(found) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(f"{package}/")])
    return folder / package
