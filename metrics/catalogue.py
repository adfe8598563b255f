"""Lists the metrics of this package with their titles, units, sources and limits. Other modules compute them.

This module is data: each metric names its function by a Formula.
"""

from dataclasses import replace
from typing import Literal

from metrics.base import EMBEDDED, VIDEO_QUALITY, Metric
from metrics.embedded import CLIP, TRUNK
from metrics.formula import Formula
from metrics.weights import ALEXNET, CLIP_VIT_B_32, DOVER, LPIPS_INPUT

DISTANCES = (1, 2, 5, 10, 20, 50)  # frames apart, of the coherence curve
ClipNetwork = Literal["embedded", "openai", "evalcrafter"]  # see metrics.clip
CLIP_MODEL, QUALITY_MODEL, PERCEPTUAL = "a CLIP model", "a video quality model", "a perceptual network"
NETWORK_DEVICE, DOVER_DEVICE = Formula("devices", "network_device"), Formula("devices", "dover_device")

_LIKENESS_ONLY = "whether the video is good: it measures likeness to the reference, and a shifted video scores badly"
_BRIGHTNESS = "changes of brightness and contrast, which do not change it"

PIXEL = (
    Metric(
        "psnr", 2, "dB", True, Formula("pixel", "psnr"), title="PSNR", digits=2, needs_reference=True,
        pool=Formula("pixel", "psnr_of_frames"), range="0 to infinite", cannot_tell=_LIKENESS_ONLY,
        source="the standard definition; infinite values are kept and counted, and means leave them out",
    ),
    Metric(
        "psnr_frame_mean", 2, "dB", True, Formula("pixel", "psnr_frame_mean"), title="PSNR (frame mean)", digits=2,
        needs_reference=True, range="0-100",
        source="the convention of VideoSys and TeaCache, which most papers follow",
        cannot_tell=f"{_LIKENESS_ONLY}; identical frames count as 100 dB and lift the mean",
    ),
    Metric(
        "ssim", 2, "", True, Formula("pixel", "ssim"), title="SSIM", needs_reference=True, range="-1 to 1",
        cannot_tell=_LIKENESS_ONLY,
        source="Wang et al. 2004, with scikit-image's gaussian_weights=True, use_sample_covariance=False",
    ),
    Metric(
        "cosine", 2, "", True, Formula("pixel", "cosine"), title="Cosine", needs_reference=True, range="-1 to 1",
        cannot_tell=_BRIGHTNESS,
        source="the paper's Cosine column, centred, because unrelated noise scores 0.75 without centring",
    ),
    Metric(
        "cosine_raw", 2, "", True, Formula("pixel", "cosine_raw"), title="Cosine (raw)", needs_reference=True,
        range="0-1", source="the paper's Cosine column, not centred", cannot_tell="much: unrelated noise scores 0.75",
    ),
)  # fmt: skip

TEMPORAL = (
    Metric(
        "flicker", 2, "", True, Formula("temporal", "flicker"), title="FLICKER", digits=4, range="0-1",
        source="VBench's temporal flickering, over all frames",
        cannot_tell="a calm video from a frozen one, which scores 1: read it with motion",
        shown_with="motion",
    ),
    Metric(
        "motion", 2, "ratio", None, Formula("temporal", "motion"), title="Motion", group=VIDEO_QUALITY,
        needs_reference=True, pool=None, range="0 and up", source="this project",
        cannot_tell="motion from flicker, both of which change pixels",
    ),
    Metric(
        "motion_flow", 1, "px/frame", None, Formula("temporal", "motion_flow"), title="Motion (optical flow)",
        range="0 and up", source="OpenCV's DIS flow, medium preset (Kroeger et al. 2016)",
        cannot_tell="the motion of areas without texture",
    ),
)  # fmt: skip

_JUDGE = "anything that the embedded world does not show: it compares videos of one study, and not with papers"


def _clip_pair(suffix: str, network: ClipNetwork, source: str, beyond: str) -> tuple[Metric, Metric]:
    """Returns CLIPSIM and CLIPT with one of the CLIP networks. `beyond` says which properties that network misses."""
    embedded = network == "embedded"
    weights = CLIP if embedded else CLIP_VIT_B_32
    mark, preprocessing = {
        "embedded": (EMBEDDED, "rgb-its-own"),
        "openai": ("", "rgb-bicubic-crop"),
        "evalcrafter": (" (EvalCrafter)", "rgb-0to255-squashed"),
    }[network]
    return (
        Metric(
            f"clipsim{suffix}", 1, "", True, Formula("clip", "clip_score", ("clipsim", network)),
            title=f"CLIPSIM{mark}", digits=4, network=CLIP_MODEL, needs_prompt=True, weights=weights, embedded=embedded,
            preprocessing=preprocessing, runs_on=NETWORK_DEVICE, range="-1 to 1", source=source,
            cannot_tell=f"motion, and {beyond}",
            definition="Returns the mean over all frames of the cosine of the image's and the prompt's embedding. The "
            "score also says whether the prompt was cut to the model's context.",
        ),
        Metric(
            f"clip_temp{suffix}", 1, "", True, Formula("clip", "clip_score", ("clip_temp", network)),
            title=f"CLIPT{mark}", digits=4, network=CLIP_MODEL, weights=weights, embedded=embedded,
            preprocessing=preprocessing, runs_on=NETWORK_DEVICE, range="-1 to 1", source=source,
            cannot_tell=f"a calm video from a frozen one, which scores 1 (read it with motion), and {beyond}",
            shown_with="motion",
            definition="Returns the mean over successive frames of the cosine of their embeddings.",
        ),
    )  # fmt: skip


def _consistency(suffix: str, network: ClipNetwork, source: str, beyond: str) -> tuple[Metric, ...]:
    """Returns VBench's background consistency and the coherence curve, from the embeddings that `_clip_pair` uses."""
    pair = _clip_pair(suffix, network, source, beyond)[1]
    mark = EMBEDDED * pair.embedded
    background = replace(
        pair, name=f"background_consistency{suffix}", title=f"Background consistency{mark}", range="0-1",
        compute=Formula("clip", "clip_score", ("background_consistency", network)),
        source="VBench's background consistency (Huang et al. 2024, vbench/background_consistency.py), computed by "
        f"{source}. VBench resizes frames without antialiasing, and computes in float16 on a GPU, so its own numbers "
        "differ",
        cannot_tell=f"a calm video from a frozen one, which scores 1 (read it with motion), nor the background from "
        f"the subject, because it sees whole frames, and {beyond}",
        definition="Returns the mean over all frames but the first of (a + b) / 2, where a is the cosine of the "
        "frame's and the previous frame's embedding, b is the cosine with the first frame's embedding, and a negative "
        "cosine counts as 0.",
    )  # fmt: skip
    curve = (
        replace(
            pair, name=f"coherence_{distance}{suffix}", title=f"Coherence {distance}{mark}", pool=None,
            compute=Formula("clip", "clip_score", (f"coherence_{distance}", network)),
            definition=f"Returns the mean cosine of the embeddings of frames that are {distance} apart, over all such "
            f"pairs. A video of {distance} frames or fewer has no value."
            + " It equals clip_temp." * (distance == 1),
        )
        for distance in DISTANCES
    )  # fmt: skip
    return background, *curve


_OPENAI = "ViT-B/32 of OpenAI (quick GELU) through open_clip, with CLIP's own preprocessing"
_AT_224 = "anything that CLIP's 224 pixels do not show"
_SMALL = "the small CLIP that was trained on the embedded world and ships"

LEARNED = (
    *_clip_pair("", "openai", _OPENAI, _AT_224),
    *_clip_pair(
        "_evalcrafter", "evalcrafter",
        "the same network with EvalCrafter's input: pixels 0 to 255 as they are, squashed to 224x224",
        "much else, because the network never saw such input: it is for comparison with the paper's numbers",
    ),
    Metric(
        "lpips", 1, "", False, Formula("perceptual", "lpips_score", ("alexnet",)), title="LPIPS",
        network=PERCEPTUAL, needs_reference=True, weights=ALEXNET, preprocessing=LPIPS_INPUT,
        runs_on=NETWORK_DEVICE, range="0 and up",
        source="the lpips package, v0.1, AlexNet (Zhang et al. 2018); inputs in [-1, 1]",
        cannot_tell="motion, or whether the video is good: it measures how like the reference a video looks",
        definition="Returns the mean over frames of the distance between a network's features.",
    ),
    Metric(
        "vqa", 1, "0-100", True, Formula("dover", "dover_score", ("aesthetic",)), title="VQA", digits=2,
        network=QUALITY_MODEL, weights=DOVER,
        preprocessing="rgb-imagenet-views-v1", runs_on=DOVER_DEVICE, range="0-100",
        source="DOVER's aesthetic branch (Wu et al. 2023) from a user's ONNX export, calibrated as EvalCrafter's VQA_A",
        cannot_tell="whether the video shows what the prompt says; it sees only the first frame of a video of fewer "
        "than 32 frames",
        definition="Returns 100 / (1 + exp(-(raw - 0.1253) / 0.0318)) of the network's output, averaged over three "
        "seeded draws of views. The raw value and its spread are stored with it.",
    ),
    Metric(
        "vqa_technical", 1, "0-100", True, Formula("dover", "dover_score", ("technical",)), title="VQA (technical)",
        digits=2, network=QUALITY_MODEL, weights=DOVER,
        preprocessing="rgb-imagenet-fragments-v1", runs_on=DOVER_DEVICE, range="0-100",
        source="DOVER's technical branch, calibrated as EvalCrafter's VQA_T",
        cannot_tell="whether the video shows what the prompt says",
        definition="Returns 100 / (1 + exp(-(raw + 0.0758) / 0.0129)) of the network's output, as for vqa.",
    ),
    *_clip_pair("_embedded", "embedded", _SMALL, _JUDGE),
    Metric(
        "vqa_embedded", 1, "0-100", True, Formula("vqa", "embedded_vqa_score"), title=f"VQA{EMBEDDED}", digits=2,
        network=QUALITY_MODEL, weights=CLIP, embedded=True, runs_on=NETWORK_DEVICE, range="0-100",
        source="CLIP-IQA's opposites (Wang et al. 2023), as the embedded CLIP sees them",
        cannot_tell=f"degrees, because it is near 0 or near 100 for most videos, or {_JUDGE}",
        definition="Returns the mean over frames of 100 times the probability of `a clear video` against a blurred, a "
        "noisy and a ghosted video.",
    ),
    Metric(
        "lpips_embedded", 1, "", False, Formula("perceptual", "lpips_score", ("embedded",)), title=f"LPIPS{EMBEDDED}",
        digits=4, network=PERCEPTUAL, needs_reference=True, weights=TRUNK, embedded=True, range="0 and up",
        source="the lpips package on an AlexNet trunk trained on the embedded world, with equal channel weights",
        cannot_tell=_JUDGE,
        definition="Returns the mean over frames of the distance between the embedded trunk's features.",
    ),
    *_consistency("", "openai", _OPENAI, _AT_224),
    *_consistency("_embedded", "embedded", _SMALL, _JUDGE),
)  # fmt: skip
