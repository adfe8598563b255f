"""How well frames fit a text, and how much they change, in the eyes of a CLIP model loaded by open_clip."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from metrics.base import Score, Video
from metrics.embedded import CLIP

BATCH = 32  # frames embedded at a time


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A CLIP model with its own preprocessing and tokenizer."""

    model: open_clip.CLIP
    preprocess: Any
    tokenizer: Any
    _last: list[tuple[weakref.ref, Tensor]] = field(default_factory=list, repr=False)

    @torch.no_grad()
    def images(self, video: Video) -> Float[Tensor, "t d"]:
        """Unit-length embeddings of frames; those of the last video are kept, so that its metrics share one pass."""
        if self._last and self._last[0][0]() is video:
            return self._last[0][1]
        batches = (
            torch.stack([torch.as_tensor(self.preprocess(Image.fromarray(frame))) for frame in video[i : i + BATCH]])
            for i in range(0, len(video), BATCH)
        )
        embeddings = torch.cat([self.model.encode_image(batch, normalize=True) for batch in batches])
        self._last[:] = [(weakref.ref(video), embeddings)]
        return embeddings

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit-length embeddings of texts."""
        return self.model.encode_text(self.tokenizer(list(texts)), normalize=True)

    def truncates(self, text: str) -> bool:
        """Whether the model sees only the beginning of `text`: its tokens and both marks exceed the context."""
        return len(self.tokenizer.tokenizer(text).input_ids) > self.tokenizer.context_length


@cache
def embedded() -> ClipModel:
    """The judge that ships with the package. Raises RuntimeError where its weights are not there."""
    name = f"local-dir:{CLIP}"
    model, preprocess = open_clip.create_model_from_pretrained(name)  # type: ignore[misc]  # both, as asked for
    assert isinstance(model, open_clip.CLIP)
    return ClipModel(model.eval(), preprocess, open_clip.get_tokenizer(name))


def clipsim(clip: ClipModel, video: Video, prompt: str) -> Score:
    """Mean over all frames of the cosine of image and prompt, in [-1, 1]; `truncated` is 1 where the prompt was cut."""
    per_frame = (clip.images(video) @ clip.texts([prompt])[0]).double().numpy()
    return Score(float(per_frame.mean()), per_frame, {"truncated": float(clip.truncates(prompt))})


def clip_temp(clip: ClipModel, video: Video) -> Score:
    """Mean cosine of successive frames' embeddings, in [-1, 1]; 1 for a frozen video."""
    if len(video) < 2:
        raise ValueError(f"what happens between frames needs at least two of them, got {len(video)}")
    images = clip.images(video)
    per_frame = (images[:-1] * images[1:]).sum(1).double().numpy()
    return Score(float(per_frame.mean()), per_frame)


def antonyms(clip: ClipModel, video: Video, good: str, bad: Sequence[str]) -> Float[np.ndarray, " t"]:
    """Per frame, the probability of the `good` text against the `bad` ones (CLIP-IQA, Wang et al. 2023), in [0, 1]."""
    with torch.no_grad():
        logits = clip.model.logit_scale.exp() * clip.images(video) @ clip.texts([good, *bad]).T
    return logits.softmax(-1)[:, 0].double().numpy()
