"""Computes CLIPSIM, CLIPT and choices between texts with a CLIP model that open_clip loads."""

import logging
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from metrics.base import Score, Video, mean
from metrics.catalogue import DISTANCES, ClipNetwork
from metrics.consistency import background_consistency, coherence
from metrics.embedded import CLIP
from metrics.memo import memoized
from metrics.precision import device, exact_float32
from metrics.weights import CLIP_VIT_B_32, by_content

BATCH = 32  # frames embedded at a time


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A CLIP model with its preprocessing.

    `preprocess` turns a frame into the model's input, `tokenize` turns texts into tokens, and `num_tokens` counts a
    text's tokens with both marks. `images` returns the embeddings of a video's frames, of unit length, and remembers
    those of the last read-only video.
    """

    model: open_clip.CLIP
    preprocess: Callable[[UInt8[np.ndarray, "h w 3"]], Tensor]
    tokenize: Callable[[list[str]], Tensor]
    num_tokens: Callable[[str], int]
    images: Callable[[Video], Float[Tensor, "t d"]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", memoized(self._images))

    @torch.no_grad()
    @exact_float32()
    def _images(self, video: Video) -> Float[Tensor, "t d"]:
        """Returns the embeddings of frames, of unit length."""
        batches = (
            torch.stack([self.preprocess(frame) for frame in video[i : i + BATCH]]) for i in range(0, len(video), BATCH)
        )
        place = self.model.logit_scale.device
        return torch.cat([self.model.encode_image(batch.to(place), normalize=True).cpu() for batch in batches])

    @torch.no_grad()
    @exact_float32()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Returns the embeddings of texts, of unit length."""
        tokens = self.tokenize(list(texts)).to(self.model.logit_scale.device)
        return self.model.encode_text(tokens, normalize=True).cpu()

    def truncates(self, text: str) -> bool:
        """Returns whether the model cuts `text`, because its tokens with both marks exceed the context."""
        return self.num_tokens(text) > self.model.context_length


def embedded() -> ClipModel:
    """Returns the small judge that ships with the package. Raises RuntimeError if its weights are missing."""
    return user_model(CLIP)


@by_content
def user_model(weights: Path, model_name: str = "") -> ClipModel:
    """Returns a CLIP model that open_clip loads, with the model's own preprocessing, on a GPU if there is one.

    `weights` is a folder in open_clip's local-dir format. With a `model_name` that open_clip knows, it is a file of
    weights. A file in the form that OpenAI published names its model itself, and `model_name` is ignored. Raises
    RuntimeError if the weights are missing, or if they are of another kind of model.
    """
    name = model_name or f"local-dir:{weights}"
    logging.getLogger().addFilter(_keep_log_record)
    if model_name and _is_torchscript(weights):
        return openai(weights)
    model, preprocess = open_clip.create_model_from_pretrained(  # type: ignore[misc]  # a model and its preprocessing
        name, pretrained=str(weights) if model_name else None, device=device()
    )
    if not isinstance(model, open_clip.CLIP):
        raise RuntimeError(f"{weights} must be a CLIP model, got {type(model).__name__}")
    tokenizer = open_clip.get_tokenizer(name)
    return ClipModel(model.eval(), _of_image(preprocess), tokenizer, partial(_num_tokens, tokenizer))


@by_content
def openai(file: Path) -> ClipModel:
    """Returns a CLIP model in the form that OpenAI published, with CLIP's own preprocessing, on a GPU if there is one.

    Raises FileNotFoundError if the file is missing.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no CLIP weights at {file}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the published file is TorchScript
        model = open_clip.load_openai_model(str(file), precision="fp32", device=device())
    assert isinstance(model, open_clip.CLIP)
    preprocess = open_clip.image_transform(
        _side(model), is_train=False, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD
    )
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    return ClipModel(model.eval(), _of_image(preprocess), tokenizer, partial(_num_tokens, tokenizer))


@by_content
def evalcrafter(file: Path) -> ClipModel:
    """Returns the model of `openai` with EvalCrafter's preprocessing: pixels 0 to 255, squashed bilinearly to a square.

    EvalCrafter's public code does not normalise the pixels. Raises FileNotFoundError if the file is missing.
    """
    model = openai(file)
    side = _side(model.model)

    def squashed(frame: UInt8[np.ndarray, "h w 3"]) -> Tensor:
        pixels = rearrange(torch.tensor(frame), "h w c -> 1 c h w").float()
        return F.interpolate(pixels, (side, side), mode="bilinear")[0]

    return replace(model, preprocess=squashed)


def _keep_log_record(record: logging.LogRecord) -> bool:
    """Returns False for open_clip's reports on each step of loading.

    open_clip sends them to the root logger, so they would appear in the middle of a program's output.
    """
    return "open_clip" not in record.pathname or record.levelno > logging.INFO


def _is_torchscript(file: Path) -> bool:
    """Returns whether the file has the form of OpenAI's files, a zip archive that contains code."""
    return zipfile.is_zipfile(file) and any("/code/" in name for name in zipfile.ZipFile(file).namelist())


def _num_tokens(tokenizer: Any, text: str) -> int:
    """Returns the number of tokens of `text`, with the marks at its beginning and end."""
    if isinstance(tokenizer, open_clip.tokenizer.HFTokenizer):
        return len(tokenizer.tokenizer(tokenizer.clean_fn(text), verbose=False).input_ids)
    return len(tokenizer.encode(text)) + 2


def _side(model: open_clip.CLIP) -> int:
    """Returns the side of the model's square input in pixels."""
    size: Any = model.visual.image_size
    return int(size[0] if isinstance(size, tuple) else size)


def _of_image(preprocess: Any) -> Callable[[UInt8[np.ndarray, "h w 3"]], Tensor]:
    return lambda frame: torch.as_tensor(preprocess(Image.fromarray(frame)))


def clip_score(measure: str, network: ClipNetwork, video: Video, *prompt: str) -> Score:
    """Returns one of `_MEASURES`, such as `clipsim`, with one of the networks of this package's metrics.

    Raises FileNotFoundError or RuntimeError if the network's weights are missing.
    """
    if network == "embedded":
        model = embedded()
    else:
        model = {"openai": openai, "evalcrafter": evalcrafter}[network](CLIP_VIT_B_32.file)
    return _MEASURES[measure](model, video, *prompt)


def user_clip_score(measure: str, weights: Path, model_name: str, video: Video, *prompt: str) -> Score:
    """Returns one of `_MEASURES` with a user's own weights, see `user_model`."""
    return _MEASURES[measure](user_model(weights, model_name), video, *prompt)


def clipsim(clip: ClipModel, video: Video, prompt: str) -> Score:
    """Returns the mean over all frames of the cosine of image and prompt, in [-1, 1].

    `extra` has `truncated`, which is 1 if the prompt was cut and 0 otherwise. If it was cut, `extra` also has the
    model's `context_length` in tokens, both marks included.
    """
    per_frame = (clip.images(video) @ clip.texts([prompt])[0]).double().numpy()
    truncated = clip.truncates(prompt)
    length = {"context_length": float(clip.model.context_length)} if truncated else {}
    return replace(mean(per_frame), extra={"truncated": float(truncated)} | length)


def clip_temp(clip: ClipModel, video: Video) -> Score:
    """Returns the mean cosine of successive frames' embeddings, in [-1, 1]. It is 1 for a frozen video.

    Raises ValueError for a video of one frame.
    """
    if len(video) < 2:
        raise ValueError(f"changes between frames need at least two frames, got {len(video)}")
    images = clip.images(video)
    return mean((images[:-1] * images[1:]).sum(1).double().numpy())


def _background_consistency(clip: ClipModel, video: Video) -> Score:
    return background_consistency(clip.images(video))


def _coherence(distance: int, clip: ClipModel, video: Video) -> Score:
    return coherence(clip.images(video), distance)


_MEASURES: dict[str, Callable[..., Score]] = {
    "clipsim": clipsim,
    "clip_temp": clip_temp,
    "background_consistency": _background_consistency,
    **{f"coherence_{distance}": partial(_coherence, distance) for distance in DISTANCES},
}


def antonyms(clip: ClipModel, video: Video, good: str, bad: Sequence[str]) -> Float[np.ndarray, " t"]:
    """Returns for each frame the probability in [0, 1] of the `good` text against the `bad` texts.

    This is the prediction of CLIP-IQA (Wang et al. 2023).
    """
    return probabilities(clip, video, [good, *bad])[:, 0].double().numpy()


@torch.no_grad()
def probabilities(clip: ClipModel, video: Video, texts: Sequence[str]) -> Float[Tensor, "t n"]:
    """Returns for each frame the probability of each text against the others, computed on the CPU."""
    scale = clip.model.logit_scale.cpu().exp()  # the model may be on a GPU; embeddings of frames and texts are not
    return (scale * clip.images(video) @ clip.texts(texts).T).softmax(-1)
