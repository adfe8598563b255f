"""Drops files of scored samples, and makes a dropped master again from the sample's latents."""

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
from vgdfr import BrokenVideo, GeneratedVideo, HunyuanVideo, Model, VideoSpec, frames_of
from vgdfr.backbones import base
from vgdfr.files import sha256

Keep = Literal["all", "latents", "scores"]
# record, scores and preview always stay
NOT_KEPT: dict[Keep, tuple[str, ...]] = {"all": (), "latents": (MASTER,), "scores": (MASTER, LATENTS)}
# Frames that a device without bit stability makes again may differ by so many levels of 255.
TOLERATED_LEVELS = 8
PIXEL_STRIDE = 16


class Gone(ValueError):
    """A sample's frames can neither be read nor made again. The message says why, and what to do."""


def check(keep: str) -> Keep:
    """Returns `keep`, or raises ValueError if it is no valid choice."""
    if keep not in get_args(Keep):
        raise ValueError(f"keep must be one of {', '.join(get_args(Keep))}, got {keep!r}")
    return keep  # type: ignore[return-value]


def lacking(record: Record, keep: Keep) -> set[str]:
    """Returns the dropped files that `keep` would have kept."""
    return set(record.dropped) - set(NOT_KEPT[keep])


def has_frames(record: Record) -> bool:
    """Whether the sample still has its master, or the latents to make the master from."""
    return MASTER in record.files or LATENTS in record.files


def drop(store: Store, place: str, record: Record, keep: Keep, condition: Condition | None = None) -> Record:
    """Removes the files that `keep` does not keep. The caller ensures that no sample needs them any more.

    With "latents" the master is removed only after its latents gave its frames again on this machine. A master without
    latents stays, and so does a master that its latents do not give. Returns the sample's record afterwards.
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
    """Whether the sample was made on a kind of device that gives the same bits each time."""
    return record.identity["model"].get("device_type", "cpu") == "cpu"


def latents_file(record: Record, video: GeneratedVideo) -> dict[str, Tensor] | None:
    """Returns the tensors of a sample's LATENTS file, or None for a sample without latents.

    The file holds the final latents. On a device without bit stability it also holds every 16th pixel of every 16th row
    of each frame, to compare frames that are made again with the frames that were dropped.
    """
    if video.latents is None:
        return None
    pixels = {} if is_bit_stable(record) else {"pixels": torch.from_numpy(_some_pixels(video.frames))}
    return {"latents": video.latents.contiguous()} | pixels


def difference_of(frames: UInt8[np.ndarray, "t h w 3"], others: UInt8[np.ndarray, "t h w 3"]) -> int:
    """Returns the largest difference between two videos of one shape, in levels of 255."""
    return int(np.abs(frames.astype(np.int16) - others).max())


def _some_pixels(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h2 w2 3"]:
    return np.ascontiguousarray(frames[:, ::PIXEL_STRIDE, ::PIXEL_STRIDE])


def model_of(record: Record) -> Model:
    """Returns the model that made the sample, at the place from which it was loaded then."""
    return base.model_of(record.checkpoint, record.identity["model"], otherwise=HunyuanVideo)


class Rebuilt(NamedTuple):
    """Frames made again from latents, and their difference from the recorded frames in levels of 255 (0: same bits)."""

    frames: UInt8[np.ndarray, "t h w 3"]
    difference: int


def rebuilt(folder: Path, record: Record, condition: Condition | None = None) -> Rebuilt:
    """Returns the frames of the sample in `folder`, made from its latents, or raises Gone.

    The frames must be those recorded. On a device without bit stability they may differ by TOLERATED_LEVELS.
    `condition` is the sample's condition today and says where model and interpolator lie. With None they are expected
    where they lay when the sample was made.
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
    """Decodes the sample's latents and compares the frames with `master`, or without it with the stored pixels."""
    tensors, again = _latents(folder, record), _again(record)
    try:
        model = condition.model if condition else model_of(record)
        model.check()
        mine = base.identity_of(model)
    except (OSError, ValueError) as error:
        raise Gone(f"the model to decode its latents with is not to be had: {error}; {again}") from error
    if mine != record.identity["model"]:
        theirs = record.identity["model"]
        other = ", ".join(name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name))
        raise Gone(f"the model at {model.place} is not its own ({other} differ); {again}")
    codec = codec_of(model)
    try:
        method = condition.method if condition else record.method_used()
        spec = VideoSpec(**record.identity["spec"])
        frames = frames_of(codec, tensors["latents"], method, record.schedule_used(), spec)
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
    return Rebuilt(frames, max(difference, 1))  # bits differ: if the compared pixels do not, others do


def other_here(folder: Path, record: Record, why: str) -> str:
    """Returns the message for a sample in `folder` that this machine makes with other frames."""
    machine = record.environment.get("gpu") or record.environment.get("cpu")
    return (
        f"{why} (made on {machine}, {record.environment.get('threads')} threads); "
        f"go on there, or remove {folder} to have the sample made anew here"
    )


def restored(store: Store, place: str, record: Record, condition: Condition) -> Record:
    """Stores the sample's dropped master again, made from its latents, or raises Gone. Returns the new record."""
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
    """Returns advice that names the command of the sweep that made the sample, with keep=all."""
    command = record.environment.get("command")
    if command is None:
        return "make the master again: the study's own sweep with keep=all"
    parts = [*(part for part in shlex.split(command) if not part.startswith("keep=")), "keep=all"]
    return f"make the master again: {shlex.join(parts)}"
