"""How a container asks for its frames to be shown: turned, mirrored, with transparency."""

from dataclasses import dataclass
from functools import cache

import av
import numpy as np
from av.sidedata.sidedata import Type
from jaxtyping import UInt8


def _unknown_kind(cls: type[Type], value: object) -> Type:
    """A member for a kind of side data that FFmpeg has and PyAV does not know, such as EXIF.

    Without it PyAV raises ValueError and gives none of a frame's side data.
    """
    kind = object.__new__(cls)
    kind._name_, kind._value_ = f"UNKNOWN_{value}", value
    return kind


Type._missing_ = classmethod(_unknown_kind)  # type: ignore[assignment]  # the hook that Enum has for this

ONE = 1 << 16  # of a display matrix's fixed-point numbers
ROUNDING = 2  # units by which a writer's sines and cosines may miss 0 and 1


@dataclass(frozen=True, slots=True)
class Orientation:
    """A turn by a multiple of 90 degrees, mirrored or not: rows and columns are swapped, then either is reversed."""

    swap: bool = False
    reverse_rows: bool = False
    reverse_columns: bool = False

    def shown(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """The frame as a player shows it."""
        turned = frame.swapaxes(0, 1) if self.swap else frame
        turned = turned[:: -1 if self.reverse_rows else 1, :: -1 if self.reverse_columns else 1]
        return np.ascontiguousarray(turned)


def orientation(frame: av.VideoFrame) -> Orientation:
    """What the frame's display matrix asks for, which comes from the container or the codec.

    Raises ValueError for a matrix that does anything else, such as a turn by 45 degrees. Where the matrix moves the
    picture is ignored, as players do: there is nothing beside the picture.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    # x' = a x + c y and y' = b x + d y, with y downwards; u and v make a perspective of it
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
    """Whether pixels of this format can be transparent; a palette's colours can."""
    form = av.VideoFormat(pixel_format)
    return form.has_palette or any(component.is_alpha for component in form.components)


def require_opaque(frame: av.VideoFrame, number: int) -> None:
    """Raise ValueError for a frame, of a format with alpha, that is transparent anywhere."""
    alpha = frame.to_ndarray(format="rgba")[..., 3]
    if alpha.min() < 255:
        raise ValueError(f"has transparency (frame {number}, alpha {alpha.min()}): flatten it onto a background first")
