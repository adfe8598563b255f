"""Names groups of metrics. Sweeps and commands take a group wherever they take the name of a metric."""

from collections.abc import Sequence
from dataclasses import dataclass

from metrics import is_known, known, named
from metrics.catalogue import DISTANCES
from metrics.third_party import EXAMPLE

# for the help of commands
DOTTED_PATH_HELP = f"the dotted path of a metric of your own, such as {EXAMPLE} (docs/extending.md)"


@dataclass(frozen=True)
class Group:
    """The metrics of a group by their names, and one sentence that says which they are."""

    names: tuple[str, ...]
    description: str


_PIXEL = ("psnr", "psnr_frame_mean", "ssim", "cosine", "cosine_raw", "flicker", "motion", "motion_flow")
_CONSISTENCY = ("clip_temp", "background_consistency", *(f"coherence_{distance}" for distance in DISTANCES))
GROUPS = {
    "consistency": Group(
        _CONSISTENCY,
        "These metrics follow the frames' CLIP embeddings through the video, to the first frame and over longer "
        "distances.",
    ),
    "consistency_embedded": Group(
        tuple(f"{name}_embedded" for name in _CONSISTENCY),
        "These are the metrics of consistency, computed by the small judge.",
    ),
    "pixel": Group(_PIXEL, "These metrics are computed from pixels alone, so there is nothing to download."),
    "embedded": Group(
        (*_PIXEL, "clipsim_embedded", "clip_temp_embedded", "vqa_embedded", "lpips_embedded"),
        "These metrics fill every column of the paper's Table 1, and the small judge that ships with the package "
        "computes the learned ones.",
    ),
    "paper": Group(
        (
            *_PIXEL, "clipsim", "clip_temp", "clipsim_evalcrafter", "clip_temp_evalcrafter", "lpips", "vqa",
            "vqa_technical",
        ),
        "These are the paper's columns with public weights (CLIP and AlexNet, which bench.prefetch downloads) and a "
        "user's ONNX export of DOVER (VGDFR_DOVER_ONNX; without it VQA is null and shown as a dash).",
    ),
}  # fmt: skip


def groups() -> list[str]:
    """Returns the names of all groups, sorted."""
    return sorted(GROUPS)


def names_of(text: str) -> list[str]:
    """Returns the names of the metrics that `text` lists: names or groups, separated by commas. Each name comes once.

    Raises ValueError for an empty list, for an unknown name, and for a metric that cannot be made or imported.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError(f"no metric is named; there are the groups {', '.join(groups())}, and names")
    names = expanded(parts)
    if unknown := [name for name in names if not is_known(name)]:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are the groups {', '.join(groups())}; {known()}")
    named(names)
    return names


def expanded(parts: Sequence[str]) -> list[str]:
    """Returns `parts` with each group replaced by the names of its metrics. Each name comes once."""
    return list(dict.fromkeys(name for part in parts for name in (GROUPS[part].names if part in GROUPS else (part,))))
