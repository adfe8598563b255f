"""What stays of a scored sample, and how a master that did not stay is made again from its latents."""

import shlex
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, UInt8
from safetensors.torch import load_file
from torch import Tensor

from bench.condition import Condition
from bench.models import codec_of, free_memory
from bench.record import Record, sha256_of_frames
from bench.store import LATENTS, MASTER, Store
from vgdfr import BrokenVideo, HunyuanVideo, RopeProxy, frames_of
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_vae import Tiling
from vgdfr.files import sha256

Keep = Literal["all", "latents", "scores"]
# record, scores and preview always stay
NOT_KEPT: dict[Keep, tuple[str, ...]] = {"all": (), "latents": (MASTER,), "scores": (MASTER, LATENTS)}


class Gone(ValueError):
    """A sample's frames can neither be read nor made again; the message says why, and what to do."""


def check(keep: str) -> Keep:
    """`keep`, if it is one. Raises ValueError."""
    if keep not in get_args(Keep):
        raise ValueError(f"keep must be one of {', '.join(get_args(Keep))}, got {keep!r}")
    return keep  # type: ignore[return-value]


def lacking(record: Record, keep: Keep) -> set[str]:
    """Files that were dropped and that `keep` would have kept."""
    return set(record.dropped) - set(NOT_KEPT[keep])


def has_frames(record: Record) -> bool:
    """Whether the sample's frames are there, or latents to make them of."""
    return MASTER in record.files or LATENTS in record.files


def drop(store: Store, place: str, record: Record, keep: Keep) -> Record:
    """Remove what `keep` does not keep; the caller knows that nobody needs it any more.

    With "latents", the master of a sample that was stored without its latents stays.
    """
    if keep == "latents" and LATENTS not in record.files:
        return record
    return store.drop(place, record, NOT_KEPT[keep])


def model_of(record: Record) -> HunyuanVideo:
    """The model that the sample was made with, where it was loaded from then."""
    identity = record.identity["model"]
    return HunyuanVideo(
        **record.checkpoint,
        dtype=identity["dtype"],
        vae_dtype=identity.get("vae_dtype"),
        text_dtype=identity.get("text_dtype"),
        tiling=Tiling(**identity["tiling"]),
        execution=Execution(**identity["execution"]),
    )


def rebuilt(folder: Path, record: Record, condition: Condition | None = None) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of the sample in `folder`, from its latents, equal to those recorded; Gone where that cannot be.

    `condition` is the sample's own, as it is now, which knows where model and interpolator lie; None for where they lay
    when the sample was made.
    """
    again = f"make the master again: {_command(record)}"
    if LATENTS not in record.files:
        raise Gone(f"neither master nor latents were kept (keep=scores); {again}")
    latents = _latents(folder, record)
    try:
        model = condition.model if condition else model_of(record)
        model.check()
        mine = model.identity()
    except (OSError, ValueError) as error:
        raise Gone(f"the master was not kept, and the model to decode its latents with is not to be had: {error}; "
                   f"{again}") from error  # fmt: skip
    if mine != record.identity["model"]:
        theirs = record.identity["model"]
        other = ", ".join(name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name))
        raise Gone(f"the master was not kept, and the model at {model.path} is not its own ({other} differ); {again}")
    codec = codec_of(model)
    try:
        method = condition.method if condition else record.method_used()
        assert not isinstance(method, RopeProxy)  # which has no video
        frames = frames_of(codec, latents, method, record.schedule_used())
    except (OSError, RuntimeError, BrokenVideo) as error:  # an interpolator that moved, no memory left
        free_memory()
        raise Gone(f"the master was not kept, and its latents cannot be decoded here: {type(error).__name__}: {error}; "
                   f"{again}") from error  # fmt: skip
    if sha256_of_frames(frames) != record.frames_sha256:
        raise Gone(other_here(folder, record, "what its latents decode to here is not what was recorded"))
    return frames


def other_here(folder: Path, record: Record, why: str) -> str:
    """What to do where the sample in `folder` comes out as another one here."""
    machine = record.environment.get("gpu") or record.environment.get("cpu")
    return (
        f"the master was not kept, and {why} (made on {machine}, {record.environment.get('threads')} threads); "
        f"go on there, or remove {folder} to have the sample made anew here"
    )


def restored(store: Store, place: str, record: Record, condition: Condition) -> Record:
    """Put the master back that the sample was scored on, from its latents. Raises Gone where that cannot be."""
    frames = rebuilt(store.folder / place, record, condition)
    return store.restore(place, record, frames, record.identity["spec"]["fps"])


def _latents(folder: Path, record: Record) -> Float[Tensor, "1 c n h w"]:
    file = folder / LATENTS
    if not file.is_file() or sha256(file) != record.files[LATENTS]:
        raise ValueError(
            f"{file} is not what was written; move the sample away: python -m bench.store verify {folder.parents[1]}"
        )
    return load_file(file)["latents"]


def _command(record: Record) -> str:
    """The sweep that made the sample, told to keep everything."""
    command = record.environment.get("command")
    if command is None:
        return "the study's own sweep with keep=all"
    return shlex.join([*(part for part in shlex.split(command) if not part.startswith("keep=")), "keep=all"])
