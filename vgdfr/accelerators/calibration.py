"""Calibrations: measured data that a feature cache needs and that holds for one model's weights (docs/calibration.md).

The folder `data` holds the calibrations that ship with the package. `python -m bench.calibrate` writes others.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from vgdfr.accelerator import HasWeights
from vgdfr.video import VideoSpec
from vgdfr_commands.atomic import atomic_file
from vgdfr_commands.start import called

SHIPPED = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Calibration:
    """The data of one accelerator for one model.

    accelerator: the name of the accelerator's choice on the command line, "teacache" or "magcache".
    weights: the name of the DiT's weights, as `Model.dit_weights` gives it. dtype and device are no part of it.
    values: TeaCache's coefficients, highest power first; MagCache's ratios, one per step.
    num_inference_steps, flow_shift: the settings of the trajectories that were measured.
    origin: facts for readers: the model's place, prompts, date, code version, or the publication. They decide nothing.
    """

    accelerator: str
    weights: str
    values: tuple[float, ...]
    num_inference_steps: int
    flow_shift: float
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)


def calibration_for(accelerator: str, file: str | None, model: HasWeights | None) -> Calibration:
    """Returns the calibration in `file`, or the shipped calibration of the model if `file` is None.

    Raises FileNotFoundError if `file` is missing. Raises ValueError for a damaged file, for a calibration of another
    accelerator or of other weights, for a model without a shipped calibration, and if the model is not known. Loads no
    model.
    """
    make = f"make one: {' '.join(called('bench.calibrate'))} accelerator={accelerator} model=..."
    if model is None:
        raise ValueError(
            f"the calibration of {accelerator} belongs to a model's weights, and the backbone does not tell its model; "
            "set `backbone.model = self` in the model's `load`, or give the accelerator the values of the calibration"
        )
    if file is None:
        for found in shipped():
            if (found.accelerator, found.weights) == (accelerator, model.dit_weights()):
                return found
        raise ValueError(f"no calibration of {accelerator} ships for the weights of {model.place}; {make}, and name "
                         "its file: accelerator.calibration=FILE")  # fmt: skip
    found = read(Path(file))
    if found.accelerator != accelerator:
        raise ValueError(f"{file} must be a calibration of {accelerator}, got one of {found.accelerator}; {make}")
    if found.weights != (weights := model.dit_weights()):
        raise ValueError(
            f"{file} is a calibration of other weights: expected those of {model.place} ({weights}), got "
            f"{found.weights}; {make}"
        )
    return found


def check_shift(calibration: Calibration, spec: VideoSpec) -> None:
    """Raises ValueError if `spec` has another flow shift, and hence other noise levels, than the calibration."""
    if calibration.flow_shift != spec.flow_shift:
        raise ValueError(
            f"the calibration of {calibration.accelerator} was measured with flow_shift {calibration.flow_shift:g}, "
            f"got {spec.flow_shift:g}; make another one: {' '.join(called('bench.calibrate'))} "
            f"accelerator={calibration.accelerator} model.video.flow_shift={spec.flow_shift:g}"
        )


@cache
def shipped() -> tuple[Calibration, ...]:
    """Returns the calibrations that ship with the package."""
    return tuple(read(file) for file in sorted(SHIPPED.glob("*.json")))


def read(file: Path) -> Calibration:
    """Returns the calibration in `file`. Raises FileNotFoundError if it is missing, and ValueError if it is damaged."""
    if not file.is_file():
        raise FileNotFoundError(f"accelerator.calibration must be a file that bench.calibrate wrote, got {file}, which "
                                "is no file")  # fmt: skip
    try:
        entries: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no calibration: {error}") from None
    names = {f.name for f in fields(Calibration)}
    if not isinstance(entries, dict) or set(entries) != names:
        raise ValueError(f"{file} is no calibration: expected the entries {', '.join(sorted(names))}")
    values = entries["values"]
    if not are_numbers(values):
        raise ValueError(f"{file} is no calibration: its values must be a list of finite numbers, got {values!r}")
    for name, kind in (("num_inference_steps", int), ("accelerator", str), ("weights", str), ("origin", dict)):
        if type(entries[name]) is not kind:
            raise ValueError(f"{file} is no calibration: {name} must be {kind.__name__}, got {entries[name]!r}")
    if not is_number(entries["flow_shift"]):
        raise ValueError(f"{file} is no calibration: flow_shift must be a number, got {entries['flow_shift']!r}")
    if entries["accelerator"] == "magcache" and len(values) != entries["num_inference_steps"]:
        raise ValueError(
            f"{file} is no calibration: expected a ratio for each of its {entries['num_inference_steps']} steps, got "
            f"{len(values)}"
        )
    return Calibration(**{**entries, "values": tuple(map(float, values))})


def word_of(values: Sequence[float]) -> list[str]:
    """Returns the word for a file name that tells values apart: a hash, or no word for values that ship."""
    if any(found.values == tuple(values) for found in shipped()):
        return []
    return [f"calibration={hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:8]}"]


def write(calibration: Calibration, file: Path) -> None:
    """Writes the calibration, whole or not at all."""
    with atomic_file(file) as partial:
        partial.write_text(json.dumps(asdict(calibration), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def are_numbers(values: Any) -> bool:
    """Returns whether `values` is a sequence of at least one finite number."""
    return isinstance(values, list | tuple) and len(values) > 0 and all(is_number(value) for value in values)


def is_number(value: Any) -> bool:
    """Returns whether `value` is a finite number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
