"""Repositories on the Hugging Face hub: the folder of a downloaded repository, and its missing files."""

import uuid
from functools import partial
from pathlib import Path

from huggingface_hub import hf_hub_url, snapshot_download, try_to_load_from_cache

from vgdfr.assets import Asset, download, pinned_files
from vgdfr.files import cache_folder, sha256


def hub_folder(repository: str, revision: str | None) -> Path:
    """Returns the folder of a Hugging Face repository: the one that `bench.prefetch` filled, or the hub's own cache.

    Never downloads. Raises huggingface_hub's LocalEntryNotFoundError, a FileNotFoundError, if neither exists.
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


def _fetch(repository: str, revision: str, file: str, place: Path, num_bytes: int, digest: str) -> Path:
    """Links the file if the hub's own cache holds it, downloads it otherwise, and returns its path."""
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
