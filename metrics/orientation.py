"""Reads how a container wants its frames to be shown: turned, mirrored or transparent."""

from dataclasses import dataclass
from functools import cache

import av
import numpy as np
from av.sidedata.sidedata import Type
from jaxtyping import UInt8


def _unknown_kind(cls: type[Type], value: object) -> Type:
    """Returns a member of `Type` for a kind of side data that FFmpeg knows and PyAV does not know, such as EXIF.

    Without such a member PyAV raises ValueError and returns none of the frame's side data.
    """
    kind = object.__new__(cls)
    kind._name_, kind._value_ = f"UNKNOWN_{value}", value
    return kind


Type._missing_ = classmethod(_unknown_kind)  # type: ignore[assignment]  # Enum's hook for unknown values

ONE = 1 << 16  # the number 1 in the fixed-point format of a display matrix
ROUNDING = 2  # units by which rounded sines and cosines may differ from 0 and 1


@dataclass(frozen=True, slots=True)
class Orientation:
    """A turn by a multiple of 90 degrees, mirrored or not. Axes are swapped first, and then reversed."""

    swap: bool = False
    reverse_rows: bool = False
    reverse_columns: bool = False

    def shown(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """Returns the frame as a player shows it, in contiguous memory."""
        turned = frame.swapaxes(0, 1) if self.swap else frame
        turned = turned[:: -1 if self.reverse_rows else 1, :: -1 if self.reverse_columns else 1]
        return np.ascontiguousarray(turned)


def orientation(frame: av.VideoFrame) -> Orientation:
    """Returns the orientation in the frame's display matrix, which comes from the container or the codec.

    Raises ValueError for any other matrix, such as a turn by 45 degrees. Translations are ignored, as in players,
    because nothing surrounds the picture.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    # x' = a x + c y and y' = b x + d y, with y downwards; u and v add perspective
    a, b, u, c, d, v, _, _, _ = np.frombuffer(bytes(matrix), np.int32, 9).tolist()
    for swap, (x, y), zeros in ((False, (a, d), (b, c, u, v)), (True, (c, b), (a, d, u, v))):
        if all(abs(abs(n) - ONE) <= ROUNDING for n in (x, y)) and all(abs(n) <= ROUNDING for n in zeros):
            return Orientation(swap, reverse_rows=y < 0, reverse_columns=x < 0)
    raise ValueError(
        f"asks for its frames to be shown by the matrix {np.round(np.divide([[a, c], [b, d]], ONE), 4).tolist()}, "
        "which is no turn by a multiple of 90 degrees; apply it first, by encoding the video again"
    )


@cache
def has_alpha(pixel_format: str) -> bool:
    """Returns whether pixels of this format can be transparent. The colours of a palette can be."""
    form = av.VideoFormat(pixel_format)
    return form.has_palette or any(component.is_alpha for component in form.components)


def require_opaque(frame: av.VideoFrame, number: int) -> None:
    """Raises ValueError if any pixel of a frame with an alpha channel is transparent. `number` is the frame's index."""
    alpha = frame.to_ndarray(format="rgba")[..., 3]
    if alpha.min() < 255:
        raise ValueError(f"has transparency (frame {number}, alpha {alpha.min()}): flatten it onto a background first")
