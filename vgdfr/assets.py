"""Files that a run needs: the description of a missing file, and downloads with a checked sha256."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgdfr.files import sha256

MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True)
class Asset:
    """A missing file.

    name: the owner and name of the file, for people.
    source: the URL.
    num_bytes: the size; None if it is not known in advance.
    have_bytes: the number of bytes that are on this machine already.
    fetch: downloads the file, checks its sha256 and returns its path. It continues an interrupted download if the
        source allows that. It raises ValueError for other content and OSError if the source cannot be reached.
    """

    name: str
    source: str
    num_bytes: int | None
    fetch: Callable[[], Path]
    have_bytes: int = 0


def pinned_files(repository: str, revision: str | None) -> dict[str, tuple[int, str]]:
    """Returns bytes and sha256 of each file in a repository's manifest for `revision`; empty without a manifest."""
    manifest = MANIFESTS / f"{repository.replace('/', '--')}.json"
    known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {"revision": None, "files": {}}
    if known["revision"] != revision:
        return {}
    return {file: (num_bytes, digest) for file, (num_bytes, digest) in known["files"].items()}


def download(url: str, place: Path, num_bytes: int, digest: str) -> None:
    """Downloads `url` to `place`, and continues an interrupted download from `place`.part.

    Raises ValueError for content of another sha256, and OSError if the source cannot be reached.
    """
    import httpx2  # these packages take 0.3 s to import, and only a download needs them
    from filelock import FileLock
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part = place.with_name(f"{place.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):  # one of several processes downloads, and the others find the file
        if place.is_file() and place.stat().st_size == num_bytes:
            return
        if part.is_file() and part.stat().st_size > num_bytes:
            part.unlink()
        try:
            with part.open("ab") as f:
                http_get(url, f, resume_size=f.tell(), headers=build_hf_headers(), expected_size=num_bytes)
        except httpx2.HTTPError as error:
            raise OSError(f"{url} cannot be reached: {error}") from error
        if (got := sha256(part)) != digest:
            part.unlink()
            raise ValueError(f"{url} has sha256 {got}, expected {digest}; it was removed, try again")
        part.replace(place)


def size(num_bytes: int | None) -> str:
    """Returns the size as text for people."""
    if num_bytes is None:
        return "size not known"
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.2f} MB"


def describe(assets: Sequence[Asset]) -> str:
    """Returns one line per file and a line with their total size."""
    total = sum(asset.num_bytes or 0 for asset in assets)
    lines = [f"  {size(asset.num_bytes):>14}  {asset.name}  ({asset.source})" for asset in assets]
    unknown = sum(asset.num_bytes is None for asset in assets)
    more = f", and {unknown} of a size not known" if unknown else ""
    return "\n".join([*lines, f"  {size(total):>14}  in {len(assets) - unknown} file(s){more}"])
