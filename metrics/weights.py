"""Weights that the real learned metrics need: where they come from, their hash, and where they lie once fetched."""

import os
from dataclasses import dataclass
from pathlib import Path

import pooch


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
        folder = Path(os.environ.get("VGDFR_CACHE") or pooch.os_cache("vgdfr"))
        return folder / "metrics" / self.url.rsplit("/", 1)[1]


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
