"""A checkpoint in diffusers' folder format: where it lies, whether it is whole, what its configuration says."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub.errors import LocalEntryNotFoundError

from vgdfr.assets import MANIFESTS, hub_folder
from vgdfr.files import safetensors_bytes, sha256_of_folder

# what each part of a HunyuanVideoPipeline folder must hold
PARTS = {
    "scheduler": ("scheduler_config.json",),
    "text_encoder": ("config.json", "*.safetensors"),
    "text_encoder_2": ("config.json", "*.safetensors"),
    "tokenizer": ("tokenizer_config.json", "tokenizer.json"),
    "tokenizer_2": ("tokenizer_config.json",),
    "transformer": ("config.json", "*.safetensors"),
    "vae": ("config.json", "*.safetensors"),
}
CONFIGURED = ("transformer", "vae", "text_encoder", "text_encoder_2")

Architecture = dict[str, dict[str, Any]]


def folder_of(path: str, revision: str | None) -> Path:
    """Return the checkpoint's folder: `path` itself, or the place where the hub repository `path` was downloaded to.

    Never downloads. Raises FileNotFoundError where there is neither.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1:
        raise FileNotFoundError(f"no checkpoint folder at {path}; give a folder or a hub repository")
    try:
        return hub_folder(path, revision)
    except LocalEntryNotFoundError as error:
        how = f"hf download {path}" + (f" --revision {revision}" if revision else "")
        raise FileNotFoundError(
            f"{path} is neither a folder nor in the Hugging Face cache; get it with: {how}"
        ) from error


def check_parts(folder: Path) -> None:
    """Raise FileNotFoundError for a missing part of the checkpoint, ValueError for weights that were cut short."""
    missing = [] if (folder / "model_index.json").is_file() else ["model_index.json"]
    for part, patterns in PARTS.items():
        if not (folder / part).is_dir():
            missing.append(part)
        else:
            missing += [f"{part}/{p}" for p in patterns if not any((folder / part).glob(p))]
    for index in folder.glob("*/*.safetensors.index.json"):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing += [f"{index.parent.name}/{s}" for s in sorted(shards) if not (index.parent / s).is_file()]
    if missing:
        raise FileNotFoundError(
            f"checkpoint folder {folder} lacks {', '.join(missing)}; "
            f"expected a HunyuanVideoPipeline folder with {', '.join(PARTS)}"
        )
    for file in sorted(folder.glob("*/*.safetensors")):
        there, expected = file.stat().st_size, safetensors_bytes(file)
        if there < expected:
            raise ValueError(f"{file.parent.name}/{file.name} is cut short: {there} bytes of {expected}; get it again")


def architecture_of(path: str, revision: str | None) -> Architecture:
    """Return the configuration of DiT, VAE and text encoders, by part.

    The pinned 13B model's configuration ships with the package, so it needs no download. Raises FileNotFoundError for
    any other model whose folder is not there.
    """
    packaged = MANIFESTS / f"{path.replace('/', '--')}.architecture.json"
    if not Path(path).is_dir() and packaged.is_file():
        known = json.loads(packaged.read_text(encoding="utf-8"))
        if known["revision"] == revision:
            return {part: known[part] for part in CONFIGURED}
    folder = folder_of(path, revision)
    return {part: json.loads((folder / part / "config.json").read_text(encoding="utf-8")) for part in CONFIGURED}


@cache
def weights_sha256(folder: Path) -> str:
    """Return one hash over every weight, configuration and tokenizer file in `folder`, by name and content."""
    return sha256_of_folder(folder)
