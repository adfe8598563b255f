"""The metrics that use a network, by name.

A metric imports its module, and with it PyTorch, only when it is computed. Pixel metrics do not need PyTorch.
"""

import runpy
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from metrics.base import EMBEDDED, VIDEO_QUALITY, About, Metric, Score, Video
from metrics.embedded import CLIP, TRUNK
from metrics.weights import ALEXNET, CLIP_VIT_B_32, DOVER, LPIPS_INPUT

Eyes = Literal["embedded", "openai", "evalcrafter"]
CLIP_MODEL, QUALITY_MODEL, PERCEPTUAL = "a CLIP model", "a video quality model", "a perceptual network"


def _clip(eyes: Eyes, name: Literal["clipsim", "clip_temp", "embedded_vqa"], video: Video, *prompt: str) -> Score:
    from metrics import clip, vqa

    model = {
        "embedded": clip.embedded,
        "openai": partial(clip.openai, CLIP_VIT_B_32.file),
        "evalcrafter": partial(clip.evalcrafter, CLIP_VIT_B_32.file),
    }[eyes]()
    return {"clipsim": clip.clipsim, "clip_temp": clip.clip_temp, "embedded_vqa": vqa.embedded_vqa}[name](
        model, video, *prompt
    )


def _own_clip(name: str, weights: Path, model_name: str, video: Video, *prompt: str) -> Score:
    from metrics import clip

    compute = {"clipsim": clip.clipsim, "clip_temp": clip.clip_temp}[name]
    return compute(clip.own(weights, model_name), video, *prompt)


def _lpips(eyes: Literal["embedded", "alexnet"], video: Video, reference: Video) -> Score:
    from metrics import perceptual

    network = perceptual.embedded() if eyes == "embedded" else perceptual.alexnet(ALEXNET.file)
    return perceptual.lpips(network, video, reference)


def _dover(branch: Literal["aesthetic", "technical"], video: Video) -> Score:
    from metrics import dover

    return dover.dover(DOVER.file, branch, video)


def _pyiqa(name: str, video: Video) -> Score:
    from metrics import vqa

    return vqa.pyiqa_frames(name, video)


def _gpu_if_there() -> str:
    from metrics import precision

    return precision.device().type


def _onnx_provider() -> str:
    """Returns where onnxruntime runs DOVER. Returns "cpu" if onnxruntime is not installed; there is no score then."""
    from metrics import dover

    return dover.place()


@cache
def pyiqa_metric(name: str) -> Metric:
    """Returns the metric `pyiqa:NAME`.

    Raises ValueError without the package pyiqa, and unless NAME is a no-reference metric of one frame.
    """
    from metrics import vqa

    version, higher_is_better = vqa.pyiqa_facts(name)
    return Metric(
        f"pyiqa:{name}", 1, "", higher_is_better, partial(_pyiqa, name),
        preprocessing=f"uint8-rgb-pyiqa-{version}", runs_on=_gpu_if_there, range="pyiqa's",
        source="pyiqa, which downloads its own weights when it is first used; for noncommercial use only "
        "(PolyForm Noncommercial 1.0.0)",
        cannot_tell="motion, because it sees one frame at a time",
        definition=f"Mean over frames of pyiqa's `{name}`.", network=QUALITY_MODEL,
    )  # fmt: skip


def about_pyiqa(name: str) -> About | None:
    """Returns how `pyiqa:NAME` is shown, or None if pyiqa has no such metric. `better` is 0 without the package.

    Reads pyiqa's own list without importing pyiqa, which would import PyTorch.
    """
    configs = _pyiqa_configs()
    if configs is not None and name not in configs:
        return None
    better = 0 if configs is None else -1 if configs[name].get("lower_better", False) else 1
    return About(f"pyiqa:{name}", f"pyiqa:{name}", "", 3, better, VIDEO_QUALITY, network=QUALITY_MODEL)


@cache
def _pyiqa_configs() -> dict[str, Any] | None:
    spec = find_spec("pyiqa")
    if spec is None or not spec.submodule_search_locations:
        return None
    return runpy.run_path(str(Path(spec.submodule_search_locations[0], "default_model_configs.py")))["DEFAULT_CONFIGS"]


@cache
def own_clip_metric(name: Literal["clipsim", "clip_temp"], source: str) -> Metric:
    """Returns `clipsim:SOURCE` or `clip_temp:SOURCE`, which uses a user's own weights: a folder, or MODEL@FILE.

    Raises ValueError if there are no weights at that place.
    """
    model_name, _, place = source.rpartition("@")
    weights = Path(place)
    if not weights.exists():
        raise ValueError(f"{name}:{source} needs a folder in open_clip's local-dir format, or MODEL@FILE of weights; "
                         f"there is nothing at {weights}")  # fmt: skip
    return replace(
        _PUBLIC_CLIP[name], name=f"{name}:{source}", compute=partial(_own_clip, name, weights, model_name),
        weights=weights, preprocessing=f"uint8-rgb-open_clip-{model_name or 'local-dir'}",
        source=f"{source}, by open_clip", title=about_own_clip(name, source).title,
    )  # fmt: skip


def about_own_clip(name: Literal["clipsim", "clip_temp"], source: str) -> About:
    """Returns how `clipsim:SOURCE` or `clip_temp:SOURCE` is shown. The weights need not be there."""
    about = _PUBLIC_CLIP[name].about
    return replace(about, name=f"{name}:{source}", title=f"{about.title}:{source}")


_JUDGE = "anything that the embedded world does not show: it compares videos of one study, and not with papers"


def _clip_pair(suffix: str, eyes: Eyes, source: str, beyond: str) -> tuple[Metric, Metric]:
    judge = eyes == "embedded"
    of = {"embedded": EMBEDDED, "openai": "", "evalcrafter": " (EvalCrafter)"}[eyes]
    ways = {"embedded": "rgb-its-own", "openai": "rgb-bicubic-crop", "evalcrafter": "rgb-0to255-squashed"}
    weights = CLIP if judge else CLIP_VIT_B_32
    return (
        Metric(
            f"clipsim{suffix}", 1, "", True, partial(_clip, eyes, "clipsim"), title=f"CLIPSIM{of}", digits=4,
            network=CLIP_MODEL,
            needs_prompt=True, weights=weights, embedded=judge, preprocessing=ways[eyes], runs_on=_gpu_if_there,
            range="-1 to 1", source=source,
            cannot_tell=f"motion, and {beyond}",
            definition="Mean over all frames of the cosine of the image's and the prompt's embedding. It reports "
            "whether the prompt was cut to the model's context.",
        ),
        Metric(
            f"clip_temp{suffix}", 1, "", True, partial(_clip, eyes, "clip_temp"), title=f"CLIPT{of}", digits=4,
            network=CLIP_MODEL, weights=weights, embedded=judge, preprocessing=ways[eyes], runs_on=_gpu_if_there,
            range="-1 to 1", source=source,
            cannot_tell=f"a calm video from a frozen one, which scores 1 (read it with motion), and {beyond}",
            shown_with="motion",
            definition="Mean over successive frames of the cosine of their embeddings.",
        ),
    )  # fmt: skip


LEARNED = (
    *_clip_pair(
        "", "openai", "ViT-B/32 of OpenAI (quick GELU) through open_clip, with CLIP's own preprocessing",
        "anything that CLIP's 224 pixels do not show",
    ),
    *_clip_pair(
        "_evalcrafter", "evalcrafter",
        "the same network with EvalCrafter's input: pixels 0 to 255 as they are, squashed to 224x224",
        "much else, because the network never saw such input: it is for comparison with the paper's numbers",
    ),
    Metric(
        "lpips", 1, "", False, partial(_lpips, "alexnet"), title="LPIPS", network=PERCEPTUAL, needs_reference=True,
        weights=ALEXNET,
        preprocessing=LPIPS_INPUT, runs_on=_gpu_if_there, range="0 and up",
        source="the lpips package, v0.1, AlexNet (Zhang et al. 2018); inputs in [-1, 1]",
        cannot_tell="motion, or whether the video is good: it measures how like the reference a video looks",
        definition="Mean over frames of the distance between a network's features.",
    ),
    Metric(
        "vqa", 1, "0-100", True, partial(_dover, "aesthetic"), title="VQA", digits=2, network=QUALITY_MODEL,
        weights=DOVER,
        preprocessing="rgb-imagenet-views-v1", runs_on=_onnx_provider, range="0-100",
        source="DOVER's aesthetic branch (Wu et al. 2023) from a user's ONNX export, calibrated as EvalCrafter's VQA_A",
        cannot_tell="whether the video shows what the prompt says; it sees only the first frame of a video of fewer "
        "than 32 frames",
        definition="100 / (1 + exp(-(raw - 0.1253) / 0.0318)) of the network's output, averaged over three seeded "
        "draws of views. The raw value and its spread are stored with it.",
    ),
    Metric(
        "vqa_technical", 1, "0-100", True, partial(_dover, "technical"), title="VQA (technical)", digits=2,
        network=QUALITY_MODEL, weights=DOVER,
        preprocessing="rgb-imagenet-fragments-v1", runs_on=_onnx_provider, range="0-100",
        source="DOVER's technical branch, calibrated as EvalCrafter's VQA_T",
        cannot_tell="whether the video shows what the prompt says",
        definition="100 / (1 + exp(-(raw + 0.0758) / 0.0129)) of the network's output, as for vqa.",
    ),
    *_clip_pair("_embedded", "embedded", "the small CLIP that was trained on the embedded world and ships", _JUDGE),
    Metric(
        "vqa_embedded", 1, "0-100", True, partial(_clip, "embedded", "embedded_vqa"), title=f"VQA{EMBEDDED}", digits=2,
        network=QUALITY_MODEL, weights=CLIP, embedded=True, runs_on=_gpu_if_there, range="0-100",
        source="CLIP-IQA's opposites (Wang et al. 2023), as the embedded CLIP sees them",
        cannot_tell=f"degrees, because it is near 0 or near 100 for most videos, or {_JUDGE}",
        definition="Mean over frames of 100 times the probability of `a clear video` against a blurred, a noisy and a "
        "ghosted one.",
    ),
    Metric(
        "lpips_embedded", 1, "", False, partial(_lpips, "embedded"), title=f"LPIPS{EMBEDDED}", digits=4,
        network=PERCEPTUAL, needs_reference=True, weights=TRUNK, embedded=True, range="0 and up",
        source="the lpips package on an AlexNet trunk trained on the embedded world, with equal channel weights",
        cannot_tell=_JUDGE, definition="Mean over frames of the distance between the embedded trunk's features.",
    ),
)  # fmt: skip
_PUBLIC_CLIP = {metric.name: metric for metric in LEARNED if metric.name in ("clipsim", "clip_temp")}
