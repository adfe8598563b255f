"""Files that must be fetched before a run: what they are, whether they are there, and getting them, checked."""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
from filelock import FileLock
from huggingface_hub import hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from vgdfr.files import cache_folder, sha256

MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True)
class Asset:
    """A missing file: what it belongs to, its source, its size (None: not known before) and how much of it is here.

    `fetch` continues a download that broke off where the source allows it, checks the sha256 and returns the file's
    place. It raises ValueError for other content, OSError where the source cannot be reached.
    """

    name: str
    source: str
    num_bytes: int | None
    fetch: Callable[[], Path]
    have_bytes: int = 0


def pinned_files(repository: str, revision: str | None) -> dict[str, tuple[int, str]]:
    """Size and sha256 of each file that a repository's manifest names at `revision`; empty if it has no manifest."""
    manifest = MANIFESTS / f"{repository.replace('/', '--')}.json"
    known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {"revision": None, "files": {}}
    if known["revision"] != revision:
        return {}
    return {file: (num_bytes, digest) for file, (num_bytes, digest) in known["files"].items()}


def hub_folder(repository: str, revision: str | None) -> Path:
    """Where a repository of the Hugging Face hub lies: as `prefetch` left it, or a snapshot in the hub's own cache.

    Raises LocalEntryNotFoundError where there is neither.
    """
    fetched = cache_folder() / "hub" / repository / str(revision)
    if fetched.is_dir() and not _lacking(fetched, pinned_files(repository, revision)):
        return fetched
    return Path(snapshot_download(repository, revision=revision, local_files_only=True))


def missing_of_hub(repository: str, revision: str | None) -> list[Asset]:
    """Files of a pinned repository that are to be fetched; none of one without a manifest."""
    files = pinned_files(repository, revision)
    if not files:
        return []
    index = _in_hub_cache(repository, revision, "model_index.json")
    if index and not _lacking(Path(index).parent, files):
        return []
    folder = cache_folder() / "hub" / repository / str(revision)
    return [
        Asset(
            f"{repository} {file}",
            hf_hub_url(repository, file, revision=revision),
            files[file][0],
            partial(_fetch, repository, revision, file, folder / file, *files[file]),
            _have_bytes(repository, revision, file, folder / file),
        )
        for file in _lacking(folder, files)
    ]


def download(url: str, place: Path, num_bytes: int, digest: str) -> None:
    """Fetch `url`, going on from `place`.part where that is there.

    Raises ValueError for content of another sha256, OSError where the source cannot be reached.
    """
    part = place.with_name(f"{place.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):  # several processes may want it: one fetches, the others find it
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


def _fetch(repository: str, revision: str, file: str, place: Path, num_bytes: int, digest: str) -> Path:
    """Link what the hub's own cache holds, download the rest."""
    cached = _in_hub_cache(repository, revision, file)
    if cached and Path(cached).stat().st_size == num_bytes and sha256(Path(cached)) == digest:
        place.parent.mkdir(parents=True, exist_ok=True)
        link = place.with_name(f".{uuid.uuid4().hex}")
        link.symlink_to(Path(cached).resolve())
        link.replace(place)
    else:
        download(hf_hub_url(repository, file, revision=revision), place, num_bytes, digest)
    return place


def _have_bytes(repository: str, revision: str | None, file: str, place: Path) -> int:
    part = place.with_name(f"{place.name}.part")
    have = _in_hub_cache(repository, revision, file) or (str(part) if part.is_file() else None)
    return Path(have).stat().st_size if have else 0


def _in_hub_cache(repository: str, revision: str | None, file: str) -> str | None:
    place = try_to_load_from_cache(repository, file, revision=revision)
    return place if isinstance(place, str) else None


def _lacking(folder: Path, files: dict[str, tuple[int, str]]) -> list[str]:
    return [
        file
        for file, (num_bytes, _) in files.items()
        if not (folder / file).is_file() or (folder / file).stat().st_size != num_bytes
    ]


def size(num_bytes: int | None) -> str:
    """For people."""
    if num_bytes is None:
        return "size not known"
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.2f} MB"


def describe(assets: Sequence[Asset]) -> str:
    """A line each, and their sum."""
    total = sum(asset.num_bytes or 0 for asset in assets)
    lines = [f"  {size(asset.num_bytes):>14}  {asset.name}  ({asset.source})" for asset in assets]
    unknown = sum(asset.num_bytes is None for asset in assets)
    more = f", and {unknown} of a size not known" if unknown else ""
    return "\n".join([*lines, f"  {size(total):>14}  in {len(assets) - unknown} file(s){more}"])
