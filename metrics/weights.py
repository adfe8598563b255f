"""Names the public weights of learned metrics, with their source, hash and place on disk."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import pooch

T = TypeVar("T")
P = ParamSpec("P")


def _folder() -> Path:
    return Path(os.environ.get("VGDFR_CACHE") or pooch.os_cache("vgdfr")) / "metrics"


@dataclass(frozen=True, slots=True)
class Weights:
    """A public file of weights, pinned by its sha256."""

    name: str
    url: str
    num_bytes: int
    sha256: str

    @property
    def file(self) -> Path:
        """Returns the file's path in the cache folder (`$VGDFR_CACHE`, or else the system's folder for caches)."""
        return _folder() / self.url.rsplit("/", 1)[1]

    @property
    def how(self) -> str:
        """Returns for people how to download the file."""
        return f"`python -m bench.prefetch metrics=paper` gets it from {self.url}"


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file of weights that users make themselves.

    The environment's `variable` names the file. Without it, the file is `file_name` in the cache folder. `how` says for
    people how to make it.
    """

    name: str
    variable: str
    file_name: str
    how: str

    @property
    def file(self) -> Path:
        """Returns the path where the file is expected."""
        return Path(os.environ.get(self.variable) or _folder() / self.file_name)


def sha256_of(weights: Path) -> str:
    """Returns the sha256 of a file's bytes, or of a folder's files with their names.

    An ONNX export may keep its weights in a file NAME.data in the same folder; then the hash covers both. A file is
    read again only if its times or size change.
    """
    data = weights.with_name(f"{weights.name}.data")
    if weights.is_dir() or (weights.suffix == ".onnx" and data.is_file()):
        files = sorted(f for f in weights.iterdir() if f.is_file()) if weights.is_dir() else [weights, data]
        return hashlib.sha256("".join(f"{file.name} {_sha256_of_file(file)}\n" for file in files).encode()).hexdigest()
    return _sha256_of_file(weights)


def _sha256_of_file(file: Path) -> str:
    state = file.stat()
    return _sha256_of(file, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)


@cache
def _sha256_of(file: Path, *state: int) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def by_content(load: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """Returns `load`, a function that makes a network from a file or folder, with a memory of its results.

    A network is loaded again if the content of its file changes, so that the network belongs to the sha256 in its
    metric's id. Raises RuntimeError for weights that change while they are loaded. For missing weights, `load` raises
    its own error.
    """
    remembered: dict[tuple[object, ...], tuple[str, T]] = {}

    @wraps(load)
    def loaded(weights: Path, *args: P.args, **kwargs: P.kwargs) -> T:
        if not weights.exists():
            return load(weights, *args, **kwargs)
        asked, digest = (weights, *args, *sorted(kwargs.items())), sha256_of(weights)
        if asked not in remembered or remembered[asked][0] != digest:
            remembered.pop(asked, None)  # frees the old network's memory before the new one is loaded
            network = load(weights, *args, **kwargs)
            if sha256_of(weights) != digest:
                raise RuntimeError(f"{weights} changed while it was loaded; run the same command again")
            remembered[asked] = digest, network
        return remembered[asked][1]

    return loaded


CLIP_VIT_B_32 = Weights(
    "OpenAI CLIP ViT-B/32",
    "https://openaipublic.azureedge.net/clip/models/"
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    353_976_522,
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
)
ALEXNET = Weights(
    "torchvision AlexNet (LPIPS)",
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    244_408_911,
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
)
DOVER = OwnFile(
    "an ONNX export of DOVER",
    "VGDFR_DOVER_ONNX",
    "dover.onnx",
    "make one with convert_to_onnx.py of VQAssessment/DOVER and say where it is: export VGDFR_DOVER_ONNX=FILE",
)
# The input of LPIPS, and the package with the heads that weigh its layers.
LPIPS_INPUT = f"rgb-minus1to1-lpips-{version('lpips')}"
