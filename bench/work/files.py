"""Writes the files of a sample: master, preview and latents."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from safetensors.torch import save_file
from torch import Tensor

from bench.store.place import LATENTS, MASTER, PREVIEW
from bench.store.study import Write
from vgdfr.video import VideoSpec
from vgdfr.video_file import write_master, write_preview

Latents = dict[str, Tensor]  # the tensors of the file LATENTS by name


def files_of(
    frames: UInt8[np.ndarray, "t h w 3"] | None, fps: int, latents: Latents | None = None, preview: bool = True
) -> Write:
    """Returns a function that writes a sample's files into a folder, for `Store.put` and `Store.restore`.

    A sample without `frames` has no master and no preview, and a sample without `latents` has no file of latents.
    """

    def write(folder: Path) -> None:
        if frames is not None:
            write_master(folder / MASTER, frames, fps)
            if preview:
                write_preview(folder / PREVIEW, frames, fps)
        if latents is not None:
            save_file(latents, folder / LATENTS)

    return write


def largest_bytes(spec: VideoSpec, latents_bytes: int) -> int:
    """Returns the bytes of an uncompressed master and of the latents, which no sample's files exceed."""
    return spec.num_frames * spec.height * spec.width * 3 + latents_bytes
