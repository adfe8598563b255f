"""How well frames fit a text, and how much they change, in the eyes of a CLIP model loaded by open_clip."""

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
from metrics.embedded import CLIP
from metrics.once import once
from metrics.precision import device, exact_float32
from metrics.weights import by_content

BATCH = 32  # frames embedded at a time


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A CLIP model, what turns a frame into its input and texts into tokens, and a text's number of tokens."""

    model: open_clip.CLIP
    preprocess: Callable[[UInt8[np.ndarray, "h w 3"]], Tensor]
    tokenize: Callable[[list[str]], Tensor]
    num_tokens: Callable[[str], int]
    images: Callable[[Video], Float[Tensor, "t d"]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", once(self._images))

    @torch.no_grad()
    @exact_float32()
    def _images(self, video: Video) -> Float[Tensor, "t d"]:
        """Unit-length embeddings of frames."""
        batches = (
            torch.stack([self.preprocess(frame) for frame in video[i : i + BATCH]]) for i in range(0, len(video), BATCH)
        )
        place = self.model.logit_scale.device
        return torch.cat([self.model.encode_image(batch.to(place), normalize=True).cpu() for batch in batches])

    @torch.no_grad()
    @exact_float32()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit-length embeddings of texts."""
        tokens = self.tokenize(list(texts)).to(self.model.logit_scale.device)
        return self.model.encode_text(tokens, normalize=True).cpu()

    def truncates(self, text: str) -> bool:
        """Whether the model sees only the beginning of `text`: its tokens and both marks exceed the context."""
        return self.num_tokens(text) > self.model.context_length


def embedded() -> ClipModel:
    """The judge that ships with the package. Raises RuntimeError where its weights are not there."""
    return own(CLIP)


@by_content
def own(weights: Path, model_name: str = "") -> ClipModel:
    """A CLIP model by open_clip: a folder in its local-dir format, or a file of weights for one it knows by name.

    With the model's own preprocessing, on a GPU where there is one. A file as OpenAI published it says itself what
    model it is of. Raises RuntimeError where the weights are not there: never random ones.
    """
    name = model_name or f"local-dir:{weights}"
    logging.getLogger().addFilter(_not_open_clips)
    if model_name and _is_torchscript(weights):
        return openai(weights)
    model, preprocess = open_clip.create_model_from_pretrained(  # type: ignore[misc]  # both, as asked for
        name, pretrained=str(weights) if model_name else None, device=device()
    )
    if not isinstance(model, open_clip.CLIP):
        raise RuntimeError(f"{weights} must be a CLIP model, got {type(model).__name__}")
    tokenizer = open_clip.get_tokenizer(name)
    return ClipModel(model.eval(), _of_image(preprocess), tokenizer, partial(_num_tokens, tokenizer))


@by_content
def openai(file: Path) -> ClipModel:
    """A CLIP model as OpenAI published it, with CLIP's own preprocessing, on a GPU where there is one.

    Raises FileNotFoundError where the file is not there.
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
    """`openai`, fed as EvalCrafter's code feeds it: pixels 0 to 255 as they are, squashed to a square bilinearly."""
    model = openai(file)
    side = _side(model.model)

    def squashed(frame: UInt8[np.ndarray, "h w 3"]) -> Tensor:
        pixels = rearrange(torch.tensor(frame), "h w c -> 1 c h w").float()
        return F.interpolate(pixels, (side, side), mode="bilinear")[0]

    return replace(model, preprocess=squashed)


def _not_open_clips(record: logging.LogRecord) -> bool:
    """What open_clip tells of each step of loading goes to the root logger, in the middle of a program's output."""
    return "open_clip" not in record.pathname or record.levelno > logging.INFO


def _is_torchscript(file: Path) -> bool:
    """As OpenAI's files are: a zip with code in it."""
    return zipfile.is_zipfile(file) and any("/code/" in name for name in zipfile.ZipFile(file).namelist())


def _num_tokens(tokenizer: Any, text: str) -> int:
    """With both marks."""
    if isinstance(tokenizer, open_clip.tokenizer.HFTokenizer):
        return len(tokenizer.tokenizer(tokenizer.clean_fn(text), verbose=False).input_ids)
    return len(tokenizer.encode(text)) + 2


def _side(model: open_clip.CLIP) -> int:
    """Pixels a side that the model takes."""
    size: Any = model.visual.image_size
    return int(size[0] if isinstance(size, tuple) else size)


def _of_image(preprocess: Any) -> Callable[[UInt8[np.ndarray, "h w 3"]], Tensor]:
    return lambda frame: torch.as_tensor(preprocess(Image.fromarray(frame)))


def clipsim(clip: ClipModel, video: Video, prompt: str) -> Score:
    """Mean over all frames of the cosine of image and prompt, in [-1, 1].

    `truncated` is 1 where the prompt was cut, to the model's `context_length` tokens (both marks included).
    """
    per_frame = (clip.images(video) @ clip.texts([prompt])[0]).double().numpy()
    truncated = clip.truncates(prompt)
    length = {"context_length": float(clip.model.context_length)} if truncated else {}
    return replace(mean(per_frame), extra={"truncated": float(truncated)} | length)


def clip_temp(clip: ClipModel, video: Video) -> Score:
    """Mean cosine of successive frames' embeddings, in [-1, 1]; 1 for a frozen video."""
    if len(video) < 2:
        raise ValueError(f"what happens between frames needs at least two of them, got {len(video)}")
    images = clip.images(video)
    return mean((images[:-1] * images[1:]).sum(1).double().numpy())


def antonyms(clip: ClipModel, video: Video, good: str, bad: Sequence[str]) -> Float[np.ndarray, " t"]:
    """Per frame, the probability of the `good` text against the `bad` ones (CLIP-IQA, Wang et al. 2023), in [0, 1]."""
    with torch.no_grad():
        logits = clip.model.logit_scale.exp() * clip.images(video) @ clip.texts([good, *bad]).T
    return logits.softmax(-1)[:, 0].double().numpy()
