"""The file of `bench.divergence`: for each sample the distance to the baseline, step by step."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vgdfr_commands.atomic import atomic_file

KIND = "divergence over steps"


@dataclass(frozen=True)
class Curve:
    """The distance of one sample's clean estimates from a reference.

    steps: steps of the baseline, counted from 1.
    sigmas: the noise level at which the sample's own step begins.
    psnr: in dB, over all frames of the two estimates as 8-bit pixels. It is infinite for equal pixels.
    latent_frames: the number of latent frames in each of the sample's own steps, also in steps without a PSNR.
    """

    steps: tuple[int, ...]
    sigmas: tuple[float, ...]
    psnr: tuple[float, ...]
    latent_frames: tuple[int, ...]


@dataclass(frozen=True)
class Compared:
    """A condition: its name for files, and its family and settings for people, as records hold them."""

    slug: str
    family: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """The curves of one prompt and seed.

    baseline: the distance of the baseline's estimates from its final video.
    curves: for each condition, by its slug, the distance from the baseline's estimates.
    """

    prompt: str
    seed: int
    text: str
    baseline: Curve
    curves: dict[str, Curve]


@dataclass(frozen=True)
class Divergence:
    """A whole measurement. `origin` says where it is from, and `num_steps` are the baseline's steps."""

    origin: dict[str, Any]
    num_steps: int
    conditions: tuple[Compared, ...]
    samples: tuple[Sample, ...]


def write(measured: Divergence, file: Path) -> None:
    """Writes the file, whole or not at all. An infinite PSNR becomes the text "inf"."""
    content: dict[str, Any] = {"kind": KIND, **asdict(measured)}
    for sample in content["samples"]:
        for curve in (sample["baseline"], *sample["curves"].values()):
            curve["psnr"] = [value if math.isfinite(value) else str(value) for value in curve["psnr"]]
    with atomic_file(file) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read(file: Path) -> Divergence:
    """Returns the measurement in `file`. Raises FileNotFoundError if it is missing, and ValueError if it is none."""
    if file.is_dir():
        raise IsADirectoryError(
            f"{file} is a folder; name a file that python -m bench.divergence --output=FILE.json wrote"
        )
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}; python -m bench.divergence --output=FILE.json writes one")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("kind") != KIND:
            raise ValueError("it is of another kind")
        conditions = tuple(Compared(**each | {"settings": tuple(each["settings"])}) for each in content["conditions"])
        samples = tuple(_sample(each) for each in content["samples"])
        return Divergence(**content | {"conditions": conditions, "samples": samples})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file} must be a file that python -m bench.divergence wrote, and this file cannot be read as one "
            f"({type(error).__name__}: {error})"
        ) from None


def _sample(entries: dict[str, Any]) -> Sample:
    curves = {slug: _curve(each) for slug, each in entries["curves"].items()}
    return Sample(**entries | {"baseline": _curve(entries["baseline"]), "curves": curves})


def _curve(entries: dict[str, Any]) -> Curve:
    psnr = tuple(float(value) for value in entries["psnr"])
    return Curve(tuple(entries["steps"]), tuple(entries["sigmas"]), psnr, tuple(entries["latent_frames"]))
