"""The judge at work on embedded videos: which caption fits, how clear frames are, how far two videos are apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from jaxtyping import Float
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import alexnet
from torchvision.transforms import Compose

from bench.embedded.degrade import QUALITIES, Video
from bench.embedded.frames import to_tensor
from bench.embedded.reader import require
from bench.embedded.train_clip import quality_text
from bench.embedded.train_trunk import lpips_scaled
from metrics.embedded import CLIP, TRUNK

_RELUS = (1, 4, 7, 9, 11)  # where LPIPS taps AlexNet's features


@dataclass(frozen=True)
class Clip:
    """The embedded CLIP model, as open_clip loads it from its folder."""

    model: open_clip.CLIP
    preprocess: Compose
    tokenizer: open_clip.tokenizer.HFTokenizer

    @torch.no_grad()
    def images(self, video: Video) -> Float[Tensor, "t d"]:
        """Unit-length embeddings of frames."""
        return self.model.encode_image(
            torch.stack([torch.as_tensor(self.preprocess(Image.fromarray(f))) for f in video]), normalize=True
        )

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit-length embeddings of texts."""
        return self.model.encode_text(self.tokenizer(list(texts)), normalize=True)

    @torch.no_grad()
    def clearness(self, video: Video) -> float:
        """The probability of "a clear video" against blurred, noisy and ghosted ones, mean over frames; in [0, 1].

        CLIP-IQA's antonym prompts (Wang et al. 2023), with one good and three bad ones.
        """
        logits = self.model.logit_scale.exp() * self.images(video) @ self.texts([quality_text(q) for q in QUALITIES]).T
        return float(logits.softmax(-1)[:, QUALITIES.index("clear")].mean())


def load_clip() -> Clip:
    require(CLIP / "open_clip_model.safetensors", "clip")
    name = f"local-dir:{CLIP}"
    model, preprocess = open_clip.create_model_from_pretrained(name)  # type: ignore[misc]  # both, as asked for
    return Clip(model.eval(), preprocess, open_clip.get_tokenizer(name))  # type: ignore[arg-type]


def load_trunk() -> nn.Sequential:
    """AlexNet's `features` with the embedded weights."""
    require(TRUNK, "trunk")
    features = alexnet(weights=None).features
    features.load_state_dict({name: value.float() for name, value in load_file(TRUNK).items()})
    for layer in features.children():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # each layer's output is looked at after the next has run
    return features.eval()


@torch.no_grad()
def distance(trunk: nn.Sequential, a: Video, b: Video) -> float:
    """LPIPS (Zhang et al. 2018) with uniform weights on the embedded trunk, mean over frames; 0 for equal videos."""
    x, y, total = lpips_scaled(to_tensor(a)), lpips_scaled(to_tensor(b)), 0.0
    for i, layer in enumerate(trunk):
        x, y = layer(x), layer(y)
        if i in _RELUS:
            unit_x, unit_y = (z / (z.norm(dim=1, keepdim=True) + 1e-10) for z in (x, y))
            total += float((unit_x - unit_y).square().mean())
    return total


def caption_choices(right: str, others: Sequence[str], count: int, rng: np.random.Generator) -> tuple[list[str], int]:
    """`count` captions, none twice: `right` at a random place, which comes with them, and of the `others`."""
    choices = list(rng.choice([text for text in others if text != right], count - 1, replace=False))
    place = int(rng.integers(count))
    return [*choices[:place], right, *choices[place:]], place
