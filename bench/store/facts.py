"""Reads a method's facts from a record: title, role, family, settings. Readers must not look at the method's name.

Older records of schema 1 lack these facts. One table here supplies them. Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["reference", "method", "ablation", "diagnostic"]


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts by which tables and figures show a condition.

    title: the method's name for people, such as "VGDFR".
    role: all others are compared with a "reference". A "method" competes for the best value of a column. An "ablation"
        and a "diagnostic" are shown and do not compete.
    family: the trade-off figure joins conditions of one family by a line.
    settings: the settings that differ from their defaults, written as in the slug: "k5", "theta0.7", "every=2".
    makes_video: False for a method that measures something else. Its record holds the measurements in `data`.
    """

    title: str
    role: Role
    family: str
    settings: tuple[str, ...]
    makes_video: bool


# the methods of the time before records held facts
_OLDER: dict[str, tuple[str, Role]] = {
    "baseline": ("Original", "reference"),
    "baselinererun": ("Original again", "diagnostic"),
    "fewersteps": ("Fewer steps", "method"),
    "ropeproxy": ("RoPE proxy", "diagnostic"),
    "vgdfr": ("VGDFR", "method"),
}
_OLDER_WITHOUT_VIDEO = ("ropeproxy",)


def facts_of(record: Mapping[str, Any]) -> Facts:
    """Returns the facts in `record`. An older record has no `title`, and its method decides its facts."""
    if record.get("title") is None:
        return _of_older(record)
    settings = tuple(record["settings"])
    return Facts(record["title"], record["role"], record["family"], settings, record["makes_video"])


def makes_video(record: Mapping[str, Any]) -> bool:
    """Returns `facts_of(record).makes_video`, faster: readers call this function for every sample."""
    said = record.get("makes_video")
    return record["method"]["name"] not in _OLDER_WITHOUT_VIDEO if said is None else said


def data_of(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the data of a method without a video, or None. Older records hold the data as `layer_errors`."""
    data = record.get("data")
    return record.get("layer_errors") if data is None else data


def _of_older(record: Mapping[str, Any]) -> Facts:
    method = record["method"]
    title, role = _OLDER.get(method["name"], (method["name"].upper(), "method"))
    if method.get("merge_space") == "latent" or method.get("denoise_renoise") is False:
        role = "ablation"
    family = "Uniform merging" if method.get("schedule") == "uniform" else title
    return Facts(title, role, family, tuple(record["slug"].split("-")[1:]), makes_video(record))
