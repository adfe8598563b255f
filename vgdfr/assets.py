"""Files that a run needs: the list of the missing ones, and their download with a checked sha256."""

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
    """A missing file.

    name: the owner and name of the file, for people.
    source: the URL.
    num_bytes: the size; None if it is not known in advance.
    have_bytes: the bytes that are on this machine already.
    fetch: downloads the file, checks its sha256 and returns its path. It continues an interrupted download if the
        source allows that. It raises ValueError for other content and OSError if the source cannot be reached.
    """

    name: str
    source: str
    num_bytes: int | None
    fetch: Callable[[], Path]
    have_bytes: int = 0


def pinned_files(repository: str, revision: str | None) -> dict[str, tuple[int, str]]:
    """Returns size and sha256 of each file in a repository's manifest for `revision`; empty if there is none."""
    manifest = MANIFESTS / f"{repository.replace('/', '--')}.json"
    known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {"revision": None, "files": {}}
    if known["revision"] != revision:
        return {}
    return {file: (num_bytes, digest) for file, (num_bytes, digest) in known["files"].items()}


def hub_folder(repository: str, revision: str | None) -> Path:
    """Returns the folder of a Hugging Face repository: the one that `bench.prefetch` filled, or the hub's own cache.

    Never downloads. Raises LocalEntryNotFoundError if neither exists.
    """
    fetched = cache_folder() / "hub" / repository / str(revision)
    if fetched.is_dir() and not _lacking(fetched, pinned_files(repository, revision)):
        return fetched
    return Path(snapshot_download(repository, revision=revision, local_files_only=True))


def missing_of_hub(repository: str, revision: str | None) -> list[Asset]:
    """Returns the files of a pinned repository that are missing; empty for a repository without a manifest."""
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
    """Downloads `url` to `place`, and continues an interrupted download from `place`.part.

    Raises ValueError for content of another sha256, and OSError if the source cannot be reached.
    """
    part = place.with_name(f"{place.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):  # of several processes one downloads, and the others find the file
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
    """Links the file if the hub's own cache holds it, and downloads it otherwise."""
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
