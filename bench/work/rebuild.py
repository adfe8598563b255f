"""Drops files of scored samples, and makes a dropped master again from the sample's latents."""

import shlex
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from safetensors.torch import load_file

from bench.plan.condition import Condition
from bench.plan.job import Keep
from bench.store.place import LATENTS, MASTER, Place
from bench.store.record import Record
from bench.store.study import Store, is_full
from bench.work.files import Latents, files_of
from bench.work.models import codec_of, free_memory
from bench.work.outcome import Explained
from bench.work.progress import say
from bench.work.records import method_of_record, schedule_of_record, sha256_of_frames
from metrics.video_file import VideoFile, read
from vgdfr import BrokenVideo, GeneratedVideo, HunyuanVideo, Model, VideoSpec, frames_of
from vgdfr.backbones import base
from vgdfr.files import sha256

# record, scores and preview always stay
NOT_KEPT: dict[Keep, tuple[str, ...]] = {"all": (), "latents": (MASTER,), "scores": (MASTER, LATENTS)}
# Frames that a device without bit stability makes again may differ by so many levels of 255.
TOLERATED_LEVELS = 8
PIXEL_STRIDE = 16


class Gone(Explained, ValueError):
    """A sample's frames can neither be read nor made again. The message says why, and what to do."""


def lacking(record: Record, keep: Keep) -> set[str]:
    """Returns the dropped files that `keep` would have kept."""
    return set(record.dropped) - set(NOT_KEPT[keep])


def stored_video(place: Place, digest: str, condition: Condition | None = None) -> VideoFile:
    """Returns the video of the sample at `place`: its master, or the frames made again from its latents.

    `digest` is the master's sha256 in the record, or "" if there is none. Raises Gone if the master was dropped and
    cannot be made again. Raises ValueError for a file with another sha256, because a file with a flipped bit may decode
    without an error.
    """
    file = place.file(MASTER)
    if not file.is_file():
        record = Store(place.study).recorded(place)
        if record is not None and MASTER in record.dropped:
            frames, difference = rebuilt(place, record, condition)
            frames.flags.writeable = False
            return VideoFile(frames, float(record.identity["spec"]["fps"]), lossless=True, difference=difference)
    if digest and sha256(file) != digest:
        raise ValueError(f"{file} is not what was written; move it away: python -m bench.store verify {place.study}")
    return read(file)


def has_frames(record: Record) -> bool:
    """Whether the sample still has its master, or the latents to make the master from."""
    return MASTER in record.files or LATENTS in record.files


def drop(store: Store, place: Place, record: Record, keep: Keep, condition: Condition | None = None) -> Record:
    """Removes the files that `keep` does not keep. The caller ensures that no sample needs them any more.

    With "latents" the master is removed only after its latents gave its frames again on this machine. A master without
    latents stays, and so does a master that its latents do not give. Returns the sample's record afterwards.
    """
    if keep == "latents" and LATENTS not in record.files:
        return record
    if keep == "latents" and MASTER in record.files:
        try:
            difference = _decoded(place, record, condition, read(place.file(MASTER)).frames).difference
        except ValueError as error:  # Gone, or damaged files
            say(f"{place}: the master stays, because {error}")
            return record
        if difference:
            record = replace(record, restored_difference=difference)
    return store.drop(place, record, NOT_KEPT[keep])


def is_bit_stable(record: Record) -> bool:
    """Whether the sample was made on a kind of device that gives the same bits each time."""
    return record.identity["model"].get("device_type", "cpu") == "cpu"


def latents_file(record: Record, video: GeneratedVideo) -> Latents | None:
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


def rebuilt(place: Place, record: Record, condition: Condition | None = None) -> Rebuilt:
    """Returns the frames of the sample at `place`, made from its latents, or raises Gone.

    The frames must be those recorded. On a device without bit stability they may differ by TOLERATED_LEVELS.
    `condition` is the sample's condition today and says where model and interpolator lie. With None they are expected
    where they lay when the sample was made.
    """
    if LATENTS not in record.files:
        raise Gone(f"neither master nor latents were kept (keep=scores); {_again(record)}")
    try:
        return _decoded(place, record, condition)
    except Gone as error:
        raise Gone(f"the master was not kept, and {error}") from error


def _decoded(
    place: Place, record: Record, condition: Condition | None, master: UInt8[np.ndarray, "t h w 3"] | None = None
) -> Rebuilt:
    """Decodes the sample's latents and compares the frames with `master`, or without it with the stored pixels."""
    tensors, again = _latents(place, record), _again(record)
    codec = codec_of(_own_model(record, condition))
    try:
        method = condition.method if condition else method_of_record(record)
        spec = VideoSpec(**record.identity["spec"])
        frames = frames_of(codec, tensors["latents"], method, schedule_of_record(record), spec)
    except (OSError, RuntimeError, BrokenVideo) as error:  # an interpolator that moved, no memory left
        free_memory()
        raise Gone(f"its latents cannot be decoded here: {type(error).__name__}: {error}; {again}") from error
    if sha256_of_frames(frames) == record.frames_sha256:
        return Rebuilt(frames, 0)
    why = "what its latents decode to here is not what was recorded"
    if is_bit_stable(record) or (master is None and "pixels" not in tensors):
        raise Gone(other_here(place, record, why))
    if master is not None:
        difference = difference_of(frames, master)
    else:
        difference = difference_of(_some_pixels(frames), tensors["pixels"].numpy())
    if difference > TOLERATED_LEVELS:
        raise Gone(other_here(place, record, f"{why}: it differs by {difference} levels of 255"))
    return Rebuilt(frames, max(difference, 1))  # bits differ: if the compared pixels do not, others do


def _own_model(record: Record, condition: Condition | None) -> Model:
    """Returns the sample's model, which may now lie elsewhere. Raises Gone if it is missing or another model."""
    again = _again(record)
    try:
        model = condition.model if condition else model_of(record)
        model.check()
        mine = base.identity_of(model)
    except (OSError, ValueError) as error:
        raise Gone(f"the model to decode its latents with is not to be had: {error}; {again}") from error
    theirs = record.identity["model"]
    if mine != theirs:
        other = ", ".join(name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name))
        raise Gone(f"the model at {model.place} is not its own ({other} differ); {again}")
    return model


def other_here(place: Place, record: Record, why: str) -> str:
    """Returns the message for a sample that this machine makes with other frames."""
    machine = record.environment.get("gpu") or record.environment.get("cpu")
    return (
        f"{why} (made on {machine}, {record.environment.get('threads')} threads); "
        f"go on there, or remove {place.folder} to have the sample made anew here"
    )


def restored(store: Store, place: Place, record: Record, condition: Condition) -> Record:
    """Stores the sample's dropped master again, made from its latents, or raises Gone. Returns the new record."""
    frames, difference = rebuilt(place, record, condition)
    if difference:
        record = replace(record, frames_sha256=sha256_of_frames(frames), restored_difference=difference)
    return store.restore(place, record, files_of(frames, record.identity["spec"]["fps"], preview=False))


def put_back(store: Store, place: Place, record: Record, video: GeneratedVideo, fps: int) -> Record:
    """Adds the dropped files of a sample that was made again. Record and scores stay. Returns the new record.

    Raises Gone if the new files differ from the dropped files, or cannot be written. The stored sample then stays for
    the machine that made it.
    """
    try:
        digest = sha256_of_frames(video.frames)
        if digest != record.frames_sha256:
            raise ValueError(f"its frames are not those recorded: sha256 {digest[:12]}, {record.frames_sha256}")
        write = files_of(video.frames, fps, latents_file(record, video), preview=False)
        return store.restore(place, record, write)
    except ValueError as error:
        raise Gone(other_here(place, record, f"the master was not kept, and {error}")) from error
    except Exception as error:
        if is_full(error):
            raise
        why = f"the master was not kept and cannot be put back: {type(error).__name__}: {error}"
        raise Gone(why) from error


def _latents(place: Place, record: Record) -> Latents:
    file = place.file(LATENTS)
    if not file.is_file() or sha256(file) != record.files[LATENTS]:
        raise ValueError(
            f"{file} is not what was written; move the sample away: python -m bench.store verify {place.study}"
        )
    return load_file(file)


def _again(record: Record) -> str:
    """Returns advice that names the command of the sweep that made the sample, with keep=all."""
    command = record.environment.get("command")
    if command is None:
        return "make the master again: the study's own sweep with keep=all"
    parts = [*(part for part in shlex.split(command) if not part.startswith("keep=")), "keep=all"]
    return f"make the master again: {shlex.join(parts)}"
