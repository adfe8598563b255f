"""Weights that the real learned metrics need: where they come from, their hash, and where they lie."""

import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pooch


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
        """Its place in the cache folder (`$VGDFR_CACHE`, else the system's place for caches)."""
        return _folder() / self.url.rsplit("/", 1)[1]

    @property
    def how(self) -> str:
        """How to get it there."""
        return f"`python -m bench.prefetch metrics=paper` gets it from {self.url}"


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file of weights that users make themselves; `variable` in the environment says where, or it is in the cache."""

    name: str
    variable: str
    file_name: str
    how: str

    @property
    def file(self) -> Path:
        """Where it is, or should be."""
        return Path(os.environ.get(self.variable) or _folder() / self.file_name)


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
# What LPIPS is fed, and the package whose heads weigh its layers.
LPIPS_INPUT = f"rgb-minus1to1-lpips-{version('lpips')}"
