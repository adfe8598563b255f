"""A checkpoint in diffusers' folder format: its place, its completeness and its configuration."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from vgdfr.architecture import Architecture
from vgdfr.assets import MANIFESTS, Asset, pinned_files
from vgdfr.backbones.base import Model
from vgdfr.backbones.execution import Execution
from vgdfr.files import safetensors_bytes, sha256_of_digests, sha256_of_folder

DTYPES = ("float32", "bfloat16", "float16")
# a HunyuanVideoPipeline folder must hold these files in each part
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

Configuration = dict[str, dict[str, Any]]


def compression_of(configuration: Configuration) -> tuple[int, int]:
    """Returns the VAE's frames per latent frame, and its pixels per latent row or column."""
    vae = configuration["vae"]
    return vae.get("temporal_compression_ratio", 4), vae.get("spatial_compression_ratio", 8)


def architecture_of(dit: Mapping[str, Any], vae: Mapping[str, Any]) -> Architecture:
    """Returns the facts in the configurations of a HunyuanVideo's DiT and VAE."""
    return Architecture(
        num_layers=dit["num_layers"] + dit["num_single_layers"],
        num_dual_layers=dit["num_layers"],
        frames_per_latent=vae.get("temporal_compression_ratio", 4),
        num_spatial_levels=int(math.log2(vae.get("spatial_compression_ratio", 8))),
        patch_size=dit.get("patch_size", 2),
        latent_channels=dit["in_channels"],
    )


def folder_of(path: str, revision: str | None) -> Path:
    """Returns the checkpoint's folder: `path` itself, or the download of the hub repository `path`.

    Never downloads. Raises FileNotFoundError if neither exists.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1:
        raise FileNotFoundError(f"no checkpoint folder at {path}; give a folder or a hub repository")
    from vgdfr.hub import hub_folder  # imports huggingface_hub, which a folder does not need

    try:
        return hub_folder(path, revision)
    except FileNotFoundError as error:
        how = f"hf download {path}" + (f" --revision {revision}" if revision else "")
        raise FileNotFoundError(
            f"{path} is neither a folder nor in the Hugging Face cache; get it with: {how}"
        ) from error


def check_parts(folder: Path) -> None:
    """Raises FileNotFoundError for a missing part of the checkpoint, and ValueError for weights that are cut short."""
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


def configuration_of(path: str, revision: str | None) -> Configuration:
    """Returns the configuration of DiT, VAE and text encoders, by part.

    The pinned 13B model's configuration ships with the package and needs no download. Raises FileNotFoundError if the
    folder of another model is missing.
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
    """Returns one hash over every weight, configuration and tokenizer file in `folder`, by name and content."""
    return sha256_of_folder(folder)


@cache
def dit_sha256(path: str, revision: str | None) -> str:
    """Returns one hash over the DiT's files, its weights and its configuration, of a folder or a hub repository.

    The files of a pinned repository are known without a download. Raises FileNotFoundError if the folder of another
    model is missing.
    """
    pinned = {} if Path(path).is_dir() else pinned_files(path, revision)
    if digests := {name: digest for name, (_, digest) in sorted(pinned.items()) if name.startswith("transformer/")}:
        return sha256_of_digests(digests)
    return sha256_of_folder(folder_of(path, revision), ("transformer",))


@dataclass(frozen=True)
class Checkpoint(Model):
    """A checkpoint in diffusers' folder format, with the device and the precision that it runs in.

    path: a folder in diffusers' format or a repository on the Hugging Face hub.
    revision: the repository's commit; None for a folder.
    dtype: dtype of the DiT's weights and forward passes, and the default for VAE and text encoders. The latent itself
        is always float32.
    device: "cpu", "cuda", "cuda:1", or "auto" for a GPU if there is one.
    execution: memory, kernels and compilation of the DiT.
    min_gpu_gib: total memory that the GPU must have, in GiB; None checks nothing. It is no part of a sample's key.
    vae_dtype, text_dtype: dtypes of the VAE and of the text encoders; None for `dtype`. (HunyuanVideo's own code and
        the paper's code run both in float16 and the DiT in bfloat16.)
    """

    path: str
    revision: str | None = None
    dtype: str = "bfloat16"
    device: str = "auto"
    execution: Execution = Execution()
    min_gpu_gib: float | int | None = field(default=None, compare=False)
    vae_dtype: str | None = None
    text_dtype: str | None = None

    def __post_init__(self) -> None:
        for name in ("vae_dtype", "text_dtype"):  # models that compute the same must compare equal
            if getattr(self, name) == self.dtype:
                object.__setattr__(self, name, None)

    @property
    def place(self) -> str:
        return self.path

    @property
    def summary(self) -> str:
        dtypes = f"{self.dtype}; VAE {self.vae_dtype or self.dtype}, text {self.text_dtype or self.dtype}"
        return f"{self.path} ({dtypes}) on {self.device}"

    @property
    def gpu_gib(self) -> float | int | None:
        return self.min_gpu_gib

    @property
    def compiles(self) -> bool:
        return self.execution.compile is not None

    @property
    def device_type(self) -> str:
        """Returns the device's type, such as "cpu" or "cuda", with "auto" resolved."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device.split(":")[0]

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device_type if self.device == "auto" else self.device)

    def torch_dtype(self, part: str = "") -> torch.dtype:
        """Returns the dtype of the DiT, or of the part "vae" or "text"."""
        return getattr(torch, (getattr(self, f"{part}_dtype") if part else None) or self.dtype)

    def check_settings(self) -> None:
        """Raises ValueError for a dtype, device or execution that no machine has, and for a GPU profile on a CPU."""
        for name in ("dtype", "vae_dtype", "text_dtype"):
            value = getattr(self, name)
            if value not in DTYPES and (value is not None or name == "dtype"):
                raise ValueError(f"{name} must be float32, bfloat16 or float16, got {value!r}")
        if self.device_type not in ("cpu", "cuda"):
            raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:N", got {self.device!r}')
        self.execution.check_settings()
        if self.min_gpu_gib is not None and self.device_type != "cuda":
            raise ValueError(
                f"this hw profile is for a GPU of {self.min_gpu_gib:g} GiB, but the model runs on {self.device_type}; "
                "leave hw out, or choose a device (model.backbone.device=cuda)"
            )

    def check_machine(self) -> None:
        """Raises ValueError as `check_settings` does, and if this machine lacks the device, kernel or memory."""
        self.check_settings()
        if self.device_type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"the model's device (model.backbone.device) is {self.device!r}, but PyTorch finds no GPU here; run it "
                "on a machine with one, or choose cpu or auto (--dry-run shows the expected cost)"
            )
        self.execution.check(self.torch_device, self.torch_dtype())
        if self.min_gpu_gib is None:
            return
        there = torch.cuda.get_device_properties(self.torch_device).total_memory / 2**30
        if there < self.min_gpu_gib:
            raise ValueError(
                f"this hw profile needs a GPU of {self.min_gpu_gib:g} GiB, {self.torch_device} has {there:.1f}; "
                "choose a smaller profile"
            )

    def folder(self) -> Path:
        """Returns the checkpoint's folder and never downloads. Raises FileNotFoundError if it is missing."""
        return folder_of(self.path, self.revision)

    def missing(self) -> list[Asset]:
        """Returns missing files of the hub repository; empty for a folder, or for a repository without a manifest."""
        if Path(self.path).is_dir():
            return []
        from vgdfr.hub import missing_of_hub

        return missing_of_hub(self.path, self.revision)

    def configuration(self) -> Configuration:
        """Returns the configuration by part, without weights. Raises FileNotFoundError as `configuration_of` does."""
        return configuration_of(self.path, self.revision)
