"""What stays of a scored sample, and how a master that did not stay is made again from its latents."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import UInt8
from safetensors.torch import load_file
from torch import Tensor

from bench.condition import Condition
from bench.models import codec_of, free_memory
from bench.progress import say
from bench.record import Record, sha256_of_frames
from bench.store import LATENTS, MASTER, Store
from metrics.video_file import read
from vgdfr import BrokenVideo, GeneratedVideo, HunyuanVideo, RopeProxy, frames_of
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_vae import Tiling
from vgdfr.files import sha256

Keep = Literal["all", "latents", "scores"]
# record, scores and preview always stay
NOT_KEPT: dict[Keep, tuple[str, ...]] = {"all": (), "latents": (MASTER,), "scores": (MASTER, LATENTS)}
# Frames made again on a device that is not bit-stable may differ by as much, in levels of 255.
TOLERATED_LEVELS = 8
PIXEL_STRIDE = 16


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


def drop(store: Store, place: str, record: Record, keep: Keep, condition: Condition | None = None) -> Record:
    """Remove what `keep` does not keep; the caller knows that nobody needs it any more.

    With "latents" a master goes only after its latents have given its frames back here; a master that has no latents,
    or other ones than it came from, stays.
    """
    if keep == "latents" and LATENTS not in record.files:
        return record
    if keep == "latents" and MASTER in record.files:
        folder = store.folder / place
        try:
            difference = _decoded(folder, record, condition, read(folder / MASTER).frames).difference
        except ValueError as error:  # Gone, or damaged files
            say(f"{place}: the master stays, because {error}")
            return record
        if difference:
            record = replace(record, restored_difference=difference)
    return store.drop(place, record, NOT_KEPT[keep])


def is_bit_stable(record: Record) -> bool:
    """Whether the kind of device that the sample was made on gives the same bits again."""
    return record.identity["model"].get("device_type", "cpu") == "cpu"


def latents_file(record: Record, video: GeneratedVideo) -> dict[str, Tensor] | None:
    """The tensors of a sample's LATENTS file: its final latents, and some pixels where bits may not come back.

    With every 16th pixel of each frame, frames that were made again can be compared with those that are gone.
    """
    if video.latents is None:
        return None
    pixels = {} if is_bit_stable(record) else {"pixels": torch.from_numpy(_some_pixels(video.frames))}
    return {"latents": video.latents.contiguous()} | pixels


def difference_of(frames: UInt8[np.ndarray, "t h w 3"], others: UInt8[np.ndarray, "t h w 3"]) -> int:
    """The largest difference between two videos of one shape, in levels of 255."""
    return int(np.abs(frames.astype(np.int16) - others).max())


def _some_pixels(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h2 w2 3"]:
    return np.ascontiguousarray(frames[:, ::PIXEL_STRIDE, ::PIXEL_STRIDE])


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


class Rebuilt(NamedTuple):
    """Frames made again from latents, and by how many levels of 255 they differ from those recorded; 0 if in no bit."""

    frames: UInt8[np.ndarray, "t h w 3"]
    difference: int


def rebuilt(folder: Path, record: Record, condition: Condition | None = None) -> Rebuilt:
    """The frames of the sample in `folder`, from its latents; Gone where those recorded do not come back.

    A device that is not bit-stable may give others, up to TOLERATED_LEVELS away. `condition` is the sample's own, as it
    is now, which knows where model and interpolator lie; None for where they lay when the sample was made.
    """
    if LATENTS not in record.files:
        raise Gone(f"neither master nor latents were kept (keep=scores); {_again(record)}")
    try:
        return _decoded(folder, record, condition)
    except Gone as error:
        raise Gone(f"the master was not kept, and {error}") from error


def _decoded(
    folder: Path, record: Record, condition: Condition | None, master: UInt8[np.ndarray, "t h w 3"] | None = None
) -> Rebuilt:
    """The frames that the sample's latents give, compared with its `master`, or with some pixels where that is gone."""
    tensors, again = _latents(folder, record), _again(record)
    try:
        model = condition.model if condition else model_of(record)
        model.check()
        mine = model.identity()
    except (OSError, ValueError) as error:
        raise Gone(f"the model to decode its latents with is not to be had: {error}; {again}") from error
    if mine != record.identity["model"]:
        theirs = record.identity["model"]
        other = ", ".join(name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name))
        raise Gone(f"the model at {model.path} is not its own ({other} differ); {again}")
    codec = codec_of(model)
    try:
        method = condition.method if condition else record.method_used()
        assert not isinstance(method, RopeProxy)  # which has no video
        frames = frames_of(codec, tensors["latents"], method, record.schedule_used())
    except (OSError, RuntimeError, BrokenVideo) as error:  # an interpolator that moved, no memory left
        free_memory()
        raise Gone(f"its latents cannot be decoded here: {type(error).__name__}: {error}; {again}") from error
    if sha256_of_frames(frames) == record.frames_sha256:
        return Rebuilt(frames, 0)
    what = "what its latents decode to here is not what was recorded"
    if is_bit_stable(record) or (master is None and "pixels" not in tensors):
        raise Gone(other_here(folder, record, what))
    if master is not None:
        difference = difference_of(frames, master)
    else:
        difference = difference_of(_some_pixels(frames), tensors["pixels"].numpy())
    if difference > TOLERATED_LEVELS:
        raise Gone(other_here(folder, record, f"{what}: it differs by {difference} levels of 255"))
    return Rebuilt(frames, max(difference, 1))  # in pixels that were not kept, if in none of those


def other_here(folder: Path, record: Record, why: str) -> str:
    """What to do where the sample in `folder` comes out as another one here."""
    machine = record.environment.get("gpu") or record.environment.get("cpu")
    return (
        f"{why} (made on {machine}, {record.environment.get('threads')} threads); "
        f"go on there, or remove {folder} to have the sample made anew here"
    )


def restored(store: Store, place: str, record: Record, condition: Condition) -> Record:
    """Put the master back that the sample was scored on, from its latents. Raises Gone where that cannot be."""
    again = rebuilt(store.folder / place, record, condition)
    return store.restore(place, record, again.frames, record.identity["spec"]["fps"], difference=again.difference)


def _latents(folder: Path, record: Record) -> dict[str, Tensor]:
    file = folder / LATENTS
    if not file.is_file() or sha256(file) != record.files[LATENTS]:
        raise ValueError(
            f"{file} is not what was written; move the sample away: python -m bench.store verify {folder.parents[1]}"
        )
    return load_file(file)


def _again(record: Record) -> str:
    """The sweep that made the sample, told to keep everything."""
    command = record.environment.get("command")
    if command is None:
        return "make the master again: the study's own sweep with keep=all"
    parts = [*(part for part in shlex.split(command) if not part.startswith("keep=")), "keep=all"]
    return f"make the master again: {shlex.join(parts)}"
