"""Makes the metrics whose names end in a choice of the user: clipsim:SOURCE, clip_temp:SOURCE and pyiqa:NAME."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from metrics.base import VIDEO_QUALITY, About, Metric
from metrics.catalogue import LEARNED, NETWORK_DEVICE, QUALITY_MODEL
from metrics.formula import Formula
from metrics.installed import constants_of

_CLIP = {metric.name: metric for metric in LEARNED if metric.name in ("clipsim", "clip_temp")}
# pyiqa calls these networks no-reference, but they take more than a frame
_NOT_OF_ONE_FRAME = {
    "FID": "compares sets of images",
    "InceptionScore": "is of a set of images",
    "CLIPScore": "compares with a text, as clipsim does",
}


@dataclass(frozen=True)
class Family:
    """Metrics whose names have the form `<family>:<choice>`. `choice` says for people what may follow the colon.

    `make` returns the metric of a choice. `about` returns how it is shown, or None for an unknown choice.
    """

    choice: str
    make: Callable[[str], Metric]
    about: Callable[[str], About | None]


@cache
def pyiqa_metric(name: str) -> Metric:
    """Returns the metric `pyiqa:NAME`. Does not import pyiqa.

    Raises ValueError if pyiqa is not installed, and unless NAME is a no-reference metric of one frame.
    """
    configs = _pyiqa_configs()
    if configs is None:
        raise ValueError("pyiqa is not installed; for noncommercial use: pip install 'vgdfr[pyiqa]'")
    _require_of_one_frame(name, configs)
    version = (constants_of("pyiqa", "version.py") or {})["__version__"]
    return Metric(
        f"pyiqa:{name}", 1, "", not configs[name].get("lower_better", False), Formula("vqa", "pyiqa_score", (name,)),
        preprocessing=f"uint8-rgb-pyiqa-{version}", runs_on=NETWORK_DEVICE, range="pyiqa's",
        source="pyiqa, which downloads its own weights when it is first used; for noncommercial use only "
        "(PolyForm Noncommercial 1.0.0)",
        cannot_tell="motion, because it sees one frame at a time",
        definition=f"Returns the mean over frames of pyiqa's `{name}`.", network=QUALITY_MODEL,
    )  # fmt: skip


def about_pyiqa(name: str) -> About | None:
    """Returns how `pyiqa:NAME` is shown, or None if pyiqa has no such metric. `better` is 0 without the package.

    Does not import pyiqa.
    """
    configs = _pyiqa_configs()
    if configs is not None and name not in configs:
        return None
    better = 0 if configs is None else -1 if configs[name].get("lower_better", False) else 1
    return About(f"pyiqa:{name}", f"pyiqa:{name}", "", 3, better, VIDEO_QUALITY, network=QUALITY_MODEL)


@cache
def _pyiqa_configs() -> dict[str, dict[str, Any]] | None:
    """Returns pyiqa's list of its metrics, or None if pyiqa is not installed."""
    constants = constants_of("pyiqa", "default_model_configs.py")
    return constants and constants["DEFAULT_CONFIGS"]


def _require_of_one_frame(name: str, configs: dict[str, dict[str, Any]]) -> None:
    """Raises ValueError unless pyiqa's metric `name` computes a value from one frame, without a reference."""
    kinds = {other: config["metric_opts"]["type"] for other, config in configs.items()}
    allowed = [
        other for other in sorted(configs)
        if configs[other]["metric_mode"] == "NR" and kinds[other] not in _NOT_OF_ONE_FRAME
    ]  # fmt: skip
    if name in allowed:
        return
    why = _NOT_OF_ONE_FRAME.get(kinds[name], "compares with a reference") if name in kinds else "is none of pyiqa's"
    raise ValueError(f"pyiqa:{name} {why}; allowed are its no-reference metrics of one frame: {', '.join(allowed)}")


@cache
def user_clip_metric(name: Literal["clipsim", "clip_temp"], source: str) -> Metric:
    """Returns `clipsim:SOURCE` or `clip_temp:SOURCE`, which uses a user's own weights: a folder, or MODEL@FILE.

    Raises ValueError if there are no weights at that place.
    """
    model_name, _, place = source.rpartition("@")
    weights = Path(place)
    if not weights.exists():
        raise ValueError(f"{name}:{source} needs a folder in open_clip's local-dir format, or MODEL@FILE of weights; "
                         f"there is nothing at {weights}")  # fmt: skip
    return replace(
        _CLIP[name], name=f"{name}:{source}", compute=Formula("clip", "user_clip_score", (name, weights, model_name)),
        weights=weights, preprocessing=f"uint8-rgb-open_clip-{model_name or 'local-dir'}",
        source=f"{source}, by open_clip", title=about_user_clip(name, source).title,
    )  # fmt: skip


def about_user_clip(name: Literal["clipsim", "clip_temp"], source: str) -> About:
    """Returns how `clipsim:SOURCE` or `clip_temp:SOURCE` is shown. The weights need not be there."""
    about = _CLIP[name].about
    return replace(about, name=f"{name}:{source}", title=f"{about.title}:{source}")


_CLIP_CHOICE = "FOLDER or MODEL@FILE"
FAMILIES = {
    "clipsim": Family(_CLIP_CHOICE, partial(user_clip_metric, "clipsim"), partial(about_user_clip, "clipsim")),
    "clip_temp": Family(_CLIP_CHOICE, partial(user_clip_metric, "clip_temp"), partial(about_user_clip, "clip_temp")),
    "pyiqa": Family("NAME", pyiqa_metric, about_pyiqa),
}
