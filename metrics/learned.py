"""The metrics that look through a network, by name.

Each imports its module, and so PyTorch, when it is computed: those who ask for pixel metrics do without.
"""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from metrics.base import Metric, Score, Video
from metrics.embedded import CLIP, TRUNK
from metrics.weights import ALEXNET, CLIP_VIT_B_32, DOVER, LPIPS_INPUT

Eyes = Literal["embedded", "openai", "evalcrafter"]


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
    """Where onnxruntime runs DOVER; "cpu" also where it is not installed, and nothing will be computed."""
    from metrics import dover

    return dover.place()


@cache
def pyiqa_metric(name: str) -> Metric:
    """The metric `pyiqa:NAME`. Raises ValueError without the package pyiqa, or for none of its no-reference ones."""
    from metrics import vqa

    version, higher_is_better = vqa.pyiqa_facts(name)
    return Metric(
        f"pyiqa:{name}", 1, "", higher_is_better, partial(_pyiqa, name),
        preprocessing=f"uint8-rgb-pyiqa-{version}", runs_on=_gpu_if_there, range="pyiqa's",
        source="pyiqa, which brings its own weights, and downloads them when first used; for noncommercial use only "
        "(PolyForm Noncommercial 1.0.0)",
        cannot_tell="motion: it sees one frame at a time",
        definition=f"Mean over frames of pyiqa's `{name}`.",
    )  # fmt: skip


@cache
def own_clip_metric(name: Literal["clipsim", "clip_temp"], source: str) -> Metric:
    """`clipsim:SOURCE` or `clip_temp:SOURCE` through a user's own weights: a folder, or MODEL@FILE.

    Raises ValueError where they are not there.
    """
    model_name, _, place = source.rpartition("@")
    weights = Path(place)
    if not weights.exists():
        raise ValueError(f"{name}:{source} needs a folder in open_clip's local-dir format, or MODEL@FILE of weights; "
                         f"there is nothing at {weights}")  # fmt: skip
    like = next(m for m in LEARNED if m.name == name)
    return replace(
        like, name=f"{name}:{source}", compute=partial(_own_clip, name, weights, model_name), weights=weights,
        preprocessing=f"uint8-rgb-open_clip-{model_name or 'local-dir'}",
        source=f"{source}, by open_clip",
    )  # fmt: skip


_JUDGE = "what the embedded world does not show: for videos of one study, not for comparison with papers"


def _clip_pair(suffix: str, eyes: Eyes, source: str, beyond: str) -> tuple[Metric, Metric]:
    judge = eyes == "embedded"
    ways = {"embedded": "rgb-its-own", "openai": "rgb-bicubic-crop", "evalcrafter": "rgb-0to255-squashed"}
    weights = CLIP if judge else CLIP_VIT_B_32
    return (
        Metric(
            f"clipsim{suffix}", 1, "", True, partial(_clip, eyes, "clipsim"),
            needs_prompt=True, weights=weights, embedded=judge, preprocessing=ways[eyes], runs_on=_gpu_if_there,
            range="-1 to 1", source=source,
            cannot_tell=f"motion, and {beyond}",
            definition="Mean over all frames of the cosine of the image's and the prompt's embedding; says whether the "
            "prompt was cut to the model's context.",
        ),
        Metric(
            f"clip_temp{suffix}", 1, "", True, partial(_clip, eyes, "clip_temp"),
            weights=weights, embedded=judge, preprocessing=ways[eyes], runs_on=_gpu_if_there, range="-1 to 1",
            source=source,
            cannot_tell=f"a calm video from a frozen one, which scores 1: read it beside motion; and {beyond}",
            shown_with="motion",
            definition="Mean over successive frames of the cosine of their embeddings.",
        ),
    )  # fmt: skip


LEARNED = (
    *_clip_pair(
        "", "openai", "ViT-B/32 of OpenAI (quick GELU) through open_clip, with CLIP's own preprocessing",
        "what CLIP's 224 pixels do not show",
    ),
    *_clip_pair(
        "_evalcrafter", "evalcrafter",
        "as EvalCrafter's code feeds the same network: pixels 0 to 255 as they are, squashed to 224x224",
        "much: the network never saw such input; for comparison with the paper's numbers",
    ),
    Metric(
        "lpips", 1, "", False, partial(_lpips, "alexnet"), needs_reference=True, weights=ALEXNET,
        preprocessing=LPIPS_INPUT, runs_on=_gpu_if_there, range="0 and up",
        source="the lpips package, v0.1, AlexNet (Zhang et al. 2018); inputs in [-1, 1]",
        cannot_tell="motion, and whether the video is good: it says how like its reference it looks",
        definition="Mean over frames of the distance in a network's features.",
    ),
    Metric(
        "vqa", 1, "0-100", True, partial(_dover, "aesthetic"), weights=DOVER,
        preprocessing="rgb-imagenet-views-v1", runs_on=_onnx_provider, range="0-100",
        source="DOVER's aesthetic branch (Wu et al. 2023) from a user's ONNX export, calibrated as EvalCrafter's VQA_A",
        cannot_tell="whether the video shows what the prompt says; of fewer than 32 frames it sees the first alone",
        definition="100 / (1 + exp(-(raw - 0.1253) / 0.0318)) of the network's output, averaged over three seeded "
        "draws of views; raw value and its spread beside it.",
    ),
    Metric(
        "vqa_technical", 1, "0-100", True, partial(_dover, "technical"), weights=DOVER,
        preprocessing="rgb-imagenet-fragments-v1", runs_on=_onnx_provider, range="0-100",
        source="DOVER's technical branch, calibrated as EvalCrafter's VQA_T",
        cannot_tell="whether the video shows what the prompt says",
        definition="100 / (1 + exp(-(raw + 0.0758) / 0.0129)) of the network's output, as for vqa.",
    ),
    *_clip_pair("_embedded", "embedded", "the small CLIP trained on the embedded world, which ships", _JUDGE),
    Metric(
        "vqa_embedded", 1, "0-100", True, partial(_clip, "embedded", "embedded_vqa"), weights=CLIP, embedded=True,
        runs_on=_gpu_if_there, range="0-100",
        source="CLIP-IQA's opposites (Wang et al. 2023) in the eyes of the embedded CLIP",
        cannot_tell=f"degrees: it is near 0 or near 100 for most videos; and {_JUDGE}",
        definition="Mean over frames of 100 times the probability of `a clear video` against a blurred, a noisy and a "
        "ghosted one.",
    ),
    Metric(
        "lpips_embedded", 1, "", False, partial(_lpips, "embedded"), needs_reference=True, weights=TRUNK, embedded=True,
        range="0 and up", source="the lpips package on an AlexNet trunk trained on the embedded world, equal weights",
        cannot_tell=_JUDGE, definition="Mean over frames of the distance in the embedded trunk's features.",
    ),
)  # fmt: skip
