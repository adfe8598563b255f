"""Files that must be fetched before a run: what they are, whether they are there, and getting them, checked."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache

from vgdfr.files import sha256

MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True)
class Asset:
    """A missing file: what it belongs to, where it comes from, its size (None: not known before), how to get it.

    `fetch` continues a download that broke off where the source allows it, checks the sha256 and returns the file's
    place. It raises ValueError for other content, OSError where the source cannot be reached.
    """

    name: str
    source: str
    num_bytes: int | None
    fetch: Callable[[], Path]


def missing_of_hub(repository: str, revision: str | None) -> list[Asset]:
    """Files of a Hugging Face repository that are not in the local cache, by its manifest here; none without one."""
    manifest = MANIFESTS / f"{repository.replace('/', '--')}.json"
    if not manifest.is_file():
        return []
    known = json.loads(manifest.read_text())
    pinned: str = known["revision"]
    if pinned != revision:
        return []
    return [
        Asset(
            f"{repository} {file}",
            f"https://huggingface.co/{repository}/resolve/{pinned}/{file}",
            num_bytes,
            lambda file=file, digest=digest: fetch_from_hub(repository, pinned, file, digest),
        )
        for file, (num_bytes, digest) in known["files"].items()
        if not _in_cache(repository, pinned, file, num_bytes)
    ]


def fetch_from_hub(repository: str, revision: str, file: str, digest: str) -> Path:
    """Download one file into the Hugging Face cache. Raises ValueError, and removes it, where its sha256 is another."""
    place = Path(hf_hub_download(repository, file, revision=revision))
    if (got := sha256(place)) != digest:
        place.resolve().unlink()
        place.unlink(missing_ok=True)
        raise ValueError(f"{repository} {file} has sha256 {got}, expected {digest}; it was removed, try again")
    return place


def _in_cache(repository: str, revision: str, file: str, num_bytes: int) -> bool:
    place = try_to_load_from_cache(repository, file, revision=revision)
    return isinstance(place, str) and Path(place).stat().st_size == num_bytes


def size(num_bytes: int | None) -> str:
    """For people."""
    if num_bytes is None:
        return "size not known"
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.2f} MB"


def describe(assets: Sequence[Asset]) -> str:
    """A line each, and their sum."""
    total = sum(asset.num_bytes or 0 for asset in assets)
    lines = [f"  {size(asset.num_bytes):>14}  {asset.name}  ({asset.source})" for asset in assets]
    return "\n".join([*lines, f"  {size(total):>14}  in all, {len(assets)} file{'s' * (len(assets) > 1)}"])
